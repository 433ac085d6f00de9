"""Work in another process, as on a ZeroGPU Space: what crosses, and that the pictures are the same.

`spaces` runs here for real only as far as Spaces allow; elsewhere its place is taken by `ForkedGPU`, which does what
its decorator does: a forked process per call, in which nothing survives, and pickles through a pipe both ways.
"""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from magicstyle_core import FusionSettings, Inversion, InversionSettings, MagicStyleError, StyleEngine
from magicstyle_core.ui import gpu
from magicstyle_core.ui.job import Job, Result, Worker
from magicstyle_core.ui.session import Session
from magicstyle_core.ui.work import Task, work

# Python 3.12 warns of forks in processes with threads, which is what ZeroGPU does.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

STEPS = 8
SMALL = 1 << 16  # bytes: what is neither inversion nor picture


class ForkedGPU:
    """Stands in for the package `spaces`, and counts the bytes that cross."""

    def __init__(self) -> None:
        self.sent: list[int] = []  # bytes of every task
        self.received: list[int] = []  # bytes of every answer
        self.seconds: list[int] = []
        self.processes: list[multiprocessing.process.BaseProcess] = []

    def GPU(self, duration: Callable[[Any], int]) -> Callable[[Any], Any]:
        def decorate(task_function: Any) -> Any:
            def call(argument: Any) -> Generator[Any, None, None]:
                self.seconds.append(duration(argument))
                context = multiprocessing.get_context("fork")
                here, there = context.Pipe()
                process = context.Process(target=serve, args=(here, there, task_function), daemon=True)
                process.start()
                self.processes.append(process)
                there.close()
                request = pickle.dumps(argument)
                self.sent.append(len(request))
                here.send_bytes(request)
                with closing(here):
                    while (answer := here.recv_bytes()) != b"":
                        self.received.append(len(answer))
                        yield pickle.loads(answer)
                process.join()

            return call

        return decorate


def serve(parents_end: Connection, connection: Connection, task_function: Any) -> None:
    """One call in the forked process, until it is done or the other end is closed."""
    parents_end.close()
    torch.set_num_threads(1)  # the threads of the parent's pool are not here
    with suppress(BrokenPipeError):
        for answer in task_function(pickle.loads(connection.recv_bytes())):
            connection.send_bytes(pickle.dumps(answer))
        connection.send_bytes(b"")


@pytest.fixture
def spaces(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForkedGPU]:
    spaces = ForkedGPU()
    monkeypatch.setattr(gpu, "spaces", spaces)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    yield spaces
    for process in spaces.processes:
        process.kill()


@pytest.fixture
def pair(tmp_path: Path, astronaut: Image.Image, painted: Image.Image) -> tuple[str, str]:
    astronaut.resize((128, 128)).save(tmp_path / "astronaut.png")
    painted.resize((128, 128)).save(tmp_path / "painted.png")
    return str(tmp_path / "astronaut.png"), str(tmp_path / "painted.png")


@pytest.fixture
def main_process(engine: StyleEngine) -> StyleEngine:
    """The engine of the main process, on which no UNet call may happen."""
    return StyleEngine(engine.model)


def new_session(tmp_path: Path, key: str = "visitor") -> Session:
    (tmp_path / key).mkdir()
    return Session(key, tmp_path / key)


def job(pair: tuple[str, str], **settings: Any) -> Job:
    return Job(pair[0], ((pair[1], 1.0),), FusionSettings(**settings), STEPS)


