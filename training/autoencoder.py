"""The embedded model's autoencoder: a diffusers AutoencoderDC that starts as a linear patch transform.

A small autoencoder trained from random weights spends hours finding colour. This one begins at the answer
of linear algebra: every 8×8 patch (192 numbers) is projected onto its 16 principal components. The class's
shortcuts average and repeat channels, so the convolutions beside them are set to cancel the shortcut and
to compute one stage of that projection; the residual blocks start at zero. Training only improves on it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC
from diffusers.models.autoencoders.autoencoder_dc import DCDownBlock2d, DCUpBlock2d, Decoder, Encoder, ResBlock
from torch import Tensor, nn

PATCH = 8  # pixels per latent
LATENT_CHANNELS = 16
WHITENING = 0.6
# The decoder ends in RMSNorm and ReLU. Beside pixels at GAIN, a constant channel at CARRIER makes the norm's
# divisor nearly constant, and SHIFT lifts every pixel value above the ReLU: so they too are linear at first.
GAIN, CARRIER, SHIFT = 0.25, 4.0, 1.25


def principal_components(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (192,), the 16 first principal components (16, 192) and their standard deviations (16,) of all patches.

    `images` is (batch, 3, height, width) in [-1, 1], height and width multiples of 8.
    """
    patches = F.pixel_unshuffle(images, PATCH).permute(0, 2, 3, 1).reshape(-1, 3 * PATCH**2)  # (patches, 192)
    variances, vectors = torch.linalg.eigh(torch.cov(patches.T.double()))  # ascending
    variances, vectors = variances.flip(0)[:LATENT_CHANNELS], vectors.flip(1)[:, :LATENT_CHANNELS]
    return patches.mean(0), vectors.T.float(), variances.sqrt().float()


def build_autoencoder(images: Tensor) -> AutoencoderDC:
    """An AutoencoderDC at 1/8 size that computes the transform of `principal_components(images)`.

    Latents are partly whitened: each channel is divided by its standard deviation to the power WHITENING, so that
    coarse and fine channels drown in the diffusion's noise at not too different times.
    """
    mean, components, std = principal_components(images)
    scale = std**WHITENING
    scale = scale * (std / scale).square().mean().sqrt()
    analysis, synthesis = components / scale[:, None], components * scale[:, None]
    vae = AutoencoderDC(
        latent_channels=LATENT_CHANNELS,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=(24, 24, 48, 192),
        decoder_block_out_channels=(24, 24, 96, 192),
        encoder_layers_per_block=(0, 2, 2, 6),
        decoder_layers_per_block=(0, 1, 3, 5),
        encoder_qkv_multiscales=((), (), (), ()),
        decoder_qkv_multiscales=((), (), (), ()),
        downsample_block_type="conv",
        upsample_block_type="pixel_shuffle",
    )
    with torch.no_grad():
        for module in vae.modules():
            if isinstance(module, ResBlock):
                nn.init.zeros_(module.norm.weight)  # the block adds norm(...) to its input: nothing, at first
        _set_encoder(vae.encoder, mean, analysis)
        _set_decoder(vae.decoder, mean, synthesis)
    return vae


def _set_encoder(encoder: Encoder, mean: Tensor, analysis: Tensor) -> None:
    """Half and quarter size hold every pixel of the patch; the last two convolutions project it."""
    _space_to_depth(encoder.conv_in.conv, in_channels=3)
    _space_to_depth(encoder.down_blocks[1][-1].conv, in_channels=12)
    _space_to_depth(encoder.down_blocks[2][-1].conv, in_channels=48)
    for block in (encoder.down_blocks[1][-1], encoder.down_blocks[2][-1]):
        _cancel_down_shortcut(block)
    group = encoder.out_shortcut_average_group_size
    out = encoder.conv_out
    out.weight.zero_()
    out.weight[:, : 3 * PATCH**2, 1, 1] = analysis[:, _patch_order()]
    for channel in range(LATENT_CHANNELS):
        out.weight[channel, channel * group : (channel + 1) * group, 1, 1] -= 1 / group
    out.bias.copy_(-analysis @ mean)


def _set_decoder(decoder: Decoder, mean: Tensor, synthesis: Tensor) -> None:
    """The transposed stages: 16 -> 192 at 1/8, 48 at 1/4, 12 at 1/2, pixels."""
    order = _patch_order()
    width = decoder.conv_in.out_channels
    decoder.conv_in.weight.zero_()
    decoder.conv_in.weight[: 3 * PATCH**2, :, 1, 1] = synthesis.T[order]
    for channel in range(width):
        decoder.conv_in.weight[channel, channel // decoder.in_shortcut_repeats, 1, 1] -= 1
    decoder.conv_in.bias.zero_()
    decoder.conv_in.bias[: 3 * PATCH**2] = mean[order]
    _depth_to_space(decoder.up_blocks[2][0], out_channels=48)
    _depth_to_space(decoder.up_blocks[1][0], out_channels=12, gain=GAIN)
    decoder.up_blocks[1][0].conv.bias[-4:] = CARRIER  # the last channel of the half-size map
    channels = decoder.norm_out.weight.shape[0]
    decoder.norm_out.weight.fill_(CARRIER / channels**0.5 / GAIN)
    decoder.norm_out.weight[-1] = 0.0
    decoder.norm_out.bias.fill_(SHIFT)
    final = decoder.conv_out.conv
    nn.init.zeros_(final.weight)
    final.weight[range(12), range(12), 1, 1] = 1.0
    final.bias.fill_(-SHIFT)


def _space_to_depth(conv: nn.Conv2d, in_channels: int) -> None:
    """A stride-2 convolution that moves each 2×2 block of its first `in_channels` into channels."""
    for parameter in conv.parameters():
        parameter.zero_()
    for channel in range(in_channels):
        for row in range(2):
            for column in range(2):
                conv.weight[4 * channel + 2 * row + column, channel, 1 + row, 1 + column] = 1.0


def _cancel_down_shortcut(block: DCDownBlock2d) -> None:
    """The shortcut is the mean over groups of pixel_unshuffle's channels."""
    for channel in range(block.conv.out_channels):
        for member in range(channel * block.group_size, (channel + 1) * block.group_size):
            source, place = divmod(member, 4)
            block.conv.weight[channel, source, 1 + place // 2, 1 + place % 2] -= 1 / block.group_size


def _depth_to_space(block: DCUpBlock2d, out_channels: int, gain: float = 1.0) -> None:
    """A convolution whose pixel_shuffle spreads 4 * `out_channels` channels, less the repeated shortcut."""
    block.conv.weight.zero_()
    block.conv.bias.zero_()
    block.conv.weight[range(4 * out_channels), range(4 * out_channels), 1, 1] = gain
    for channel in range(block.conv.out_channels):
        block.conv.weight[channel, channel // block.repeats, 1, 1] -= 1.0


def _patch_order() -> Tensor:
    """Three 2×2 unshuffles order a patch otherwise than one 8×8 unshuffle; this maps the first to the second."""
    index = torch.arange(3 * PATCH**2, dtype=torch.float32).view(1, -1, 1, 1)
    patch = F.pixel_shuffle(index, PATCH)  # (1, 3, 8, 8)
    for _ in range(3):
        patch = F.pixel_unshuffle(patch, 2)
    return patch.flatten().long()
