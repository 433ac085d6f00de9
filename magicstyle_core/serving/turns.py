"""Turns at the model by small slices, so that a short job never waits for a long one to end."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Generator
from typing import Any, Generic, TypeVar, cast

from magicstyle_core.serving.jobs import Event, Waiting

SLICE_STEPS = 4  # model calls in a row while others wait: one draft, so that no draft is cut in two
FIRST_GUESS = 0.5  # seconds that a slice takes, until one was measured: a draft on the embedded model
POLL_SECONDS = 0.03  # how often who waits looks for news: half a step of the embedded model
REST_SECONDS = 60.0  # that a thread without work waits for more: one visitor's pause between two wishes
END_SECONDS = 10.0  # for a model call to end in when the process does: one of Stable Diffusion on two cores takes 5

T = TypeVar("T")

_open: weakref.WeakSet[Turns] = weakref.WeakSet()


class Run(Generic[T]):
    """Work in the line: a generator of events, worked through slice by slice."""

    def __init__(self, turns: Turns, steps: Generator[Event | None, None, T], idle: bool, owner: str) -> None:
        self.turns = turns
        self.steps = steps
        self.idle = idle
        self.owner = owner
        self.context = contextvars.copy_context()  # ZeroGPU reads the visitor's request from it
        self.latest: Event | None = None
        self.version = 0
        self.is_cancelled = False
        self.is_over = False  # nobody works on it any more
        self.has_ended = False  # it came to its end
        self.error: BaseException | None = None
        self.value: T | None = None

    def cancel(self) -> None:
        """End at the next step."""
        self.turns.cancel(self)

    async def events(self) -> AsyncGenerator[Event, None]:
        """The newest event whenever there is one, and the place in the line when it changes. Then comes `result`.

        The work is cancelled when this is closed before its end.
        """
        seen, place = 0, None
        try:
            while not self.is_over:
                if self.version != seen and self.latest is not None:
                    seen = self.version
                    yield self.latest
                elif (here := self.turns.place(self)) is not None and seen == 0 and here != place:
                    place = here
                    yield here
                await asyncio.sleep(POLL_SECONDS)
            if self.version != seen and self.latest is not None:
                yield self.latest
        finally:
            self.turns.cancel(self)

    def result(self) -> T:
        """What the work returned; raises what it raised, and CancelledError when it was cancelled."""
        if self.error is not None:
            raise self.error
        if not self.has_ended:
            raise asyncio.CancelledError
        return cast(T, self.value)


class Turns:
    """A line of runs, worked on by `at_once` threads: the first one gets a slice and goes to the end.

    Idle runs come to work only while nobody else is in the line, one step at a time.
    """

    def __init__(self, at_once: int = 1) -> None:
        self.at_once = at_once
        self._line: deque[Run[Any]] = deque()
        self._idle: deque[Run[Any]] = deque()
        self._working: set[Run[Any]] = set()
        self._threads: set[threading.Thread] = set()
        self._resting = 0
        self._is_closed = False
        self._slice_seconds = FIRST_GUESS
        self._lock = threading.Condition()  # guards all of the above and every run; tells of work
        _open.add(self)

    def submit(self, steps: Generator[Event | None, None, T], *, idle: bool = False, owner: str = "") -> Run[T]:
        """Puts work at the end of the line. It yields an event, or None for a step without news.

        An owner's work comes where cancelled work of the same owner still stands in the line, if it does: who thinks
        better of it loses no place.
        """
        run = Run(self, steps, idle, owner)
        with self._lock:
            places = [n for n, other in enumerate(self._line) if owner and other.owner == owner and other.is_cancelled]
            if places:
                self._line.insert(places[0], run)
            else:
                (self._idle if idle else self._line).append(run)
            self._lock.notify()
            if len(self._threads) < self.at_once and len(self._line) + len(self._idle) > self._resting:
                thread = threading.Thread(target=self._work, name="model", daemon=True)
                self._threads.add(thread)
                thread.start()
        return run

    @property
    def is_waited_for(self) -> bool:
        """Whether anybody but idle work is in the line."""
        with self._lock:
            return bool(self._line)

    def place(self, run: Run[Any]) -> Waiting | None:
        """Where this run stands, or None while it is at work or nobody is before it."""
        with self._lock:
            if run not in self._line:
                return None
            ahead = self._line.index(run) + len(self._working)
            return Waiting(ahead, ahead * self._slice_seconds / self.at_once) if ahead else None

    def cancel(self, run: Run[Any]) -> None:
        with self._lock:
            run.is_cancelled = True

    def close(self) -> None:
        """Ends all work; waits for the model calls that are under way."""
        with self._lock:
            self._is_closed = True
            for run in (*self._line, *self._idle, *self._working):
                run.is_cancelled = True
            self._lock.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join(END_SECONDS)

    def _work(self) -> None:
        while (run := self._next()) is not None:
            started = time.monotonic()
            is_over = self._slice(run)
            with self._lock:
                self._working.discard(run)
                if is_over:
                    run.is_over = True
                elif run.idle:
                    self._idle.appendleft(run)
                else:
                    self._slice_seconds += (time.monotonic() - started - self._slice_seconds) / 4  # a moving mean
                    self._line.append(run)

    def _next(self) -> Run[Any] | None:
        with self._lock:
            self._resting += 1
            self._lock.wait_for(lambda: self._line or self._idle or self._is_closed, REST_SECONDS)
            self._resting -= 1
            for line in (self._line, self._idle):
                if line:
                    run = line.popleft()
                    self._working.add(run)
                    return run
            self._threads.discard(threading.current_thread())
            return None

    def _slice(self, run: Run[Any]) -> bool:
        """Some steps of a run; whether it is over."""
        try:
            for _ in range(1 if run.idle else SLICE_STEPS):
                if run.is_cancelled:
                    run.context.run(run.steps.close)
                    return True
                event = run.context.run(next, run.steps)
                if event is not None:
                    with self._lock:
                        run.latest, run.version = event, run.version + 1
        except StopIteration as stop:
            run.value, run.has_ended = stop.value, True
            return True
        except BaseException as error:  # it is raised where the run is waited for
            run.error = error
            return True
        return False


@atexit.register
def _close_all() -> None:
    """A process that ends while a thread of it computes is aborted by torch."""
    for turns in list(_open):
        turns.close()
