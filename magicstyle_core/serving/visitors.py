"""Everybody who is here: one visitor is one browser tab or one API client. Files live as long as their visitor."""

from __future__ import annotations

import itertools
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from magicstyle_core.serving.jobs import Aim, Event, Job, Record, Wish

if TYPE_CHECKING:
    from magicstyle_core.images import Picture
    from magicstyle_core.serving.turns import Run

MAX_HISTORY = 24  # pictures; at 1 MB each they stay below one bank of features
MAX_MASKS = 8  # of styles; more than a page shows, and at 512 pixels 2 MB
MAX_DRAFTS = 8  # files of drafts that a slow browser may still ask for
GRACE_SECONDS = 600  # how long a closed page can be opened again: a reload, a tunnel, a phone in a pocket
IDLE_SECONDS = 1800  # after which a client without a page is gone: nobody says so when curl ends
AGE_SECONDS = 86400  # after which everybody is gone who has not been heard of
SWEEP_SECONDS = 30  # between two looks for who is gone
ORPHAN_SECONDS = 3600  # after which an upload that no visitor has used is deleted


# When a page said something: after how many changes that the server made to its controls, and its own clock.
Moment = tuple[int, float]


@dataclass(frozen=True)
class Board:
    """What a visitor sees of their work: always one whole, replaced and never changed."""

    record: Record | None = None  # the picture that stands on the page
    complete: Record | None = None  # the last finished one, which Stop brings back
    wanted: Job | None = None  # the newest wish
    progress: Event | None = None
    message: tuple[str, dict[str, Any]] = ("start", {})  # key and values of a sentence, see ui/texts.py
    is_working: bool = False
    scrub: tuple[tuple[float, str], ...] = ()  # strength and file of the drafts around the picture
    presets: tuple[tuple[str, str], ...] = ()  # name and file of a draft in every preset

    @property
    def is_behind(self) -> bool:
        """Whether the controls already say something else than the picture."""
        return self.record is not None and self.wanted is not None and self.wanted != self.record.job


