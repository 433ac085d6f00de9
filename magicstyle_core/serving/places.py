"""Where jobs run: here, or on a ZeroGPU Space in a forked process that has the GPU for one call. A cluster: ray.py.

A place takes a picklable task and gives picklable answers, so nothing above it knows which one it is. An inversion
crosses as its trajectory on the CPU; its features never do: where they are missing they are computed again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image

from magicstyle_core.errors import MagicStyleError
from magicstyle_core.images import Picture
from magicstyle_core.layers import choose_blocks
from magicstyle_core.metadata import circumstances
from magicstyle_core.serving.jobs import Aim, Pause, Phase, Step, Waiting
from magicstyle_core.settings import FusionSettings, InversionSettings, draft_steps, inversion_calls

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from magicstyle_core.engine import Frame, Inversion, Progress, StyleEngine

try:
    import spaces
except ImportError:  # everywhere but on a Space
    spaces = None

SHARED = "shared"  # the engine's session of the bundled pictures, which every visitor may read
START_SECONDS = 15  # ZeroGPU: weights to the GPU, decoding
SECONDS_PER_CALL = 0.1  # ZeroGPU: some times what a UNet call takes there at 512 pixels
MAX_SECONDS = 120  # ZeroGPU: what an anonymous visitor has a day


@dataclass(frozen=True)
class Source:
    """One picture of a task, and its inversion if there is one."""

    picture: Picture
    session: str  # the engine's session that holds it
    phase: Phase
    inversion: Inversion | None


@dataclass(frozen=True)
class Rendering:
    """How a task's sources become a picture."""

    weights: tuple[float, ...]  # of the styles: every source but the first
    settings: FusionSettings
    mask: Image.Image | None
    draft: bool  # a draft first
    full: bool = True  # the full picture
    style_masks: tuple[Image.Image | None, ...] = ()  # as a Job has them
    previews: bool = False  # also what each of its steps foresees; it then begins at the first


@dataclass(frozen=True)
class Task:
    """Everything that is asked of the model at once."""

    sources: tuple[Source, ...]  # the photograph first
    inversion: InversionSettings
    round_trip: bool = False  # also decode the photograph's inversion
    rendering: Rendering | None = None
    aim: Aim | None = None  # where the lens points at what is rendered, instead of a picture

    def most_calls(self, facts: Facts) -> int:
        """Model calls when no features are stored."""
        steps = self.inversion.steps or facts.steps
        new = inversion_calls(steps, facts.corrections) * sum(source.inversion is None for source in self.sources)
        if self.rendering is None:
            return new
        count = self.rendering.settings.render_steps or steps
        return new + (count + draft_steps(count) * self.rendering.draft) * (1 + len(self.sources))


@dataclass(frozen=True)
class Inverted:
    """This source had no inversion and has one now."""

    number: int  # of the source in its task
    inversion: Inversion
    calls: int  # 0 when the process that works had it after all


@dataclass(frozen=True)
class RoundTrip:
    """The photograph as the model's codec gives it back."""

    image: Image.Image


@dataclass(frozen=True)
class Foreseen:
    """The clean picture that a step of the full render foresees."""

    image: Image.Image


@dataclass(frozen=True)
class Rendered:
    """A finished draft or picture."""

    image: Image.Image
    is_draft: bool
    calls: int
    seconds: float
    circumstances: dict[str, Any]  # fields of a Recipe: what the process that made it knows


@dataclass(frozen=True)
class Looked:
    """The style pictures, lit up where a spot looked."""

    images: tuple[Image.Image, ...]
    shares: tuple[float, ...]  # of the attention, one for each style; together 1
    calls: int


Answer = Step | Waiting | Pause | Inverted | RoundTrip | Foreseen | Rendered | Looked | MagicStyleError


@dataclass(frozen=True)
class LayerFacts:
    """One attention block, as the page shows it: most have one self-attention layer, those of XL up to ten."""

    name: str
    label: str
    level: int  # 0 = the finest
    group: str


@dataclass(frozen=True)
class Facts:
    """What a page needs to know about a model."""

    name: str
    steps: int  # of an inversion, unless told otherwise
    size: int  # long side in pixels, unless told otherwise
    preset: str  # to begin with
    layers: tuple[LayerFacts, ...]
    multiple: int = 8  # sides of pictures are multiples of it
    corrections: int = 0  # of every step of an inversion


class Place(Protocol):
    """Where jobs run."""

    at_once: int  # tasks that may run side by side
    idles: bool  # whether work that nobody asked for costs nobody anything
    facts: Facts

    def expand(self, layers: Sequence[str]) -> list[str]:
        """Names of attention blocks for what settings may hold. Raises SettingsError."""

    def open(self, path: str | Path, size: int | None) -> Picture:
        """A file as the model takes it. Raises ImageError."""

    def known(self, picture: Picture, inversion: InversionSettings, *, session: str) -> Inversion | None:
        """The inversion of a picture, if it is stored."""

    def keep(self, inversion: Inversion) -> None:
        """Files an inversion in its session."""

    def run(self, task: Task) -> Generator[Answer | None, None, None]:
        """Works; None = no news yet. Closing it ends the work at the next call.

        An error for the user is the last answer: across processes only values arrive unharmed.
        """

    def forget(self, session: str) -> int:
        """Drops everything of a session; returns the bytes freed."""

    def stats(self) -> dict[str, Any]:
        """What is stored, and what it took."""


