"""What CSDI leaves behind: the trajectory of an inverted image, and its feature bank."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from magicstyle_core.attention import Features


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """One inverted image. Its feature bank, the bulk of the bytes, lives in the store under the same key."""

    key: str  # digest of the prepared pixels, steps, model and dtype
    session: str  # whose part of the store holds it
    width: int  # of the prepared image, pixels
    height: int
    timesteps: tuple[int, ...]  # t_0 < ... < t_{T-1}
    trajectory: Tensor  # z_0 ... z_{T-1}, (T, channels, latent_height, latent_width), fp32 on the CPU, with margins
    noise: Tensor  # the noise estimate at every (z_i, t_i), same shape
    latents: Tensor  # z_0 without its margin, (1, channels, height / multiple, width / multiple)
    rgb_map: Tensor  # linear map from latents to pixels fitted on this image, see preview.py
    grain: Tensor  # how strong the image's grain is, ascending quantiles, see detail.py
    pixels: Tensor  # of the prepared image, (1, 3, height, width), uint8 on the CPU
    detail: Tensor  # what the VAE loses of the image, pixels - decode(z_0), (1, 3, height, width), fp16 on the CPU

    @property
    def steps(self) -> int:
        return len(self.timesteps)

    @property
    def nbytes(self) -> int:
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, Tensor))


class Row(NamedTuple):
    """The layer inputs of one step, flattened one after another."""

    values: Tensor  # (sum of tokens * channels,)
    scales: Tensor | None  # (sum of channels,), fp32, of 8-bit values

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + (0 if self.scales is None else self.scales.nbytes)

    def apply(self, function: Callable[[Tensor], Tensor]) -> Row:
        return Row(function(self.values), None if self.scales is None else function(self.scales))


@dataclass(eq=False)
class FeatureBank:
    """The input of every self-attention layer at every step of one image, one contiguous row per step.

    The input is a LayerNorm output, so well scaled that fp16 costs 0.02 % relative error; 8 bits with a scale
    per channel cost about 0.9 %. Every row is a tensor of its own: the one in use does not keep the others alive.
    A bank that outgrows `largest` bytes or the device's memory is given up: features can be computed again.
    """

    dtype: torch.dtype  # a floating-point one, or torch.int8
    device: torch.device
    shapes: dict[str, torch.Size] = field(default_factory=dict)  # per layer (1, tokens, channels)
    rows: dict[int, Row] = field(default_factory=dict)  # per step
    largest: float = math.inf
    given_up: bool = False

    def write(self, step: int, features: Features) -> None:
        """Stores the layer inputs of one step, unless the bank has been given up."""
        if self.given_up:
            return
        with suppress(torch.OutOfMemoryError):
            self.rows[step] = self._pack(features)
        if step not in self.rows or self.nbytes > self.largest:
            self.give_up()

    def give_up(self) -> None:
        self.given_up = True
        self.rows.clear()

    def _pack(self, features: Features) -> Row:
        self.shapes = {name: tensor.shape for name, tensor in features.items()}
        if self.dtype == torch.int8:
            scales = [
                tensor[0].float().abs().amax(0).clamp(min=1e-8) / 127 for tensor in features.values()
            ]  # (channels,)
            values = [(f / s).round() for f, s in zip(features.values(), scales, strict=True)]
            row = Row(torch.cat([v.flatten() for v in values]).to(torch.int8), torch.cat(scales))
        else:
            row = Row(torch.cat([tensor.flatten() for tensor in features.values()]).to(self.dtype), None)
        return row.apply(lambda tensor: tensor.to(self.device))

    def fetch(self, step: int, device: torch.device) -> Row:
        """One row on that device; from pinned memory the copy runs while the caller goes on."""
        return self.rows[step].apply(lambda tensor: tensor.to(device, non_blocking=True))

    def unpack(self, row: Row) -> dict[str, Tensor]:
        """A row as layer inputs, each (1, tokens, channels)."""
        values = row.values.split([prod(shape) for shape in self.shapes.values()])
        features = {name: v.view(shape) for (name, shape), v in zip(self.shapes.items(), values, strict=True)}
        if row.scales is None:
            return features
        scales = row.scales.split([shape[-1] for shape in self.shapes.values()])
        return {name: f * scale for (name, f), scale in zip(features.items(), scales, strict=True)}

    @property
    def nbytes(self) -> int:
        return sum(row.nbytes for row in self.rows.values())

    def to(self, device: torch.device) -> FeatureBank:
        """A copy on that device; host memory beside a GPU is pinned, so that rows can be copied while it computes."""
        rows = {step: row.apply(lambda tensor: tensor.to(device)) for step, row in self.rows.items()}
        if device.type == "cpu" and self.device.type == "cuda":
            rows = {step: row.apply(Tensor.pin_memory) for step, row in rows.items()}
        return FeatureBank(self.dtype, device, self.shapes, rows)
