"""One picture from the wish to the result, as a generator of progress. Knows the engine, not the page."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from magicstyle_core import Frame, FusionSettings, Inversion, InversionSettings, Progress, StyleEngine
from magicstyle_core.images import open_image
from magicstyle_core.settings import DRAFT_STEPS
from magicstyle_core.ui import examples

if TYPE_CHECKING:
    from magicstyle_core.ui.session import Session

PREVIEWS = 4  # pictures shown between the draft and the full picture
SHARED = "shared"  # the engine's session of the bundled images


@dataclass(frozen=True)
class Job:
    """What the visitor wants: the images by path, the settings, and how far to invert."""

    content: str
    styles: tuple[tuple[str, float], ...]  # path and weight
    settings: FusionSettings  # without steps: `steps` below says how many to take
    steps: int
    mask: Image.Image | None = None  # "L", white where the style goes
    region: str = field(default="Everywhere", compare=False)  # the page's word for the mask

    @property
    def images(self) -> list[str]:
        return [self.content, *(path for path, _ in self.styles)]


@dataclass(frozen=True)
class Update:
    """Where a job stands after one UNet call (or one decode)."""

    phase: str
    step: int
    total: int
    seconds_left: float
    image: Image.Image | None = None


@dataclass(frozen=True)
class Inverted:
    """The inversions of a job, and the UNet calls they cost now."""

    content: Inversion
    styles: list[tuple[Inversion, float]]
    calls: int


@dataclass(frozen=True)
class Result:
    """A finished job."""

    image: Image.Image
    settings: FusionSettings  # as rendered
    depth: int  # steps of the inversion
    inversion_calls: int
    render_calls: int  # of the full picture; the draft's come on top
    draft_calls: int
    seconds: float  # of the full picture


@dataclass
class Worker:
    """Runs jobs on the engine. The bundled examples are inverted once for all sessions."""

    engine: StyleEngine

    def invert(
        self, session: Session, path: str, depth: int, phase: str
    ) -> Generator[Update, None, tuple[Inversion, int]]:
        """Invert one image file. Returns the inversion and its UNet calls, 0 when it was stored."""
        is_bundled = examples.FOLDER in Path(path).parents
        if not is_bundled:
            session.uploads.add(path)
        calls = 0
        started = time.monotonic()
        progress = self.engine.inverting(
            open_image(path), InversionSettings(steps=depth), session=SHARED if is_bundled else session.key
        )
        while True:
            try:
                step = next(progress)
            except StopIteration as stop:
                session.depths.setdefault(path, set()).add(depth)
                return stop.value, calls
            calls += 1
            yield _update(phase, step, started)

    def invert_all(self, session: Session, job: Job) -> Generator[Update, None, Inverted]:
        """Invert what of the job's images is not stored."""
        depth = session.depth(job.images, job.steps)
        content, calls = yield from self.invert(session, job.content, depth, "Inverting the photograph")
        styles = []
        for path, weight in job.styles:
            style, style_calls = yield from self.invert(session, path, depth, "Inverting the style")
            styles.append((style, weight))
            calls += style_calls
        return Inverted(content, styles, calls)

    def run(self, session: Session, job: Job, live: bool = True) -> Generator[Update, None, Result]:
        """Invert what is missing, then render; `live`: a draft and passing pictures come before the full picture."""
        inverted = yield from self.invert_all(session, job)
        depth = inverted.content.steps
        settings = replace(job.settings, steps=None if job.steps == depth else job.steps)
        draft_calls = 0
        if live and job.steps > DRAFT_STEPS:
            started = time.monotonic()
            for frame in self.engine.render(inverted.content, inverted.styles, settings, mask=job.mask, draft=True):
                draft_calls = frame.unet_calls
                yield _update("Draft", frame, started)
        started = time.monotonic()
        preview_every = -(-job.steps // (PREVIEWS + 1)) if live else 0
        render_calls = 0
        image = None
        for frame in self.engine.render(
            inverted.content, inverted.styles, settings, mask=job.mask, preview_every=preview_every
        ):
            render_calls = frame.unet_calls
            image = frame.image if frame.final else None
            yield _update("Full picture", frame, started)
        assert image is not None  # the engine's last frame carries the picture
        return Result(image, settings, depth, inverted.calls, render_calls, draft_calls, time.monotonic() - started)


def _update(phase: str, state: Progress | Frame, started: float) -> Update:
    """The time left is the mean of the steps so far, for the steps to come."""
    seconds_left = (time.monotonic() - started) / state.step * (state.total - state.step)
    image = state.image if isinstance(state, Frame) else None
    return Update(phase, state.step, state.total, seconds_left, image)
