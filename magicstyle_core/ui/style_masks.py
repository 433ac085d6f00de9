"""Which part of each painting may be looked at: painted on it, or white in a file."""

from __future__ import annotations

from typing import Any

import gradio as gr
from PIL import Image

from magicstyle_core.errors import ImageError
from magicstyle_core.regions import LINE, brush_mask, fit_mask, is_alike, open_mask
from magicstyle_core.serving.desk import Desk
from magicstyle_core.serving.jobs import Job
from magicstyle_core.ui.inputs import Radio
from magicstyle_core.ui.texts import label
from magicstyle_core.ui.visit import AT_ONCE, Data, Updates, Visit, alert, note


class StyleMasks:
    """One brush for all style pictures, of which one is chosen.

    Args:
        boxes: the style pictures.
    """

    def __init__(self, desk: Desk, boxes: list[gr.Image]) -> None:
        self.desk, self.boxes = desk, boxes
        numbers = [(str(number), number) for number in range(1, len(boxes) + 1)]
        self.number = Radio(numbers, value=1, label=label("style_mask"), elem_id="style-mask")
        self.note = gr.HTML(elem_id="style-mask-note")
        self.brush = gr.ImageEditor(
            label=label("style_brush"), type="pil", image_mode="RGBA", format="png", sources=[], transforms=[],
            layers=False, brush=gr.Brush(default_size=30, colors=["#cf5a3b"], color_mode="fixed"), height=300,
            elem_id="style-brush", buttons=[],
        )  # fmt: skip
        self.file = gr.File(label=label("style_mask_file"), height=150, elem_id="style-mask-file")

    @property
    def outputs(self) -> list[Any]:
        return [self.note, self.brush]

    def read(self, visit: Visit, styles: list[tuple[str, float]], size: int | None) -> tuple[Image.Image | None, ...]:
        """The mask of each style, as a job has them."""
        masks = tuple(self._mask(visit, path, size) for path, _ in styles)
        return masks if any(mask is not None for mask in masks) else ()

    def take(self, visit: Visit, job: Job) -> None:
        """The masks of a job that goes onto the page."""
        visitor = visit.visitor
        visitor.style_masks.clear()
        for (path, _), mask in zip(job.styles, job.style_masks, strict=False):
            if mask is not None:
                visitor.style_masks[path] = mask
        visitor.style_canvas = None

    def shown(self, visit: Visit, data: Data, size: int | None) -> Updates:
        """The chosen style under the brush, with its mask, when it is another one than before."""
        path = data[self.boxes[(data[self.number] or 1) - 1]] or ""
        if path == visit.visitor.style_canvas:
            return {}
        visit.visitor.style_canvas = path
        return self._canvas(visit, path, size)

    def _canvas(self, visit: Visit, path: str, size: int | None) -> Updates:
        if not path:
            return {self.brush: None, self.note: note(visit.say("style_mask_none"))}
        picture, mask = self.desk.picture(visit.visitor, path, size), self._mask(visit, path, size)
        layers = []
        if mask is not None:
            layers = [Image.new("RGBA", mask.size, (*LINE, 0))]
            layers[0].putalpha(mask)
        value = {"background": picture.image, "layers": layers, "composite": None}
        return {
            self.brush: gr.update(value=value, canvas_size=picture.image.size),
            self.note: note(visit.say("style_mask_hint")),
        }

    def _mask(self, visit: Visit, path: str, size: int | None) -> Image.Image | None:
        """Of a style picture: painted or dropped, or brought by a PNG, which knows the picture's digest alone."""
        masks = visit.visitor.style_masks
        return masks.get(path) or masks.get(self.desk.picture(visit.visitor, path, size).digest)

    def connect(self) -> list[Any]:
        """What is painted or dropped becomes the mask. Returns these events, for a wish to follow."""

        def chosen(data: Data) -> str:
            return data[self.boxes[(data[self.number] or 1) - 1]] or ""

        def paint(data: Data, request: gr.Request) -> Updates:
            visit, path = Visit(self.desk, request), chosen(data)
            painted = brush_mask(data[self.brush]) if data[self.brush] else None
            known = visit.visitor.style_masks.get(path)
            if path and painted is not None and (known is None or not is_alike(known, painted)):
                visit.visitor.keep_style_mask(path, painted)
            return {self.note: gr.skip()}

        def clear(request: gr.Request) -> None:
            visit = Visit(self.desk, request)
            path = visit.visitor.style_canvas
            if path:
                for key in (path, self.desk.picture(visit.visitor, path, None).digest):
                    visit.visitor.style_masks.pop(key, None)

        def drop(data: Data, request: gr.Request) -> Updates:
            visit, path, file = Visit(self.desk, request), chosen(data), data[self.file]
            if not file or not path:
                return {self.file: None, self.note: note(visit.say("style_mask_none"))}
            visit.visitor.note_upload(file)
            try:
                mask = fit_mask(open_mask(file), self.desk.picture(visit.visitor, path, None).image.size)
                if not mask.getbbox():
                    raise ImageError(visit.say("style_mask_empty"))
            except ImageError as error:
                return {self.note: alert(visit.explain(error)), self.file: None}
            visit.visitor.keep_style_mask(path, mask)
            return {self.file: None, **self._canvas(visit, path, None)}

        where = {self.number, *self.boxes}
        return [
            self.brush.clear(clear, None, None, **AT_ONCE),
            self.brush.input(paint, {self.brush, *where}, [self.note], trigger_mode="always_last", **AT_ONCE),
            self.file.upload(drop, {self.file, *where}, [self.file, *self.outputs], **AT_ONCE),
        ]
