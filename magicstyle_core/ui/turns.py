"""One at a time, first come first served."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A lock that is given in the order of asking, so that who takes it again and again lets the others in between.

    It belongs to no thread: a generator may take it in one and give it back in another.
    """

    def __init__(self) -> None:
        self._line: deque[object] = deque()  # the first one has the turn
        self._moved = threading.Condition()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits for its turn, and holds it."""
        place = object()
        with self._moved:
            self._line.append(place)
        try:
            with self._moved:
                self._moved.wait_for(lambda: self._line[0] is place)
            yield
        finally:
            with self._moved:
                self._line.remove(place)
                self._moved.notify_all()
