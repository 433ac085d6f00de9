"""What CSDI leaves behind: the trajectory of an inverted picture, and its bank of features."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from magicstyle_core.errors import ModelError
from magicstyle_core.hooks import Features
from magicstyle_core.images import Picture
from magicstyle_core.method import Trajectory
from magicstyle_core.regions import FACE, face_mask


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """One inverted picture. Its bank, the bulk of the bytes, lives in the store under the same key."""

    key: str  # digest of the picture, steps, model and dtype
    session: str  # whose part of the store holds it
    picture: Picture
    timesteps: tuple[int, ...]  # t_0 < ... < t_{T-1}
    trajectory: Trajectory  # (T, 1, channels, height, width), fp32 on the CPU, with the model's margin
    mask: Image.Image | None = None  # white where it may be looked at when it is a style; None = everywhere

    @property
    def steps(self) -> int:
        return len(self.timesteps)

    @cached_property
    def faces(self) -> Image.Image | None:
        """What `regions.face_mask` finds in the picture, None without a detector, too; looked for once."""
        with suppress(ModelError):
            return face_mask(self.picture.image, FACE)
        return None

    @property
    def nbytes(self) -> int:
        alpha = 0 if self.picture.alpha is None else self.picture.alpha.nbytes
        return self.trajectory.latents.nbytes + self.trajectory.noise.nbytes + self.picture.pixels.nbytes + alpha


class Row(NamedTuple):
    """The input of one layer at one step."""

    values: Tensor  # (tokens, channels)
    scales: Tensor | None  # (channels,), fp32, of 8-bit values

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + (0 if self.scales is None else self.scales.nbytes)

    def apply(self, function: Callable[[Tensor], Tensor]) -> Row:
        return Row(function(self.values), None if self.scales is None else function(self.scales))

    @property
    def features(self) -> Tensor:
        """(1, tokens, channels)."""
        return (self.values if self.scales is None else self.values * self.scales)[None]


@dataclass(eq=False)
class FeatureBank:
    """The input of self-attention layers at every step of one picture, a row per step and layer.

    The input is a LayerNorm output, so well scaled that fp16 costs 0.02 % relative error; 8 bits with a scale per
    channel cost about 0.9 %. Every row is a tensor of its own, so that layers can be added, and the one in use keeps
    no other alive. A bank that outgrows `largest` bytes or the device's memory is given up: features can be computed
    again.
    """

    dtype: torch.dtype  # a floating-point one, or torch.int8
    device: torch.device
    rows: dict[tuple[int, str], Row] = field(default_factory=dict)
    largest: float = math.inf
    given_up: bool = False

    def write(self, step: int, features: Features) -> None:
        """Stores the layer inputs (1, tokens, channels) of one step, unless the bank has been given up."""
        if self.given_up:
            return
        rows: dict[tuple[int, str], Row] = {}
        with suppress(torch.OutOfMemoryError):
            rows = {(step, name): self.row(tensor) for name, tensor in features.items()}
        self.rows.update(rows)
        if len(rows) < len(features) or self.nbytes > self.largest:
            self.give_up()

    def give_up(self) -> None:
        self.given_up = True
        self.rows.clear()

    def row(self, features: Tensor) -> Row:
        """A layer's input (1, tokens, channels) as the bank keeps it."""
        values = features[0]  # (tokens, channels)
        if self.dtype != torch.int8:
            return Row(values.to(self.device, self.dtype), None)
        scales = values.float().abs().amax(0).clamp(min=1e-8) / 127  # (channels,)
        return Row((values / scales).round().to(torch.int8), scales).apply(lambda tensor: tensor.to(self.device))

    def missing(self, steps: Iterable[int], layers: Sequence[str]) -> list[int]:
        """Those of the steps at which one of the layers is not stored."""
        return [step for step in steps if any((step, name) not in self.rows for name in layers)]

    def fetch(self, step: int, layers: Sequence[str], device: torch.device) -> dict[str, Row]:
        """Rows of one step on that device; from pinned memory the copies run while the caller goes on."""
        return {
            name: self.rows[step, name].apply(lambda tensor: tensor.to(device, non_blocking=True)) for name in layers
        }

    @property
    def nbytes(self) -> int:
        return sum(row.nbytes for row in self.rows.values())

    def to(self, device: torch.device) -> FeatureBank:
        """A copy on that device; host memory beside a GPU is pinned, so that rows can be copied while it computes."""
        rows = {place: row.apply(lambda tensor: tensor.to(device)) for place, row in self.rows.items()}
        if device.type == "cpu" and self.device.type == "cuda":
            rows = {place: row.apply(Tensor.pin_memory) for place, row in rows.items()}
        return FeatureBank(self.dtype, device, rows)
