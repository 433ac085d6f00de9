"""A real Ray cluster of two replicas on this machine: who works, what is kept, and what happens to whom is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from magicstyle_core import FusionSettings, InversionSettings, StyleEngine
from magicstyle_core.errors import MagicStyleError
from magicstyle_core.serving.cluster import INSTALL, Cluster
from magicstyle_core.serving.jobs import Aim, Pause, Step, Waiting
from magicstyle_core.serving.places import SHARED, Here, Inverted, Looked, Place, Rendered, Rendering, Source, Task
from magicstyle_core.settings import inversion_calls
from tests.replicas import FlatCluster, WatchedCluster
from tests.until import until

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parent.parent.parent
STEPS, SIZE = 6, 64
INVERTING = inversion_calls(STEPS, 2)  # with mini's corrections
AIM = Aim((0.25, 0.5))
MOVES = [FusionSettings(strength=strength) for strength in (1.0, 0.8, 0.6, 0.4, 0.2, 1.2)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[WatchedCluster]:
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_worker_niceness", "0")  # with the tests of everybody else it would starve
    patch.setenv("OMP_NUM_THREADS", "1")
    cluster = WatchedCluster(options={"device": "cpu", "dtype": "fp32"}, replicas=(2, 2))
    try:
        yield cluster
    finally:
        processes = psutil.Process(cluster._process.pid).children(recursive=True)
        cluster.close()
        patch.undo()
        _, alive = psutil.wait_procs(processes, timeout=20)
        for process in alive:
            process.kill()
        assert not alive


MakeTask = Callable[..., Task]


@pytest.fixture
def task(tmp_path: Path) -> MakeTask:
    """A task of a visitor whose pictures are noise of their own."""

    def task(
        place: Place, visitor: str, settings: FusionSettings = MOVES[0], steps: int = STEPS, draft: bool = False
    ) -> Task:
        inversion, sources = InversionSettings(steps=steps, size=SIZE), []
        rng = np.random.default_rng(list(visitor.encode()))
        for name in ("photograph", "style"):
            path = tmp_path / f"{visitor}-{name}.png"
            pixels = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
            if not path.exists():
                Image.fromarray(pixels).save(path)
            picture = place.open(path, SIZE)
            known = place.known(picture, inversion, session=visitor)
            sources.append(Source(picture, visitor, name, known))
        return Task(tuple(sources), inversion, rendering=Rendering((1.0,), settings, None, draft))

    return task


def done(place: Place, task: Task, seen: list[Any] | None = None) -> tuple[int, bytes]:
    """Model calls of inversions, and the picture."""
    calls, picture = 0, b""
    for answer in place.run(task):
        if isinstance(answer, MagicStyleError):
            raise answer
        if isinstance(answer, Inverted):
            calls += answer.calls
            place.keep(answer.inversion)
        if isinstance(answer, Rendered):
            picture = answer.image.tobytes()
        if seen is not None and answer is not None:
            seen.append(answer)
    return calls, picture


def looked(place: Place, task: Task) -> list[Image.Image]:
    """Where the lens sees the task's spot looking in each style."""
    (answer,) = [answer for answer in place.run(task) if isinstance(answer, Looked)]
    return list(answer.images)


