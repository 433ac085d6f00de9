"""What a user may set, and what the messages say about the rest."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict
from typing import Any

import pytest

from magicstyle_core.errors import SettingsError
from magicstyle_core.settings import MAX_STEPS, MAX_STRENGTH, PRESETS, FusionSettings, InversionSettings, apply_preset

RANGES = {
    "strength": (0, MAX_STRENGTH),
    "structure": (0, 1),
    "colour": (0, 1),
    "texture": (0, 1),
    "detail": (0, 1),
    "temperature": (0.1, 5),
    "start": (0, 1),
    "end": (0, 1),
    "outside": (0, MAX_STRENGTH),
}


@pytest.mark.parametrize("name", RANGES)
def test_numbers_keep_to_their_range(name: str) -> None:
    low, high = RANGES[name]
    allowed: list[Any] = [low, high]
    for value in allowed:
        assert getattr(FusionSettings(**{name: value}), name) == value
    wrong: list[Any] = [low - 0.01, high + 0.01, float("nan"), float("inf"), "1", None, True]
    for value in wrong:
        with pytest.raises(SettingsError, match=f"^{name} is .*; give a number from {low:g} to {high:g}"):
            FusionSettings(**{name: value})


@pytest.mark.parametrize("kind", [FusionSettings, InversionSettings])
def test_steps_are_whole_numbers_in_range(kind: type[FusionSettings] | type[InversionSettings]) -> None:
    for steps in (2, MAX_STEPS):
        assert kind(steps=steps).steps == steps
    for wrong in (1, 0, -5, MAX_STEPS + 1, 20.0, "20", True):
        with pytest.raises(SettingsError, match="^steps is .*; give a whole number from 2"):
            kind(steps=wrong)  # type: ignore[arg-type]
    assert FusionSettings(steps=None).steps is None


def test_size_is_a_whole_number_of_pixels() -> None:
    assert [InversionSettings(size=size).size for size in (None, 64, 2048)] == [None, 64, 2048]
    for wrong in (63, 2049, 256.0, "256", True):
        with pytest.raises(SettingsError, match="^size is .*; give a whole number of pixels from 64 to 2048"):
            InversionSettings(size=wrong)  # type: ignore[arg-type]


def test_seed_is_none_or_a_whole_number() -> None:
    assert [FusionSettings(seed=seed).seed for seed in (None, 0, 2**40)] == [None, 0, 2**40]
    for wrong in (-1, 1.5, "3", True):
        with pytest.raises(SettingsError, match="^seed is .*; give a whole number from 0 up"):
            FusionSettings(seed=wrong)  # type: ignore[arg-type]


def test_window_must_not_be_reversed() -> None:
    assert FusionSettings(start=0.5, end=0.5).start == 0.5
    with pytest.raises(SettingsError, match=r"start \(0\.7\) lies after end \(0\.2\)"):
        FusionSettings(start=0.7, end=0.2)


def test_fusion_is_one_of_two() -> None:
    assert FusionSettings(fusion="joint").fusion == "joint"
    with pytest.raises(SettingsError, match="^fusion is 'mix'; give 'blend' or 'joint'"):
        FusionSettings(fusion="mix")  # type: ignore[arg-type]


def test_layers_become_a_tuple_and_are_not_empty() -> None:
    assert FusionSettings(layers=["up_blocks.2"]).layers == ("up_blocks.2",)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="choose at least one"):
        FusionSettings(layers=())


@pytest.mark.parametrize("wrong", ["all", (1, 2), ("",), 5])
def test_layers_are_a_list_of_names(wrong: object) -> None:
    with pytest.raises(SettingsError, match="give a list of layer names"):
        FusionSettings(layers=wrong)  # type: ignore[arg-type]


def test_settings_are_frozen_and_hashable() -> None:
    settings = FusionSettings(layers=["a", "b"])  # type: ignore[arg-type]
    with pytest.raises(FrozenInstanceError):
        settings.strength = 0.0  # type: ignore[misc]
    assert hash(settings) == hash(FusionSettings(layers=("a", "b")))


def test_plain_values_there_and_back() -> None:
    settings = FusionSettings(strength=0.4, layers=("up_blocks.1",), steps=6, seed=3)
    values: dict[str, Any] = asdict(settings)
    values["layers"] = list(values["layers"])
    assert FusionSettings.from_dict(values) == settings
    with pytest.raises(SettingsError, match="^Unknown setting glitter, stregth; known are colour, detail, end, "):
        FusionSettings.from_dict({"stregth": 1, "glitter": 2})


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_keep_the_rest(name: str) -> None:
    before = FusionSettings(seed=5, steps=4, outside=0.2)
    after = apply_preset(name, before)
    assert {key: getattr(after, key) for key in PRESETS[name]} == PRESETS[name]
    assert (after.seed, after.steps, after.outside) == (5, 4, 0.2)


def test_every_preset_sets_the_same_fields_and_none_equals_another() -> None:
    assert len({frozenset(preset) for preset in PRESETS.values()}) == 1
    assert len({apply_preset(name, FusionSettings()) for name in PRESETS}) == len(PRESETS)


def test_unknown_preset_names_the_known() -> None:
    with pytest.raises(SettingsError, match="no preset 'Loud'; choose one of Gentle, "):
        apply_preset("Loud", FusionSettings())
