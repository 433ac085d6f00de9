"""What a benchmark reports: rows of figures, the machine they are from, and how a row is printed."""

from __future__ import annotations

import platform
import resource
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image

from magicstyle_core.model import Model

IDENTICAL = 99.0  # dB, for pictures without any difference


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of the report; what does not apply is None."""

    name: str
    seconds: float | None = None
    unet_calls: int | None = None
    bytes: int | None = None
    ratio: float | None = None
    against: str | None = None  # what the ratio is relative to
    psnr: float | None = None  # dB, against the same
    note: str | None = None


@dataclass(frozen=True)
class Cost:
    seconds: float
    unet_calls: int


def median(costs: Sequence[Cost]) -> Cost:
    return Cost(statistics.median(cost.seconds for cost in costs), costs[-1].unet_calls)


def rows(costs: Mapping[str, Cost], against: str) -> Iterator[Row]:
    for name, cost in costs.items():
        yield Row(name=name, **asdict(cost), ratio=cost.seconds / costs[against].seconds, against=against)


def psnr(picture: Image.Image, expected: Image.Image) -> float:
    difference = np.asarray(picture, float) - np.asarray(expected, float)
    return min(IDENTICAL, float(10 * np.log10(255**2 / max(np.mean(difference**2), 1e-9))))


def peak_memory(device: torch.device) -> Row:
    """On CUDA since the last call; on a CPU the most that the process ever held, so it never falls."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Row(name="peak memory", bytes=peak)


def machine(model: Model) -> dict[str, Any]:
    on_cuda = model.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if on_cuda else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "unet_parameters": sum(parameter.numel() for parameter in model.unet.parameters()),
        "layers": len(model.layers),
    }


HEADINGS = ("", "seconds", "calls", "MiB", "ratio", "against", "dB")


def table_line(row: Row) -> str:
    cells = (
        None if row.seconds is None else f"{row.seconds:.4f}",
        None if row.unet_calls is None else str(row.unet_calls),
        None if row.bytes is None else f"{row.bytes / 2**20:.2f}",
        None if row.ratio is None else f"{row.ratio:.3f}",
        row.against,
        None if row.psnr is None else f"{row.psnr:.1f}",
    )
    return line((row.name, *cells)) + (f" {row.note}" if row.note else "")


def line(cells: Sequence[str | None]) -> str:
    name, seconds, calls, size, ratio, against, decibels = (cell or "" for cell in cells)
    return f"{name:58}{seconds:>10}{calls:>7}{size:>11}{ratio:>8} {against:22}{decibels:>6}"
