"""Where work runs, with the real model: here, and as on ZeroGPU, where nothing but pickles crosses."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from magicstyle_core import FusionSettings, InversionSettings, StyleEngine
from magicstyle_core.errors import MagicStyleError
from magicstyle_core.serving import places
from magicstyle_core.serving.jobs import Aim, Step
from magicstyle_core.serving.places import (
    Foreseen,
    Here,
    Inverted,
    Looked,
    Rendered,
    Rendering,
    Source,
    Task,
    ZeroGPU,
    place_for,
)
from magicstyle_core.settings import draft_steps, inversion_calls

STEPS, SIZE = 6, 64


Work = Callable[[Task], Generator[Any, None, None]]


class Pickling:
    """Stands for the module `spaces`: what goes in and comes out is pickled, as between processes."""

    def __init__(self) -> None:
        self.seconds: list[int] = []

    def GPU(self, duration: Callable[[Task], int]) -> Callable[[Any], Any]:  # the name that `spaces` gives it
        def decorate(
            work: Callable[[Task], Generator[Any, None, None]],
        ) -> Callable[[Task], Generator[Any, None, None]]:
            def call(task: Task) -> Generator[Any, None, None]:
                self.seconds.append(duration(task))
                for answer in work(pickle.loads(pickle.dumps(task))):
                    yield pickle.loads(pickle.dumps(answer))

            return call

        return decorate


@pytest.fixture
def own(engine: StyleEngine) -> StyleEngine:
    """The same model with a store of its own."""
    return StyleEngine(engine.model)


@pytest.fixture
def elsewhere(own: StyleEngine, monkeypatch: pytest.MonkeyPatch) -> ZeroGPU:
    monkeypatch.setattr(places, "spaces", Pickling())
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    place = place_for(own)
    assert isinstance(place, ZeroGPU)
    return place


def task(place: Here, folder: Path, astronaut: Image.Image, painted: Image.Image, **settings: Any) -> Task:
    inversion = InversionSettings(steps=STEPS, size=SIZE)
    sources = []
    for name, image in (("photograph", astronaut), ("style", painted)):
        image.resize((SIZE, SIZE)).save(folder / f"{name}.png")
        picture = place.open(folder / f"{name}.png", SIZE)
        known = place.known(picture, inversion, session="visitor")
        sources.append(Source(picture, "visitor", name, known))  # type: ignore[arg-type]  # both are phases
    rendering = Rendering((1.0,), FusionSettings(**settings), None, draft=True)
    return Task(tuple(sources), inversion, rendering=rendering)


def test_elsewhere_gives_the_same_picture_and_its_inversions_are_kept_here(
    own: StyleEngine,
    elsewhere: ZeroGPU,
    engine: StyleEngine,
    tmp_path: Path,
    astronaut: Image.Image,
    painted: Image.Image,
) -> None:
    first = task(elsewhere, tmp_path, astronaut, painted)
    assert all(source.inversion is None for source in first.sources)
    answers = list(elsewhere.run(first))
    inverted = [answer for answer in answers if isinstance(answer, Inverted)]
    assert [answer.calls for answer in inverted] == [inversion_calls(STEPS, own.model.corrections)] * 2
    draft, full = (answer for answer in answers if isinstance(answer, Rendered))
    assert (draft.is_draft, full.is_draft) == (True, False)
    for answer in inverted:
        elsewhere.keep(answer.inversion)
    second = task(elsewhere, tmp_path, astronaut, painted)
    assert all(source.inversion is not None for source in second.sources)
    assert own.stats()["bytes"]["host"] == own.stats()["bytes"]["device"] == 0  # features never cross

    here = Here(StyleEngine(engine.model))
    *_, expected = here.run(task(here, tmp_path, astronaut, painted))
    assert isinstance(expected, Rendered)
    assert expected.image.tobytes() == full.image.tobytes()


def test_a_task_asks_for_the_seconds_that_it_may_take(
    elsewhere: ZeroGPU, tmp_path: Path, astronaut: Image.Image, painted: Image.Image
) -> None:
    wish = task(elsewhere, tmp_path, astronaut, painted)
    for steps in (9 * STEPS, STEPS):
        wish = replace(wish, inversion=wish.inversion.replace(steps=steps))
        rendering = (steps + draft_steps(steps)) * 3
        assert wish.most_calls(elsewhere.facts) == rendering + 2 * inversion_calls(steps, elsewhere.facts.corrections)
    next(elsewhere.run(wish))
    seconds = places.spaces.seconds
    assert seconds == [places.START_SECONDS + int(wish.most_calls(elsewhere.facts) * places.SECONDS_PER_CALL)]


def test_every_step_can_be_seen_for_the_calls_of_one_render(
    own: StyleEngine, elsewhere: ZeroGPU, tmp_path: Path, astronaut: Image.Image, painted: Image.Image
) -> None:
    here = Here(own)
    asked = task(here, tmp_path, astronaut, painted)
    for answer in here.run(asked):
        if isinstance(answer, Inverted):
            here.keep(answer.inversion)
    asked = task(here, tmp_path, astronaut, painted)
    assert asked.rendering is not None
    asked = replace(asked, rendering=replace(asked.rendering, draft=False, previews=True))
    for place in (here, elsewhere):
        seen = [answer for answer in place.run(asked) if isinstance(answer, Foreseen | Rendered)]
        assert [type(answer) for answer in seen] == [Foreseen] * (STEPS - 1) + [Rendered]
        assert all(answer.image.size == (SIZE, SIZE) for answer in seen)
        assert isinstance(seen[-1], Rendered)
        assert seen[-1].calls == STEPS + (2 * STEPS if place is elsewhere else 0)  # features never cross


def test_errors_keep_their_message(
    elsewhere: ZeroGPU, tmp_path: Path, astronaut: Image.Image, painted: Image.Image
) -> None:
    *_, last = elsewhere.run(task(elsewhere, tmp_path, astronaut, painted, layers=("up_blocks.7",)))
    assert isinstance(last, MagicStyleError)
    assert "up_blocks.7" in str(last)


def test_nobody_works_unasked_where_it_costs(own: StyleEngine, elsewhere: ZeroGPU) -> None:
    assert Here(own).idles
    assert not elsewhere.idles


def test_the_lens_looks_here_with_one_call_and_elsewhere_after_a_render(
    own: StyleEngine, elsewhere: ZeroGPU, tmp_path: Path, astronaut: Image.Image, painted: Image.Image
) -> None:
    here = Here(own)
    list(here.run(task(here, tmp_path, astronaut, painted)))
    aimed = replace(task(here, tmp_path, astronaut, painted), aim=Aim((0.5, 0.5), "middle"))
    (looked,) = here.run(aimed)
    assert isinstance(looked, Looked)
    assert looked.calls == 1
    assert looked.shares == (pytest.approx(1, abs=1e-3),)
    *steps, again = elsewhere.run(aimed)
    assert isinstance(again, Looked)
    assert {type(step) for step in steps} == {Step}
    assert again.calls > STEPS  # features are computed anew there
    difference = np.asarray(again.images[0], int) - np.asarray(looked.images[0], int)
    assert abs(difference).mean() < 1


def test_a_style_mask_reaches_the_render_and_an_empty_one_is_a_sentence(
    own: StyleEngine, tmp_path: Path, astronaut: Image.Image, painted: Image.Image
) -> None:
    here = Here(own)
    plain = task(here, tmp_path, astronaut, painted)
    assert plain.rendering is not None
    mask = Image.new("L", (SIZE, SIZE))
    empty = replace(plain, rendering=replace(plain.rendering, draft=False, style_masks=(mask,)))
    *_, refused = here.run(empty)
    assert isinstance(refused, MagicStyleError)
    assert "black everywhere" in str(refused)
    mask.paste(255, (0, 0, SIZE // 2, SIZE))
    *_, half = here.run(empty)
    *_, whole = here.run(plain)
    assert isinstance(half, Rendered)
    assert isinstance(whole, Rendered)
    assert half.image.tobytes() != whole.image.tobytes()
