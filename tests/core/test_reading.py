"""Features come to a render from a bank, or computed again, and are the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from magicstyle_core import Inversion, InversionSettings, StyleEngine
from magicstyle_core.bank import FeatureBank
from magicstyle_core.hooks import Features
from magicstyle_core.reading import FeatureReader
from tests.tiny_models import tiny_model

STEPS = 3
CPU = torch.device("cpu")


@pytest.fixture
def engine(tiny_sd1: Path) -> StyleEngine:
    return StyleEngine(tiny_model(tiny_sd1))


@pytest.fixture
def inversion(engine: StyleEngine, painted: Image.Image) -> Inversion:
    return engine.invert(painted, InversionSettings(steps=STEPS))


def reader(engine: StyleEngine, inversion: Inversion, layers: list[str]) -> FeatureReader:
    def compute(source: Inversion, step: int) -> Features:
        return engine._compute(source, step)

    def new_bank() -> FeatureBank:
        return FeatureBank(engine.bank_dtype, CPU)

    return FeatureReader(engine.store, CPU, layers, list(range(STEPS)), compute, new_bank)


def test_banked_and_computed_features_are_the_same_to_the_bit(engine: StyleEngine, inversion: Inversion) -> None:
    layers = [layer.name for layer in engine.layers()]
    banked = reader(engine, inversion, layers)
    expected = [banked(inversion, step) for step in range(STEPS)]
    assert banked.unet_calls == 0
    engine.store.demote_all()  # on a CPU there is no lower tier: the bank is gone
    again = reader(engine, inversion, layers)
    for step, wanted in enumerate(expected):
        found = again(inversion, step)
        assert list(found) == layers
        assert all(torch.equal(found[name], wanted[name]) for name in layers)
    assert again.unet_calls == STEPS


def test_what_was_computed_at_every_step_is_banked(engine: StyleEngine, inversion: Inversion) -> None:
    layers = [layer.name for layer in engine.layers()]
    engine.store.demote_all()
    first = reader(engine, inversion, layers)
    for step in range(STEPS):
        assert engine.store.bank(inversion.session, inversion.key) is None
        first(inversion, step)
    second = reader(engine, inversion, layers)
    for step in range(STEPS):
        second(inversion, step)
    assert (first.unet_calls, second.unet_calls) == (STEPS, 0)


def test_a_layer_that_is_not_banked_is_added(engine: StyleEngine, inversion: Inversion) -> None:
    layers = [layer.name for layer in engine.layers()]
    whole = engine.store.bank(inversion.session, inversion.key)
    assert whole is not None
    few = {place: row for place, row in whole.rows.items() if place[1] in layers[:2]}
    engine.store.put_bank(inversion.session, inversion.key, FeatureBank(whole.dtype, CPU, few))
    stored, missing = reader(engine, inversion, layers[:2]), reader(engine, inversion, layers[:3])
    for step in range(STEPS):
        stored(inversion, step)
        missing(inversion, step)
    assert (stored.unet_calls, missing.unet_calls) == (0, STEPS)
