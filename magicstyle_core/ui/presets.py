"""The presets as thumbnails of the visitor's own picture, drafts that are made while nobody waits."""

from __future__ import annotations

from html import escape

import gradio as gr

from magicstyle_core.serving.places import Place
from magicstyle_core.serving.visitors import Board
from magicstyle_core.settings import PRESETS, FusionSettings, apply_preset
from magicstyle_core.ui.texts import label
from magicstyle_core.ui.visit import PICK, Updates, Visit, file_url


class Presets:
    """One button for every preset."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.buttons = gr.HTML(elem_id="presets", js_on_load=PICK, label=label("presets"))

    def updates(self, visit: Visit, board: Board, settings: FusionSettings) -> Updates:
        """Thumbnails as far as there are some; the preset that `settings` come from is pressed."""
        files = dict(board.presets)
        chosen = self._preset_of(settings)
        buttons = []
        for name in PRESETS:
            image = f'<img src="{file_url(files[name])}" alt="">' if name in files else ""
            buttons.append(
                f'<button type="button" data-pick="{escape(name)}" aria-pressed="{str(name == chosen).lower()}">'
                f"{image}<span>{visit.html(f'preset.{name}')}</span></button>"
            )
        title = f'<p class="ms-label">{visit.html("presets")}</p>'
        return {self.buttons: f'{title}<div class="ms-presets">{"".join(buttons)}</div>'}

    def _preset_of(self, settings: FusionSettings) -> str | None:
        """The preset that these settings come from, however their layers are said."""
        layers = self.place.expand(settings.layers)
        for name in PRESETS:
            preset = apply_preset(name, settings)
            if preset.replace(layers=settings.layers) == settings and self.place.expand(preset.layers) == layers:
                return name
        return None