@contextmanager
def one_thread() -> Iterator[None]:
    """As many threads as a replica has: sums in another order give other last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def expected(engine: StyleEngine) -> Callable[[Task], bytes]:
    """The picture as one process makes it."""

    def expected(task: Task) -> bytes:
        with one_thread():
            return done(Here(StyleEngine(engine.model)), task)[1]

    return expected


def stripped(task: Task) -> Task:
    """The task without what the cluster knows of it."""
    return Task(
        tuple(Source(each.picture, each.session, each.phase, None) for each in task.sources),
        task.inversion,
        rendering=task.rendering,
    )


def replicas(cluster: Cluster) -> list[psutil.Process]:
    below = psutil.Process(cluster._process.pid).children(recursive=True)
    return [process for process in below if process.cmdline()[:1] == ["ray::ServeReplica:magicstyle:Studio"]]


def test_each_visitor_inverts_once_and_the_pixels_are_those_of_one_process(
    cluster: Cluster, task: MakeTask, engine: StyleEngine
) -> None:
    before = cluster.stats()
    visitors = [f"visitor {number}" for number in range(8)]

    def moves(visitor: str) -> list[tuple[int, bytes]]:
        return [done(cluster, task(cluster, visitor, settings)) for settings in MOVES]

    with ThreadPoolExecutor(len(visitors)) as pool:
        made = dict(zip(visitors, pool.map(moves, visitors), strict=True))
    assert {visitor: [calls for calls, _ in each] for visitor, each in made.items()} == {
        visitor: [2 * INVERTING, 0, 0, 0, 0, 0] for visitor in visitors
    }
    after = cluster.stats()
    assert after["replicas"] == 2
    # Strengths share no step here, and the inversions' calls are the 16 pictures' own.
    assert after["unet_calls"] - before["unet_calls"] == len(visitors) * (2 * INVERTING + len(MOVES) * STEPS)
    assert after["read_again"] == before["read_again"] == 0
    homes = [set(each["sessions"]) & set(visitors) for each in cluster._stats]
    assert all(homes)
    assert not homes[0] & homes[1]
    here = Here(StyleEngine(engine.model))
    with one_thread():
        for visitor in visitors:
            for settings, (_, picture) in zip(MOVES, made[visitor], strict=True):
                assert picture == done(here, stripped(task(cluster, visitor, settings)))[1]


def test_the_lens_and_style_masks_are_those_of_one_process(
    cluster: Cluster, task: MakeTask, engine: StyleEngine
) -> None:
    half = Image.new("L", (SIZE, SIZE), 0)
    half.paste(255, (0, 0, SIZE // 2, SIZE))
    plain = task(cluster, "masked")
    assert plain.rendering is not None
    masked = replace(plain, rendering=replace(plain.rendering, style_masks=(half,)))
    here = Here(StyleEngine(engine.model))
    with one_thread():
        wanted, wanted_plain = done(here, stripped(masked)), done(here, stripped(plain))
        wanted_looked = looked(here, replace(stripped(masked), aim=AIM))
    assert done(cluster, masked)[1] == wanted[1] != wanted_plain[1]
    assert looked(cluster, replace(stripped(masked), aim=AIM)) == wanted_looked
    right = np.asarray(wanted_looked[0])[:, SIZE // 2 :].mean()
    assert right < np.asarray(wanted_looked[0])[:, : SIZE // 2].mean()  # what may not be looked at stays dark


def test_stop_reaches_a_render_within_one_call(cluster: Cluster, task: MakeTask) -> None:
    done(cluster, task(cluster, "hasty", steps=30))
    before, steps = cluster.stats()["unet_calls"], 0
    with closing(cluster.run(task(cluster, "hasty", MOVES[1], steps=30))) as answers:
        for answer in answers:
            steps += isinstance(answer, Step)
            if steps == 5:
                break
    until(lambda: not cluster.stats()["in_flight"])
    time.sleep(0.5)
    calls = cluster.stats()["unet_calls"] - before
    assert calls <= 5 + 2  # the one that runs, and one more where it ended before the word arrived
    assert done(cluster, task(cluster, "hasty", MOVES[2], steps=30))[0] == 0


def test_who_waits_reads_the_place_in_the_line_of_the_replica(cluster: Cluster, task: MakeTask) -> None:
    seen: dict[str, list[Any]] = {f"in line {number}": [] for number in range(5)}
    with ThreadPoolExecutor(len(seen)) as pool:
        list(pool.map(lambda visitor: done(cluster, task(cluster, visitor), seen[visitor]), seen))
    waiting = [answer for answers in seen.values() for answer in answers if isinstance(answer, Waiting)]
    assert waiting
    assert all(answer.place >= 1 and answer.seconds > 0 for answer in waiting)
    first = [answers[0] for answers in seen.values()]
    assert any(isinstance(answer, Step) for answer in first)


def test_an_error_is_its_sentence(cluster: Cluster, task: MakeTask) -> None:
    with pytest.raises(MagicStyleError, match=r"up_blocks\.7"):
        done(cluster, task(cluster, "wrong", FusionSettings(layers=("up_blocks.7",))))
    with pytest.raises(MagicStyleError, match=r"up_blocks\.7"):
        cluster.expand(["up_blocks.7"])


def test_a_bundled_style_is_inverted_once_for_everybody_on_a_replica(cluster: Cluster, task: MakeTask) -> None:
    calls = []
    for number in range(6):
        own = task(cluster, f"guest {number}")
        style = task(cluster, "bundled").sources[1]
        known = cluster.known(style.picture, own.inversion, session=SHARED)
        shared = Source(style.picture, SHARED, "style", known)
        calls.append(done(cluster, Task((own.sources[0], shared), own.inversion, rendering=own.rendering))[0])
    assert set(calls) <= {INVERTING, 2 * INVERTING}
    assert calls.count(2 * INVERTING) <= 2


def test_forget_reaches_every_replica(cluster: Cluster, task: MakeTask) -> None:
    """Two photographs with one style: the visitor whose it is has it on both replicas."""
    for number in range(20):
        own, style = task(cluster, f"sitter {number}"), task(cluster, "painter").sources[1]
        done(cluster, Task((own.sources[0], style), own.inversion, rendering=own.rendering))
        cluster.stats()
        if all("painter" in each["sessions"] for each in cluster._stats):
            break
    assert [bool(each["sessions"].get("painter")) for each in cluster._stats] == [True, True]
    stored = sum(each["sessions"]["painter"] for each in cluster._stats)
    assert cluster.forget("painter") == stored
    assert "painter" not in cluster.stats()["sessions"]
    style = task(cluster, "painter").sources[1]
    assert style.inversion is None


@pytest.mark.parametrize("time_of_it", range(3))
def test_a_killed_replica_costs_a_sentence_and_a_pause(
    cluster: WatchedCluster,
    task: MakeTask,
    expected: Callable[[Task], bytes],
    time_of_it: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    visitor = f"unlucky {time_of_it}"
    started = time.monotonic()
    done(cluster, task(cluster, visitor, steps=16))
    lone = time.monotonic() - started
    wish, seen, killed = task(cluster, visitor, MOVES[1], steps=16), list[Any](), 0.0
    home = cluster.process(visitor)
    for answer in cluster.run(wish):
        if answer is not None:
            seen.append(answer)
        if isinstance(answer, Step) and answer.phase == "full" and answer.step == 3 and not killed:
            os.kill(home, signal.SIGKILL)
            killed = time.monotonic()
    recovery = time.monotonic() - killed
    assert killed
    assert Pause("moved") in seen
    assert not [answer for answer in seen if isinstance(answer, Exception)]
    assert isinstance(seen[-1], Rendered)
    assert seen[-1].image.tobytes() == expected(stripped(wish))
    with capsys.disabled():
        print(f"\nrecovered in {recovery / lone:.1f} lone first results ({recovery:.1f} s)")


def test_the_cluster_lost_and_back_costs_a_sentence_and_a_pause(cluster: Cluster, task: MakeTask) -> None:
    done(cluster, task(cluster, "patient", steps=30))
    seen = []
    for answer in cluster.run(task(cluster, "patient", MOVES[1], steps=30)):
        if answer is not None:
            seen.append(answer)
        if isinstance(answer, Step) and answer.phase == "full" and len(seen) == 3:
            cluster._process.kill()  # the driver, and with it all of its cluster
    assert Pause("away") in seen
    assert isinstance(seen[-1], Rendered)
    assert len(replicas(cluster)) == 2


def test_who_was_away_longest_makes_room_and_is_read_again(task: MakeTask) -> None:
    cluster = FlatCluster(options={"visitors": 2})
    try:
        for visitor in ("first", "second", "third"):
            assert done(cluster, task(cluster, visitor))[0] == 2 * STEPS
        until(lambda: cluster.stats()["visitors_evicted"] == 1)
        assert set(cluster.stats()["sessions"]) == {"second", "third"}
        again = task(cluster, "first")
        assert all(source.inversion is not None for source in again.sources)  # for all that the page knows
        calls, picture = done(cluster, again)
        assert calls == 2 * STEPS
        assert picture
        assert cluster.stats()["read_again"] == 2
    finally:
        cluster.close()


def test_without_ray_the_flag_says_what_to_install(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules['ray'] = None; from magicstyle_core.__main__ import main; "
    code = hidden + "sys.exit(main(['serve', '--ray']))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr.strip()) == (1, f"error: {INSTALL}")


def test_the_manifest_is_one_that_ray_takes() -> None:
    """KubeRay hands `serveConfigV2` to Ray, whose own schema checks it; what it deploys is what a page asks for."""
    code = (
        "import yaml; from ray.serve.schema import ServeDeploySchema as Schema; "
        "from magicstyle_core.serving.ray import build; "
        "manifest = next(yaml.safe_load_all(open('docs/rayservice.yaml'))); "
        "config = yaml.safe_load(manifest['spec']['serveConfigV2']); (app,) = Schema(**config).applications; "
        "built = build(app.args)._bound_deployment; (studio,) = app.deployments; "
        "print(app.name, studio.name == built.name, *built.init_args[0])"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout.split() == ["magicstyle", "True", "model"], ran.stderr
