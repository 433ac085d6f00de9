"""Settings on their way out and in: a link, JSON, a command, and the PNG that knows how it was made."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

import gradio as gr

from magicstyle_core.errors import MagicStyleError
from magicstyle_core.metadata import Recipe, read_png
from magicstyle_core.serving.desk import Desk
from magicstyle_core.settings import TABLE, FusionSettings, InversionSettings, apply_preset
from magicstyle_core.ui.texts import label
from magicstyle_core.ui.visit import Updates, Visit, alert, note

if TYPE_CHECKING:
    from magicstyle_core.ui.controls import Controls
    from magicstyle_core.ui.pictures import Pictures
    from magicstyle_core.ui.regions import Regions

REGIONS_01 = {"Everywhere": "everywhere", "Face": "face", "Background": "background", "Brush": "mask"}


class Share:
    """The tab for settings and files."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.file = gr.File(label=label("settings_file"), height=150, elem_id="settings-file")
        self.note = gr.HTML(elem_id="settings-note")
        self.ways = gr.HTML(elem_id="share")

    def updates(self, visit: Visit, changed: Mapping[str, Any]) -> Updates:
        """Link, JSON and command of the settings that are not as they come. No picture is in them."""
        values = {name: _text(value) for name, value in changed.items()}
        words = {
            name: text.replace("+", " ") if name == "layers" else shlex.quote(text) for name, text in values.items()
        }
        flags = [f"--{name.replace('_', '-')} {text}" for name, text in words.items()]
        ways = {
            "link": f"?{urlencode(values)}",
            "json": json.dumps(changed),
            "command": " ".join(["magicstyle stylize photo.jpg --style painting.jpg -o out.png", *flags]),
        }
        rows = "".join(
            f'<label>{visit.html(key)}<input type="text" readonly class="ms-copied" data-kind="{key}" '
            f'value="{escape(text)}"></label><button type="button" class="ms-copy">{visit.html("copy")}</button>'
            for key, text in ways.items()
        )
        return {self.ways: f'<div class="ms-share">{rows}</div>'}

    def restore(
        self, visit: Visit, path: str, content: str | None, page: tuple[Pictures, Controls, Regions]
    ) -> Updates:
        """Everything that a PNG says about how it was made, on the page."""
        pictures, controls, regions = page
        visitor = visit.visitor
        visitor.note_upload(path)
        try:
            recipe = read_png(path)
            updates = controls.updates(recipe.settings, recipe.inversion)
            region = REGIONS_01.get(recipe.region, recipe.region) or "everywhere"
            if recipe.mask_image is not None and region == "mask":
                visitor.masks[content or ""] = recipe.mask_image
            masks = {style.digest: style.mask_image for style in recipe.styles}
        except MagicStyleError as error:
            return {self.note: alert(visit.explain(error))}
        visitor.style_masks = {digest: mask for digest, mask in masks.items() if mask is not None}
        visitor.style_canvas = None
        updates[regions.region] = region
        for weight, style in zip(pictures.weights, recipe.styles, strict=False):
            updates[weight] = style.weight
        return {**updates, self.note: note(self._said(visit, recipe, content))}

    def _said(self, visit: Visit, recipe: Recipe, content: str | None) -> str:
        gone = visit.explain(recipe.gone)
        said = [visit.say("settings_gone", gone=gone) if gone else visit.say("settings_restored")]
        facts = self.desk.place.facts
        if recipe.model not in ("", facts.name):
            said.append(visit.say("settings_other_model", model=recipe.model))
        if content and recipe.content:
            size = None if recipe.inversion.size == facts.size else recipe.inversion.size
            try:
                digest = self.desk.picture(visit.visitor, content, size).digest
            except MagicStyleError:
                digest = ""  # the box of the photograph says what is wrong with it
            if digest != recipe.content:
                said.append(visit.say("settings_other_photo"))
        return " ".join(said)


def from_query(query: str, defaults: FusionSettings) -> tuple[FusionSettings, InversionSettings] | None:
    """The settings of a link such as `?preset=Bold&strength=0.8`, or None when it has none. Raises SettingsError."""
    values = dict(parse_qsl(query.removeprefix("?")))
    known = {name: TABLE[name].parse(text) for name, text in values.items() if name in TABLE}
    if not known and "preset" not in values:
        return None
    return split(known, apply_preset(values["preset"], defaults) if "preset" in values else defaults)


def split(values: Mapping[str, Any], defaults: FusionSettings) -> tuple[FusionSettings, InversionSettings]:
    """Settings of both kinds from those that are not as they come, by name. Raises SettingsError."""
    fusion, inversion = (
        {name: value for name, value in values.items() if name in kind.model_fields}
        for kind in (FusionSettings, InversionSettings)
    )
    return defaults.replace(**fusion), InversionSettings.from_dict(inversion)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "+".join(value) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
