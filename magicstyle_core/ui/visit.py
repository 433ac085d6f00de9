"""What every panel needs: who asks, in which language, and how files and handlers reach the page."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from magicstyle_core.serving.desk import Desk
from magicstyle_core.serving.visitors import Visitor
from magicstyle_core.settings import TABLE
from magicstyle_core.ui import texts
from magicstyle_core.ui.errors import in_language

Data = dict[Component, Any]
Updates = dict[Component, Any]
Choices = dict[Component, list[tuple[str, str]]]  # of a control: what each is called, and its value

# Not queued, so that it answers while the model works. An error raised here would reach nobody (Gradio 6.31 shows no
# toast without a queue), so every such handler puts its sentence into a component.
AT_ONCE: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}

# A click on any element with data-pick inside of an HTML component becomes a click event that carries its value.
PICK = """element.addEventListener('click', event => {
  const picked = event.target.closest('[data-pick]');
  if (picked && !picked.disabled) trigger('click', {pick: picked.dataset.pick});
});"""


class Visit:
    """One request: the visitor and their language."""

    def __init__(self, desk: Desk, request: gr.Request) -> None:
        assert request.session_hash is not None  # Gradio gives one to every browser tab and client
        self.visitor: Visitor = desk.visitors.get(request.session_hash)
        self.language = texts.language(request.headers.get("accept-language"))

    def say(self, key: str, **values: Any) -> str:
        return texts.say(self.language, key, **values)

    def explain(self, error: Exception | str) -> str:
        """What an error of the core says."""
        return in_language(self.language, str(error), {name: self.say(f"setting.{name}") for name in TABLE})

    def html(self, key: str, **values: Any) -> str:
        """A sentence for a piece of HTML."""
        return escape(self.say(key, **values))


def file_url(path: str | Path) -> str:
    """Where the browser gets a file of a visitor, or a bundled one."""
    return f"gradio_api/file={escape(str(path))}"


def note(text: str) -> str:
    """A small sentence beside the thing that it is about; empty, when there is nothing to say."""
    return f'<p class="ms-note">{escape(text)}</p>' if text else ""


def alert(text: str) -> str:
    """What is wrong with the thing above it, read out by screen readers at once."""
    return f'<p class="ms-alert" role="alert">{escape(text)}</p>' if text else ""
