"""What is slow once is done before the first visitor comes."""

from __future__ import annotations

from pathlib import Path

import pytest

from magicstyle_core import ASSETS
from magicstyle_core.serving import warming
from magicstyle_core.serving.desk import Desk
from magicstyle_core.serving.places import SHARED
from magicstyle_core.serving.visitors import Visitors
from magicstyle_core.serving.warming import warm_up
from magicstyle_core.settings import InversionSettings, draft_steps
from tests.flat import FlatPlace
from tests.until import until

STEPS = 8  # of the flat place


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(FlatPlace(idles=True), Visitors(tmp_path), ASSETS / "examples")


def test_two_bundled_pictures_are_inverted_for_everybody_and_a_draft_is_made(desk: Desk) -> None:
    run = desk.turns.submit(warm_up(desk), idle=True)
    until(lambda: run.has_ended)
    assert desk.idle_calls == 2 * STEPS + draft_steps(STEPS)
    for name in ("portrait_astronaut", "style_city"):
        picture = desk.place.open(desk.bundled / f"{name}.webp", None)
        assert desk.place.known(picture, InversionSettings(steps=STEPS), session=SHARED)


def test_a_slow_model_is_left_alone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "MOST_SECONDS", 0.0)
    run = desk.turns.submit(warm_up(desk), idle=True)
    until(lambda: run.has_ended)
    assert desk.idle_calls == 0
