"""What the tests' Ray clusters run: a module of its own, because Ray imports it in other processes."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from magicstyle_core.serving.cluster import Cluster
from magicstyle_core.serving.places import Answer, Inverted, Task
from magicstyle_core.serving.ray import Replica, Studio
from tests.flat import FlatPlace


class Watched(Studio):
    """A replica that says which process it is."""

    async def where(self) -> tuple[int, list[str]]:
        """The process, and the sessions in it."""
        return os.getpid(), list(self.place.stats()["sessions"])


class WatchedCluster(Cluster):
    """A cluster whose replicas can be told apart."""

    kind = Watched

    def process(self, session: str) -> int:
        """A replica's process that has this session."""
        return next(process for process, sessions in self._ask("where") or [] if session in sessions)


class KeepingPlace(FlatPlace):
    """A place without a model that keeps inversions by itself, as an engine does."""

    def run(self, task: Task) -> Generator[Answer, None, None]:
        for answer in super().run(task):
            if isinstance(answer, Inverted):
                self.keep(answer.inversion)
            yield answer


class FlatReplica(Replica):
    """A replica without a model."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.flat = KeepingPlace()
        super().__init__(self.flat)

    async def facts(self) -> tuple[Any, ...]:
        return self.flat.facts, []

    async def stored(self) -> list[tuple[str, str, int]]:
        return list(self.flat.stored)

    async def slow_down(self, seconds_per_call: float) -> None:
        self.flat.seconds_per_call = seconds_per_call


class FlatCluster(Cluster):
    """The same cluster with FlatPlace's ways of watching it."""

    kind = FlatReplica
    before = opened = 0  # model calls that are not counted; nobody counts openings here

    def expand(self, layers: Sequence[str]) -> list[str]:
        return KeepingPlace().expand(layers)

    @property
    def stored(self) -> list[tuple[str, str, int]]:
        return [address for each in self._ask("stored") or [] for address in each]

    @property
    def seconds_per_call(self) -> float:
        raise AttributeError("it can only be set")

    @seconds_per_call.setter
    def seconds_per_call(self, seconds: float) -> None:
        assert self._ask("slow_down", seconds) is not None

    @property
    def calls(self) -> int:
        total: int = self.stats()["unet_calls"]
        return total - self.before

    @calls.setter
    def calls(self, calls: int) -> None:
        self.before = 0
        self.before = self.calls - calls


@contextmanager
def flat_cluster() -> Iterator[FlatCluster]:
    """One replica on a Ray cluster of this machine's."""
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_worker_niceness", "0")  # beside a browser it would starve
    cluster = FlatCluster()
    try:
        yield cluster
    finally:
        cluster.close()
        patch.undo()
