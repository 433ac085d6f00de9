"""The page as a tree of components, without behaviour. `handlers` and `grids` say what the components do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from magicstyle_core import FusionSettings
from magicstyle_core.settings import PRESETS
from magicstyle_core.ui import texts
from magicstyle_core.ui.controls import (
    ADVANCED_SLIDERS,
    CUSTOM,
    MAIN_SLIDERS,
    MAX_PAGE_STEPS,
    SliderSpec,
    preset_of,
)
from magicstyle_core.ui.examples import Example
from magicstyle_core.ui.layers import LayerChooser

RESULT_HEIGHT = 440
REGIONS = ("Everywhere", "Face", "Background", "Brush")
GRID_NAMES = {
    "Style strength": "strength",
    "Structure": "structure",
    "Colour": "colour",
    "Detail": "detail",
    "Sharpness": "temperature",
    "Start": "start",
    "End": "end",
    "Strength outside": "outside",
    "Inversion steps": "render_steps",
    "Fusion": "fusion",
    "Layers": "layers",
    "Variation": "seed",
}
NO_SECOND = "None"
VALUES_INFO = "A list such as 0, 0.5, 1 or a range such as 0-1 [5]."

HEADER = """<header class="ms-header"><h1>MagicStyle</h1>
<p>Your portrait in the manner of another picture. Nothing is trained; your pictures stay on this server only while
this page is open.</p></header>"""


@dataclass
class Page:
    """Every component that a handler reads or writes."""

    content: gr.Image
    styles: list[gr.Image]
    weights: list[gr.Slider]
    stylize: gr.Button
    stop: gr.Button
    live: gr.Checkbox
    preset: gr.Radio
    controls: dict[str, Component]
    steps: gr.Slider
    steps_note: gr.HTML
    groups: gr.CheckboxGroup
    diagram: gr.HTML
    region: gr.Radio
    brush: gr.ImageEditor
    region_note: gr.HTML
    status: gr.HTML
    result: gr.Image
    before_after: gr.ImageSlider
    round_trip: gr.ImageSlider
    download: gr.DownloadButton
    private: gr.Checkbox
    history: gr.Gallery
    compare_left: gr.Dropdown
    compare_right: gr.Dropdown
    compare: gr.ImageSlider
    examples: gr.Gallery
    settings_file: gr.File
    settings_note: gr.HTML
    grid_names: list[gr.Dropdown]
    grid_values: list[gr.Textbox]
    grid_plan: gr.HTML
    grid_run: gr.Button
    grid_stop: gr.Button
    grid_sheet: gr.Image
    memory_tab: gr.Tab
    memory: gr.HTML
    refresh: gr.Button
    forget: gr.Button
    ticket: gr.Number

    @property
    def job_inputs(self) -> set[Component]:
        """What a render depends on."""
        return {
            self.ticket, self.content, *self.styles, *self.weights, *self.controls.values(),
            self.steps, self.region, self.live, self.private,
        }  # fmt: skip

    @property
    def job_outputs(self) -> list[Component]:
        """What shows a job: its images and every control."""
        return [
            self.content, *self.styles, *self.weights, *self.controls.values(),
            self.steps, self.region, self.preset, self.groups, self.diagram,
        ]  # fmt: skip


def _slider(spec: SliderSpec, value: float) -> gr.Slider:
    return gr.Slider(
        spec.low, spec.high, value, step=spec.step, label=spec.label, info=spec.info, elem_id=f"slider-{spec.name}"
    )


def _photograph(label: str, elem_id: str, height: int) -> gr.Image:
    image = gr.Image(
        label=label, type="filepath", image_mode=None, format="png", sources=["upload", "clipboard"],
        height=height, elem_id=elem_id, buttons=[],
    )  # fmt: skip
    # Gradio would open the file here, and could not say what is wrong with it; `open_image` can.
    image.preprocess = lambda payload: payload.path if payload else None
    return image


def _weight(word: str, number: int) -> gr.Slider:
    return gr.Slider(
        0.1, 3, 1, step=0.1, label=f"Weight of the {word} style", elem_id=f"weight-{number}",
        info="Higher: this style wins more often against the others.",
    )  # fmt: skip


def build_page(chooser: LayerChooser, examples: list[Example], steps: int, defaults: FusionSettings) -> Page:
    """Lays the page out in the current Blocks context. `steps`: inversion steps to start with."""
    parts: dict[str, Any] = {"controls": {}, "ticket": gr.Number(0, visible="hidden", precision=0)}
    gr.HTML(HEADER)
    with gr.Row(elem_id="workbench", equal_height=False):
        with gr.Column(elem_id="left", min_width=300):
            with gr.Column(elem_id="inputs"):
                _inputs(parts)
            with gr.Column(elem_id="controls"):
                _controls(parts, chooser, steps, defaults)
        with gr.Column(elem_id="right", min_width=300):
            with gr.Column(elem_id="output"):
                _output(parts)
            with gr.Column(elem_id="shelf"):
                _shelf(parts)
                with gr.Tabs(elem_id="drawers"):
                    _drawers(parts, examples)
    return Page(**parts)


def _inputs(parts: dict[str, Any]) -> None:
    with gr.Row(elem_classes="ms-pair"):
        parts["content"] = _photograph("Photograph", "content", 210)
        parts["styles"] = [_photograph("Style", "style-1", 210)]
    with gr.Row(elem_classes="ms-actions"):
        parts["stylize"] = gr.Button("Stylize", variant="primary", elem_id="stylize", scale=3, min_width=120)
        parts["stop"] = gr.Button("Stop", elem_id="stop", scale=1, min_width=80)
    parts["live"] = gr.Checkbox(
        True, label="Live", info="On: every change renders again at once. Off: the button does.", elem_id="live"
    )


def _output(parts: dict[str, Any]) -> None:
    parts["status"] = gr.HTML(texts.message("Drop a photograph and a style, then press Stylize."), elem_id="status")
    with gr.Tabs(elem_id="views"):
        with gr.Tab("Result"):
            parts["result"] = gr.Image(
                label="Result", type="filepath", format="png", interactive=False, height=RESULT_HEIGHT,
                elem_id="result", buttons=["fullscreen"],
            )  # fmt: skip
        with gr.Tab("Before / after"):
            parts["before_after"] = _slider_pair("Photograph and result: drag the line", "before-after")
        with gr.Tab("Round trip"):
            parts["round_trip"] = _slider_pair("Photograph, and what the model keeps of it without style", "round-trip")


def _slider_pair(label: str, elem_id: str) -> gr.ImageSlider:
    return gr.ImageSlider(
        label=label, type="filepath", format="png", interactive=False, max_height=RESULT_HEIGHT, elem_id=elem_id,
        buttons=[],
    )  # fmt: skip


def _shelf(parts: dict[str, Any]) -> None:
    with gr.Row(elem_classes="ms-actions"):
        parts["download"] = gr.DownloadButton("Download PNG", elem_id="download", interactive=False)
        parts["private"] = gr.Checkbox(
            False, label="Leave settings out of the PNG", elem_id="private",
            info="On: nobody can read from the file how it was made.",
        )  # fmt: skip
    parts["history"] = _gallery("History: a click brings picture and settings back", "history", visible=False)


def _gallery(label: str, elem_id: str, **options: Any) -> gr.Gallery:
    return gr.Gallery(
        label=label, elem_id=elem_id, elem_classes="ms-gallery", columns=8, height="auto", fit_columns=False,
        allow_preview=False, object_fit="cover", interactive=False, buttons=[], **options,
    )  # fmt: skip


def _controls(parts: dict[str, Any], chooser: LayerChooser, steps: int, defaults: FusionSettings) -> None:
    controls = parts["controls"]
    parts["preset"] = gr.Radio(
        [*PRESETS, CUSTOM], value=preset_of(defaults, chooser), label="Preset", elem_id="preset",
        info="Sets the sliders together; move any of them afterwards.",
    )  # fmt: skip
    for spec in MAIN_SLIDERS:
        controls[spec.name] = _slider(spec, getattr(defaults, spec.name))
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        _advanced(parts, chooser, defaults, steps)
    with gr.Accordion("More styles", open=False, elem_id="more-styles"):
        parts["weights"] = [_weight("first", 1)]
        for number, word in ((2, "second"), (3, "third")):
            parts["styles"].append(_photograph(f"{word.capitalize()} style", f"style-{number}", 150))
            parts["weights"].append(_weight(word, number))
    with gr.Accordion("Where the style goes", open=False, elem_id="regions"):
        _regions(parts, defaults)


def _advanced(parts: dict[str, Any], chooser: LayerChooser, defaults: FusionSettings, steps: int) -> None:
    controls = parts["controls"]
    for spec in ADVANCED_SLIDERS:
        controls[spec.name] = _slider(spec, getattr(defaults, spec.name))
    controls["fusion"] = gr.Radio(
        [("Blend", "blend"), ("Joint", "joint")], value=defaults.fusion, label="Fusion", elem_id="fusion",
        info="Blend: mixes two attentions. Joint: photograph and style compete for every patch.",
    )  # fmt: skip
    parts["steps"] = gr.Slider(
        2, MAX_PAGE_STEPS, steps, step=1, label="Inversion steps", elem_id="slider-steps",
        info="More: finer, slower.",
    )  # fmt: skip
    parts["steps_note"] = gr.HTML(texts.steps_note(steps, []), elem_id="steps-note")
    controls["seed"] = gr.Number(
        0, label="Variation", precision=0, minimum=0, elem_id="variation",
        info="0: the one exact result. Any other number: another draw of it.",
    )  # fmt: skip
    names = chooser.expand(defaults.layers)
    parts["groups"] = gr.CheckboxGroup(
        chooser.group_choices(), value=chooser.full_groups(names), label="Layer groups", elem_id="groups",
        info="Switch the layers that carry one kind of thing together.",
    )  # fmt: skip
    parts["diagram"] = gr.HTML(chooser.diagram(names), elem_id="diagram")
    controls["layers"] = gr.CheckboxGroup(
        chooser.choices(), value=names, label="Layers", elem_id="layers",
        info="Fewer: the style enters in fewer places.",
    )  # fmt: skip


def _regions(parts: dict[str, Any], defaults: FusionSettings) -> None:
    parts["region"] = gr.Radio(
        list(REGIONS), value=REGIONS[0], label="Region", elem_id="region", info="The slider above holds inside of it."
    )
    parts["controls"]["outside"] = gr.Slider(
        0, 1.5, defaults.outside, step=0.05, label="Strength outside", elem_id="slider-outside",
        info="0: the photograph stays as it is outside of the region.",
    )  # fmt: skip
    parts["region_note"] = gr.HTML(elem_id="region-note")
    parts["brush"] = gr.ImageEditor(
        label="Paint where the style should go", type="pil", image_mode="RGBA", format="png", sources=[], transforms=[],
        layers=False, brush=gr.Brush(default_size=30, colors=["#cf5a3b"], color_mode="fixed"), height=380,
        visible=False, elem_id="brush", buttons=[],
    )  # fmt: skip


def _drawers(parts: dict[str, Any], examples: list[Example]) -> None:
    with gr.Tab("Examples"):
        parts["examples"] = _gallery(
            "Examples: a click loads pictures and settings", "examples",
            value=[(str(example.result), example.caption) for example in examples],
        )  # fmt: skip
    with gr.Tab("Parameter grid"):
        names = list(GRID_NAMES)
        with gr.Row():
            x_name = gr.Dropdown(names, value=names[0], label="Across", elem_id="grid-x-name")
            x_values = gr.Textbox("0, 0.5, 1", label="Values across", info=VALUES_INFO, elem_id="grid-x")
            y_name = gr.Dropdown([NO_SECOND, *names], value=NO_SECOND, label="Down", elem_id="grid-y-name")
            y_values = gr.Textbox("0.2, 0.8", label="Values down", info=VALUES_INFO, elem_id="grid-y")
        parts["grid_names"], parts["grid_values"] = [x_name, y_name], [x_values, y_values]
        parts["grid_plan"] = gr.HTML(elem_id="grid-plan")
        with gr.Row(elem_classes="ms-actions"):
            parts["grid_run"] = gr.Button("Fill the grid", variant="primary", elem_id="grid-run")
            parts["grid_stop"] = gr.Button("Stop the grid", elem_id="grid-stop")
        parts["grid_sheet"] = gr.Image(
            label="Contact sheet: a click on a picture loads its settings", type="filepath", format="png",
            interactive=False, elem_id="grid-sheet", buttons=["download", "fullscreen"],
        )  # fmt: skip
    with gr.Tab("Compare two"):
        with gr.Row():
            parts["compare_left"] = gr.Dropdown([], label="Left picture", elem_id="compare-left")
            parts["compare_right"] = gr.Dropdown([], label="Right picture", elem_id="compare-right")
        parts["compare"] = _slider_pair("Two results of this session: drag the line", "compare")
    with gr.Tab("Settings from a PNG"):
        parts["settings_file"] = gr.File(
            label="Drop a PNG made here: its settings come back", file_types=[".png"], height=140,
            elem_id="settings-file",
        )  # fmt: skip
        parts["settings_note"] = gr.HTML(elem_id="settings-note")
    with gr.Tab("Memory and privacy") as parts["memory_tab"]:
        parts["memory"] = gr.HTML(elem_id="memory")
        with gr.Row(elem_classes="ms-actions"):
            parts["refresh"] = gr.Button("Refresh", elem_id="refresh")
            parts["forget"] = gr.Button("Forget my pictures", variant="stop", elem_id="forget")
