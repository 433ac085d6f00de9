"""The same actions for programs, over gradio_client. One client is one session."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any, TypeVar

import gradio as gr
from gradio import FileData

from magicstyle_core import FusionSettings, MagicStyleError
from magicstyle_core.grid import sheet
from magicstyle_core.metadata import read_png
from magicstyle_core.settings import apply_preset
from magicstyle_core.ui.grids import Images, fill, make_grid
from magicstyle_core.ui.handlers import Studio, explained
from magicstyle_core.ui.job import Job
from magicstyle_core.ui.session import Session
from magicstyle_core.ui.wiring import GRID, MODEL
from magicstyle_core.ui.work import Update

T = TypeVar("T")
S = TypeVar("S")

DEFAULT_STEPS = 20


class Api:
    """Endpoints of one studio. Work yields `{"phase", "step", "total"}` while it runs, and its result at the end."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def invert(self, request: gr.Request, image: FileData, steps: int = DEFAULT_STEPS) -> Iterator[dict[str, Any]]:
        """Invert an image ahead of time. Returns its steps and the UNet calls that it took, 0 when it was stored."""
        session = self.studio.session(request)
        work = self.studio.worker.invert(session, image["path"], steps, "invert")
        worked = yield from _while_wanted(session, work, _progress)
        inversion = worked.inversions[image["path"]]
        height, width = inversion.picture.pixels.shape[:2]
        facts = {"steps": inversion.steps, "width": width, "height": height}
        yield {**facts, "unet_calls": worked.inversion_calls}

    def stylize(
        self,
        request: gr.Request,
        content: FileData,
        style: FileData,
        strength: float | None = None,
        steps: int = DEFAULT_STEPS,
        preset: str | None = None,
        settings: dict[str, Any] | None = None,
        more_styles: list[FileData] | None = None,
        weights: list[float] | None = None,
        private: bool = False,
    ) -> Iterator[tuple[FileData | None, dict[str, Any]]]:
        """Render `content` in the manner of `style`. A preset goes over `settings` (fields of FusionSettings by name),
        and `strength` over both. `weights`: one number per style. `private` leaves the settings out of the PNG."""
        session = self.studio.session(request)
        job = self._job(content, [style, *(more_styles or [])], weights, strength, steps, preset, settings or {})
        work = self.studio.worker.run(session, job, live=False)
        result = yield from _while_wanted(session, work, lambda update: (None, _progress(update)))
        entry = self.studio.shelf.add(session, job, result, private)
        facts = {
            "inversion_calls": result.inversion_calls,
            "unet_calls": result.render_calls,
            "seconds": round(result.seconds, 3),
            "settings": result.settings.model_dump(),
            "status": entry.summary,
        }
        yield FileData(path=str(entry.path)), facts

    def grid(
        self,
        request: gr.Request,
        content: FileData,
        style: FileData,
        x_name: str,
        x_values: str,
        y_name: str | None = None,
        y_values: str = "",
        steps: int = DEFAULT_STEPS,
        settings: dict[str, Any] | None = None,
    ) -> Iterator[tuple[FileData | None, dict[str, Any]]]:
        """A labelled contact sheet over one or two settings; values such as `0, 0.5, 1` or `0-1 [5]`."""
        session = self.studio.session(request)
        base = self._job(content, [style], None, None, steps, None, settings or {})
        grid = make_grid(x_name, x_values, y_name, y_values)
        images: Images = {}
        work = fill(self.studio.worker, session, grid, base, images)
        calls = yield from _while_wanted(session, work, lambda update: (None, _progress(update)))
        path = session.new_file("grid", "png")
        sheet(grid, images).save(path)
        failed = [list(place) for place, image in images.items() if isinstance(image, Exception)]
        yield FileData(path=str(path)), {"cells": grid.total, "failed": failed, "unet_calls": calls}

    def restore(self, png: FileData) -> dict[str, Any]:
        """The settings that a PNG made here carries."""
        return read_png(png["path"]).model_dump()

    def forget(self, request: gr.Request) -> dict[str, int]:
        """Drop everything of this client. Returns the bytes of features freed."""
        return {"bytes_freed": self.studio.drop(request)}

    def stats(self, request: gr.Request) -> dict[str, Any]:
        """Bytes stored for this client and for all, hits, misses, UNet calls since the start."""
        stats = self.studio.engine.stats()
        own = stats.pop("sessions")
        return {**stats, "all_bytes": sum(own.values()), "my_bytes": own.get(self.studio.session(request).key, 0)}

    def _job(
        self,
        content: FileData,
        styles: list[FileData],
        weights: list[float] | None,
        strength: float | None,
        steps: int,
        preset: str | None,
        settings: dict[str, Any],
    ) -> Job:
        fusion = FusionSettings.from_dict(settings)
        if preset is not None:
            fusion = apply_preset(preset, fusion)
        if strength is not None:
            fusion = fusion.replace(strength=strength)
        numbers = weights or [1.0] * len(styles)
        paths = [style["path"] for style in styles]
        return Job(content["path"], tuple(zip(paths, numbers, strict=True)), fusion, steps)


def connect_api(studio: Studio) -> None:
    """Makes the endpoints, in the current Blocks context."""
    api = Api(studio)
    model, grid = ({**place, "api_visibility": "public"} for place in (MODEL, GRID))
    gr.api(explained(api.invert), api_name="invert", **model)
    gr.api(explained(api.stylize), api_name="stylize", **model)
    gr.api(explained(api.grid), api_name="grid", **grid)
    gr.api(explained(api.restore), api_name="restore", queue=False)
    gr.api(explained(api.forget), api_name="forget", queue=False)
    gr.api(explained(api.stats), api_name="stats", queue=False)


def _while_wanted(
    session: Session, work: Generator[Update | None, None, T], shown: Callable[[Update], S]
) -> Generator[S, None, T]:
    """Yields the progress as `shown`, and returns what the work returns; ends early when its client has left."""
    with closing(work):
        while session.is_open:
            try:
                update = next(work)
            except StopIteration as stop:
                if session.is_open:
                    return stop.value
                break
            if update:
                yield shown(update)
    raise MagicStyleError("This client's pictures were forgotten while they were worked on; send them again.")


def _progress(update: Update) -> dict[str, Any]:
    return {"phase": update.phase, "step": update.step, "total": update.total}
