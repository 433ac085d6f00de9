"""A Ray cluster as a page sees it, without Ray: the driver is a child process at the other end of a pipe (ray.py)."""

from __future__ import annotations

import atexit
import itertools
import multiprocessing
import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from magicstyle_core.errors import MagicStyleError, ModelError, SettingsError
from magicstyle_core.images import Picture, open_picture
from magicstyle_core.layers import choose_blocks
from magicstyle_core.serving.jobs import Pause
from magicstyle_core.serving.places import SHARED, Answer, Rendered, Task
from magicstyle_core.serving.ray import ASK_SECONDS, AT_ONCE, LOCAL, Kept, Lost, Replica, Studio, addresses, drive
from magicstyle_core.serving.turns import POLL_SECONDS
from magicstyle_core.settings import InversionSettings

PICTURES = 512  # that the object store holds, 0.2 to 3 MB each; a replica asks for them when it lacks features
TRIES = 8  # machines that one job may cost: it could be the job itself that kills them
END_SECONDS = 20  # that Ray has to end a cluster in
RETRY_SECONDS = 1.0  # between two tries to reach a cluster that is gone

INSTALL = "--ray needs Ray, which is not installed; install it with: pip install 'magicstyle[ray]'"
POISON = f"The machines failed {TRIES} times over this picture; try another size or fewer steps."


