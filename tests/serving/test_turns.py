"""Who works next: turns by small slices, idle work when nobody else is there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from magicstyle_core.serving.jobs import Event, Step, Waiting
from magicstyle_core.serving.turns import SLICE_STEPS, Run, Turns
from tests.until import until

T = TypeVar("T")


def awaited(work: Coroutine[Any, Any, T]) -> T:
    """What the work returns, on a thread of its own: the driver of the browser tests keeps a loop running on this."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def counting(
    name: str, steps: int, order: list[str], gate: threading.Event | None = None
) -> Generator[Step, None, str]:
    for step in range(1, steps + 1):
        if gate is not None:
            gate.wait(20)
        order.append(name)
        yield Step("full", step, steps, 0.0)
    return name


def test_a_short_run_is_done_long_before_a_long_one_that_came_first() -> None:
    turns, order, gate = Turns(), list[str](), threading.Event()
    long = turns.submit(counting("long", 100, order, gate))
    short = turns.submit(counting("short", 5, order, gate))
    gate.set()
    until(lambda: short.is_over and long.is_over)
    assert (short.value, long.value) == ("short", "long")
    assert len(order) == 105
    assert order.index("short") <= SLICE_STEPS
    assert "".join(name[0] for name in order[: order.index("short") + 10]).count("s") == 5


def test_one_thread_works_on_what_comes_later_too() -> None:
    def noting() -> Generator[None, None, threading.Thread]:
        yield None
        return threading.current_thread()

    turns, threads = Turns(), set[threading.Thread | None]()
    for _ in range(3):
        run = turns.submit(noting())
        until(lambda run=run: run.is_over)  # type: ignore[misc]
        threads.add(run.value)
    assert len(threads) == 1


def test_work_that_comes_at_once_is_shared_among_threads() -> None:
    together = threading.Barrier(2, timeout=20)

    def meeting() -> Generator[None, None, None]:
        together.wait()
        yield None

    turns = Turns(at_once=2)
    for _ in range(2):  # the second time both threads rest
        runs = [turns.submit(meeting()) for _ in range(2)]
        until(lambda runs=runs: all(run.has_ended for run in runs))  # type: ignore[misc]


def test_when_the_process_ends_the_step_under_way_is_waited_for() -> None:
    turns, order, begun, gate = Turns(), list[str](), threading.Event(), threading.Event()

    def held() -> Generator[None, None, None]:
        begun.set()
        gate.wait(20)
        order.append("first")
        yield None

    runs: list[Run[Any]] = [turns.submit(held()), turns.submit(counting("second", 5, order))]
    assert begun.wait(20)
    threading.Timer(0.1, gate.set).start()
    turns.close()
    assert order == ["first"]
    assert all(run.is_over and not run.has_ended for run in runs)


def test_who_waits_reads_the_place_and_the_time() -> None:
    turns, order, gate = Turns(), list[str](), threading.Event()
    first = turns.submit(counting("first", 3, order, gate))
    runs = [turns.submit(counting(name, 1, order)) for name in ("second", "third")]
    until(lambda: turns.place(first) is None)
    places = [turns.place(run) for run in runs]
    assert [place and place.place for place in places] == [1, 2]
    assert isinstance(places[1], Waiting)
    assert places[1].seconds > 0
    gate.set()
    until(lambda: all(run.is_over for run in [first, *runs]))


def all_events(run: Run[Any]) -> list[Event]:
    async def listen() -> list[Event]:
        return [event async for event in run.events()]

    return awaited(listen())


def test_events_come_and_the_value_is_returned() -> None:
    run = Turns().submit(counting("work", 3, []))
    assert all_events(run)[-1] == Step("full", 3, 3, 0.0)
    assert run.result() == "work"


def test_an_error_is_raised_with_the_result() -> None:
    def failing() -> Generator[Step, None, None]:
        yield Step("full", 1, 2, 0.0)
        raise ValueError("inside")

    turns = Turns()
    run = turns.submit(failing())
    all_events(run)
    with pytest.raises(ValueError, match="inside"):
        run.result()
    assert all_events(turns.submit(counting("next", 1, [])))


def test_who_stops_listening_ends_the_run() -> None:
    turns, gate = Turns(), threading.Event()
    run = turns.submit(counting("left", 10**7, [], gate))

    async def listen() -> None:
        events = run.events()
        gate.set()
        await anext(events)
        await events.aclose()

    awaited(listen())
    until(lambda: run.is_over)
    with pytest.raises(asyncio.CancelledError):
        run.result()


def test_idle_work_waits_for_everybody_and_gives_way_at_every_step() -> None:
    turns, order, gate = Turns(), list[str](), threading.Event()
    idle = turns.submit(counting("idle", 4, order, gate), idle=True)
    until(lambda: not turns._idle)  # at its first step
    wish = turns.submit(counting("wish", 6, order, gate))
    assert turns.is_waited_for
    gate.set()
    until(lambda: idle.is_over and wish.is_over)
    assert order == ["idle", *["wish"] * 6, *["idle"] * 3]
    assert not turns.is_waited_for


def test_a_cancelled_run_that_never_began_takes_no_step() -> None:
    turns, order, gate = Turns(), list[str](), threading.Event()
    first = turns.submit(counting("first", 1, order, gate))
    second = turns.submit(counting("second", 5, order))
    second.cancel()
    gate.set()
    until(lambda: first.is_over and second.is_over)
    assert order == ["first"]
