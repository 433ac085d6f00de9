"""What a cluster costs and how far it carries: `python -m tests.benchmarks.cluster overhead | rate | simulate`.

`overhead` and `rate` start a Ray cluster on this machine and measure; `simulate` needs none: it computes from what the
two measured, and from a model's seconds per call and bytes per picture, given as options.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from magicstyle_core.serving.cluster import Cluster
from magicstyle_core.serving.places import Inverted, Rendered, Rendering, Source, Task
from magicstyle_core.serving.turns import SLICE_STEPS
from magicstyle_core.settings import FusionSettings, InversionSettings, draft_steps
from tests.replicas import FlatCluster

PATIENCE = 1.0  # seconds within which a draft should come: people keep their thought (Nielsen 1993)
THINK = 8.0  # mean seconds between two moves of somebody who is busy with the page
MOVES = 15  # of one visitor with one pair of pictures
SITTING = 600.0  # seconds that the simulation lasts, and that a visitor stays
NAME_BYTES = 40  # of a visitor's name where Ray announces it: Gradio's 11 letters and what surrounds them, pickled


def task(place: Cluster, folder: Path, visitor: str, strength: float, draft: bool) -> Task:
    """A draft alone or a full picture alone of a visitor's own two pictures of noise."""
    inversion = InversionSettings(steps=place.facts.steps)
    sources = []
    for name in ("photograph", "style"):
        path = folder / f"{visitor}-{name}.png"
        if not path.exists():
            pixels = np.random.default_rng(list(str(path.name).encode())).integers(0, 256, (256, 256, 3), np.uint8)
            Image.fromarray(pixels).save(path)
        picture = place.open(path, None)
        known = place.known(picture, inversion, session=visitor)
        sources.append(Source(picture, visitor, name, known))  # type: ignore[arg-type, unused-ignore]
    rendering = Rendering((1.0,), FusionSettings(strength=strength), None, draft, full=not draft)
    return Task(tuple(sources), inversion, rendering=rendering)


def run(place: Cluster, wish: Task) -> tuple[float, float, int]:
    """Seconds on the page's side, seconds of the engine, and answers."""
    started, own, answers = time.perf_counter(), 0.0, 0
    for answer in place.run(wish):
        answers += answer is not None
        if isinstance(answer, Inverted):
            place.keep(answer.inversion)
        if isinstance(answer, Rendered):
            own = answer.seconds
    return time.perf_counter() - started, own, answers


def overhead(times: int) -> None:
    """Seconds of a job beyond the engine's own, as a share of these."""
    place = Cluster(options={"device": "cpu", "dtype": "fp32"})
    try:
        with tempfile.TemporaryDirectory() as folder:
            run(place, task(place, Path(folder), "guest", 1.0, False))
            for kind, draft in (("draft", True), ("full", False)):
                shares = []
                for n in range(times):
                    seconds, own, _ = run(place, task(place, Path(folder), "guest", 0.3 + 0.7 * n / times, draft))
                    shares.append((seconds - own) / own)
                print(f"{kind}: median {statistics.median(shares):.1%}, worst {max(shares):.1%} of {times}")
    finally:
        place.close()


def rate(jobs: int, at_once: int) -> None:
    """Answers and jobs a second that one page process and its driver carry, from replicas that compute nothing."""
    place = FlatCluster()
    try:
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(at_once) as pool:
            tasks = [task(place, Path(folder), f"guest{n % at_once}", 0.3 + 0.7 * n / jobs, False) for n in range(jobs)]
            started = time.perf_counter()
            answers = sum(count for _, _, count in pool.map(lambda wish: run(place, wish), tasks))
            seconds = time.perf_counter() - started
            print(f"{answers / seconds:.0f} answers/s, {jobs / seconds:.0f} jobs/s, {at_once} at once")
    finally:
        place.close()


