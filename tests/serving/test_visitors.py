"""Who is here, for how long, and what is left of them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from magicstyle_core.serving.jobs import Job, Record
from magicstyle_core.serving.visitors import (
    AGE_SECONDS,
    GRACE_SECONDS,
    IDLE_SECONDS,
    MAX_HISTORY,
    ORPHAN_SECONDS,
    Visitor,
    Visitors,
)


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def forgotten() -> list[str]:
    return []


@pytest.fixture
def visitors(tmp_path: Path, clock: Clock, forgotten: list[str]) -> Visitors:
    def uploads() -> list[str]:
        return [str(path) for path in tmp_path.glob("*.png")]

    return Visitors(tmp_path / "files", forget=forgotten.append, uploads=uploads, clock=clock)


def record(visitor: Visitor, number: int, job: Job, starred: bool = False) -> Record:
    path = visitor.new_file(f"{number}.png")
    path.write_bytes(b"picture")
    return Record(job, path, number, recipe=None, starred=starred)  # type: ignore[arg-type]  # nobody reads it here


def test_a_reloaded_page_finds_its_visitor_again(visitors: Visitors, clock: Clock) -> None:
    visitor = visitors.greet("before", None)
    visitors.leave("before")
    clock.seconds += GRACE_SECONDS - 1
    visitors.sweep()
    assert visitors.greet("after", visitor.token) is visitor
    assert visitors.get("after") is visitor


def test_the_old_connection_may_end_after_the_new_one_began(visitors: Visitors, clock: Clock) -> None:
    visitor = visitors.greet("before", None)
    assert visitors.greet("after", visitor.token) is visitor
    visitors.leave("before")
    clock.seconds += GRACE_SECONDS + 1
    visitors.sweep()
    assert visitors.get("after") is visitor


def test_after_the_grace_time_nothing_is_left(
    visitors: Visitors, clock: Clock, forgotten: list[str], tmp_path: Path
) -> None:
    visitor = visitors.greet("tab", None)
    upload = tmp_path / "upload.png"
    upload.write_bytes(b"photo")
    visitor.note_upload(str(upload))
    assert visitor.folder.exists()
    visitors.leave("tab")
    clock.seconds += GRACE_SECONDS + 1
    visitors.sweep()
    assert forgotten == [visitor.key]
    assert not visitor.folder.exists()
    assert not upload.exists()
    assert visitors.greet("again", visitor.token) is not visitor


def test_a_wrong_or_no_token_finds_nobody(visitors: Visitors) -> None:
    one = visitors.greet("one", None)
    others = [visitors.greet("two", None), visitors.greet("three", "guessed")]
    assert len({id(visitor) for visitor in [one, *others]}) == 3
    tokens = {visitor.token for visitor in [one, *others]}
    assert len(tokens) == 3
    assert all(token and len(token) >= 32 for token in tokens)


def test_a_client_without_a_page_is_gone_when_it_leaves(visitors: Visitors, forgotten: list[str]) -> None:
    visitors.get("client")
    visitors.leave("client")
    assert forgotten == ["client"]
    assert len(visitors) == 0


def test_who_never_says_goodbye_expires_by_idleness(visitors: Visitors, clock: Clock) -> None:
    curl, busy, page = visitors.get("curl"), visitors.get("busy"), visitors.greet("tab", None)
    clock.seconds += IDLE_SECONDS - 1
    visitors.touch(busy)
    clock.seconds += 2
    visitors.sweep()
    assert not curl.is_open
    assert busy.is_open
    assert page.is_open
    clock.seconds += AGE_SECONDS
    visitors.sweep()
    assert len(visitors) == 0


def test_files_of_an_open_page_live_as_long_as_it(visitors: Visitors, clock: Clock, tmp_path: Path) -> None:
    visitor = visitors.greet("tab", None)
    used, orphan, fresh = (tmp_path / f"{name}.png" for name in ("used", "orphan", "fresh"))
    for path in (used, orphan, fresh):
        path.write_bytes(b"photo")
    visitor.note_upload(str(used))
    long_ago = time.time() - ORPHAN_SECONDS - 1
    for path in (used, orphan):
        os.utime(path, (long_ago, long_ago))
    clock.seconds += 20 * 3600
    visitors.sweep()
    assert [path.exists() for path in (used, orphan, fresh)] == [True, False, True]
    assert visitor.folder.exists()


def test_an_upload_of_two_visitors_stays_for_the_other(visitors: Visitors, tmp_path: Path) -> None:
    upload = tmp_path / "same.png"
    upload.write_bytes(b"photo")
    one, other = visitors.get("one"), visitors.get("other")
    for visitor in (one, other):
        visitor.note_upload(str(upload))
    visitors.drop(one)
    assert upload.exists()
    visitors.drop(other)
    assert not upload.exists()


def test_the_history_is_bounded_and_keeps_stars(visitors: Visitors) -> None:
    visitor = visitors.get("tab")
    job = Job("", (), None, None)  # type: ignore[arg-type]  # nobody reads it here
    for number in range(1, MAX_HISTORY + 3):
        visitor.file(record(visitor, number, job, starred=number == 1))
    numbers = [kept.number for kept in visitor.history]
    assert len(numbers) == MAX_HISTORY
    assert numbers[:2] == [1, 4]
    assert len(list(visitor.folder.glob("*/*.png"))) == MAX_HISTORY


def test_a_removed_picture_leaves_the_board(visitors: Visitors) -> None:
    visitor = visitors.get("tab")
    job = Job("", (), None, None)  # type: ignore[arg-type]  # nobody reads it here
    first, second = record(visitor, 1, job), record(visitor, 2, job)
    for entry in (first, second):
        visitor.file(entry)
    visitor.show(record=second, complete=second)
    visitor.remove(second)
    assert (visitor.board.record, visitor.board.complete) == (first, first)
    assert not second.path.exists()
