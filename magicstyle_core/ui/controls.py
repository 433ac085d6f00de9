"""A control for every setting, made from the settings table, and the way there and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from magicstyle_core.serving.jobs import Job
from magicstyle_core.serving.places import Place
from magicstyle_core.settings import (
    KEPT,
    TABLE,
    FusionSettings,
    Group,
    InversionSettings,
    Setting,
    apply_preset,
    inversion_calls,
    table,
)
from magicstyle_core.ui.diagram import diagram
from magicstyle_core.ui.inputs import Radio, Slider
from magicstyle_core.ui.texts import label
from magicstyle_core.ui.visit import AT_ONCE, Choices, Data, Updates, Visit, alert, note

# Settings that may be empty; the model's own numbers stand in steps and size. They are boxes for text, because the
# browser sends 0 for an empty number box, and 0 is a seed.
EMPTY = ("render_steps", "seed")


class Controls:
    """The controls by the name of their setting. `tab` builds those of one group where they should stand.

    Args:
        steps: of the inversion, to begin with.
    """

    def __init__(self, place: Place, steps: int) -> None:
        self.place = place
        self.steps = steps
        self.defaults = apply_preset(place.facts.preset, FusionSettings())
        self.by_name: dict[str, Component] = {}
        self.note = gr.HTML(elem_id="controls-note", render=False)
        self.cost = gr.HTML(elem_id="steps-note", render=False)
        self.diagram = gr.HTML(elem_id="diagram", render=False)
        groups = list(dict.fromkeys(layer.group for layer in place.facts.layers))
        self.groups = gr.CheckboxGroup(
            [(group, group) for group in groups], value=self._groups(self._values(self.defaults)["layers"]),
            label=label("groups"), info=label("groups_hint"), elem_id="groups", render=False,
        )  # fmt: skip

    def tab(self, group: Group) -> None:
        """The controls of one group, in the current context."""
        values = self._values(self.defaults)
        for setting in table():
            if setting.group == group:
                self.by_name[setting.name] = self._control(setting, values[setting.name])

    @property
    def inputs(self) -> list[Component]:
        return list(self.by_name.values())

    @property
    def outputs(self) -> list[Component]:
        """What shows settings."""
        return [*self.by_name.values(), self.groups, self.diagram]

    def values(self, data: Data, visit: Visit) -> tuple[dict[str, Any], Updates]:
        """Usable values by name, and what was wrong with the others: an empty or impossible one is put right."""
        values, wrong, updates = {}, [], dict[Component, Any]()
        for name, control in self.by_name.items():
            setting, given = TABLE[name], data[control]
            values[name], key = _usable(setting, given, self._values(self.defaults)[name])
            if key:
                wrong.append(
                    visit.say(
                        key, label=visit.say(f"setting.{name}"), given=given, value=values[name],
                        low=setting.low, high=setting.high,
                    )
                )  # fmt: skip
                updates[control] = values[name]
        updates[self.note] = alert(" ".join(wrong))
        return values, updates

    def settings(self, values: Mapping[str, Any]) -> tuple[FusionSettings, InversionSettings]:
        """Settings for usable values. Raises SettingsError for what does not go together, such as start after end."""
        fusion = {name: value for name, value in values.items() if name in FusionSettings.model_fields}
        fusion["layers"] = self.compress(fusion["layers"])
        own = None if values["size"] == self.place.facts.size else values["size"]
        return FusionSettings(**fusion), InversionSettings(steps=values["steps"], size=own)

    def updates(self, settings: FusionSettings, inversion: InversionSettings | None = None) -> Updates:
        """The controls as these settings have them. Raises SettingsError when the model lacks one of the layers."""
        values = self._values(settings, inversion)
        names = set(values) if inversion is not None else set(FusionSettings.model_fields)
        updates: Updates = {control: values[name] for name, control in self.by_name.items() if name in names}
        return {**updates, **self._shown_layers(values["layers"])}

    def changed(self, job: Job) -> dict[str, Any]:
        """The settings of a job that are not as the page begins with, by name."""
        begun, now = self._values(self.defaults), self._values(job.settings, job.inversion)
        given = {**now, **job.settings.model_dump(include=set(EMPTY))}
        return {name: given[name] for name, value in now.items() if value != begun[name]}

    def job_updates(self, job: Job) -> Updates:
        return self.updates(job.settings, job.inversion)

    def preset(self, name: str, values: Mapping[str, Any]) -> Updates:
        """The controls at a preset's numbers, whatever was there."""
        kept = {key: values[key] for key in KEPT}
        return self.updates(apply_preset(name, FusionSettings(**kept)))

    def compress(self, layers: list[str]) -> tuple[str, ...]:
        """The shortest way to say the same in settings."""
        return ("all",) if len(layers) == len(self.place.facts.layers) else tuple(layers)

    def choices(self, visit: Visit) -> Choices:
        """What Gradio does not translate."""
        groups = dict.fromkeys(layer.group for layer in self.place.facts.layers)
        named = {
            self.by_name[setting.name]: [(visit.say(f"choice.{choice}"), choice) for choice in setting.choices]
            for setting in table()
            if setting.kind == "choice"
        }
        return {**named, self.groups: [(visit.say(group), group) for group in groups]}

    def cost_of(self, visit: Visit, job: Job) -> Updates:
        """What changing the steps or the size will cost."""
        stored = [visit.visitor.depths.get(f"{path} {job.inversion.size}", set()) for path in job.images]
        steps = job.inversion.steps or self.place.facts.steps
        missing = [depths for depths in stored if max(depths, default=0) < steps]
        is_new = missing and len(missing) == len(stored)
        calls = len(stored) * inversion_calls(steps, self.place.facts.corrections)
        text = visit.say("cost_new", steps=steps, calls=calls)
        return {self.cost: note(text if is_new else visit.say("cost_none"))}

    def connect(self) -> list[Any]:
        """Layers and their groups set each other. Returns these events, for a wish to follow."""
        layers = self.by_name["layers"]

        def set_layers(names: list[str]) -> Updates:
            return self._shown_layers(names)

        def set_groups(names: list[str], groups: list[str]) -> Updates:
            off = set(self._groups(names)) - set(groups)
            chosen = [
                layer.name
                for layer in self.place.facts.layers
                if layer.group in groups or (layer.name in names and layer.group not in off)
            ]
            return {layers: chosen, **self._shown_layers(chosen)}

        return [
            layers.input(set_layers, layers, [self.groups, self.diagram], **AT_ONCE),
            self.groups.input(set_groups, [layers, self.groups], [layers, self.groups, self.diagram], **AT_ONCE),
        ]

    def _values(self, settings: FusionSettings, inversion: InversionSettings | None = None) -> dict[str, Any]:
        """The controls' values by name."""
        inversion = inversion or InversionSettings()
        facts = self.place.facts
        values = settings.model_dump()
        empty = {name: "" if values[name] is None else str(values[name]) for name in EMPTY}
        return {
            **values,
            **empty,
            "layers": self.place.expand(settings.layers),
            "steps": inversion.steps or self.steps,
            "size": inversion.size or facts.size,
        }

    def _groups(self, names: list[str]) -> list[str]:
        """The groups all of whose layers are among `names`."""
        layers = self.place.facts.layers
        missing = {layer.group for layer in layers if layer.name not in names}
        return [group for group in dict.fromkeys(layer.group for layer in layers) if group not in missing]

    def _shown_layers(self, names: list[str]) -> Updates:
        return {self.groups: self._groups(names), self.diagram: diagram(self.place.facts.layers, names)}

    def _control(self, setting: Setting, value: Any) -> Component:
        what: dict[str, Any] = {
            "label": label(f"setting.{setting.name}"), "info": label(f"hint.{setting.name}"),
            "elem_id": f"slider-{setting.name}",
        }  # fmt: skip
        if setting.kind == "choice":
            return Radio(list(setting.choices), value=value, **what)
        if setting.kind == "layers":
            layers = self.place.facts.layers
            return gr.CheckboxGroup([(layer.label, layer.name) for layer in layers], value=value, **what)
        if setting.name in EMPTY:
            return gr.Textbox(value, max_lines=1, **what)
        return Slider(setting.low, setting.high, value, step=setting.step, **what)


def _usable(setting: Setting, given: Any, default: Any) -> tuple[Any, str]:
    """A value that may be used, and the key of a sentence when it is not the given one."""
    if setting.kind == "layers":
        return list(given or []), ""
    if setting.kind == "choice":
        return (given, "") if given in setting.choices else (default, "empty_value")
    if isinstance(given, str):
        try:
            given = float(given)
        except ValueError:
            given = None
    if given is None or not math.isfinite(given):
        return (None, "") if setting.name in EMPTY else (default, "empty_value")
    assert setting.low is not None  # numbers have both ends
    assert setting.high is not None
    bounded = min(max(given, setting.low), setting.high)
    value = round(bounded) if setting.kind == "whole" else round(float(bounded), 4)
    return value, "" if bounded == given else "bounded_value"
