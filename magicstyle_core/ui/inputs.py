"""Components that hand on what the browser sends as it is: Gradio's own checks come before our code, and say nothing.

They are classes, because Gradio makes a component anew for a session in which its properties change. It also writes a
file `inputs.pyi` beside this one.
"""

from __future__ import annotations

from typing import Any

import gradio as gr


class Slider(gr.Slider):
    """A slider whose number may be anything, also nothing."""

    is_template = True  # the browser draws it as its base class

    def preprocess(self, payload: Any) -> Any:
        return payload


class Radio(gr.Radio):
    """A choice that may be none of the choices."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload


class Photograph(gr.Image):
    """An image by its path; whether it is one, `open_picture` can say better."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload.path if payload else None