class Cluster:
    """The place of a page before a cluster. It goes on by itself whatever is lost, but for its own process.

    Args:
        address: of Ray's head, "auto" for the cluster that this machine is in, or LOCAL.
        options: of `build`, for a cluster where the application does not run yet.
        replicas: the fewest and the most, likewise.

    Raises:
        ModelError: the cluster cannot be reached, or its replicas cannot load the model.
        SettingsError: Ray is not installed.
    """

    at_once = AT_ONCE
    idles = False  # work that nobody asked for would keep a cluster from shrinking
    kind: type[Replica] = Studio  # of the replicas that it deploys

    def __init__(
        self, address: str = LOCAL, options: Mapping[str, Any] | None = None, replicas: tuple[int, int] = (1, 1)
    ) -> None:
        if find_spec("ray") is None:
            raise SettingsError(INSTALL)
        self._how = (address, dict(options or {}), replicas)
        self._numbers = itertools.count()
        self._waiting: dict[int, SimpleQueue[Any]] = {}  # who waits for answers, by number
        self._kept: set[Kept] = set()
        self._owed: set[str] = set()  # sessions to forget when the cluster is back
        self._sent: OrderedDict[tuple[str, str], None] = OrderedDict()  # pictures in the object store
        self._stats: list[dict[str, Any]] = []  # each replica's, as last seen
        self._lock = threading.Lock()  # guards the pipe's end and what was sent
        self._is_up, self._is_closed = threading.Event(), False
        self.facts, self._layers = self._start()
        threading.Thread(target=self._listen, name="cluster", daemon=True).start()
        atexit.register(self.close)

    def expand(self, layers: Sequence[str]) -> list[str]:
        return choose_blocks(self._layers, layers)

    def open(self, path: str | Path, size: int | None) -> Picture:
        return open_picture(path, size or self.facts.size, self.facts.multiple)

    def known(self, picture: Picture, inversion: InversionSettings, *, session: str) -> Any:
        wanted = Kept(session, picture.digest, inversion.steps)
        return wanted if wanted in self._kept else None

    def keep(self, inversion: Any) -> None:
        self._kept.add(inversion)

    def run(self, task: Task) -> Generator[Answer | None, None, None]:
        number, answers, tries = next(self._numbers), SimpleQueue[Any](), 0
        self._waiting[number] = answers
        try:
            self._send_task(number, task)
            while True:
                try:
                    answer = answers.get(timeout=POLL_SECONDS)
                except Empty:
                    yield None
                    continue
                if answer is None:
                    return
                if isinstance(answer, Lost):
                    tries += answer.reason == "moved"
                    if tries > TRIES:
                        yield MagicStyleError(POISON)
                        return
                    yield Pause(answer.reason)
                    while not self._is_up.wait(POLL_SECONDS):
                        yield None
                    while not answers.empty():  # of the process that is gone
                        answers.get()
                    self._send_task(number, task)
                    continue
                if isinstance(answer, Exception) and not isinstance(answer, MagicStyleError):
                    raise answer
                if isinstance(answer, Rendered) and answer.is_draft and task.rendering is not None:
                    task = replace(task, rendering=replace(task.rendering, draft=False))  # if it has to be sent again
                yield answer
        finally:
            del self._waiting[number]
            self._send("cancel", number)

    def forget(self, session: str) -> int:
        self._kept = {kept for kept in self._kept if kept.session != session}
        with self._lock:
            gone = [address for address in self._sent if address[0] == session]
            for address in gone:
                del self._sent[address]
        for address in gone:
            self._send("drop", address)
        freed = self._ask("forget", session)
        if freed is None:
            self._owed.add(session)
        return sum(freed or [])

    def stats(self) -> dict[str, Any]:
        self._stats = self._ask("stats") or self._stats
        return {**_together(self._stats), "replicas": len(self._stats)}

    def close(self) -> None:
        """Ends the driver, and a cluster that is LOCAL with it."""
        self._is_closed = True
        self._send("end")
        self._process.join(END_SECONDS)
        self._process.kill()

    # The driver and its end.

    def _start(self) -> Any:
        """Starts a driver. Returns what the replicas' `facts` says; raises ModelError."""
        context = multiprocessing.get_context("spawn")
        pipe, theirs = context.Pipe()
        process = context.Process(target=drive, args=(theirs, self.kind, *self._how), name="ray driver", daemon=True)
        process.start()
        theirs.close()
        try:
            facts = pipe.recv()
        except EOFError:
            facts = "Ray ended at its start; see its logs in /tmp/ray."
        if isinstance(facts, str):
            process.join()
            raise ModelError(facts)
        with self._lock:
            self._pipe, self._process = pipe, process
            self._sent.clear()
        self._is_up.set()
        return facts

    def _listen(self) -> None:
        """Hands answers on; when the driver is gone, gets another one, however long that takes."""
        while not self._is_closed:
            try:
                number, answer = self._pipe.recv()
            except (EOFError, OSError):
                self._is_up.clear()
                for answers in list(self._waiting.values()):
                    answers.put(Lost("away"))
                while not self._is_closed and not self._is_up.is_set():
                    with suppress(ModelError):
                        self._start()
                        break
                    time.sleep(RETRY_SECONDS)
                owed, self._owed = self._owed, set()
                for session in owed:
                    self._send("ask", next(self._numbers), "forget", (session,))
            else:
                if (waiting := self._waiting.get(number)) is not None:
                    waiting.put(answer)

    def _send(self, *message: Any) -> None:
        with self._lock, suppress(OSError):  # who waits for an answer hears from `_listen` that the driver is gone
            self._pipe.send(message)

    def _send_task(self, number: int, task: Task) -> None:
        """A task as digests, after those of its pictures that the object store lacks."""
        if not self._is_up.is_set():
            self._waiting[number].put(Lost("away"))
            return
        empty = np.empty((0, 0, 3), np.uint8)
        light = [replace(source, picture=Picture(empty, source.picture.digest)) for source in task.sources]
        visitor = next((source.session for source in task.sources if source.session != SHARED), "")
        with self._lock, suppress(OSError):
            for source, address in zip(task.sources, addresses(task), strict=True):
                if address not in self._sent:
                    self._pipe.send(("picture", address, source.picture))
                self._sent[address] = None
                self._sent.move_to_end(address)
            self._pipe.send(("run", number, visitor, replace(task, sources=tuple(light))))
            while len(self._sent) > PICTURES:
                self._pipe.send(("drop", self._sent.popitem(last=False)[0]))

    def _ask(self, method: str, *values: Any) -> list[Any] | None:
        """Every replica's answer; None where the cluster cannot be reached."""
        number, answers = next(self._numbers), SimpleQueue[Any]()
        self._waiting[number] = answers
        try:
            if not self._is_up.is_set():
                return None
            self._send("ask", number, method, values)
            answer = answers.get(timeout=2 * ASK_SECONDS)
            return answer if isinstance(answer, list) else None
        except Empty:
            return None
        finally:
            del self._waiting[number]


def _together(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Statistics of several replicas as one: numbers are added, texts are those of the first."""
    total: dict[str, Any] = {}
    for name in dict.fromkeys(name for stats in each for name in stats):
        values = [stats[name] for stats in each if name in stats]
        if isinstance(values[0], Mapping):
            total[name] = _together(values)
        elif isinstance(values[0], list):
            total[name] = list(dict.fromkeys(itertools.chain(*values)))
        else:
            total[name] = sum(values) if isinstance(values[0], int | float) else values[0]
    return total
