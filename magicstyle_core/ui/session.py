"""What the page remembers of one browser tab or API client. Features stay in the engine's store."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gradio.utils import get_upload_folder
from PIL import Image

from magicstyle_core.ui.job import Job, Result

if TYPE_CHECKING:
    from magicstyle_core.ui.grids import FilledGrid

MAX_HISTORY = 24
MAX_FRAMES = 40


@dataclass
class Entry:
    """One finished picture."""

    number: int
    job: Job
    result: Result
    path: Path  # the PNG that is shown and downloaded
    summary: str  # what it cost, the status line

    @property
    def title(self) -> str:
        return f"#{self.number} · {self.job.settings.strength:g}"

    @property
    def caption(self) -> str:
        settings = self.job.settings
        numbers = f"strength {settings.strength:g}, structure {settings.structure:g}, {self.job.steps} steps"
        return f"#{self.number} · {numbers}"


@dataclass
class Session:
    """The state of one visitor.

    `ticket` counts the wishes of this visitor: work that was started for an older ticket is superseded.
    `depths` tells, for each image file, at which numbers of steps it was inverted.
    """

    key: str
    folder: Path  # for its files, deleted with it
    ticket: int = 0
    stopped: int = 0  # the ticket that Stop took last
    wanted: dict[str, str | None] = field(default_factory=dict)  # slot of the page -> the image file it holds
    depths: dict[str, set[int]] = field(default_factory=dict)
    uploads: dict[str, int] = field(default_factory=dict)  # image files of this visitor, see note_upload
    history: deque[Entry] = field(default_factory=lambda: deque(maxlen=MAX_HISTORY))
    grid: FilledGrid | None = None  # the contact sheet on the page
    shown: Job | None = None  # the job of the picture on the page
    pairs: dict[str, tuple[str, str]] = field(default_factory=dict)  # photograph -> at the model's size, round trip
    faces: dict[str, Image.Image | None] = field(default_factory=dict)  # photograph -> its face mask
    brushed: Image.Image | None = None  # the painted mask

    def __post_init__(self) -> None:
        self.is_open = True
        self._lock = threading.Lock()  # guards `is_open`
        self._files = itertools.count(1)
        self._numbers = itertools.count(1)
        self._frames: deque[Path] = deque()

    def supersede(self) -> int:
        """A new wish: whatever runs for an older one ends at its next step. Returns the new ticket."""
        self.ticket += 1
        return self.ticket

    def while_open(self, action: Callable[[], object]) -> None:
        """Run this unless the session is closed; it is not closed meanwhile."""
        with self._lock:
            if self.is_open:
                action()

    def close(self) -> None:
        """Whatever runs for this session ends at its next step, and nothing more is filed for it."""
        self.supersede()
        with self._lock:
            self.is_open = False

    def note_upload(self, image: str) -> None:
        """An image file of this visitor: it is deleted with the session, unless it is written once more.

        Gradio names uploads by their content, so another visitor's upload of the same picture is the same file.
        """
        with suppress(FileNotFoundError):
            self.uploads[image] = Path(image).stat().st_mtime_ns

    def depth(self, images: list[str], steps: int) -> int:
        """Steps to invert `images` at, so that a render of `steps` reuses what is stored wherever it can."""
        stored = [self.depths.get(image, set()) for image in images]
        common = set.intersection(*stored) if stored else set()
        return min((depth for depth in common if depth >= steps), default=steps)

    def common_depths(self) -> list[int]:
        """The numbers of steps at which every image on the page is stored."""
        stored = [self.depths.get(image, set()) for image in self.wanted.values() if image]
        return sorted(set.intersection(*stored)) if stored else []

    def new_file(self, stem: str, suffix: str) -> Path:
        """A path for a new file of this name, in a folder of its own within this session's."""
        folder = self.folder / str(next(self._files))
        folder.mkdir()
        return folder / f"{stem}.{suffix}"

    def save_frame(self, image: Image.Image) -> str:
        """Write a passing picture (a preview or a draft) and return its path; the oldest are deleted."""
        path = self.new_file("frame", "webp")
        image.save(path, quality=90)
        self._frames.append(path)
        if len(self._frames) > MAX_FRAMES:
            self._frames.popleft().unlink(missing_ok=True)
        return str(path)

    def next_number(self) -> int:
        """The number of the next history entry, from 1."""
        return next(self._numbers)

    def add(self, entry: Entry) -> None:
        """Put a finished picture into the history; the oldest beyond MAX_HISTORY is deleted."""
        if len(self.history) == MAX_HISTORY:
            self.history[0].path.unlink(missing_ok=True)
        self.history.append(entry)

    def entry(self, number: int) -> Entry:
        """The history entry of this number. Raises KeyError when it is gone."""
        for entry in self.history:
            if entry.number == number:
                return entry
        raise KeyError(number)


class Sessions:
    """All visitors by session hash. Thread-safe."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        self._folder = Path(get_upload_folder()).resolve()  # what lies in there Gradio serves without copying it
        self._folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> Session:
        """The session of this key, made on first use."""
        with self._lock:
            if key not in self._sessions:
                self._sessions[key] = Session(key, Path(tempfile.mkdtemp(prefix="session-", dir=self._folder)))
            return self._sessions[key]

    def drop(self, key: str) -> None:
        """Forget a session, stop its work and delete its files, uploads included."""
        with self._lock:
            session = self._sessions.pop(key, None)
            if session is None:
                return
            in_use = {image for other in self._sessions.values() for image in other.uploads}
        session.close()
        shutil.rmtree(session.folder, ignore_errors=True)
        for image in session.uploads.keys() - in_use:
            with suppress(FileNotFoundError):
                if Path(image).stat().st_mtime_ns == session.uploads[image]:
                    Path(image).unlink()