@dataclass
class Visitor:
    """One browser tab or API client."""

    key: str  # the engine's session
    folder: Path  # of its files, deleted with it
    seen: float  # when it was last heard of
    token: str | None = None  # a page has one, by which it is found again
    hashes: set[str] = field(default_factory=set)  # of the connections that are open
    board: Board = field(default_factory=Board)
    version: int = 0  # of the board
    history: list[Record] = field(default_factory=list)  # oldest first
    uploads: dict[str, int] = field(default_factory=dict)  # files of this visitor -> when they were written
    pictures: dict[tuple[str, int | None], Picture] = field(default_factory=dict)  # by file and size, opened once
    faces: dict[str, Image.Image | None] = field(default_factory=dict)  # photograph -> its face mask
    masks: dict[str, Image.Image] = field(default_factory=dict)  # photograph -> the painted or uploaded mask
    style_masks: dict[str, Image.Image] = field(default_factory=dict)  # style, or the digest of one -> its mask
    style_canvas: str | None = None  # the style that lies under the brush
    depths: dict[str, set[int]] = field(default_factory=dict)  # file -> the numbers of steps it was inverted with
    originals: dict[str, str] = field(default_factory=dict)  # picture -> its file at the model's size
    wish: Wish | None = None  # the newest one
    ticket: int = 0  # counts wishes and Stops: work for an older one is superseded
    stopped: int = 0  # the ticket of the last Stop
    is_taken: bool = True  # the newest wish is being worked on, or was
    outline: tuple[Image.Image, str] | None = None  # a mask, and the file of the photograph with its edge
    canvas: str = ""  # the photograph that lies under the brush
    is_pressed: bool = False  # Stylize was clicked before both pictures were there
    is_private: bool = False  # settings stay out of its PNGs
    is_open: bool = True
    asked: Moment = (0, 0.0)  # of the newest wish
    follower: object = None  # the newest one, see following.py
    handing: float = 0.0  # since when a follower hands a board to the page, 0.0 = none does
    told: tuple[Any, ...] = ()  # what the page was handed last
    styles: list[str] = field(default_factory=list)  # own pictures used as a style, the newest first
    run: Run[None] | None = None  # the work for the page
    idle_run: Run[None] | None = None
    grid_run: Run[int] | None = None
    lens_run: Run[Any] | None = None
    looked: tuple[Path, Aim] | None = None  # at which picture and where the lens looked last
    extra_run: Run[Any] | None = None  # what the shown picture is to become
    grid_jobs: list[Job | None] = field(default_factory=list)  # of the pictures of the grid on the page

    def __post_init__(self) -> None:
        self.lock = threading.RLock()  # its lock guards everything above
        self._files = itertools.count(1)
        self._numbers = itertools.count(1)
        self._drafts: list[Path] = []
        self._kept: dict[str, list[Path]] = {}

    def show(self, **changes: Any) -> None:
        """Another board: this one with some changes."""
        with self.lock:
            self.board = replace(self.board, **changes)
            self.version += 1

    def note_upload(self, path: str) -> None:
        """A file of this visitor: it is deleted with the visitor, unless it is written once more.

        Gradio names uploads by their content, so another visitor's upload of the same picture is the same file.
        """
        with suppress(FileNotFoundError):
            self.uploads[path] = Path(path).stat().st_mtime_ns

    def new_file(self, name: str) -> Path:
        """A path for a new file of this name, in a folder of its own within this visitor's."""
        folder = self.folder / str(next(self._files))
        folder.mkdir(parents=True)
        return folder / name

    def next_number(self) -> int:
        """The number of the next picture, from 1."""
        return next(self._numbers)

    def file_draft(self, record: Record) -> None:
        """The oldest drafts beyond MAX_DRAFTS are deleted."""
        self._drafts.append(record.path)
        if len(self._drafts) > MAX_DRAFTS:
            self._drafts.pop(0).unlink(missing_ok=True)

    def keep_style_mask(self, style: str, mask: Image.Image) -> None:
        """The mask of a style, by its file or its digest; beyond MAX_MASKS the oldest goes."""
        with self.lock:
            self.style_masks.pop(style, None)
            self.style_masks[style] = mask
            if len(self.style_masks) > MAX_MASKS:
                del self.style_masks[next(iter(self.style_masks))]

    def keep_files(self, kind: str, paths: list[Path]) -> None:
        """Keeps these instead of the last files of their kind, which are deleted."""
        with self.lock:
            old, self._kept[kind] = self._kept.get(kind, []), paths
        for path in old:
            path.unlink(missing_ok=True)

    def file(self, record: Record) -> None:
        """Puts a finished picture into the history; beyond MAX_HISTORY the oldest without a star is deleted."""
        with self.lock:
            self.history.append(record)
            if len(self.history) > MAX_HISTORY:
                oldest = next((kept for kept in self.history[:-1] if not kept.starred), self.history[0])
                self.remove(oldest)

    def swap(self, old: Record, new: Record) -> None:
        """Puts a picture of the history into the place of another, on the board too."""
        with self.lock:
            self.history[self.history.index(old)] = new
            self._reboard(old, new)

    def star(self, record: Record) -> None:
        """Keeps a picture, or stops keeping it."""
        self.swap(record, replace(record, starred=not record.starred))

    def remove(self, record: Record) -> None:
        """Takes a picture out of the history and off the page, and deletes its file."""
        with self.lock:
            self.history.remove(record)
            self._reboard(record, self.history[-1] if self.history else None)
        record.path.unlink(missing_ok=True)

    def _reboard(self, old: Record, new: Record | None) -> None:
        self.show(**{name: new for name in ("record", "complete") if getattr(self.board, name) is old})

    def entry(self, number: int) -> Record | None:
        """The picture of this number in the history."""
        return next((record for record in self.history if record.number == number), None)

    def made_before(self, job: Job) -> Record | None:
        """The picture of the history that this job would give once more."""
        return next((record for record in self.history if record.job == job), None)

    def while_open(self, action: Callable[[], object]) -> None:
        """Does this unless the visitor is gone; nobody lets the visitor go meanwhile."""
        with self.lock:
            if self.is_open:
                action()


