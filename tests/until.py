"""Waiting for what other threads do."""

from __future__ import annotations

import time
from collections.abc import Callable

from magicstyle_core.serving.jobs import Job
from magicstyle_core.serving.visitors import Visitor

MakeJob = Callable[..., Job]


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Waits until it is so."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    assert condition()


def rest(visitor: Visitor) -> None:
    """Waits until nothing runs for the page."""
    until(lambda: visitor.run is None and not visitor.board.is_working)
