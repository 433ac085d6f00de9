"""What the model does for one job, as one generator from a picklable task to picklable answers.

So it runs in this process or, with nothing changed, in another one (see gpu.py). An inversion crosses as its
trajectory and noise on the CPU; its features never do: where they are missing they are computed again.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from PIL import Image

from magicstyle_core import (
    Frame,
    FusionSettings,
    Inversion,
    InversionSettings,
    MagicStyleError,
    Progress,
    StyleEngine,
)
from magicstyle_core.settings import DRAFT_STEPS

PREVIEWS = 4  # pictures shown between the draft and the full picture


@dataclass(frozen=True)
class Source:
    """One image of a task: its file, and its inversion if there is one."""

    path: str
    session: str  # the engine's session that holds it
    phase: str  # what people read while it is inverted
    inversion: Inversion | None


@dataclass(frozen=True)
class Rendering:
    """How a task's sources become a picture."""

    weights: tuple[float, ...]  # of the styles: every source but the first
    settings: FusionSettings
    mask: Image.Image | None
    live: bool  # a draft and passing pictures come before the full picture


@dataclass(frozen=True)
class Task:
    """Everything that is asked of the model at once."""

    sources: tuple[Source, ...]  # the photograph first
    steps: int  # of the inversions
    round_trip: bool = False  # also decode the photograph's inversion
    rendering: Rendering | None = None

    @property
    def is_work(self) -> bool:
        """Whether there is anything to do."""
        return self.round_trip or self.rendering is not None or any(s.inversion is None for s in self.sources)

    @property
    def most_unet_calls(self) -> int:
        """UNet calls when no features are stored."""
        new = sum(source.inversion is None for source in self.sources)
        if self.rendering is None:
            return new * self.steps
        rendered = (self.rendering.settings.render_steps or self.steps) + DRAFT_STEPS * self.rendering.live
        return new * self.steps + rendered * (1 + len(self.sources))


@dataclass(frozen=True)
class Update:
    """Where a task stands after one UNet call (or one decode)."""

    phase: str
    step: int
    total: int
    seconds_left: float
    image: Image.Image | None = None


@dataclass(frozen=True)
class Inverted:
    """A source that had no inversion has one now."""

    path: str
    inversion: Inversion
    unet_calls: int  # 0 when the process that works had it after all


@dataclass(frozen=True)
class RoundTrip:
    """The photograph as the model's codec gives it back."""

    image: Image.Image


@dataclass(frozen=True)
class Rendered:
    """The finished picture."""

    image: Image.Image
    unet_calls: int  # of the full picture; the draft's come on top
    draft_calls: int
    seconds: float  # of the full picture


Answer = Update | Inverted | RoundTrip | Rendered | MagicStyleError


def work(engine: StyleEngine, task: Task) -> Generator[Answer, None, None]:
    """Inverts what has no inversion, then decodes and renders what is asked for.

    An error for the user is the last answer instead of being raised: across processes only values arrive unharmed.
    """
    try:
        yield from _work(engine, task)
    except MagicStyleError as error:
        yield error


def _work(engine: StyleEngine, task: Task) -> Iterator[Answer]:
    inversions = []
    for source in task.sources:
        inversion = source.inversion
        if inversion is None:
            calls, started = 0, time.monotonic()
            progress = engine.inverting(source.path, InversionSettings(steps=task.steps), session=source.session)
            while inversion is None:
                try:
                    step = next(progress)
                except StopIteration as stop:
                    inversion = stop.value
                else:
                    calls += 1
                    yield _update(source.phase, step, started)
            yield Inverted(source.path, inversion, calls)
        inversions.append(inversion)
    if task.round_trip:
        yield RoundTrip(engine.decode(inversions[0]))
    if task.rendering is not None:
        yield from _render(engine, inversions, task.rendering)


def _render(engine: StyleEngine, inversions: list[Inversion], rendering: Rendering) -> Iterator[Answer]:
    content, *styles = inversions
    weighted = list(zip(styles, rendering.weights, strict=True))
    steps = rendering.settings.render_steps or content.steps
    draft_calls = 0
    if rendering.live and steps > DRAFT_STEPS:
        started = time.monotonic()
        for frame in engine.render(content, weighted, rendering.settings, mask=rendering.mask, draft=True):
            draft_calls = frame.unet_calls
            yield _update("Draft", frame, started)
    started = time.monotonic()
    preview_every = -(-steps // (PREVIEWS + 1)) if rendering.live else 0
    for frame in engine.render(content, weighted, rendering.settings, mask=rendering.mask, preview_every=preview_every):
        yield _update("Full picture", frame, started)
    assert frame.image is not None  # the engine's last frame carries the picture
    yield Rendered(frame.image, frame.unet_calls, draft_calls, time.monotonic() - started)


def _update(phase: str, state: Progress | Frame, started: float) -> Update:
    """The time left is the mean of the steps so far, for the steps to come."""
    seconds_left = (time.monotonic() - started) / state.step * (state.total - state.step)
    image = state.image if isinstance(state, Frame) else None
    return Update(phase, state.step, state.total, seconds_left, image)
