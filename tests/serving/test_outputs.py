"""What a finished picture becomes when somebody asks: counted, kept once, stopped."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from magicstyle_core.errors import MagicStyleError
from magicstyle_core.metadata import MetadataError, read_png
from magicstyle_core.serving.desk import Desk
from magicstyle_core.serving.jobs import Record, Step
from magicstyle_core.serving.outputs import FRAMES, animation, download, filmstrip
from magicstyle_core.serving.visitors import Visitor
from tests.flat import FlatPlace
from tests.until import MakeJob, rest, until

STEPS, DRAFT = 8, 4


def result(work: Generator[Any, None, Any]) -> Any:
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value


@pytest.fixture
def record(desk: Desk, visitor: Visitor, job: MakeJob, tmp_path: Path) -> Record:
    photograph = Image.radial_gradient("L").resize((512, 256)).convert("RGB")
    photograph.putalpha(Image.linear_gradient("L").resize((512, 256)))
    photograph.save(tmp_path / "holiday.png")
    made: Record = result(desk.make(visitor, job(content="holiday.png")))
    return made


@pytest.mark.parametrize(
    ("times", "suffix", "mode"),
    [(1, ".png", "RGBA"), (2, ".png", "RGBA"), (4, ".webp", "RGBA"), (4, ".jpg", "RGB")],
)
def test_a_file_is_as_large_as_asked_named_after_the_photograph_and_keeps_its_alpha(
    desk: Desk, visitor: Visitor, record: Record, place: FlatPlace, times: int, suffix: str, mode: str
) -> None:
    calls = place.calls
    path = result(download(desk, visitor, record, times, suffix))
    assert path.name.startswith("holiday-magicstyle-1")
    assert path.suffix == suffix
    with Image.open(path) as image:
        assert (image.size, image.mode) == ((64 * times, 32 * times), mode)
        if mode == "RGBA":
            alpha = np.asarray(image.getchannel("A"), int)
            assert alpha[0].mean() < 10
            assert alpha[-1].mean() > 245
    if suffix == ".png":
        assert read_png(path).upsample == times
    assert place.calls == calls


def test_who_wants_no_settings_in_files_gets_none(desk: Desk, visitor: Visitor, record: Record) -> None:
    visitor.is_private = True
    with pytest.raises(MetadataError, match="carries no settings"):
        read_png(result(download(desk, visitor, record, 2, ".png")))


def test_the_filmstrip_has_a_picture_for_every_step_for_one_render(
    desk: Desk, visitor: Visitor, record: Record, place: FlatPlace
) -> None:
    calls = place.calls
    film = result(filmstrip(desk, visitor, record))
    assert (len(film.frames), film.calls, place.calls - calls) == (STEPS, STEPS, STEPS)
    again = result(filmstrip(desk, visitor, record))
    assert not any(path.exists() for path in film.frames)  # the newest alone is kept
    assert all(path.exists() for path in again.frames)


def test_an_animation_goes_from_the_photograph_to_strength_1_and_back(
    desk: Desk, visitor: Visitor, record: Record, place: FlatPlace
) -> None:
    calls = place.calls
    path = result(animation(desk, visitor, record))
    assert path.name == "holiday-magicstyle-animation.webp"
    assert place.calls - calls == FRAMES * DRAFT
    with Image.open(path) as image:
        assert image.n_frames == 2 * (FRAMES - 1)  # type: ignore[attr-defined]
        levels = []
        for frame in (0, FRAMES // 2, FRAMES - 1):
            image.seek(frame)
            levels.append(np.asarray(image.convert("RGB"), float)[-1].mean())
    assert levels[0] > levels[1] + 10 > levels[2] + 20  # the lowest row is white and goes to grey


def test_a_stopped_animation_ends_within_a_call_and_leaves_no_file(
    desk: Desk, visitor: Visitor, record: Record, place: FlatPlace
) -> None:
    place.seconds_per_call = 0.02
    run = desk.turns.submit(animation(desk, visitor, record))
    until(lambda: isinstance(run.latest, Step) and run.latest.step == 3)
    run.cancel()
    until(lambda: run.is_over)
    calls = place.calls
    rest(visitor)
    assert not run.has_ended
    assert place.calls == calls
    assert not list(visitor.folder.rglob("*animation*"))


def test_who_leaves_meanwhile_gets_nothing(desk: Desk, visitor: Visitor, record: Record) -> None:
    work = filmstrip(desk, visitor, record)
    next(work)
    desk.visitors.drop(visitor)
    with pytest.raises(MagicStyleError, match="forgotten"):
        result(work)
