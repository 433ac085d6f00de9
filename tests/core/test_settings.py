"""The table of settings, what it allows, and what the messages say about the rest."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from docs.build import PAGE, PICTURES, markdown
from magicstyle_core.errors import SettingsError
from magicstyle_core.grid import parse_values
from magicstyle_core.settings import (
    KEPT,
    PRESETS,
    RENAMED_PRESETS,
    TABLE,
    FusionSettings,
    InversionSettings,
    Setting,
    apply_preset,
    from_version_01,
    table,
)

NUMBERS = [setting for setting in table() if setting.low is not None]
RANGES = {
    "strength": (0, 1.5),
    "faces": (0, 1),
    "structure": (0, 1),
    "colour": (0, 1),
    "detail": (0, 1),
    "temperature": (0.1, 5),
    "balance": (0, 1),
    "neighbours": (0, 3),
    "strokes": (0, 1),
    "start": (0, 1),
    "end": (0, 1),
    "residual": (0, 1),
    "render_steps": (1, 200),
    "seed": (0, 2**53 - 1),
    "outside": (0, 1.5),
    "steps": (2, 200),
    "size": (64, 2048),
}


def kind(setting: Setting) -> type[FusionSettings] | type[InversionSettings]:
    return InversionSettings if setting.group == "inversion" else FusionSettings


def test_the_table_has_every_setting_once_with_its_range() -> None:
    assert list(TABLE) == [*FusionSettings.model_fields, *InversionSettings.model_fields]
    assert {setting.name: (setting.low, setting.high) for setting in NUMBERS} == RANGES
    assert TABLE["palette"].choices == ("both", "end", "adain", "off")
    assert TABLE["fusion"].choices == ("blend", "joint")
    assert [setting.name for setting in table() if setting.kind == "layers"] == ["layers"]


@pytest.mark.parametrize("setting", table(), ids=lambda setting: setting.name)
def test_a_row_is_complete_and_its_default_allowed(setting: Setting) -> None:
    assert getattr(kind(setting)(), setting.name) == setting.default
    assert setting.label
    assert setting.hint.endswith(".")
    assert (setting.step is None) == (setting.low is None)
    if setting.low is not None and setting.high is not None and setting.default is not None:
        assert setting.low <= setting.default <= setting.high


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.name)
def test_numbers_keep_to_their_range(setting: Setting) -> None:
    low, high = RANGES[setting.name]
    for value in (low, high):
        assert getattr(kind(setting).from_dict({setting.name: value}), setting.name) == value
    wrong: list[Any] = [low - 1, high + 1, float("nan"), float("inf"), "1", [1], True]
    wrong += [low + 0.5] if setting.kind == "whole" else [None]
    for value in wrong:
        with pytest.raises(SettingsError, match=f"^{setting.name} got .*, expected a .*number from {low} to {high}"):
            kind(setting).from_dict({setting.name: value})


def test_none_is_a_number_of_the_models_own_or_no_seed() -> None:
    assert [setting.name for setting in NUMBERS if setting.optional] == ["render_steps", "seed", "steps", "size"]
    assert (FusionSettings(seed=None).seed, FusionSettings(seed=0).seed) == (None, 0)


def test_a_whole_number_may_stand_for_a_broken_one() -> None:
    assert type(FusionSettings(strength=1).strength) is float


def test_window_must_not_be_reversed() -> None:
    assert FusionSettings(start=0.5, end=0.5).start == 0.5
    with pytest.raises(SettingsError, match=r"^start \(0\.7\) lies after end \(0\.2\); make start the smaller one\.$"):
        FusionSettings(start=0.7, end=0.2)


def test_choices_are_named() -> None:
    assert FusionSettings(fusion="joint", palette="adain").palette == "adain"
    with pytest.raises(SettingsError, match="^fusion got 'mix', expected 'blend' or 'joint'.$"):
        FusionSettings(fusion="mix")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="^palette got 'none', expected 'both' or 'end' or 'adain' or 'off'.$"):
        FusionSettings(palette="none")  # type: ignore[arg-type]


def test_layers_become_a_tuple_and_may_be_none_at_all() -> None:
    assert FusionSettings(layers=["up_blocks.2"]).layers == ("up_blocks.2",)  # type: ignore[arg-type]
    assert FusionSettings(layers=()).layers == ()


@pytest.mark.parametrize("wrong", ["all", (1, 2), ("",), 5, None])
def test_layers_are_a_list_of_names(wrong: Any) -> None:
    with pytest.raises(SettingsError, match=r"^layers got .*, expected a list of layer names such as \['up.fine'\]"):
        FusionSettings(layers=wrong)


def test_settings_are_frozen_hashable_keyword_only_and_travel() -> None:
    settings = FusionSettings(layers=["a", "b"], seed=3)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="frozen"):
        settings.strength = 0.0
    with pytest.raises(TypeError):
        FusionSettings(0.5)  # type: ignore[call-arg]
    assert hash(settings) == hash(FusionSettings(layers=("a", "b"), seed=3))
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_plain_values_there_and_back() -> None:
    settings = FusionSettings(strength=0.4, layers=("up_blocks.1",), render_steps=6, seed=3)
    assert FusionSettings.from_dict(settings.model_dump(mode="json")) == settings
    with pytest.raises(
        SettingsError, match="^Unknown setting glitter, stregth; known are balance, colour, detail, end, "
    ):
        FusionSettings.from_dict({"stregth": 1, "glitter": 2, "strength": 9})
    with pytest.raises(SettingsError, match=r"^The settings got \['strength', 1\], expected names with values\.$"):
        FusionSettings.from_dict(["strength", 1])  # type: ignore[arg-type]


def test_replace_checks_anew() -> None:
    settings = FusionSettings(seed=3)
    assert settings.replace(strength=0.5) == FusionSettings(strength=0.5, seed=3)
    with pytest.raises(SettingsError, match="strength got 9"):
        settings.replace(strength=9)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("strength", " 0.5 ", 0.5),
        ("render_steps", "10", 10),
        ("seed", "None", None),
        ("seed", "0", 0),
        ("fusion", "Joint", "joint"),
        ("layers", "up.fine + mid", ("up.fine", "mid")),
        ("layers", "none", ()),
        ("size", "512", 512),
    ],
)
def test_text_is_read(name: str, text: str, value: Any) -> None:
    parsed = TABLE[name].parse(text)
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("strength", "much", "strength got 'much', expected a number from 0 to 1.5."),
        ("strength", "none", "strength got 'none', expected a number from 0 to 1.5."),
        ("strength", "2", "strength got 2.0, expected a number from 0 to 1.5."),
        ("steps", "2.5", "steps got '2.5', expected a whole number from 2 to 200, or none."),
        ("seed", str(2**53), "seed got 9007199254740992, expected a whole number from 0 to 9007199254740991, or none."),
        ("layers", "a++b", "layers got ('a', '', 'b'), expected a list of layer names such as ['up.fine'], or"),
    ],
)
def test_text_that_stands_for_nothing_is_explained(name: str, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        TABLE[name].parse(text)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_apply_whatever_was_there_and_keep_the_rest(name: str) -> None:
    before = FusionSettings(seed=0, render_steps=4, outside=0.2, start=0.9, layers=())
    after = apply_preset(name, before)
    assert {key: getattr(after, key) for key in PRESETS[name]} == PRESETS[name]
    assert (after.seed, after.render_steps, after.outside) == (0, 4, 0.2)


def test_every_preset_sets_all_but_what_is_kept_and_none_equals_another() -> None:
    assert {frozenset(preset) for preset in PRESETS.values()} == {frozenset(FusionSettings.model_fields) - set(KEPT)}
    assert len({apply_preset(name, FusionSettings()) for name in PRESETS}) == len(PRESETS)


def test_presets_are_found_under_their_old_names_and_unknown_ones_name_the_known() -> None:
    for old, new in RENAMED_PRESETS.items():
        assert apply_preset(old, FusionSettings()) == apply_preset(new, FusionSettings())
    with pytest.raises(SettingsError, match="no preset 'Loud'; choose one of Gentle, "):
        apply_preset("Loud", FusionSettings())


def test_settings_of_version_01_are_read_with_a_sentence_about_what_is_gone() -> None:
    old = {"strength": 0.5, "texture": 0.85, "steps": 8, "layers": ["up.texture", "colour", "mid 0"], "seed": 0}
    values, gone = from_version_01(old)
    assert FusionSettings.from_dict(values) == FusionSettings(
        strength=0.5, render_steps=8, layers=("up.fine", "middle", "mid 0"), seed=0,
        faces=1, balance=0, neighbours=0, strokes=1, palette="both",
    )  # fmt: skip
    assert gone == "Texture (0.85) is gone since 0.1, so the picture will look different."
    assert from_version_01({"texture": 0.0, "steps": None, "faces": 0.5}) == (
        {"faces": 0.5, "balance": 0.0, "neighbours": 0.0, "strokes": 1.0, "palette": "both", "render_steps": None}, ""
    )  # fmt: skip


def test_the_page_about_settings_is_up_to_date() -> None:
    committed = PAGE.read_text()
    assert committed == markdown(), "run python -m docs.build"
    assert all(f"`{setting.name}`" in committed for setting in table())
    for name, values in PICTURES.items():
        assert len(parse_values(name, values)) > 1
        with Image.open(PAGE.parent / "settings" / f"{name}.webp") as picture:
            assert picture.width > picture.height > 200


def test_settings_need_no_torch() -> None:
    blocked = "import sys; sys.modules['torch'] = None; import magicstyle_core.settings"
    subprocess.run([sys.executable, "-c", blocked], check=True)
