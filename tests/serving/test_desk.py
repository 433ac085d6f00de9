"""From wishes to pictures, counted: what the visitor sees, and what it takes."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from magicstyle_core.errors import MagicStyleError, SettingsError
from magicstyle_core.metadata import read_png
from magicstyle_core.serving.desk import Desk
from magicstyle_core.serving.jobs import Record, Step
from magicstyle_core.serving.places import Answer, Rendered, Task
from magicstyle_core.serving.visitors import Visitor
from tests.flat import FlatPlace
from tests.until import MakeJob, rest, until

STEPS = 8


def first_picture(desk: Desk, visitor: Visitor, job: MakeJob) -> Record:
    desk.wish(visitor, job(), live=True)
    rest(visitor)
    assert visitor.board.complete is not None
    return visitor.board.complete


def assert_one_record(visitor: Visitor) -> None:
    """Picture, caption and file say the same."""
    record = visitor.board.record
    assert record is not None
    recipe = read_png(record.path)
    assert recipe.settings.strength == record.job.settings.strength
    with Image.open(record.path) as image:
        assert image.getpixel((0, 0)) == (round(record.job.settings.strength * 100),) * 3


def test_the_first_picture_comes_by_itself_and_another_strength_opens_nothing(
    desk: Desk, visitor: Visitor, place: FlatPlace, job: MakeJob
) -> None:
    record = first_picture(desk, visitor, job)
    assert (record.inversion_calls, record.calls) == (2 * STEPS, STEPS)
    assert visitor.board.message[0] == "done"
    calls, opened = place.calls, place.opened
    desk.wish(visitor, job(0.4), live=True)
    rest(visitor)
    assert (place.calls - calls, place.opened - opened) == (4 + STEPS, 0)
    assert_one_record(visitor)
    assert len(visitor.history) == 2


def test_moving_a_slider_and_back_ends_at_the_picture_that_was_there(
    desk: Desk, visitor: Visitor, place: FlatPlace, job: MakeJob
) -> None:
    record = first_picture(desk, visitor, job)
    place.seconds_per_call = 0.01
    desk.wish(visitor, job(0.4), live=True)
    until(lambda: visitor.board.record is not None and visitor.board.record.is_draft)
    assert_one_record(visitor)
    desk.wish(visitor, job(1.0), live=True)
    rest(visitor)
    assert visitor.board.record == record
    assert not visitor.board.is_behind
    assert visitor.board.progress is None
    assert len(visitor.history) == 1


def test_a_picture_that_is_done_too_late_goes_to_the_history_and_not_over_a_newer_one(
    desk: Desk, visitor: Visitor, place: FlatPlace, job: MakeJob
) -> None:
    record = first_picture(desk, visitor, job)
    place.seconds_per_call = 0.1
    desk.wish(visitor, job(0.4), live=True)
    until(lambda: isinstance(visitor.board.progress, Step) and visitor.board.progress.step == STEPS - 1)
    desk.wish(visitor, job(1.0), live=True)  # during the last call
    rest(visitor)
    assert visitor.board.record == record
    assert not visitor.board.is_behind


def test_a_drag_shows_a_picture_for_every_five_calls(
    desk: Desk, visitor: Visitor, place: FlatPlace, job: MakeJob
) -> None:
    first_picture(desk, visitor, job)
    place.seconds_per_call = 0.01
    calls, shown = place.calls, set[Path]()
    for move in range(60):
        desk.wish(visitor, job(move / 100), live=True)
        assert visitor.board.record is not None
        shown.add(visitor.board.record.path)
        time.sleep(0.01)
    during = place.calls - calls
    rest(visitor)
    assert len(shown) - 1 >= during // 5 - 1  # the last one may still be under way
    assert visitor.board.record is not None
    assert visitor.board.record.job == job(0.59)
    assert not visitor.board.record.is_draft


def test_a_full_render_is_superseded_within_one_call(
    desk: Desk, visitor: Visitor, place: FlatPlace, job: MakeJob
) -> None:
    first_picture(desk, visitor, job)
    place.seconds_per_call = 0.02
    desk.wish(visitor, job(0.4), live=True)
    until(lambda: isinstance(visitor.board.progress, Step) and visitor.board.progress.phase == "full")
    calls = place.calls
    desk.wish(visitor, job(0.5), live=True)
    rest(visitor)
    assert place.calls - calls <= 1 + 4 + STEPS
    assert [record.job.settings.strength for record in visitor.history] == [1.0, 0.5]


def test_a_slow_draft_is_cut_but_never_twice_running(
    desk: Desk, visitor: Visitor, place: FlatPlace, job: MakeJob
) -> None:
    first_picture(desk, visitor, job)
    place.seconds_per_call = 0.3  # 1.2 s a draft
    drafts = []
    for move in range(1, 5):
        before = place.calls
        desk.wish(visitor, job(move / 10), live=True)
        until(lambda before=before: place.calls > before)  # type: ignore[misc]
        record = visitor.board.record
        drafts.append(record.job.settings.strength if record and record.is_draft else None)
        if move == 3:
            until(lambda: visitor.board.record is not None and visitor.board.record.is_draft)
    desk.stop(visitor)
    rest(visitor)
    assert drafts[0] is None


def test_stop_brings_the_last_complete_picture_back(
    desk: Desk, visitor: Visitor, place: FlatPlace, job: MakeJob
) -> None:
    record = first_picture(desk, visitor, job)
    place.seconds_per_call = 0.02
    desk.wish(visitor, job(0.4), live=True)
    until(lambda: visitor.board.record is not None and visitor.board.record.is_draft)
    desk.stop(visitor)
    calls = place.calls
    rest(visitor)
    assert place.calls - calls <= 1
    assert visitor.board.record == record
    assert visitor.board.message == ("stopped", {"number": 1})
    assert visitor.board.progress is None
    assert visitor.board.is_behind  # the slider still says 0.4


def test_the_same_wish_again_does_nothing_and_stylize_does(
    desk: Desk, visitor: Visitor, place: FlatPlace, job: MakeJob
) -> None:
    first_picture(desk, visitor, job)
    place.seconds_per_call = 0.02
    desk.wish(visitor, job(0.4), live=True)
    until(lambda: visitor.run is not None)
    desk.stop(visitor)
    rest(visitor)
    desk.wish(visitor, job(0.4), live=True)
    assert visitor.run is None
    desk.wish(visitor, job(0.4), live=True, pressed=True)
    rest(visitor)
    assert len(visitor.history) == 2


def test_with_live_off_the_button_renders_and_the_caption_is_behind(
    desk: Desk, visitor: Visitor, place: FlatPlace, job: MakeJob
) -> None:
    desk.wish(visitor, job(), live=False)
    rest(visitor)
    assert (place.calls, visitor.board.record) == (2 * STEPS, None)  # inverted ahead
    desk.wish(visitor, job(), live=False, pressed=True)
    rest(visitor)
    assert visitor.board.record is not None
    desk.wish(visitor, job(0.4), live=False)
    rest(visitor)
    assert visitor.board.is_behind
    assert place.calls == 2 * STEPS + 4 + STEPS


def test_a_click_before_the_pictures_are_there_is_kept(desk: Desk, visitor: Visitor, job: MakeJob) -> None:
    whole = job()
    desk.wish(visitor, replace(whole, styles=()), live=False, pressed=True)
    assert visitor.board.message[0] == "no_style"
    desk.wish(visitor, whole, live=False)
    rest(visitor)
    assert visitor.board.record is not None


def test_an_inversion_that_the_newer_wish_needs_goes_on(
    desk: Desk, visitor: Visitor, place: FlatPlace, job: MakeJob
) -> None:
    place.seconds_per_call = 0.01
    desk.wish(visitor, job(), live=True)
    until(lambda: place.calls >= 3)
    desk.wish(visitor, job(0.4), live=True)
    rest(visitor)
    assert place.calls <= 2 * STEPS + 2 * 4 + STEPS
    assert [record.job.settings.strength for record in visitor.history] == [0.4]


def test_another_photograph_ends_the_inversion_of_the_old_one(
    desk: Desk, visitor: Visitor, place: FlatPlace, job: MakeJob
) -> None:
    place.seconds_per_call = 0.01
    desk.wish(visitor, job(steps=100), live=True)
    until(lambda: place.calls >= 3)
    desk.wish(visitor, job(content="other.png"), live=True)
    rest(visitor)
    assert place.calls < 60


def test_fewer_steps_reuse_the_inversion_and_more_do_not(
    desk: Desk, visitor: Visitor, place: FlatPlace, job: MakeJob
) -> None:
    first_picture(desk, visitor, job)
    for steps, inversion_calls in ((5, 0), (12, 24)):
        desk.wish(visitor, job(steps=steps), live=True)
        rest(visitor)
        record = visitor.board.complete
        assert record is not None
        assert (record.inversion_calls, record.calls) == (inversion_calls, steps)


def test_an_error_is_a_sentence_and_the_last_picture_stays(
    desk: Desk, visitor: Visitor, job: MakeJob, tmp_path: Path
) -> None:
    record = first_picture(desk, visitor, job)
    broken = job(content="broken.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    desk.wish(visitor, broken, live=True)
    rest(visitor)
    key, values = visitor.board.message
    assert key == "error"
    assert values["text"].startswith("The file 'broken.png' is text, not a picture")
    assert visitor.board.record == record
    desk.wish(visitor, job(0.3), live=True)
    rest(visitor)
    assert visitor.board.message[0] == "done"


def test_a_refused_setting_ends_what_runs_and_says_why(
    desk: Desk, visitor: Visitor, place: FlatPlace, job: MakeJob
) -> None:
    record = first_picture(desk, visitor, job)
    place.seconds_per_call = 0.02
    desk.wish(visitor, job(0.4), live=True)
    desk.refuse(visitor, SettingsError("strength got 9, expected a number from 0 to 1.5."))
    rest(visitor)
    assert visitor.board.message == ("error", {"text": "strength got 9, expected a number from 0 to 1.5."})
    assert visitor.board.record == record


def test_settings_stay_out_of_the_files_when_asked(desk: Desk, visitor: Visitor, job: MakeJob) -> None:
    record = first_picture(desk, visitor, job)
    assert read_png(record.path).settings.strength == 1.0
    desk.set_private(visitor, True)
    assert visitor.board.record is not None
    assert visitor.board.record.path != record.path
    with Image.open(visitor.board.record.path) as image:
        assert image.info == {}
    desk.set_private(visitor, False)
    assert read_png(visitor.board.record.path).settings.strength == 1.0
    assert len(list(visitor.folder.glob("*/*-1.png"))) == 1


def test_somebody_elses_draft_appears_while_a_long_job_runs(desk: Desk, place: FlatPlace, job: MakeJob) -> None:
    place.seconds_per_call = 0.005
    long, short = desk.visitors.get("A"), desk.visitors.get("B")
    desk.wish(long, job(steps=100), live=True)
    until(lambda: place.calls > 10)
    before = place.calls
    desk.wish(short, job(), live=True)
    until(lambda: short.board.record is not None)
    mine = 2 * STEPS + 4
    assert place.calls - before <= 2 * mine + 8  # every other slice
    assert long.board.is_working
    desk.stop(long)
    desk.stop(short)


def test_idle_drafts_come_when_the_visitor_rests_and_end_at_a_wish(
    desk: Desk, visitor: Visitor, place: FlatPlace, job: MakeJob
) -> None:
    place.idles = True
    first_picture(desk, visitor, job)
    until(lambda: visitor.board.presets)
    assert [strength for strength, _ in visitor.board.scrub] == [0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5]
    assert all(Path(path).exists() for _, path in visitor.board.scrub)
    assert desk.idle_calls == 4 * (7 + len(visitor.board.presets))
    place.seconds_per_call = 0.02
    desk.wish(visitor, job(0.4), live=True)
    rest(visitor)
    assert visitor.board.scrub == ()
    idle = visitor.idle_run
    assert idle is not None
    desk.wish(visitor, job(0.5), live=True)
    assert idle.is_cancelled


def test_variants_go_on_after_one_that_fails(desk: Desk, visitor: Visitor, job: MakeJob) -> None:
    refused = SettingsError("start lies after end")
    made: list[Image.Image | Exception] = []
    run = desk.turns.submit(desk.variants(visitor, [job(0.1), refused, job(0.2)], made, draft=False))
    until(lambda: run.is_over)
    assert run.result() == 4 * STEPS
    assert [one if isinstance(one, Exception) else one.getpixel((0, 0)) for one in made] == [
        (10, 10, 10), refused, (20, 20, 20)
    ]  # fmt: skip


def test_a_forgotten_visitors_work_ends_in_one_sentence(
    desk: Desk, visitor: Visitor, place: FlatPlace, job: MakeJob
) -> None:
    place.seconds_per_call = 0.01
    run = desk.turns.submit(desk.make(visitor, job(steps=100)))
    until(lambda: place.calls > 3)
    desk.visitors.drop(visitor)
    until(lambda: run.is_over)
    with pytest.raises(MagicStyleError, match="forgotten"):
        run.result()
    assert place.calls < 50
    assert place.stored == {}


def test_what_the_page_said_before_counts_no_more_when_it_comes_later(
    desk: Desk, visitor: Visitor, place: FlatPlace, job: MakeJob
) -> None:
    assert desk.wish(visitor, job(), live=True, asked=(0, 1.0))
    assert desk.wish(visitor, job(0.5), live=True, asked=(1, 1.0))
    for late in ((0, 9.0), (1, 0.5)):  # read off before the server changed the controls, or sent before
        assert not desk.wish(visitor, job(), live=True, asked=late)
        desk.refuse(visitor, SettingsError("strength got 9"), asked=late)
    rest(visitor)
    assert visitor.board.record is not None
    assert (visitor.board.record.job, visitor.board.message[0]) == (job(0.5), "done")
    calls = place.calls
    assert not desk.wish(visitor, job(), live=False, pressed=True, asked=(0, 0.5))  # a click is never too late
    rest(visitor)
    assert visitor.board.record.job == job(0.5)
    assert place.calls == calls


@pytest.mark.parametrize("way", ["slider", "history"])
def test_idle_drafts_come_around_a_picture_that_was_made_before(
    desk: Desk, visitor: Visitor, job: MakeJob, place: FlatPlace, way: str
) -> None:
    place.idles = True
    first = first_picture(desk, visitor, job)
    until(lambda: visitor.board.presets)
    before = visitor.board.presets
    desk.wish(visitor, job(0.4), live=True)
    rest(visitor)
    if way == "slider":
        desk.wish(visitor, job(), live=True)
    else:
        desk.show(visitor, first)
    assert visitor.board.record == first
    until(lambda: visitor.board.scrub and visitor.board.presets)
    assert visitor.board.presets != before


class Timed(FlatPlace):
    """A place whose drafts and pictures say that they took so many seconds and calls."""

    def __init__(self, draft: tuple[float, int], full: tuple[float, int]) -> None:
        super().__init__(idles=True)
        self.draft, self.full = draft, full

    def run(self, task: Task) -> Generator[Answer, None, None]:
        for answer in super().run(task):
            if isinstance(answer, Rendered):
                seconds, calls = self.draft if answer.is_draft else self.full
                yield replace(answer, seconds=seconds, calls=calls)
            else:
                yield answer


@pytest.mark.parametrize(
    "place",
    [
        Timed(draft=(1.6, 4), full=(1.6, 2)),  # the picture went on from its draft, and is mostly decoding
        Timed(draft=(2.4, 4), full=(3.2, 8)),  # the draft brought the photograph's detail along, as the first one does
    ],
)
def test_the_quicker_of_draft_and_picture_tells_what_a_draft_takes(
    desk: Desk, visitor: Visitor, job: MakeJob, place: Timed
) -> None:
    desk.place = place
    first_picture(desk, visitor, job)
    until(lambda: visitor.board.presets)


def test_where_a_draft_takes_too_long_nobody_works_unasked(desk: Desk, visitor: Visitor, job: MakeJob) -> None:
    desk.place = Timed(draft=(2.4, 4), full=(4.4, 8))
    desk.wish(visitor, job(), live=True)
    rest(visitor)
    assert visitor.board.complete is not None
    assert visitor.idle_run is None
