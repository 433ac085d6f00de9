"""MagicStyle on a web page: `magicstyle serve` serves it, `build_demo(engine)` gives it to tests and other servers."""

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
from magicstyle_core.errors import SettingsError
from magicstyle_core.options import LOADED_WITH, load_engine
from magicstyle_core.serving.cluster import Cluster
from magicstyle_core.serving.desk import Desk
from magicstyle_core.serving.places import Place, place_for
from magicstyle_core.serving.visitors import GRACE_SECONDS, Visitors
from magicstyle_core.serving.warming import warm_up
from magicstyle_core.settings import InversionSettings
from magicstyle_core.ui import texts
from magicstyle_core.ui.api import connect_api
from magicstyle_core.ui.page import Page
from magicstyle_core.ui.theme import theme

if TYPE_CHECKING:
    from magicstyle_core.engine import StyleEngine

# `app_kwargs` of Gradio's `launch` and `mount_gradio_app`: /healthz answers from the first request on.
APP_KWARGS = {"routes": [Route("/healthz", lambda request: JSONResponse({"status": "ok"}))]}
MAX_WAITING = 256  # events in Gradio's queue; the desk keeps the order, and a page takes few


def build_demo(engine: StyleEngine, grace_seconds: float = GRACE_SECONDS) -> gr.Blocks:
    """The whole page on this engine, queue included, not launched yet.

    Args:
        grace_seconds: how long a closed page can be opened again.
    """
    return build_page(place_for(engine), grace_seconds)


def build_page(place: Place, grace_seconds: float) -> gr.Blocks:
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
        Page(desk, place.facts.steps)
    if place.idles:
        desk.turns.submit(warm_up(desk), idle=True)
    demo.i18n_instance = texts.i18n
    return demo.queue(max_size=MAX_WAITING)


def launch(demo: gr.Blocks, port: int | None = None, share: bool = False) -> str:
    """Serves the page without blocking, with /healthz beside it. Returns its address."""
    _, url, _ = demo.launch(
        server_port=port,
        share=share,
        prevent_thread_lock=True,
        theme=theme(),
        css_paths=[ASSETS / "style.css"],
        i18n=texts.i18n,
        footer_links=["api"],
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        max_file_size="30mb",
        app_kwargs=APP_KWARGS,
    )
    return url


def serve(arguments: argparse.Namespace) -> int:
    """Loads the model, or reaches the cluster that has it; serves the page and waits. Raises MagicStyleError."""
    wish = InversionSettings(steps=arguments.steps, size=arguments.size)
    os.environ.setdefault("GRADIO_TEMP_DIR", tempfile.mkdtemp(prefix="magicstyle-"))
    if arguments.ray:
        fewest, most = arguments.replicas[0], arguments.replicas[-1]
        if len(arguments.replicas) > 2 or not 1 <= fewest <= most:
            raise SettingsError(f"--replicas got {arguments.replicas}, expected how many, or the fewest and the most.")
        options = {name: getattr(arguments, name) for name in ("model", "budget", "steps", "size", *LOADED_WITH)}
        demo = build_page(Cluster(arguments.ray, options, (fewest, most)), arguments.grace)
    else:
        engine = load_engine(arguments)
        engine.model.steps, engine.model.size = wish.steps or engine.model.steps, wish.size or engine.model.size
        demo = build_demo(engine, arguments.grace)
    launch(demo, arguments.port, arguments.share)
    demo.block_thread()
    return 0
