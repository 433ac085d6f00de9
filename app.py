"""MagicStyle on a web page. `python app.py` serves it; `build_demo(engine)` gives it to tests and to other servers."""

from __future__ import annotations

import argparse
import os

import gradio as gr
from starlette.responses import JSONResponse
from starlette.routing import Route

from magicstyle_core import ASSETS, FusionSettings, MagicStyleError, StyleEngine
from magicstyle_core.settings import apply_preset
from magicstyle_core.ui.api import connect_api
from magicstyle_core.ui.examples import FOLDER, load_examples
from magicstyle_core.ui.gpu import place
from magicstyle_core.ui.handlers import Studio
from magicstyle_core.ui.job import Worker
from magicstyle_core.ui.layers import LayerChooser
from magicstyle_core.ui.layout import build_page
from magicstyle_core.ui.shelf import Shelf
from magicstyle_core.ui.theme import theme
from magicstyle_core.ui.wiring import connect

# `app_kwargs` of Gradio's `launch` and `mount_gradio_app`: /healthz answers from the first request on.
APP_KWARGS = {"routes": [Route("/healthz", lambda request: JSONResponse({"status": "ok"}))]}
CLEAN_UP_SECONDS = 3600  # how often, and from which age on, files of past sessions are deleted


def build_demo(engine: StyleEngine, steps: int | None = None) -> gr.Blocks:
    """The whole page on this engine, queue included, not launched yet. It starts with so many inversion steps."""
    examples = load_examples()
    gr.set_static_paths([FOLDER])
    chooser = LayerChooser(engine)
    with gr.Blocks(
        title="MagicStyle", analytics_enabled=False, delete_cache=(CLEAN_UP_SECONDS, CLEAN_UP_SECONDS), fill_width=True
    ) as demo:
        defaults = apply_preset(engine.model.preset, FusionSettings())
        page = build_page(chooser, examples, steps or engine.model.steps, defaults)
        studio = Studio(engine, page, chooser, Worker(engine, place(engine)), Shelf(engine, page, chooser))
        connect_api(studio)  # first: it takes the public names
        connect(studio, examples)
        demo.unload(studio.leave)
    return demo.queue(max_size=16)


def launch(demo: gr.Blocks, port: int | None = None, share: bool = False) -> str:
    """Serves the page without blocking, with /healthz beside it. Returns its address."""
    _, url, _ = demo.launch(
        server_port=port,
        share=share,
        prevent_thread_lock=True,
        theme=theme(),
        css_paths=[ASSETS / "style.css"],
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
        help="most gigabytes of stored features; default: a share of the free memory",
    )
    parser.add_argument("--steps", type=int, help="inversion steps to start with")
    arguments = parser.parse_args()
    budget_bytes = None if arguments.budget is None else int(arguments.budget * 1e9)
    try:
        engine = StyleEngine.load(arguments.model, budget_bytes=budget_bytes)
    except MagicStyleError as error:
        raise SystemExit(str(error)) from error
    demo = build_demo(engine, arguments.steps)
    launch(demo, arguments.port, arguments.share)
    demo.block_thread()


if __name__ == "__main__":
    main()
