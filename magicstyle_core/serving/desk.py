"""From a wish to a picture: what is missing, what is superseded, and what the visitor is shown meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from PIL import Image

import magicstyle_core
from magicstyle_core.errors import MagicStyleError, SettingsError
from magicstyle_core.images import Picture, with_alpha
from magicstyle_core.metadata import Recipe, StyleUse, encode_mask, write_png
from magicstyle_core.serving.jobs import Event, Job, Pause, Record, Step, Waiting, Wish
from magicstyle_core.serving.places import SHARED, Answer, Inverted, Place, Rendered, Rendering, Source, Task
from magicstyle_core.serving.turns import Turns
from magicstyle_core.serving.visitors import Moment, Visitor, Visitors
from magicstyle_core.settings import PRESETS, apply_preset, draft_steps

QUICK_SECONDS = 1.0  # a draft below it always ends: people wait that long without losing their thought (Nielsen 1993)
IDLE_SECONDS = 2.0  # a draft below it is made unasked, too: thirteen of them, half a minute in which nobody waits
SCRUB = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)  # strengths of the drafts between which the page cross-fades
REST_SECONDS = 0.15  # in a drag the next move comes within 0.1 s over a usual network
KEPT_PICTURES = 16  # opened pictures per visitor: three styles and a photograph, at two sizes, twice
GONE = "Your pictures were forgotten while they were worked on; send them again."


class Desk:
    """Takes wishes and jobs, and works on them turn by turn.

    Args:
        bundled: a folder whose pictures belong to everybody; they are inverted once for all visitors.
    """

    def __init__(self, place: Place, visitors: Visitors, bundled: Path) -> None:
        self.place = place
        self.visitors = visitors
        self.turns = Turns(place.at_once)
        self.bundled = bundled
        self.idle_calls = 0  # model calls for work that nobody asked for
        self._shared: dict[tuple[str, int | None], Picture] = {}  # bundled ones, opened once

    # What the page asks for.

    def wish(
        self, visitor: Visitor, job: Job, *, live: bool, pressed: bool = False, asked: Moment | None = None
    ) -> bool:
        """The page shows these pictures and settings now; `pressed`: Stylize was clicked.

        What is already made is shown, what is under way goes on, anything else supersedes what runs.

        Args:
            asked: when the page said so; None = now.

        Returns:
            Whether it counts: requests come in any order, and the page may have said something else since.
        """
        with visitor.lock:
            visitor.is_pressed |= pressed
            is_old = self._is_overtaken(visitor, asked)
            if is_old:
                if visitor.wish is None or not pressed:
                    return False
                job, live = visitor.wish.job, visitor.wish.render
            wish = Wish(job, job.is_complete and (live or visitor.is_pressed))
            visitor.is_pressed &= not job.is_complete
            if wish == visitor.wish and (visitor.run is not None or not pressed):
                return not is_old
            visitor.wish, visitor.is_taken = wish, False
            visitor.ticket += 1
            if visitor.idle_run is not None:
                visitor.idle_run.cancel()
            visitor.show(wanted=job)
            made = visitor.made_before(job)
            if made is not None:
                visitor.is_taken = True
                visitor.show(record=made, complete=made, progress=None, message=("again", {"number": made.number}))
                self._idle_around(visitor, made, None, visitor.ticket)
                return not is_old
            if pressed and not job.is_complete:
                visitor.show(message=("no_style" if job.content else "no_photograph", {}))
            if job.images and visitor.run is None:
                visitor.show(is_working=True)
                visitor.run = self.turns.submit(self._line(visitor))
            return not is_old

    def stop(self, visitor: Visitor) -> None:
        """Ends what runs; the last complete picture comes back."""
        with visitor.lock:
            visitor.ticket += 1
            visitor.stopped, visitor.is_taken, visitor.is_pressed = visitor.ticket, True, False
            if visitor.idle_run is not None:
                visitor.idle_run.cancel()
            complete = visitor.board.complete
            message = ("stopped", {"number": complete.number}) if complete else ("stopped_empty", {})
            visitor.show(record=complete, progress=None, message=message)

    def show(self, visitor: Visitor, record: Record) -> None:
        """A picture of the history stands on the page again; what runs for another wish ends."""
        with visitor.lock:
            self.stop(visitor)
            visitor.wish = None
            self.wish(visitor, record.job, live=True)

    def refuse(self, visitor: Visitor, error: MagicStyleError, asked: Moment | None = None) -> None:
        """The page shows what cannot be: what runs for an older wish ends, and the visitor reads why."""
        with visitor.lock:
            if self._is_overtaken(visitor, asked):
                return
            self.stop(visitor)
            visitor.wish = None
            visitor.show(message=("error", {"text": str(error)}))

    def _is_overtaken(self, visitor: Visitor, asked: Moment | None) -> bool:
        newest = visitor.asked
        visitor.asked = max(newest, asked or newest)
        return visitor.asked != (asked or newest)

    def _line(self, visitor: Visitor) -> Generator[None, None, None]:
        """Works on the visitor's wishes until there is no newer one."""
        was_cut = is_drag = False
        while (taken := self._take(visitor)) is not None:
            wish, ticket = taken
            try:
                was_cut = yield from self._serve(visitor, wish, ticket, may_cut=not was_cut, is_drag=is_drag)
            except MagicStyleError as error:
                self._tell(visitor, ticket, record=visitor.board.complete, message=("error", {"text": str(error)}))
            except Exception as error:
                logging.getLogger(__name__).exception("a job failed")
                message = ("unexpected", {"kind": type(error).__name__})
                self._tell(visitor, ticket, record=visitor.board.complete, message=message)
            self._tell(visitor, ticket, progress=None)
            is_drag = visitor.ticket != ticket

    def _take(self, visitor: Visitor) -> tuple[Wish, int] | None:
        with visitor.lock:
            if visitor.is_taken or visitor.wish is None or not visitor.is_open:
                visitor.run = None
                visitor.show(is_working=False, progress=None)
                return None
            visitor.is_taken = True
            return visitor.wish, visitor.ticket

    def _tell(self, visitor: Visitor, ticket: int, **changes: object) -> None:
        """Shows something, unless Stop was pressed since, or a newer wish is already fulfilled."""
        with visitor.lock:
            board = visitor.board
            is_fulfilled = visitor.ticket != ticket and board.record is not None and not board.is_behind
            if visitor.stopped < ticket and not is_fulfilled:
                visitor.show(**changes)

    def _serve(
        self, visitor: Visitor, wish: Wish, ticket: int, *, may_cut: bool, is_drag: bool
    ) -> Generator[None, None, bool]:
        """Works on one wish. Returns whether its draft was cut by a newer one."""
        job = wish.job
        task = self.task(visitor, job, render=wish.render, draft=True)
        if not any(source.inversion is None for source in task.sources) and not wish.render:
            return False
        missing = sum(source.inversion is None for source in task.sources)
        calls, latest, draft = 0, None, None
        with closing(self.answers(visitor, job, task)) as answers:
            for answer in answers:
                latest = answer or latest
                match answer:
                    case Step() | Waiting() | Pause():
                        self._tell(visitor, ticket, progress=answer)
                    case Inverted():
                        calls += answer.calls
                        missing -= 1
                    case Rendered():
                        record = self._record(visitor, job, task, calls, answer)
                        if record.is_draft:
                            draft = record
                            visitor.file_draft(record)
                            self._tell(visitor, ticket, record=record)
                            if is_drag and not self.turns.is_waited_for:
                                self._rest(visitor, ticket)
                        else:
                            visitor.file(record)
                            message = ("done", {"seconds": record.seconds, "calls": record.calls})
                            self._tell(visitor, ticket, record=record, complete=record, message=message)
                            self._idle_around(visitor, record, draft, ticket)
                yield None
                if visitor.ticket != ticket and (cut := self._cuts(visitor, job, latest, missing, may_cut)) is not None:
                    return cut
        if not wish.render:
            self._tell(visitor, ticket, message=("ready" if job.is_complete else "read", {}))
        return False

    def _rest(self, visitor: Visitor, ticket: int) -> None:
        """Within a drag the full picture waits whether another move comes, which would throw its first calls away."""
        until = time.monotonic() + REST_SECONDS
        while visitor.ticket == ticket and time.monotonic() < until:
            time.sleep(REST_SECONDS / 15)

    def _cuts(self, visitor: Visitor, job: Job, answer: Answer | None, missing: int, may_cut: bool) -> bool | None:
        """Whether superseded work ends after this answer: None = no, True = within a draft, False = elsewhere."""
        if visitor.stopped == visitor.ticket or not visitor.is_open:
            return False
        if answer is None and missing <= 0:  # nothing was heard of it yet, so its draft may have begun
            return None
        newer = visitor.wish.job if visitor.wish is not None else None
        if isinstance(answer, Step) and answer.phase == "draft":
            seconds = answer.seconds_left / max(answer.total - answer.step, 1) * answer.total
            return True if seconds >= QUICK_SECONDS and may_cut else None
        is_inverting = missing > 0 or (isinstance(answer, Step) and answer.phase in ("photograph", "style"))
        is_shared = newer is not None and newer.inversion == job.inversion and set(job.images) <= set(newer.images)
        return None if is_inverting and is_shared else False

    # What programs ask for.

    def make(self, visitor: Visitor, job: Job, *, render: bool = True) -> Generator[Event | None, None, Record | int]:
        """Makes one picture, without a draft, whatever else is asked for. Returns it; not rendered, the model calls."""
        task = self.task(visitor, job, render=render, draft=False)
        calls = 0
        with closing(self.answers(visitor, job, task)) as answers:
            for answer in answers:
                match answer:
                    case Inverted():
                        calls += answer.calls
                    case Rendered():
                        record = self._record(visitor, job, task, calls, answer)
                        visitor.file(record)
                        return record
                yield answer if isinstance(answer, Event) else None
        return calls

    def variants(
        self, visitor: Visitor, jobs: Sequence[Job | SettingsError], made: list[Image.Image | Exception], *, draft: bool
    ) -> Generator[Event | None, None, int]:
        """Many pictures, one after the other into `made`. Where one fails the others go on.

        Returns the model calls.
        """
        calls = 0
        for number, job in enumerate(jobs, 1):
            if not visitor.is_open:
                return calls
            try:
                if isinstance(job, SettingsError):
                    raise job
                task = self.task(visitor, job, render=True, draft=draft)
                if draft and task.rendering is not None:
                    task = replace(task, rendering=replace(task.rendering, full=False))
                with closing(self.answers(visitor, job, task)) as answers:
                    for answer in answers:
                        match answer:
                            case Step():
                                yield Step("grid", number, len(jobs), answer.seconds_left)
                            case None | Waiting() | Pause():
                                yield answer
                            case Inverted():
                                calls += answer.calls
                            case Rendered():
                                calls += answer.calls
                                made.append(answer.image)
                                yield None
            except MagicStyleError as error:
                made.append(error)
        return calls

    # Work that nobody asked for.

    def _idle_around(self, visitor: Visitor, record: Record, draft: Record | None, ticket: int) -> None:
        """Drafts over strength and in every preset, once a full picture stands.

        A first draft brings the photograph's detail along, and a picture may go on from a draft: the quicker one tells.
        """
        visitor.show(scrub=(), presets=())
        steps = record.recipe.settings.render_steps or record.recipe.inversion.steps or self.place.facts.steps
        seconds = min(made.seconds / max(made.calls, 1) for made in (record, draft or record)) * draft_steps(steps)
        wanted = record.job.settings.strength > 0 and visitor.ticket == ticket
        if self.place.idles and wanted and seconds < IDLE_SECONDS:
            visitor.idle_run = self.turns.submit(self._idle(visitor, record.job), idle=True)

    def _idle(self, visitor: Visitor, job: Job) -> Generator[None, None, None]:
        settings = job.settings
        strengths = {value: settings.replace(strength=value) for value in SCRUB}
        presets = {name: apply_preset(name, settings) for name in PRESETS}
        for field, wanted in (("scrub", strengths), ("presets", presets)):
            made: list[Image.Image | Exception] = []
            jobs = [replace(job, settings=variant) for variant in wanted.values()]
            for event in self.variants(visitor, jobs, made, draft=True):
                self.idle_calls += event is None or isinstance(event, Step)  # None: the last call, with a picture
                yield None
            files = []
            for name, image in zip(wanted, made, strict=True):
                if isinstance(image, Image.Image):
                    files.append((name, str(visitor.new_file("draft.webp"))))
                    image.save(files[-1][1], quality=85)
            visitor.show(**{field: tuple(files)})

    # From a job to a task, and back.

    def picture(self, visitor: Visitor, path: str, size: int | None) -> Picture:
        """A picture as the model takes it, opened once. Raises ImageError."""
        is_bundled = self.bundled in Path(path).parents
        kept = self._shared if is_bundled else visitor.pictures
        if (path, size) not in kept:
            if not is_bundled:
                visitor.note_upload(path)
            kept[path, size] = self.place.open(path, size)
            if len(visitor.pictures) > KEPT_PICTURES:
                del visitor.pictures[next(iter(visitor.pictures))]
        return kept[path, size]

    def task(self, visitor: Visitor, job: Job, *, render: bool, draft: bool) -> Task:
        """What is to be done. Where all pictures are stored with more steps than the job's, those are used."""
        size = job.inversion.size
        steps = job.inversion.steps or self.place.facts.steps
        stored = [visitor.depths.get(f"{path} {size}", set()) for path in job.images]
        depth = min((depth for depth in set.intersection(*stored) if depth >= steps), default=steps)
        inversion = job.inversion.replace(steps=depth)
        sources = []
        for path in job.images:
            session = SHARED if self.bundled in Path(path).parents else visitor.key
            picture = self.picture(visitor, path, size)
            known = self.place.known(picture, inversion, session=session)
            if known is not None:
                visitor.depths.setdefault(f"{path} {size}", set()).add(depth)
            sources.append(Source(picture, session, "photograph" if path == job.content else "style", known))
        if not render:
            return Task(tuple(sources), inversion)
        settings = job.settings
        if depth > steps:
            settings = settings.replace(render_steps=min(settings.render_steps or steps, steps))
        weights = tuple(weight for _, weight in job.styles)
        rendering = Rendering(weights, settings, job.mask, draft, style_masks=job.style_masks)
        return Task(tuple(sources), inversion, rendering=rendering)

    def answers(self, visitor: Visitor, job: Job, task: Task) -> Generator[Answer | None, None, None]:
        """What the place answers to a task; inversions are filed.

        Raises:
            MagicStyleError: the task failed, or its visitor is gone.
        """
        with closing(self.place.run(task)) as answers:
            for answer in answers:
                if not visitor.is_open:
                    raise MagicStyleError(GONE)
                self.visitors.touch(visitor)
                match answer:
                    case Inverted():
                        self._keep(visitor, job, task, answer)
                    case MagicStyleError():
                        raise answer
                yield answer

    def _keep(self, visitor: Visitor, job: Job, task: Task, answer: Inverted) -> None:
        """Files an inversion, which may come from another process, unless the visitor is gone."""
        path, size = job.images[answer.number], job.inversion.size
        visitor.while_open(lambda: self.place.keep(answer.inversion))
        assert task.inversion.steps is not None  # `task` says how many
        visitor.depths.setdefault(f"{path} {size}", set()).add(task.inversion.steps)

    def _record(self, visitor: Visitor, job: Job, task: Task, calls: int, answer: Rendered) -> Record:
        """Writes a picture to a file that says how it was made."""
        assert task.rendering is not None  # or there would be no answer
        facts = self.place.facts
        digests = [source.picture.digest for source in task.sources]
        recipe = Recipe(
            version=magicstyle_core.__version__,
            model=facts.name,
            settings=task.rendering.settings,
            inversion=task.inversion.replace(size=task.inversion.size or facts.size),
            content=digests[0],
            styles=tuple(
                StyleUse(digest=digest, weight=weight, mask=encode_mask(mask))
                for digest, weight, mask in zip(
                    digests[1:], task.rendering.weights, job.style_masks or [None] * len(job.styles), strict=True
                )
            ),
            region=job.region,
            mask=encode_mask(job.mask),
            **answer.circumstances,
        )
        number = 0 if answer.is_draft else visitor.next_number()
        path = self._path(visitor, job, number)
        write_png(with_alpha(answer.image, task.sources[0].picture), path, None if visitor.is_private else recipe)
        return Record(job, path, number, recipe, calls, answer.calls, answer.seconds)

    def _path(self, visitor: Visitor, job: Job, number: int) -> Path:
        """A new file, named after the photograph."""
        return visitor.new_file(f"{Path(job.content).stem}-magicstyle-{number or 'draft'}.png")

    def set_private(self, visitor: Visitor, private: bool) -> None:
        """Writes every picture of the visitor again, under new names, with or without what it says about itself."""
        with visitor.lock:
            visitor.is_private = private
            for old in list(visitor.history):
                new = replace(old, path=self._path(visitor, old.job, old.number))
                with Image.open(old.path) as image:
                    write_png(image, new.path, None if private else old.recipe)
                visitor.swap(old, new)
                old.path.unlink()
