"""A wider and deeper last stage for the decoder of the embedded model's autoencoder, which draws what the old one drew.

The stage at half a picture's size draws all that is finer than two pixels. New channels carry zeros at first and new
blocks add nothing; but they have gradients, so training takes them up.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderDC

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
    weights = new.state_dict()  # shares memory with `new`
    up, norm_out, out = f"{STAGE}.0.conv", "decoder.norm_out", "decoder.conv_out.conv.weight"
    old_blocks, new_blocks = (
        [f"{STAGE}.{block}" for block in numbers] for numbers in (range(1, depth + 1), range(depth + 1, blocks + 1))
    )
    silent = [f"{block}.conv2.weight" for block in old_blocks] + [f"{block}.norm.weight" for block in new_blocks]
    for name in (f"{up}.weight", f"{up}.bias", out, *silent):
        weights[name].zero_()
    for name, value in old.state_dict().items():
        weights[name][tuple(slice(length) for length in value.shape)] = value
    shortcut = torch.zeros_like(weights[f"{up}.weight"])  # (rows, channels of the stage before, 3, 3)
    for sign, count in ((1, SHUFFLED * before), (-1, SHUFFLED * channels)):
        rows = torch.arange(count)
        shortcut[rows, rows * widths[2] // count, 1, 1] += sign
    weights[f"{up}.weight"] += shortcut
    for norm in (*(f"{block}.norm" for block in old_blocks), norm_out):
        weights[f"{norm}.weight"][:before] *= (before / channels) ** 0.5
    weights[f"{norm_out}.bias"][before:].uniform_(0, 0.2)  # above 0, as ReLU has no gradient at 0
    return new