class Visitors:
    """All visitors. Thread-safe.

    Args:
        folder: where their files lie; what serves files must serve this folder.
        forget: called with the key of a visitor who is gone.
        uploads: every file that was ever uploaded, also by nobody known.
        clock: seconds.
    """

    def __init__(
        self,
        folder: Path,
        *,
        forget: Callable[[str], object] = lambda key: None,
        uploads: Callable[[], Iterable[str]] = list,
        grace_seconds: float = GRACE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.grace_seconds = grace_seconds
        self.uploads = uploads
        self._forget = forget
        self._clock = clock
        self._visitors: dict[str, Visitor] = {}  # by key
        self._keys: dict[str, str] = {}  # connection -> key of its visitor
        self._timer: threading.Timer | None = None
        self._lock = threading.RLock()

    def get(self, connection: str) -> Visitor:
        """The visitor of this connection, made on first use."""
        with self._lock:
            self._arm()
            key = self._keys.setdefault(connection, connection)
            if key not in self._visitors:
                folder = Path(tempfile.mkdtemp(prefix="visitor-", dir=self.folder))
                self._visitors[key] = Visitor(key, folder, self._clock())
            visitor = self._visitors[key]
            visitor.hashes.add(connection)
            visitor.seen = self._clock()
            return visitor

    def greet(self, connection: str, token: str | None) -> Visitor:
        """The visitor of a page that was just opened: who left this token in the same tab, or a new one."""
        with self._lock:
            known = next((v for v in self._visitors.values() if token and v.token == token), None)
            if known is not None:
                self._keys[connection] = known.key
            visitor = self.get(connection)
            visitor.token = visitor.token or secrets.token_urlsafe(24)
            return visitor

    def leave(self, connection: str) -> None:
        """A connection has ended. A page can come back for a time; a client without one is gone."""
        with self._lock:
            visitor = self._visitors.get(self._keys.get(connection, ""))
            if visitor is None:
                return
            visitor.hashes.discard(connection)
            visitor.seen = self._clock()
            if not visitor.hashes and (visitor.token is None or self.grace_seconds <= 0):
                self.drop(visitor)

    def drop(self, visitor: Visitor) -> None:
        """Forgets a visitor: its work ends, its files are deleted, uploads included."""
        with self._lock:
            self._visitors.pop(visitor.key, None)
            self._keys = {connection: key for connection, key in self._keys.items() if key != visitor.key}
            in_use = self._in_use()
        with visitor.lock:
            visitor.is_open = False
            visitor.follower = None
            visitor.show(wanted=None)
            every = (visitor.run, visitor.idle_run, visitor.grid_run, visitor.lens_run, visitor.extra_run)
            runs = [run for run in every if run is not None]
        for run in runs:
            run.cancel()
        self._forget(visitor.key)
        shutil.rmtree(visitor.folder, ignore_errors=True)
        for path in visitor.uploads.keys() - in_use:
            with suppress(FileNotFoundError):
                if Path(path).stat().st_mtime_ns == visitor.uploads[path]:
                    Path(path).unlink()

    def sweep(self) -> None:
        """Lets go who has not been heard of for too long, and uploads that nobody used."""
        with self._lock:
            now = self._clock()
            for visitor in list(self._visitors.values()):
                if now - visitor.seen > self._patience(visitor):
                    self.drop(visitor)
            orphans = set(self.uploads()) - self._in_use()
        for path in orphans:
            with suppress(FileNotFoundError):
                if time.time() - Path(path).stat().st_mtime > ORPHAN_SECONDS:
                    Path(path).unlink()

    def touch(self, visitor: Visitor) -> None:
        """The visitor was heard of: somebody still waits for its work."""
        visitor.seen = self._clock()

    def __len__(self) -> int:
        return len(self._visitors)

    def _arm(self) -> None:
        """Sweeps in a while, and again as long as anybody is here."""
        if self._timer is None:
            self._timer = threading.Timer(SWEEP_SECONDS, self._tick)
            self._timer.daemon = True
            self._timer.start()

    def _tick(self) -> None:
        self.sweep()
        with self._lock:
            self._timer = None
            if self._visitors:
                self._arm()

    def _patience(self, visitor: Visitor) -> float:
        """Seconds of silence after which this visitor is gone."""
        if visitor.token is None:
            return IDLE_SECONDS
        return AGE_SECONDS if visitor.hashes else self.grace_seconds

    def _in_use(self) -> set[str]:
        return {path for visitor in self._visitors.values() for path in visitor.uploads}
