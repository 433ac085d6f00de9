"""What the server keeps of the visitor and of everybody, and the button that empties it."""

from __future__ import annotations

from html import escape

import gradio as gr

from magicstyle_core.serving.desk import Desk
from magicstyle_core.ui.texts import label, megabytes
from magicstyle_core.ui.visit import Updates, Visit, note


class Memory:
    """The table, and two buttons."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.table = gr.HTML(elem_id="memory")
        with gr.Row(elem_classes="ms-actions"):
            self.refresh = gr.Button(label("refresh"), elem_id="refresh")
            self.forget = gr.Button(label("forget"), variant="stop", elem_id="forget")

    def updates(self, visit: Visit) -> Updates:
        stats = self.desk.place.stats()
        own = stats["sessions"]
        messages = "; ".join(stats["messages"])
        rows = [
            ("memory_own", megabytes(own.get(visit.visitor.key, 0))),
            ("memory_all", megabytes(sum(own.values()))),
            ("memory_hits", visit.say("memory_hits_value", hits=stats["hits"], misses=stats["misses"])),
            ("memory_calls", str(stats["unet_calls"])),
            ("memory_idle", str(self.desk.idle_calls)),
            (
                "memory_model",
                f"{stats['model']}, {stats['device']}, {stats['dtype']}{'; ' if messages else ''}{messages}",
            ),
        ]
        cells = "".join(
            f'<tr><th scope="row">{visit.html(key)}</th><td>{escape(value)}</td></tr>' for key, value in rows
        )
        minutes = round(self.desk.visitors.grace_seconds / 60)
        return {
            self.table: f'<table class="ms-memory"><caption>{visit.html("memory")}</caption>'
            f"<tbody>{cells}</tbody></table>" + note(visit.say("memory_note", minutes=minutes))
        }
