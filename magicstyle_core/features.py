"""What CSDI leaves behind: the trajectory of an inverted image, and its feature bank."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

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
    trajectory: Tensor  # z_0 ... z_{T-1}, (T, channels, latent_height, latent_width), fp32 on the CPU
    noise: Tensor  # the noise estimate at every (z_i, t_i), same shape
    rgb_map: Tensor  # linear map from latents to pixels fitted on this image, see preview.py

    @property
    def steps(self) -> int:
        return len(self.timesteps)

    @property
    def nbytes(self) -> int:
        return self.trajectory.nbytes + self.noise.nbytes + self.rgb_map.nbytes


@dataclass
class FeatureBank:
    """The input of every self-attention layer at every step of one image, one contiguous row per step.

    Rows are kept in half precision: the input is a LayerNorm output, so well scaled that fp16 costs
    0.02 % relative error. Every row is a tensor of its own: the one in use does not keep the others alive.
    """

    dtype: torch.dtype
    device: torch.device
    shapes: dict[str, torch.Size] = field(default_factory=dict)  # per layer (1, tokens, channels)
    rows: dict[int, Tensor] = field(default_factory=dict)  # per step (sum of tokens * channels,)

    def write(self, step: int, features: Features) -> None:
        """Stores the layer inputs of one step."""
        self.shapes = {name: tensor.shape for name, tensor in features.items()}
        self.rows[step] = torch.cat([tensor.flatten() for tensor in features.values()]).to(self.device, self.dtype)

    def read(self, step: int, device: torch.device) -> dict[str, Tensor]:
        """The layer inputs of one step on that device, each (1, tokens, channels): views of one row."""
        row = self.rows[step].to(device, non_blocking=True)
        parts = row.split([prod(shape) for shape in self.shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    @property
    def nbytes(self) -> int:
        return sum(row.nbytes for row in self.rows.values())

    def to(self, device: torch.device) -> FeatureBank:
        """A copy on that device; host memory beside a GPU is pinned, so that rows can be copied while it computes."""
        pin = device.type == "cpu" and self.device.type == "cuda"
        rows = {step: row.to(device) for step, row in self.rows.items()}
        if pin:
            rows = {step: row.pin_memory() for step, row in rows.items()}
        return FeatureBank(self.dtype, device, self.shapes, rows)