def finish(steps: Generator[Any, None, Any]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def psnr(one: Image.Image, other: Image.Image) -> float:
    with np.errstate(divide="ignore"):
        return float(peak_signal_noise_ratio(np.asarray(one), np.asarray(other)))


def test_another_process_gives_the_same_pictures_from_inversions_alone(
    main_process: StyleEngine, engine: StyleEngine, spaces: ForkedGPU, pair: tuple[str, str], tmp_path: Path
) -> None:
    there = Worker(main_process, gpu.place(main_process))
    here_engine = StyleEngine(engine.model)
    here = Worker(here_engine, lambda task: work(here_engine, task))
    session, other = new_session(tmp_path), new_session(tmp_path, "other")
    calls = engine.model.unet_calls

    first: Result = finish(there.run(session, job(pair, strength=1.0), live=False))
    second: Result = finish(there.run(session, job(pair, strength=0.4), live=False))
    assert engine.model.unet_calls == calls  # none in this process

    # The second time only trajectories crossed: no inversion, and the features were computed again.
    assert (first.inversion_calls, second.inversion_calls) == (2 * STEPS, 0)
    assert (first.render_calls, second.render_calls) == (STEPS, 3 * STEPS)
    for result, strength in ((first, 1.0), (second, 0.4)):
        expected: Result = finish(here.run(other, job(pair, strength=strength), live=False))
        assert psnr(result.image, expected.image) >= 40
    assert psnr(first.image, second.image) < 35

    # Inversions and pictures crossed, and no bank: there is none in this process either.
    inversion = main_process.known(main_process.prepare(pair[0]), InversionSettings(steps=STEPS), session=session.key)
    assert inversion is not None
    both = 2 * inversion.nbytes
    pictures = 2 * 2 * inversion.picture.pixels.size
    assert spaces.sent[0] < SMALL
    assert spaces.sent[1] < both + SMALL
    assert sum(spaces.received) < both + pictures + SMALL
    stats = main_process.stats()
    assert stats["bytes"] == {"device": 0, "host": 0, "trajectory": both, "memo": stats["bytes"]["memo"]}
    assert stats["sessions"] == {session.key: both}


def test_every_tensor_that_crosses_is_on_the_cpu(
    main_process: StyleEngine, spaces: ForkedGPU, pair: tuple[str, str], tmp_path: Path
) -> None:
    answers = []

    def watched(task: Task) -> Generator[Any, None, None]:
        for answer in gpu.place(main_process)(task):
            answers.append(answer)
            yield answer

    session = new_session(tmp_path)
    worker = Worker(main_process, watched)
    worked = finish(worker.invert(session, pair[0], STEPS, "Inverting", round_trip=True))
    assert worked.round_trip.size == worked.inversions[pair[0]].picture.image.size
    inversions = [value for answer in answers for value in vars(answer).values() if isinstance(value, Inversion)]
    tensors = [value for inversion in inversions for value in vars(inversion.trajectory).values()]
    assert len(tensors) == 2
    assert {tensor.device.type for tensor in tensors} == {"cpu"}


def test_what_is_known_needs_no_gpu(
    main_process: StyleEngine, spaces: ForkedGPU, pair: tuple[str, str], tmp_path: Path
) -> None:
    session, worker = new_session(tmp_path), Worker(main_process, gpu.place(main_process))
    assert finish(worker.invert_all(session, job(pair))).inversion_calls == 2 * STEPS
    assert finish(worker.invert_all(session, job(pair))).inversion_calls == 0
    assert len(spaces.processes) == 1
    assert spaces.seconds == [gpu.START_SECONDS + int(2 * STEPS * gpu.SECONDS_PER_CALL)]


def test_closing_a_session_meanwhile_keeps_it_closed(
    main_process: StyleEngine, spaces: ForkedGPU, pair: tuple[str, str], tmp_path: Path
) -> None:
    session, worker = new_session(tmp_path), Worker(main_process, gpu.place(main_process))
    steps = worker.run(session, job(pair))
    next(steps)
    session.close()
    main_process.forget(session.key)
    finish(steps)
    assert session.key not in main_process.stats()["sessions"]


def test_errors_keep_their_message(
    main_process: StyleEngine, spaces: ForkedGPU, pair: tuple[str, str], tmp_path: Path
) -> None:
    worker = Worker(main_process, gpu.place(main_process))
    with pytest.raises(MagicStyleError, match=r"up_blocks\.7.* matches nothing"):
        finish(worker.run(new_session(tmp_path), job(pair, layers=("up_blocks.7",))))


def test_a_closed_job_ends_its_call(
    main_process: StyleEngine, spaces: ForkedGPU, pair: tuple[str, str], tmp_path: Path
) -> None:
    session, worker = new_session(tmp_path), Worker(main_process, gpu.place(main_process))
    steps = worker.run(session, job(pair))
    next(steps)
    steps.close()
    spaces.processes[0].join(timeout=60)
    assert not spaces.processes[0].is_alive()
    assert finish(worker.run(session, job(pair))).inversion_calls == 2 * STEPS


def test_elsewhere_there_is_no_wrapper(
    engine: StyleEngine, monkeypatch: pytest.MonkeyPatch, pair: tuple[str, str], tmp_path: Path
) -> None:
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    session, worker = new_session(tmp_path, "no wrapper"), Worker(engine, gpu.place(engine))
    calls = engine.model.unet_calls
    assert finish(worker.run(session, job(pair), live=False)).inversion_calls == 2 * STEPS
    assert engine.model.unet_calls == calls + 3 * STEPS
    engine.forget(session.key)
