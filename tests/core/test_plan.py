"""From settings to one render: strength as a map, and digests that are shared exactly as far as renders are."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from magicstyle_core import FusionSettings, Inversion, InversionSettings, SettingsError, StyleEngine, regions
from magicstyle_core.plan import plan
from tests.tiny_models import tiny_model

STEPS = 8


@pytest.fixture(scope="module")
def engine(tiny_sd1: Path) -> StyleEngine:
    return StyleEngine(tiny_model(tiny_sd1))


@pytest.fixture(scope="module")
def pair(engine: StyleEngine, astronaut: Image.Image, painted: Image.Image) -> tuple[Inversion, Inversion]:
    settings = InversionSettings(steps=STEPS)
    return engine.invert(astronaut, settings), engine.invert(painted, settings)


def shared(engine: StyleEngine, pair: tuple[Inversion, Inversion], a: FusionSettings, b: FusionSettings) -> int:
    """How many steps of two renders are the same; -1 = not even the start."""
    histories = (plan(engine.model, *pair, settings).history for settings in (a, b))
    return sum(one == other for one, other in zip(*histories, strict=True)) - 1


def test_strength_is_a_map_with_or_without_a_mask(engine: StyleEngine, pair: tuple[Inversion, Inversion]) -> None:
    settings = FusionSettings(strength=1.2, outside=0.2, faces=1)
    wish = plan(engine.model, *pair, settings)
    assert wish.pixel_strength.shape == (1, 1, 64, 64)
    assert wish.strength.shape == (1, 1, 8, 8)
    assert wish.strength.allclose(torch.tensor(1.2))
    mask = Image.new("L", (10, 10), 0)
    mask.paste(255, (0, 0, 5, 10))
    wish = plan(engine.model, *pair, settings, mask)
    assert wish.pixel_strength[..., :20].allclose(torch.tensor(1.2))
    assert wish.pixel_strength[..., -20:].allclose(torch.tensor(0.2))
    assert wish.strength[..., :2].allclose(torch.tensor(1.2))


def test_a_face_takes_fewer_strokes_and_less_of_the_strength_unless_there_is_a_region(
    engine: StyleEngine, pair: tuple[Inversion, Inversion], astronaut: Image.Image
) -> None:
    settings, style = FusionSettings(strength=1.2, strokes=0.8, faces=0.5), pair[1]
    content = engine.invert(astronaut, InversionSettings(steps=STEPS, size=256))
    wish = plan(engine.model, content, style, settings)
    assert wish.pixel_strength[0, 0, 57, 113] == pytest.approx(0.9)  # between the eyes
    assert wish.pixel_strength[0, 0, 200, 113] == pytest.approx(1.2)
    assert wish.strokes is not None
    assert wish.strokes.aminmax() == pytest.approx((0.4, 0.8), abs=1e-3)
    region = Image.new("L", (256, 256), 255)
    for wish in (
        plan(engine.model, content, style, settings, region),
        plan(engine.model, content, style, settings.replace(faces=1.0)),
        plan(engine.model, replace(content, picture=pair[1].picture), style, settings),  # nobody is in it
    ):
        assert wish.pixel_strength.allclose(torch.tensor(1.2))
        assert wish.strokes is not None
        assert wish.strokes.allclose(torch.tensor(0.8))


def test_the_style_alone_needs_no_map_of_strokes(engine: StyleEngine, pair: tuple[Inversion, Inversion]) -> None:
    assert plan(engine.model, *pair, FusionSettings(strokes=1, faces=1)).strokes is None


def test_without_a_detector_no_face_is_spared(
    engine: StyleEngine, pair: tuple[Inversion, Inversion], astronaut: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)  # how Python marks a module that cannot be imported
    regions._detector.cache_clear()
    content = replace(engine.invert(astronaut, InversionSettings(steps=STEPS, size=256)))  # which has not looked yet
    assert plan(engine.model, content, pair[1], FusionSettings(faces=0.5)).pixel_strength.eq(1).all()


def test_without_strength_anywhere_no_layer_is_hooked(engine: StyleEngine, pair: tuple[Inversion, Inversion]) -> None:
    assert plan(engine.model, *pair, FusionSettings()).layers
    assert not plan(engine.model, *pair, FusionSettings(strength=0)).layers
    black = Image.new("L", (4, 4), 0)
    assert not plan(engine.model, *pair, FusionSettings(), black).layers
    assert plan(engine.model, *pair, FusionSettings(outside=0.1), black).layers


def test_weights_sum_to_1(engine: StyleEngine, pair: tuple[Inversion, Inversion]) -> None:
    content, style = pair
    wish = plan(engine.model, content, [(style, 1.0), (content, 3.0)], FusionSettings())
    assert [weight for _, weight in wish.styles] == [0.25, 0.75]


@pytest.mark.parametrize(
    ("count", "draft", "expected"), [(None, False, STEPS), (5, False, 5), (5, True, 2), (1, True, 1)]
)
def test_steps_are_those_asked_for(
    engine: StyleEngine, pair: tuple[Inversion, Inversion], count: int | None, draft: bool, expected: int
) -> None:
    assert len(plan(engine.model, *pair, FusionSettings(render_steps=count), draft=draft).steps) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"detail": 0.3}, STEPS),  # happens after the last step
        ({"colour": 0.3}, STEPS),  # the same
        ({"temperature": 2.0}, 0),
        ({"end": 0.5}, STEPS // 2),
        ({"palette": "end", "colour": 0.5}, -1),
        ({"seed": 0}, -1),
        ({"residual": 0.5}, -1),
    ],
    ids=str,
)
def test_two_renders_share_what_nothing_told_apart(
    engine: StyleEngine, pair: tuple[Inversion, Inversion], changes: dict[str, object], expected: int
) -> None:
    assert shared(engine, pair, FusionSettings(), FusionSettings().replace(**changes)) == expected


def test_with_the_palette_at_the_end_alone_another_colour_costs_the_last_step(
    engine: StyleEngine, pair: tuple[Inversion, Inversion]
) -> None:
    settings = FusionSettings(palette="end")
    assert shared(engine, pair, settings, settings.replace(colour=0.5)) == STEPS - 1


def test_another_mask_is_another_render(engine: StyleEngine, pair: tuple[Inversion, Inversion]) -> None:
    masks = (Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (255, 128))
    histories = [plan(engine.model, *pair, FusionSettings(), mask).history for mask in masks]
    assert histories[0][0] != histories[1][0]


def test_more_steps_than_are_stored_are_refused(engine: StyleEngine, pair: tuple[Inversion, Inversion]) -> None:
    with pytest.raises(SettingsError, match="9 render steps are asked for, 8 are stored"):
        plan(engine.model, *pair, FusionSettings(render_steps=9))
