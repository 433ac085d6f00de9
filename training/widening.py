"""A wider and deeper last stage for the decoder of the embedded model's autoencoder, which draws what the old one drew.

The stage at half a picture's size draws all that is finer than two pixels. New channels carry zeros at first and new
blocks add nothing; but they have gradients, so training takes them up.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderDC
from torch import Tensor

STAGE = "decoder.up_blocks.1"  # DCUpBlock2d, then ResBlocks
SHUFFLED = 4  # channels of the convolution for one of a stage: each becomes a square of 2 x 2


def widened(old: AutoencoderDC, channels: int, blocks: int) -> AutoencoderDC:
    """A copy whose decoder has `channels` and `blocks` at half size; what it draws is the same.

    Beside the convolution of DCUpBlock2d there is a shortcut that repeats channels, by the width; the new weights undo
    the difference. RMSNorm divides by the mean over all channels, zeros included, so its weights are scaled down.
    """
    widths, depths = list(old.config.decoder_block_out_channels), list(old.config.decoder_layers_per_block)
    before, depth = widths[1], depths[1]
    widths[1], depths[1] = channels, blocks
    new = AutoencoderDC.from_config(old.config, decoder_block_out_channels=widths, decoder_layers_per_block=depths)
    known, weights = old.state_dict(), new.state_dict()
    weights.update({name: value.clone() for name, value in known.items() if value.shape == weights[name].shape})

    up = f"{STAGE}.0.conv"
    rows = torch.arange(SHUFFLED * channels)
    weight = torch.zeros_like(weights[f"{up}.weight"])  # (rows, channels of the stage before, 3, 3)
    weight[rows, rows * widths[2] // len(rows), 1, 1] -= 1
    kept = rows[: SHUFFLED * before]
    weight[kept, kept * widths[2] // len(kept), 1, 1] += 1
    weight[kept] += known[f"{up}.weight"]
    weights[f"{up}.weight"] = weight
    weights[f"{up}.bias"] = _padded(known[f"{up}.bias"], SHUFFLED * channels)

    for block in range(1, depth + 1):
        name = f"{STAGE}.{block}"
        weights[f"{name}.conv1.weight"][:before, :before] = known[f"{name}.conv1.weight"]
        weights[f"{name}.conv1.bias"][:before] = known[f"{name}.conv1.bias"]
        weights[f"{name}.conv2.weight"].zero_()[:before, :before] = known[f"{name}.conv2.weight"]
        weights[f"{name}.norm.weight"][:before] = known[f"{name}.norm.weight"] * (before / channels) ** 0.5
        weights[f"{name}.norm.bias"] = _padded(known[f"{name}.norm.bias"], channels)
    for block in range(depth + 1, blocks + 1):
        weights[f"{STAGE}.{block}.norm.weight"].zero_()

    weights["decoder.norm_out.weight"][:before] = known["decoder.norm_out.weight"] * (before / channels) ** 0.5
    # Above 0, as ReLU has no gradient at 0.
    weights["decoder.norm_out.bias"] = torch.cat([known["decoder.norm_out.bias"], torch.rand(channels - before) * 0.2])
    weights["decoder.conv_out.conv.weight"].zero_()[:, :before] = known["decoder.conv_out.conv.weight"]
    new.load_state_dict(weights)
    return new


def _padded(values: Tensor, length: int) -> Tensor:
    return torch.cat([values, values.new_zeros(length - len(values))])
