"""A place without a model: it fades the photograph into the style's mean colour, one step at a time, and counts."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from magicstyle_core.images import Picture, open_picture
from magicstyle_core.serving.jobs import Step
from magicstyle_core.serving.places import (
    Answer,
    Facts,
    Foreseen,
    Inverted,
    LayerFacts,
    Looked,
    Rendered,
    Rendering,
    Task,
)
from magicstyle_core.settings import InversionSettings, draft_steps

NAMES = ("down.0", "up.0")


@dataclass(frozen=True)
class FlatInversion:
    """All that is known of a picture here."""

    picture: Picture
    session: str
    steps: int


class FlatPlace:
    """Paints as a place does. `seconds_per_call` is slept; `calls` and `opened` are counted."""

    at_once = 1
    facts = Facts(
        "flat", 8, 64, "Painterly",
        (LayerFacts("down.0", "down 0", 1, "coarse"), LayerFacts("up.0", "up 0", 0, "fine")),
    )  # fmt: skip

    def __init__(self, seconds_per_call: float = 0.0, idles: bool = False) -> None:
        self.seconds_per_call = seconds_per_call
        self.idles = idles
        self.calls = 0
        self.opened = 0
        self.stored: dict[tuple[str, str, int], Any] = {}

    def expand(self, layers: Sequence[str]) -> list[str]:
        chosen = {"all": NAMES, "up.fine": NAMES[1:], "up.middle": ()}
        names = [name for layer in layers for name in chosen.get(layer, (layer,))]
        return [name for name in NAMES if name in names]

    def open(self, path: str | Path, size: int | None) -> Picture:
        self.opened += 1
        return open_picture(path, size or self.facts.size, 8)

    def known(self, picture: Picture, inversion: InversionSettings, *, session: str) -> Any:
        return self.stored.get((picture.digest, session, inversion.steps or 0))

    def keep(self, inversion: Any) -> None:
        self.stored[inversion.picture.digest, inversion.session, inversion.steps] = inversion

    def forget(self, session: str) -> int:
        gone = [address for address in self.stored if address[1] == session]
        for address in gone:
            del self.stored[address]
        return len(gone)

    def stats(self) -> dict[str, Any]:
        sessions: dict[str, int] = {}
        for _, session, steps in self.stored:
            sessions[session] = sessions.get(session, 0) + steps * 1000
        return {
            "model": "flat", "device": "cpu", "dtype": "none", "unet_calls": self.calls, "sessions": sessions,
            "hits": 0, "misses": 0, "messages": [], "bytes": {"device": 0, "host": 0},
        }  # fmt: skip

    def run(self, task: Task) -> Generator[Answer, None, None]:
        steps, inversions = task.inversion.steps or 8, list[Any]()
        for number, source in enumerate(task.sources):
            inversions.append(source.inversion or FlatInversion(source.picture, source.session, steps))
            if source.inversion is None:
                yield from self._steps(source.phase, steps)
                yield Inverted(number, inversions[-1], steps)
        if task.rendering is None:
            return
        if task.aim is not None:
            self.calls += 1
            styles = [inversion.picture.image for inversion in inversions[1:]]
            yield Looked(tuple(styles), (1 / len(styles),) * len(styles), 1)
            return
        settings = task.rendering.settings
        image = _faded(task.rendering, *(inversion.picture.pixels.astype(float) for inversion in inversions[:2]))
        full = settings.render_steps or steps
        if task.rendering.draft and full > draft_steps(full):
            started = time.monotonic()
            yield from self._steps("draft", draft_steps(full))
            yield Rendered(image, True, draft_steps(full), time.monotonic() - started, {})
        if task.rendering.full:
            started = time.monotonic()
            for step in self._steps("full", full):
                yield step
                if task.rendering.previews:
                    yield Foreseen(image)
            yield Rendered(image, False, full, time.monotonic() - started, {})

    def _steps(self, phase: Any, total: int) -> Generator[Step, None, None]:
        for step in range(1, total + 1):
            self.calls += 1
            time.sleep(self.seconds_per_call)
            if step < total or phase in ("photograph", "style"):
                yield Step(phase, step, total, self.seconds_per_call * (total - step))


def _faded(rendering: Rendering, content: NDArray[np.float64], style: NDArray[np.float64]) -> Image.Image:
    """The photograph at strength 0, its style's mean colour at strength 1.5; masks say where and of which part."""
    share = np.full(content.shape[:2], rendering.settings.strength / 1.5)
    if rendering.mask is not None:
        mask = rendering.mask.resize((content.shape[1], content.shape[0]))
        share *= np.asarray(mask, float) / 255
    part = np.full(style.shape[:2], True)
    if rendering.style_masks and rendering.style_masks[0] is not None:
        part = np.asarray(rendering.style_masks[0]) >= 128
    pixels = content + share[..., None] * (style[part].mean(0) - content)
    return Image.fromarray(pixels.round().astype(np.uint8))
