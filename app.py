"""MagicStyle on a web page. `python app.py` serves it; `build_demo(engine)` gives it to tests and to other servers."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
from gradio.utils import get_upload_folder
from starlette.responses import JSONResponse
from starlette.routing import Route

from magicstyle_core import ASSETS
from magicstyle_core.errors import MagicStyleError
from magicstyle_core.serving.desk import Desk
from magicstyle_core.serving.places import Place, place_for
from magicstyle_core.serving.visitors import GRACE_SECONDS, Visitors
from magicstyle_core.settings import TABLE, InversionSettings
from magicstyle_core.ui import texts
from magicstyle_core.ui.api import connect_api
from magicstyle_core.ui.page import Page
from magicstyle_core.ui.theme import theme

if TYPE_CHECKING:
    from magicstyle_core.engine import StyleEngine

# `app_kwargs` of Gradio's `launch` and `mount_gradio_app`: /healthz answers from the first request on.
APP_KWARGS = {"routes": [Route("/healthz", lambda request: JSONResponse({"status": "ok"}))]}
MAX_WAITING = 256  # events in Gradio's queue; the desk keeps the order, and a page takes few


def build_demo(engine: StyleEngine, steps: int | None = None, grace_seconds: float = GRACE_SECONDS) -> gr.Blocks:
    """The whole page on this engine, queue included, not launched yet.

    Args:
        steps: of the inversion, to begin with; None = the model's own number.
        grace_seconds: how long a closed page can be opened again.
    """
    return build_page(place_for(engine), steps, grace_seconds)


def build_page(place: Place, steps: int | None, grace_seconds: float) -> gr.Blocks:
    """The page before any place."""
    gr.set_static_paths([ASSETS])
    with gr.Blocks(title="MagicStyle", analytics_enabled=False, fill_width=True) as demo:
        visitors = Visitors(
            Path(get_upload_folder()),
            forget=place.forget,
            uploads=lambda: set().union(*demo.temp_file_sets),
            grace_seconds=grace_seconds,
        )
        desk = Desk(place, visitors, ASSETS / "examples")
        connect_api(desk)  # first: it takes the public names
        Page(desk, steps or place.facts.steps)
    demo.i18n_instance = texts.label
    return demo.queue(max_size=MAX_WAITING)


def launch(demo: gr.Blocks, port: int | None = None, share: bool = False) -> str:
    """Serves the page without blocking, with /healthz beside it. Returns its address."""
    _, url, _ = demo.launch(
        server_port=port,
        share=share,
        prevent_thread_lock=True,
        theme=theme(),
        css_paths=[ASSETS / "style.css"],
        i18n=texts.label,
        footer_links=["api"],
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        max_file_size="30mb",
        app_kwargs=APP_KWARGS,
    )
    return url


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve the MagicStyle page.")
    parser.add_argument(
        "--model", default=os.environ.get("MAGICSTYLE_MODEL", "mini"), help="mini, sd15, a folder or a hub id"
    )
    parser.add_argument("--port", type=int, help="default: the first free one from 7860")
    parser.add_argument("--share", action="store_true", help="also open a public link through Gradio's servers")
    parser.add_argument(
        "--budget",
        type=float,
        default=os.environ.get("MAGICSTYLE_BUDGET"),
        help="most gigabytes of stored features; default: a share of the memory",
    )
    steps = TABLE["steps"]
    parser.add_argument("--steps", type=int, help=f"inversion steps to start with, {steps.low:g} to {steps.high:g}")
    parser.add_argument(
        "--grace", type=float, default=GRACE_SECONDS, help="seconds that a closed page can be opened again"
    )
    arguments = parser.parse_args()
    os.environ.setdefault("GRADIO_TEMP_DIR", tempfile.mkdtemp(prefix="magicstyle-"))
    budget_bytes = None if arguments.budget is None else int(arguments.budget * 1e9)
    from magicstyle_core.engine import StyleEngine  # torch takes seconds; a wrong argument is said before

    try:
        InversionSettings(steps=arguments.steps)
        engine = StyleEngine.load(arguments.model, budget_bytes=budget_bytes)
    except MagicStyleError as error:
        raise SystemExit(str(error)) from error
    demo = build_demo(engine, arguments.steps, arguments.grace)
    launch(demo, arguments.port, arguments.share)
    demo.block_thread()


if __name__ == "__main__":
    main()
