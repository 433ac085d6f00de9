"""The linear map that gives one set of vectors the mean and the covariance of another; it needs torch alone.

Of all that do, the linear Monge-Kantorovich map moves them least (Pitié and Kokaram, The Linear Monge-Kantorovitch
Linear Colour Mapping, 2007):

    x -> M (x - mean) + mean_s,   M = B^1/2 (B^1/2 A B^1/2)^-1/2 B^1/2,   A, B the covariances
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

# Of the mean variance, added to all directions: it limits the gain of faint ones. By eye, on faint colours; to FFA on
# mini .001, .01 and .1 are alike (a texture of .679, .678, .678).
FLOOR = 0.1


@dataclass(frozen=True, eq=False)
class Moments:
    """Of vectors."""

    mean: Tensor  # (..., 1, channels)
    covariance: Tensor  # with FLOOR, (..., channels, channels), in fp64 on the CPU

    @cached_property
    def root(self) -> Tensor:
        return power(self.covariance, 0.5)


def moments(vectors: Tensor, counts: Tensor | None = None) -> Moments:
    """Moments of vectors (..., vectors, channels).

    Args:
        counts: how much each of them counts, (..., vectors, 1), not all 0; None = all alike.
    """
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    counts = torch.ones_like(vectors[..., :1]) if counts is None else counts.to(vectors)
    shares = counts / counts.sum(-2, keepdim=True)
    mean = (shares * vectors).sum(-2, keepdim=True)
    centred = vectors - mean
    covariance = (centred.mT @ (shares * centred)).cpu().double()
    floor = FLOOR * covariance.diagonal(dim1=-2, dim2=-1).mean(-1) + 1e-6  # (...)
    return Moments(mean, covariance + floor[..., None, None] * torch.eye(vectors.shape[-1], dtype=covariance.dtype))


def transported(vectors: Tensor, now: Moments, wanted: Moments) -> Tensor:
    """Vectors (..., vectors, channels) brought from the moments that they have to those that are wanted."""
    root = wanted.root
    by = root @ power(root @ now.covariance @ root, -0.5) @ root  # symmetric, (..., channels, channels)
    return ((vectors - now.mean) @ by.to(now.mean) + wanted.mean).to(vectors)


def power(symmetric: Tensor, exponent: float) -> Tensor:
    """A positive symmetric matrix (..., n, n) to a power, with gradients that are finite where eigenvalues meet."""
    return _Power.apply(symmetric, exponent)


class _Power(torch.autograd.Function):
    """The gradient is that of Daleckii and Krein (1965), by which eigenvectors need none of their own."""

    @staticmethod
    def forward(ctx: Any, symmetric: Tensor, exponent: float) -> Tensor:
        values, vectors = torch.linalg.eigh(symmetric)  # (..., n), (..., n, n)
        values = values.clamp(min=1e-12)
        ctx.save_for_backward(values, vectors)
        ctx.exponent = exponent
        return (vectors * values.unsqueeze(-2) ** exponent) @ vectors.mT

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        values, vectors = ctx.saved_tensors
        rows, columns = values.unsqueeze(-1), values.unsqueeze(-2)  # (..., n, 1), (..., 1, n)
        apart = rows - columns  # (..., n, n)
        equal = apart.abs() < 1e-6 * (rows + columns)
        slopes = torch.where(
            equal,
            ctx.exponent * ((rows + columns) / 2) ** (ctx.exponent - 1),
            (rows**ctx.exponent - columns**ctx.exponent) / torch.where(equal, 1.0, apart),
        )
        inner = vectors.mT @ (gradient + gradient.mT) @ vectors / 2
        return vectors @ (slopes * inner) @ vectors.mT, None
