"""The same actions for programs, over gradio_client or plain HTTP. One client is one visitor."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, get_args

import gradio as gr
from gradio import FileData
from PIL import Image, ImageOps

from magicstyle_core.enlarge import TIMES
from magicstyle_core.errors import ImageError, MagicStyleError, SettingsError
from magicstyle_core.grid import sheet
from magicstyle_core.images import side_by_side
from magicstyle_core.layers import GROUPS
from magicstyle_core.metadata import read_png
from magicstyle_core.regions import face_mask, fit_mask, open_mask
from magicstyle_core.serving.desk import GONE, Desk
from magicstyle_core.serving.jobs import Aim, Job, Pause, Record, Region, Step, Waiting
from magicstyle_core.serving.looking import looking
from magicstyle_core.serving.outputs import download
from magicstyle_core.serving.turns import Run
from magicstyle_core.serving.visitors import Visitor
from magicstyle_core.settings import WAY_DOWN, FusionSettings, InversionSettings, apply_preset
from magicstyle_core.ui.answers import Freed, GridFacts, InvertFacts, LensFacts, RestoredFacts, Stats, StylizeFacts
from magicstyle_core.ui.grid import job_of, make_grid

T = TypeVar("T")


class Api:
    """Endpoints on one desk. Work yields `{"phase", "step", "total"}` while it runs, and its result at the end."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def invert(
        self, request: gr.Request, image: FileData, steps: int | None = None, size: int | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Invert an image ahead of time. Returns its steps and size, and the UNet calls that it took."""
        visitor, inversion = self._visitor(request), InversionSettings(steps=steps, size=size)
        job = Job(self._file(visitor, image, "image"), (), FusionSettings(), inversion)
        run = self.desk.turns.submit(self.desk.make(visitor, job, render=False))
        async for progress in _progress(run):
            yield progress
        picture = self.desk.picture(visitor, job.content, size)
        height, width, _ = picture.pixels.shape
        facts = {"steps": steps or self.desk.place.facts.steps, "width": width, "height": height}
        yield {**facts, "unet_calls": _result(run)}

    async def stylize(
        self,
        request: gr.Request,
        content: FileData,
        style: FileData,
        strength: float | None = None,
        steps: int | None = None,
        preset: str | None = None,
        settings: dict[str, Any] | None = None,
        more_styles: list[FileData] | None = None,
        weights: list[float] | None = None,
        private: bool = False,
        region: Region = "everywhere",
        mask: FileData | None = None,
        size: int | None = None,
        upsample: int = 1,
        style_masks: list[FileData | None] | None = None,
    ) -> AsyncIterator[tuple[FileData | None, dict[str, Any]]]:
        """Render `content` in the manner of `style`, a PNG that carries its settings unless `private`.

        `settings` (fields of FusionSettings by name) go over the model's own preset, a `preset` over both, and
        `strength` over all. `steps`: inversion steps; `size`: long side in pixels; both are the model's own by
        default. `weights`: one above 0 per style.
        `region`: everywhere, face, background or mask; `mask`: a picture, white where the style goes. `upsample`: 1, 2
        or 4 times as large, by what the result changed in the larger photograph. `style_masks`: a picture or null for
        each style, of which only what is white is used.
        """
        if upsample not in TIMES:
            raise SettingsError(f"upsample got {upsample!r}, expected one of {', '.join(map(str, TIMES))}.")
        visitor = self._visitor(request)
        files = [style, *(more_styles or [])]
        job = self._job(
            visitor, content, files, weights, strength, InversionSettings(steps=steps, size=size), preset, settings
        )
        job = self._placed(visitor, job, region, mask, style_masks)
        visitor.is_private = private
        run = self.desk.turns.submit(self.desk.make(visitor, job))
        async for progress in _progress(run):
            yield None, progress
        record = _result(run)
        assert isinstance(record, Record)  # the answer to a complete job
        path = record.path
        if upsample != 1:
            larger = self.desk.turns.submit(download(self.desk, visitor, record, upsample, ".png"))
            async for progress in _progress(larger):
                yield None, progress
            path = _result(larger)
        yield (
            FileData(path=str(path)),
            {
                "inversion_calls": record.inversion_calls,
                "unet_calls": record.calls,
                "seconds": round(record.seconds, 3),
                "settings": record.recipe.settings.model_dump(),
                "status": _status(record),
            },
        )

    async def grid(
        self,
        request: gr.Request,
        content: FileData,
        style: FileData,
        x_name: str,
        x_values: str,
        y_name: str | None = None,
        y_values: str = "",
        steps: int | None = None,
        settings: dict[str, Any] | None = None,
        size: int | None = None,
        style_masks: list[FileData | None] | None = None,
    ) -> AsyncIterator[tuple[FileData | None, dict[str, Any]]]:
        """A labelled contact sheet over one or two settings; values such as `0, 0.5, 1` or `0-1 [5]`.

        The other parameters are those of /stylize.
        """
        visitor = self._visitor(request)
        base = self._job(
            visitor, content, [style], None, None, InversionSettings(steps=steps, size=size), None, settings
        )
        base = self._placed(visitor, base, "everywhere", None, style_masks)
        grid = make_grid(x_name, x_values, y_name, y_values)
        cells, made = grid.cells(base.settings), list[Image.Image | Exception]()
        run = self.desk.turns.submit(
            self.desk.variants(visitor, [job_of(base, cell) for cell in cells], made, draft=False)
        )
        async for progress in _progress(run):
            yield None, progress
        calls = _result(run)
        images = {(cell.row, cell.column): image for cell, image in zip(cells, made, strict=True)}
        path = visitor.new_file("magicstyle-grid.png")
        sheet(grid, images).save(path)
        failed = [list(place) for place, image in images.items() if isinstance(image, Exception)]
        yield FileData(path=str(path)), {"cells": grid.total, "failed": failed, "unet_calls": calls}

    async def lens(
        self,
        request: gr.Request,
        content: FileData,
        style: FileData,
        across: float,
        down: float,
        group: str = GROUPS[-1],
        way_down: float = WAY_DOWN,
        strength: float | None = None,
        steps: int | None = None,
        preset: str | None = None,
        settings: dict[str, Any] | None = None,
        more_styles: list[FileData] | None = None,
        weights: list[float] | None = None,
        region: Region = "everywhere",
        mask: FileData | None = None,
        size: int | None = None,
        style_masks: list[FileData | None] | None = None,
    ) -> AsyncIterator[tuple[FileData | None, dict[str, Any]]]:
        """The style pictures side by side, lit up where a spot of the result looked.

        The spot is `across` and `down`, both from 0 to 1. `group`: the layers that are asked: coarse, middle or fine;
        `way_down`: at which step, from 0 (noise) to 1. The other parameters are those of /stylize; a result that was
        not made before is made first.
        """
        aim = Aim((across, down), group, way_down)
        visitor = self._visitor(request)
        files, inversion = [style, *(more_styles or [])], InversionSettings(steps=steps, size=size)
        job = self._job(visitor, content, files, weights, strength, inversion, preset, settings)
        job = self._placed(visitor, job, region, mask, style_masks)
        run = self.desk.turns.submit(looking(self.desk, visitor, job, aim))
        async for progress in _progress(run):
            yield None, progress
        looked = _result(run)
        path = visitor.new_file("magicstyle-lens.png")
        side_by_side(looked.images).save(path)
        yield FileData(path=str(path)), {"shares": list(looked.shares), "unet_calls": looked.calls}

    def restore(self, request: gr.Request, png: FileData) -> dict[str, Any]:
        """The settings that a PNG made here carries."""
        return read_png(self._file(self._visitor(request), png, "png")).model_dump(mode="json")

    def forget(self, request: gr.Request) -> dict[str, int]:
        """Drop everything of this client. Returns the bytes of features freed."""
        visitor = self._visitor(request)
        freed = self.desk.place.stats()["sessions"].get(visitor.key, 0)
        self.desk.visitors.drop(visitor)
        return {"bytes_freed": freed}

    def stats(self, request: gr.Request) -> dict[str, Any]:
        """Bytes stored for this client and for all, hits, misses, UNet calls since the start."""
        stats = self.desk.place.stats()
        own = stats.pop("sessions")
        mine = own.get(self._visitor(request).key, 0)
        return {**stats, "all_bytes": sum(own.values()), "my_bytes": mine, "idle_calls": self.desk.idle_calls}

    def _visitor(self, request: gr.Request) -> Visitor:
        assert request.session_hash is not None  # Gradio gives one to every client
        return self.desk.visitors.get(request.session_hash)

    def _file(self, visitor: Visitor, file: Any, name: str) -> str:
        """The path of an uploaded or bundled file. Raises ImageError."""
        path = file.get("path") if isinstance(file, dict) else None
        if not path:
            raise ImageError(
                f"{name} got {str(file)[:80]!r}, expected an uploaded file; send it with gradio_client.handle_file."
            )
        parents = Path(path).resolve().parents
        if self.desk.visitors.folder not in parents and self.desk.bundled not in parents:
            raise ImageError(f"{name} got {str(path)[:80]!r}, which was not uploaded here; send the file itself.")
        if self.desk.bundled not in parents:
            visitor.note_upload(path)
        return str(path)

    def _job(
        self,
        visitor: Visitor,
        content: Any,
        styles: list[Any],
        weights: list[float] | None,
        strength: float | None,
        inversion: InversionSettings,
        preset: str | None,
        settings: dict[str, Any] | None,
    ) -> Job:
        own = apply_preset(self.desk.place.facts.preset, FusionSettings())
        fusion = FusionSettings.from_dict({**dict(own), **(settings or {})})
        if preset is not None:
            fusion = apply_preset(preset, fusion)
        if strength is not None:
            fusion = fusion.replace(strength=float(strength))
        numbers = [1.0] * len(styles) if weights is None else weights
        if len(numbers) != len(styles) or not all(isinstance(n, int | float) and n > 0 for n in numbers):
            raise SettingsError(f"weights got {numbers}, expected {len(styles)} numbers above 0, one for each style.")
        paths = [self._file(visitor, style, "style") for style in styles]
        return Job(self._file(visitor, content, "content"), tuple(zip(paths, numbers, strict=True)), fusion, inversion)

    def _placed(self, visitor: Visitor, job: Job, region: Region, mask: Any, style_masks: Any) -> Job:
        """The job with its masks."""
        if region not in get_args(Region):
            raise SettingsError(f"region got {region!r}, expected one of {', '.join(get_args(Region))}.")
        if (region == "mask") != (mask is not None):
            raise SettingsError("A mask and region='mask' belong together; give both or neither.")
        if style_masks and len(style_masks) != len(job.styles):
            raise SettingsError(f"style_masks got {len(style_masks)}, expected {len(job.styles)}, one for each style.")

        def white_in(file: Any, name: str, path: str) -> Image.Image:
            size = self.desk.picture(visitor, path, job.inversion.size).image.size
            return fit_mask(open_mask(self._file(visitor, file, name)), size)

        files = zip(style_masks or (), job.styles, strict=False)
        job = replace(job, style_masks=tuple(file and white_in(file, "style_masks", path) for file, (path, _) in files))
        if region == "everywhere":
            return job
        if mask is not None:
            return replace(job, region=region, mask=white_in(mask, "mask", job.content))
        found = face_mask(self.desk.picture(visitor, job.content, job.inversion.size).image)
        if found is None:
            raise ImageError("No face was found in the photograph; give a mask, or leave region out.")
        return replace(job, region=region, mask=ImageOps.invert(found) if region == "background" else found)


def connect_api(desk: Desk) -> None:
    """Makes the endpoints, in the current Blocks context."""
    api = Api(desk)
    for work, returns in (
        (api.invert, InvertFacts),
        (api.stylize, tuple[FileData, StylizeFacts]),
        (api.grid, tuple[FileData, GridFacts]),
        (api.lens, tuple[FileData, LensFacts]),
    ):
        gr.api(_typed(work, returns), api_name=work.__name__, concurrency_limit=None)
    for answer, facts in ((api.restore, RestoredFacts), (api.forget, Freed), (api.stats, Stats)):
        gr.api(_typed(answer, facts), api_name=answer.__name__, queue=False)


def _typed(fn: Callable[..., Any], returns: Any) -> Callable[..., Any]:
    """The endpoint with the type of its last answer, and every error as one sentence."""

    @wraps(fn)
    async def working(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        with _Explained():
            async for answer in fn(*args, **kwargs):
                yield answer

    @wraps(fn)
    def once(*args: Any, **kwargs: Any) -> Any:
        with _Explained():
            return fn(*args, **kwargs)

    endpoint = working if inspect.isasyncgenfunction(fn) else once
    endpoint.__signature__ = inspect.signature(fn).replace(return_annotation=returns)  # type: ignore[union-attr]
    return endpoint


class _Explained:
    """Turns errors into what a client gets as a message."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, MagicStyleError):
            raise gr.Error(str(error), print_exception=False) from error
        if isinstance(error, Exception) and not isinstance(error, gr.Error):
            raise gr.Error(f"Something went wrong on the server ({type(error).__name__}).") from error


async def _progress(run: Run[Any]) -> AsyncIterator[dict[str, Any]]:
    async for event in run.events():
        match event:
            case Step():
                yield {"phase": event.phase, "step": event.step, "total": event.total}
            case Waiting():
                yield {"phase": "waiting", "step": event.place, "total": event.place}
            case Pause():
                yield {"phase": event.reason, "step": 0, "total": 0}


def _result(run: Run[T]) -> T:
    try:
        return run.result()
    except asyncio.CancelledError as error:
        raise MagicStyleError(GONE) from error


def _status(record: Record) -> str:
    """What a picture took, such as `inversion reused · 20 UNet calls · 1.4 s`."""
    inversion = f"inverted with {record.inversion_calls} UNet calls" if record.inversion_calls else "inversion reused"
    return f"{inversion} · {record.calls} UNet calls · {record.seconds:.1f} s"