def drafts(visitors: int, seconds_per_call: float, steps: int, seed: int = 0) -> list[float]:
    """Seconds until the draft of every move, on one replica with so many visitors who are busy all the time.

    Turns as in `serving/turns.py`: slices of SLICE_STEPS calls, round and round. A newer move drops what is left of
    the full picture. Every MOVES moves a visitor brings two new pictures.
    """
    chance = random.Random(seed)
    coming = [(chance.expovariate(1 / THINK), visitor) for visitor in range(visitors)]
    heapq.heapify(coming)
    line: deque[int] = deque()
    asked, left, until_draft, moves = [0.0] * visitors, [0] * visitors, [0] * visitors, [0] * visitors
    now, waits = 0.0, list[float]()
    while now < SITTING:
        while (coming and coming[0][0] <= now) or (coming and not line):
            moment, visitor = heapq.heappop(coming)
            now = max(now, moment)
            new = 2 * steps if moves[visitor] % MOVES == 0 else 0
            moves[visitor] += 1
            if until_draft[visitor] <= 0:  # else the draft that is under way is shown, and then the newest
                asked[visitor] = moment
                until_draft[visitor] = new + draft_steps(steps)
            left[visitor] = until_draft[visitor] + steps
            if visitor not in line:
                line.append(visitor)
            heapq.heappush(coming, (moment + chance.expovariate(1 / THINK), visitor))
        visitor = line.popleft()
        calls = min(SLICE_STEPS, left[visitor])
        now += calls * seconds_per_call
        left[visitor] -= calls
        if until_draft[visitor] > 0:
            until_draft[visitor] -= calls
            if until_draft[visitor] <= 0 and moves[visitor] % MOVES != 1:
                waits.append(now - asked[visitor])
        if left[visitor] > 0:
            line.append(visitor)
    return waits


def carried(seconds_per_call: float, steps: int) -> int:
    """The most busy visitors of one replica of whose drafts 95 % come within PATIENCE."""

    def is_well(visitors: int) -> bool:
        waits = sorted(drafts(visitors, seconds_per_call, steps))
        return bool(waits) and waits[int(0.95 * len(waits))] <= PATIENCE

    few, many = 0, 1
    while is_well(many) and many < 1 << 12:
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if is_well(middle) else (few, middle)
    return few


def simulate(
    seconds_per_call: float, steps: int, bank_mb: float, memory_gb: float, answers_a_second: float, busy: float
) -> None:
    """What it takes for 10^3 and 10^5 visitors with the page open, of whom the share `busy` moves something."""
    per_replica = carried(seconds_per_call, steps)
    print(f"busy visitors a replica: {per_replica}")
    if not per_replica:
        return
    for visitors in (10**3, 10**5):
        moving = visitors * busy
        replicas = -(-int(moving) // per_replica)
        bank = visitors / replicas * 2 * bank_mb / 1000
        answers = moving / THINK * (draft_steps(steps) + steps + 2)
        pages = -(-int(answers) // int(answers_a_second))
        # Each visitor who is new on a replica is announced to every page, with the names of all others.
        told = visitors / SITTING * visitors * NAME_BYTES * pages / 1e6
        print(
            f"{visitors} visitors: {replicas} replicas; features of {visitors / replicas:.0f} visitors on each take "
            f"{bank:.1f} GB of {memory_gb:g}, so {min(1.0, memory_gb / bank):.0%} stay; {answers:.0f} answers/s need "
            f"{pages} page processes; the head tells them {told:.1f} MB/s; pictures {visitors * 2 * 0.8 / 1000:.1f} GB"
        )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("overhead").add_argument("--times", type=int, default=100)
    rate_ = commands.add_parser("rate")
    rate_.add_argument("--jobs", type=int, default=400)
    rate_.add_argument("--at-once", type=int, default=16)
    simulate_ = commands.add_parser("simulate")
    simulate_.add_argument("--seconds-per-call", type=float, required=True, help="of the UNet, on one replica")
    simulate_.add_argument("--steps", type=int, default=20)
    simulate_.add_argument("--bank-mb", type=float, required=True, help="features of one picture")
    simulate_.add_argument("--memory-gb", type=float, required=True, help="for features, on one replica, all tiers")
    simulate_.add_argument("--answers-a-second", type=float, required=True, help="of one page process: `rate`")
    simulate_.add_argument("--busy", type=float, default=0.2, help="share of the visitors who move something")
    options = vars(parser.parse_args(argv))
    sections: dict[str, Callable[..., None]] = {"overhead": overhead, "rate": rate, "simulate": simulate}
    sections[options.pop("command")](**options)


if __name__ == "__main__":
    main()
