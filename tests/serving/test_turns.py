"""Who works next: turns, and grids that let others in between their pictures."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from magicstyle_core import FusionSettings, StyleEngine
from magicstyle_core.grid import Grid
from magicstyle_core.ui.grids import Images, fill
from magicstyle_core.ui.job import Job, Worker
from magicstyle_core.ui.session import Session
from magicstyle_core.ui.turns import Turns
from magicstyle_core.ui.work import work

STEPS = 4


def wait_for_line(turns: Turns, length: int) -> None:
    deadline = time.monotonic() + 30
    while len(turns._line) < length and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(turns._line) == length


def test_turns_go_in_the_order_of_asking() -> None:
    turns, order = Turns(), []

    def ask(name: int) -> None:
        with turns.turn():
            order.append(name)

    threads = [threading.Thread(target=ask, args=(name,)) for name in range(5)]
    with turns.turn():
        for waiting, thread in enumerate(threads, 2):
            thread.start()
            wait_for_line(turns, waiting)
        assert order == []
    for thread in threads:
        thread.join()
    assert order == list(range(5))


def test_a_turn_ends_with_an_error() -> None:
    turns = Turns()
    with pytest.raises(ValueError, match="inside"), turns.turn():
        raise ValueError("inside")
    with turns.turn():
        assert len(turns._line) == 1


@pytest.fixture
def worker(engine: StyleEngine) -> Worker:
    own = StyleEngine(engine.model)
    return Worker(own, partial(work, own))


@pytest.fixture
def job(tmp_path: Path, astronaut: Image.Image, painted: Image.Image) -> Job:
    astronaut.save(tmp_path / "astronaut.png")
    painted.save(tmp_path / "painted.png")
    return Job(str(tmp_path / "astronaut.png"), ((str(tmp_path / "painted.png"), 1.0),), FusionSettings(), STEPS)


def test_a_visitor_waits_for_one_picture_of_a_grid_and_not_for_all(worker: Worker, job: Job, tmp_path: Path) -> None:
    grid_session, session = Session("grid", tmp_path), Session("visitor", tmp_path)
    images: Images = {}
    pictures_at_start, pictures_at_end = [], []

    def visit() -> None:
        steps = worker.run(session, job, live=False)
        next(steps)
        pictures_at_start.append(len(images))
        for _ in steps:
            pass
        pictures_at_end.append(len(images))

    visitor = threading.Thread(target=visit)
    filling = fill(worker, grid_session, Grid("strength", (0.2, 0.4, 0.6, 0.8)), job, images)
    for update in filling:
        if update and update.phase == "Picture 2 of 4" and not visitor.is_alive() and not pictures_at_start:
            visitor.start()
            wait_for_line(worker.turns, 2)  # behind the grid
    visitor.join()
    assert (pictures_at_start, pictures_at_end) == ([2], [2])
    assert len(images) == 4
    assert all(isinstance(image, Image.Image) for image in images.values())


def test_a_closed_grid_gives_its_turn_back(worker: Worker, job: Job, tmp_path: Path) -> None:
    filling = fill(worker, Session("grid", tmp_path), Grid("strength", (0.2, 0.4)), job, {})
    next(filling)
    filling.close()
    steps = worker.run(Session("visitor", tmp_path), job, live=False)
    assert next(steps).step == 1
