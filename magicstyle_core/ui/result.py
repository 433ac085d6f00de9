"""The picture with its caption and its download, which are always one record, and the line that says what goes on."""

from __future__ import annotations

import json
from html import escape

import gradio as gr

from magicstyle_core import ASSETS
from magicstyle_core.serving.jobs import Event, Pause, Record, Waiting
from magicstyle_core.serving.visitors import Board
from magicstyle_core.settings import TABLE
from magicstyle_core.ui.texts import label
from magicstyle_core.ui.visit import Updates, Visit, file_url

SCRIPT, SAMPLE = ASSETS / "page.js", ASSETS / "sample.webp"
CAPTIONED = ("structure", "colour")  # beside strength and steps, where they are not as they come


class Result:
    """Status, buttons, picture."""

    def __init__(self) -> None:
        self.status = gr.HTML(elem_id="status")
        self.picture = gr.HTML(elem_id="result", js_on_load=SCRIPT.read_text())
        with gr.Row(elem_classes="ms-actions"):
            self.stylize = gr.Button(label("stylize"), variant="primary", elem_id="stylize", scale=3, min_width=110)
            self.stop = gr.Button(label("stop"), elem_id="stop", scale=1, min_width=80)
            self.live = gr.Checkbox(True, label=label("live"), elem_id="live", container=False, min_width=80)

    @property
    def outputs(self) -> list[gr.HTML]:
        return [self.status, self.picture]

    def updates(self, visit: Visit, board: Board, waiting: Waiting | None = None) -> Updates:
        """The whole of it, as the board has it."""
        return {self.status: status(visit, board, waiting), self.picture: figure(visit, board)}


def progress(visit: Visit, event: Event) -> str:
    """How far something is, or what it waits for, with a bar."""
    if isinstance(event, Waiting | Pause):
        values = {"place": event.place, "seconds": event.seconds} if isinstance(event, Waiting) else {}
        text = visit.html(event.reason if isinstance(event, Pause) else "waiting", **values)
        return f'<p class="ms-message" role="status">{text}</p><progress aria-label="{text}"></progress>'
    phase = visit.say(f"phase_{event.phase}")
    text = visit.html("step", phase=phase, step=event.step, total=event.total, seconds=event.seconds_left)
    return (
        f'<p class="ms-message">{text}</p>'
        f'<progress aria-label="{escape(phase)}" max="{event.total}" value="{event.step}"></progress>'
    )


def status(visit: Visit, board: Board, waiting: Waiting | None) -> str:
    """One sentence, with a bar while there is something to wait for."""
    event = waiting or board.progress
    if event is not None:
        return progress(visit, event)
    key, values = board.message
    if key == "error":
        values = {"text": visit.explain(values["text"])}
    kind = "ms-alert" if key in ("error", "unexpected", "no_photograph", "no_style") else "ms-message"
    role = "alert" if kind == "ms-alert" else "status"
    return f'<p class="{kind}" role="{role}">{visit.html(key, **values)}</p>'


def figure(visit: Visit, board: Board) -> str:
    """The picture, what it is, and its file; before there is one, a sample that says that it is one."""
    record = board.record
    if record is None:
        return (
            f'<figure class="ms-figure" data-full="{visit.html("boxes_full")}"><div class="ms-stage">'
            f'<div class="ms-sample" role="img" style="background-image:url(\'{file_url(SAMPLE)}\')" '
            f'aria-label="{visit.html("sample")}"></div></div>'
            f"<figcaption>{visit.html('sample_caption')}</figcaption></figure>"
        )
    text = caption(visit, record)
    behind = f" <strong>{visit.html('caption_behind')}</strong>" if board.is_behind else ""
    original = visit.visitor.originals.get(record.job.content, "")
    scrub = json.dumps([[strength, file_url(path)] for strength, path in board.scrub])
    return (
        f'<figure class="ms-figure" data-draft="{int(record.is_draft)}" data-scrub="{escape(scrub)}" '
        f'data-full="{visit.html("boxes_full")}" data-preview="{visit.html("caption_preview")}" '
        f'data-strength="{record.job.settings.strength:g}">'
        f'<div class="ms-stage"><img src="{file_url(record.path)}" alt="{visit.html("result_alt", caption=text)}">'
        f'<div class="ms-original" style="background-image:url(\'{file_url(original)}\')"></div></div>'
        f"<figcaption>{escape(text)}.{behind}</figcaption>"
        '<div class="ms-tools">'
        f'<label>{visit.html("before_after")}<input type="range" class="ms-wipe" min="0" max="100" value="0"></label>'
        f'<button type="button" class="ms-auto" aria-pressed="false" aria-label="{visit.html("wipe_auto")}">▶</button>'
        f'<button type="button" class="ms-hold">{visit.html("hold")}</button>'
        f'<button type="button" class="ms-full">{visit.html("enlarge")}</button>'
        f'<a id="download" class="ms-download" href="{file_url(record.path)}" download="{escape(record.path.name)}">'
        f"{visit.html('download')} {visit.html('format_png')}</a>"
        f'<button type="button" class="ms-outputs">{visit.html("outputs_open")}</button></div></figure>'
    )


def caption(visit: Visit, record: Record) -> str:
    """What a picture is: its number, and the settings that tell it from the others."""
    settings = record.job.settings
    parts = [
        visit.say("caption_short", strength=f"{settings.strength:g}", steps=record.job.inversion.steps),
        *(
            f"{visit.say(f'setting.{name}')} {getattr(settings, name):g}"
            for name in CAPTIONED
            if getattr(settings, name) != TABLE[name].default
        ),
    ]
    if record.job.region != "everywhere":
        parts.append(visit.say(record.job.region))
    if record.job.style_masks:
        parts.append(visit.say("style_masked"))
    key = "caption_draft" if record.is_draft else "caption_done"
    return visit.say(key, number=record.number, settings=", ".join(parts))