class Here:
    """This process."""

    at_once = 1  # the model is one
    idles = True

    def __init__(self, engine: StyleEngine) -> None:
        self.engine = engine
        model = engine.model
        first = {layer.block: layer for layer in reversed(engine.layers())}
        layers = tuple(
            LayerFacts(name, first[name].label, first[name].level, first[name].group) for name in reversed(first)
        )
        self.facts = Facts(model.name, model.steps, model.size, model.preset, layers, model.multiple, model.corrections)
        self.known, self.keep = engine.known, engine.keep
        self.forget, self.stats = engine.forget, engine.stats

    def expand(self, layers: Sequence[str]) -> list[str]:
        return choose_blocks(self.engine.layers(), layers)

    def open(self, path: str | Path, size: int | None) -> Picture:
        return self.engine.prepare(path, size)

    def run(self, task: Task) -> Generator[Answer, None, None]:
        return work(self.engine, task)


class ZeroGPU(Here):
    """A process of its own for every task, which gets nothing but the task and the model.

    The Space's visitor pays for the seconds that a task may hold the GPU, so nobody works there unasked.
    """

    at_once = 4  # the Space gives every task a GPU of its own, when it has one
    idles = False

    def __init__(self, engine: StyleEngine) -> None:
        super().__init__(engine)

        def seconds(task: Task) -> int:
            return min(MAX_SECONDS, START_SECONDS + int(task.most_calls(self.facts) * SECONDS_PER_CALL))

        @spaces.GPU(duration=seconds)
        def work_there(task: Task) -> Generator[Answer, None, None]:
            # An engine of its own: locks as nobody holds them, and nothing of a visitor's is left when it is done.
            own = type(engine)(engine.model)
            for source in task.sources:
                if source.inversion is not None:
                    own.keep(source.inversion)
            yield from work(own, task)

        self.run = work_there  # type: ignore[method-assign]


def place_for(engine: StyleEngine) -> Place:
    """The place that this machine is."""
    return ZeroGPU(engine) if spaces is not None and os.environ.get("SPACES_ZERO_GPU") else Here(engine)


def work(engine: StyleEngine, task: Task) -> Generator[Answer, None, None]:
    """Inverts what has no inversion, then decodes and renders what is asked for."""
    try:
        yield from _work(engine, task)
    except MagicStyleError as error:
        yield error


def _work(engine: StyleEngine, task: Task) -> Iterator[Answer]:
    inversions = []
    for number, source in enumerate(task.sources):
        inversion = source.inversion
        if inversion is None:
            calls, started = 0, time.monotonic()
            progress = engine.inverting(source.picture, task.inversion, session=source.session)
            while inversion is None:
                try:
                    step = next(progress)
                except StopIteration as stop:
                    inversion = stop.value
                else:
                    calls += 1
                    yield _step(source.phase, step, started)
            yield Inverted(number, inversion, calls)
        inversions.append(inversion)
    if task.round_trip:
        yield RoundTrip(engine.decode(inversions[0]))
    if task.rendering is not None and task.aim is not None:
        yield from _look(engine, inversions, task.rendering, task.aim)
    elif task.rendering is not None:
        yield from _render(engine, inversions, task.rendering)


def _weighted(styles: list[Inversion], rendering: Rendering) -> list[tuple[Inversion, float]]:
    """The styles with their masks and weights."""
    masks = rendering.style_masks or (None,) * len(styles)
    masked = (replace(style, mask=mask) for style, mask in zip(styles, masks, strict=True))
    return list(zip(masked, rendering.weights, strict=True))


def _look(engine: StyleEngine, inversions: list[Inversion], rendering: Rendering, aim: Aim) -> Iterator[Answer]:
    """Through the lens; what is looked at is rendered first where it is not remembered."""
    from magicstyle_core.lens import NotRendered, lit, look

    content, *styles = inversions
    weighted, settings, calls = _weighted(styles, rendering), rendering.settings, 0

    def paid() -> list[NDArray[np.float32]]:
        return look(
            engine, content, weighted, settings, aim.spot,
            mask=rendering.mask, group=aim.group, way_down=aim.way_down,
        )  # fmt: skip

    before = engine.model.unet_calls
    try:
        maps = paid()
    except NotRendered:
        started = time.monotonic()
        for frame in engine.render(content, weighted, settings, mask=rendering.mask):
            calls = frame.unet_calls
            yield _step("full", frame, started)
        before = engine.model.unet_calls
        maps = paid()
    calls += engine.model.unet_calls - before
    images = tuple(lit(style.picture, looked) for (style, _), looked in zip(weighted, maps, strict=True))
    yield Looked(images, tuple(float(looked.sum()) for looked in maps), calls)


def _render(engine: StyleEngine, inversions: list[Inversion], rendering: Rendering) -> Iterator[Answer]:
    content, *styles = inversions
    weighted = _weighted(styles, rendering)
    steps = rendering.settings.render_steps or content.steps
    for is_draft in (True, False):
        if not (rendering.draft and steps > draft_steps(steps) if is_draft else rendering.full):
            continue
        started = time.monotonic()
        for frame in engine.render(
            content, weighted, rendering.settings, mask=rendering.mask, draft=is_draft,
            preview_every=int(rendering.previews and not is_draft),
        ):  # fmt: skip
            if not frame.final:
                yield _step("draft" if is_draft else "full", frame, started)
                if frame.image is not None:
                    yield Foreseen(frame.image)
            elif frame.image is not None:
                made = circumstances(engine, *inversions)
                yield Rendered(frame.image, is_draft, frame.unet_calls, time.monotonic() - started, made)


def _step(phase: Phase, state: Progress | Frame, started: float) -> Step:
    seconds_left = (time.monotonic() - started) / state.step * (state.total - state.step)
    return Step(phase, state.step, state.total, seconds_left)
