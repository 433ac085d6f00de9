"""One picture from the wish to the result, as a generator of progress. Knows the engine, not the page."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from magicstyle_core import FusionSettings, Inversion, InversionSettings, MagicStyleError, StyleEngine
from magicstyle_core.metadata import Recipe
from magicstyle_core.store import SHARED
from magicstyle_core.ui import examples
from magicstyle_core.ui.gpu import Work
from magicstyle_core.ui.turns import Turns
from magicstyle_core.ui.work import Inverted, Rendered, Rendering, RoundTrip, Source, Task, Update

if TYPE_CHECKING:
    from magicstyle_core.ui.session import Session


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
class Result:
    """A finished job."""

    image: Image.Image
    settings: FusionSettings  # as rendered
    recipe: Recipe
    depth: int  # steps of the inversion
    inversion_calls: int
    render_calls: int  # of the full picture; the draft's come on top
    draft_calls: int
    seconds: float  # of the full picture


@dataclass
class Worked:
    """What came of a task."""

    inversions: dict[str, Inversion]  # by path
    inversion_calls: int = 0  # UNet calls made for them now
    round_trip: Image.Image | None = None
    rendered: Rendered | None = None


@dataclass
class Worker:
    """Puts jobs to the model, one at a time, and files their inversions. Bundled examples are inverted once for all.

    Every method that works is a generator of progress. It holds the model's turn until it ends or is closed.
    """

    engine: StyleEngine
    work: Work
    turns: Turns = field(default_factory=Turns)

    def invert(
        self, session: Session, path: str, depth: int, phase: str, round_trip: bool = False
    ) -> Generator[Update, None, Worked]:
        """Invert one image file and, if asked to, decode it again."""
        return (yield from self._run(session, Task((self._source(session, path, depth, phase),), depth, round_trip)))

    def invert_all(self, session: Session, job: Job) -> Generator[Update, None, Worked]:
        """Invert what of the job's images is not stored."""
        return (yield from self._run(session, self._task(session, job)))

    def run(self, session: Session, job: Job, live: bool = True) -> Generator[Update, None, Result]:
        """Invert what is missing, then render; `live`: a draft and passing pictures come before the full picture."""
        task = self._task(session, job)
        settings = job.settings.replace(render_steps=None if job.steps == task.steps else job.steps)
        weights = tuple(weight for _, weight in job.styles)
        rendering = Rendering(weights, settings, job.mask, live)
        worked = yield from self._run(session, replace(task, rendering=rendering))
        assert worked.rendered is not None  # the answer to a rendering
        image, calls = worked.rendered.image, worked.rendered.unet_calls
        draft_calls, seconds = worked.rendered.draft_calls, worked.rendered.seconds
        content, *styles = (worked.inversions[path] for path in job.images)
        recipe = self.engine.recipe(
            content, list(zip(styles, weights, strict=True)), settings, region=job.region, mask=job.mask
        )
        return Result(image, settings, recipe, task.steps, worked.inversion_calls, calls, draft_calls, seconds)

    def _task(self, session: Session, job: Job) -> Task:
        depth = session.depth(job.images, job.steps)
        phases = ["Inverting the photograph"] + ["Inverting the style"] * len(job.styles)
        sources = [self._source(session, path, depth, phase) for path, phase in zip(job.images, phases, strict=True)]
        return Task(tuple(sources), depth)

    def _source(self, session: Session, path: str, depth: int, phase: str) -> Source:
        is_bundled = examples.FOLDER in Path(path).parents
        if not is_bundled:
            session.note_upload(path)
        owner = SHARED if is_bundled else session.key
        inversion = self.engine.known(self.engine.prepare(path), InversionSettings(steps=depth), session=owner)
        if inversion is not None:
            session.depths.setdefault(path, set()).add(depth)
        return Source(path, owner, phase, inversion)

    def _run(self, session: Session, task: Task) -> Generator[Update, None, Worked]:
        worked = Worked({source.path: source.inversion for source in task.sources if source.inversion is not None})
        if not task.is_work:
            return worked
        with self.turns.turn(), closing(self.work(task)) as answers:
            for answer in answers:
                match answer:
                    case Update():
                        yield answer
                    case Inverted():
                        session.while_open(partial(self.engine.keep, answer.inversion))
                        session.depths.setdefault(answer.path, set()).add(task.steps)
                        worked.inversions[answer.path] = answer.inversion
                        worked.inversion_calls += answer.unet_calls
                    case RoundTrip():
                        worked.round_trip = answer.image
                    case Rendered():
                        worked.rendered = answer
                    case MagicStyleError():
                        raise answer
        return worked
