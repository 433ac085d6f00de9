"""What the endpoints for programs answer with; Gradio publishes these types."""

from __future__ import annotations

from typing import Any, TypedDict


class InvertFacts(TypedDict):
    """What an inversion took: no calls, when it was stored."""

    steps: int
    width: int
    height: int
    unet_calls: int


class StylizeFacts(TypedDict):
    """What a picture took, and the settings that it was rendered with."""

    inversion_calls: int
    unet_calls: int
    seconds: float
    settings: dict[str, Any]
    status: str


class GridFacts(TypedDict):
    """Cells of the sheet, those that failed as [row, column], and all model calls."""

    cells: int
    failed: list[list[int]]
    unet_calls: int


class LensFacts(TypedDict):
    """The share of the attention that each style got, and the model calls that the answer took."""

    shares: list[float]
    unet_calls: int


class RestoredFacts(TypedDict):
    """What a PNG says about how it was made."""

    version: str
    model: str
    settings: dict[str, Any]
    inversion: dict[str, Any]
    content: str
    styles: list[dict[str, Any]]
    region: str
    gone: str


class Freed(TypedDict):
    """Bytes of features that were freed."""

    bytes_freed: int


class Stats(TypedDict):
    """What is stored, for this client and for all, and what it took since the start; more fields follow."""

    my_bytes: int
    all_bytes: int
    hits: int
    misses: int
    unet_calls: int
    idle_calls: int
