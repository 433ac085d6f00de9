"""What a page hears of its board, whatever becomes of its followers."""

from __future__ import annotations

import asyncio

import pytest

from magicstyle_core.serving import following
from magicstyle_core.serving.desk import Desk
from magicstyle_core.serving.following import boards
from magicstyle_core.serving.turns import Run
from magicstyle_core.serving.visitors import Visitor
from tests.flat import FlatPlace
from tests.serving.test_turns import awaited
from tests.until import MakeJob, rest


async def to_the_end(desk: Desk, visitor: Visitor) -> list[str]:
    return [board.message[0] for board, _ in [each async for each in boards(desk, visitor)]]


def test_a_newer_follower_takes_over_from_one_that_was_lost_while_it_waited(
    desk: Desk, visitor: Visitor, place: FlatPlace, job: MakeJob
) -> None:
    place.seconds_per_call = 0.02

    async def lose_one() -> list[str]:
        lost = boards(desk, visitor)
        desk.wish(visitor, job(), live=True)
        await anext(lost)
        waiting = asyncio.ensure_future(anext(lost, None))  # for something to say, which would reach nobody
        told = await to_the_end(desk, visitor)
        assert await waiting is None
        return told

    assert awaited(lose_one())[-1] == "done"


def test_what_a_dead_follower_did_not_hand_over_is_told_by_the_next(
    desk: Desk, visitor: Visitor, job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "DEAD_SECONDS", 0.1)
    desk.wish(visitor, job(), live=True)
    rest(visitor)

    async def leave_one_dead() -> list[str]:
        dead = boards(desk, visitor)
        await anext(dead)
        return await to_the_end(desk, visitor)

    assert awaited(leave_one_dead()) == ["done"]
    assert awaited(to_the_end(desk, visitor)) == []  # the page has it


def test_who_is_forgotten_hears_no_more_of_pictures_that_are_gone(
    desk: Desk, visitor: Visitor, place: FlatPlace, job: MakeJob
) -> None:
    place.seconds_per_call = 0.02

    async def forget() -> object:
        following = boards(desk, visitor)
        desk.wish(visitor, job(), live=True)
        while not (await anext(following))[0].record:
            pass
        desk.visitors.drop(visitor)
        return await asyncio.wait_for(anext(following, None), 5)

    assert awaited(forget()) is None


class LastMoment(Run[None]):
    """Idle work whose thumbnails come while a follower asks whether it is over."""

    visitor: Visitor | None = None

    @property
    def is_over(self) -> bool:
        if self.visitor is not None and not self.visitor.board.presets:
            self.visitor.show(presets=(("Bold", "bold.webp"),))
        return True

    @is_over.setter
    def is_over(self, value: bool) -> None: ...


def test_what_idle_work_shows_at_its_very_end_is_told(desk: Desk, visitor: Visitor) -> None:
    visitor.idle_run = LastMoment(desk.turns, (None for _ in ()), idle=True, owner="")
    visitor.idle_run.visitor = visitor

    async def presets() -> list[int]:
        return [len(board.presets) async for board, _ in boards(desk, visitor)]

    assert awaited(presets())[-1] == 1


def test_many_followers_in_a_drag_starve_nobody(desk: Desk, visitor: Visitor, place: FlatPlace, job: MakeJob) -> None:
    place.seconds_per_call = 0.005

    async def drag() -> int:
        followers = []
        for move in range(30):
            desk.wish(visitor, job(move / 100), live=True)
            followers.append(asyncio.ensure_future(to_the_end(desk, visitor)))
            await asyncio.sleep(0.01)
        during = sum(len(told.result()) for told in followers if told.done())
        told = await asyncio.gather(*followers)
        assert told[-1][-1] == "done"
        return during

    assert awaited(drag()) >= 10
