"""Where the style goes: everywhere, on faces, on the background, or where a mask is white."""

from __future__ import annotations

from typing import Any, get_args

import gradio as gr
from gradio.components import Component
from PIL import Image, ImageOps

from magicstyle_core.errors import ImageError
from magicstyle_core.images import Picture
from magicstyle_core.regions import LINE, brush_mask, face_mask, fit_mask, is_alike, open_mask, outlined
from magicstyle_core.serving.desk import Desk
from magicstyle_core.serving.jobs import Job, Region
from magicstyle_core.ui.controls import Controls
from magicstyle_core.ui.texts import label
from magicstyle_core.ui.visit import AT_ONCE, Choices, Data, Updates, Visit, alert, file_url, note


class Regions:
    """The choice, the brush, a mask as a file, and the photograph with the region's edge on it."""

    def __init__(self, desk: Desk, controls: Controls) -> None:
        self.desk = desk
        regions = get_args(Region)
        self.region = gr.Radio(
            [(region, region) for region in regions], value=regions[0], label=label("region"), elem_id="region"
        )
        controls.tab("region")
        self.note = gr.HTML(elem_id="region-note")
        self.brush = gr.ImageEditor(
            label=label("brush"), type="pil", image_mode="RGBA", format="png", sources=[], transforms=[], layers=False,
            brush=gr.Brush(default_size=30, colors=["#cf5a3b"], color_mode="fixed"), height=380,
            elem_id="brush", buttons=[],
        )  # fmt: skip
        self.file = gr.File(label=label("mask_file"), height=150, elem_id="mask-file")

    def mask(self, visit: Visit, region: Region, picture: Picture, content: str) -> Image.Image | None:
        """White where the style goes, at the picture's size; None = everywhere."""
        visitor = visit.visitor
        if region == "everywhere":
            return None
        if region == "mask":
            return self._painted(visit, content)
        if content not in visitor.faces:
            visitor.faces[content] = face_mask(picture.image)
        face = visitor.faces[content]
        return ImageOps.invert(face) if face is not None and region == "background" else face

    def updates(self, visit: Visit, job: Job) -> Updates:
        """The region of a job, with its mask on the brush."""
        if job.region == "mask" and job.mask is not None:
            visit.visitor.masks[job.content] = job.mask
        visit.visitor.canvas = ""  # another one
        return {self.region: job.region, **self.shown(visit, job, job.region)}

    def shown(self, visit: Visit, job: Job, region: Region) -> Updates:
        """What the region means for this photograph, with its edge, and the photograph under the brush."""
        visitor, updates = visit.visitor, dict[Component, Any]()
        picture = self.desk.picture(visitor, job.content, job.inversion.size) if job.content else None
        is_missing = picture is not None and job.mask is None and region in ("face", "background")
        updates[self.note] = note(visit.say("no_face" if is_missing else f"region_{region}"))
        if picture is not None and job.mask is not None:
            if visitor.outline is None or visitor.outline[0] != job.mask:
                path = visitor.new_file("region.webp")
                outlined(picture.image, job.mask).save(path)
                visitor.outline = job.mask, str(path)
            source, text = file_url(visitor.outline[1]), visit.html("region_outline")
            updates[self.note] += f'<img class="ms-outline" src="{source}" alt="{text}">'
        if picture is not None and visitor.canvas != job.content:
            visitor.canvas = job.content
            updates[self.brush] = self.canvas(visit, picture, job.content)
        return updates

    def canvas(self, visit: Visit, picture: Picture, content: str) -> Any:
        """The brush over this photograph, with the mask that was painted on it."""
        mask = self._painted(visit, content)
        layers = []
        if mask is not None:
            layer = Image.new("RGBA", mask.size, (*LINE, 0))
            layer.putalpha(mask)
            layers = [layer]
        value = {"background": picture.image, "layers": layers, "composite": None}
        return gr.update(value=value, canvas_size=picture.image.size)

    def connect(self, content: gr.Image) -> list[Any]:
        """What is painted or dropped becomes the mask. Returns these events, for a wish to follow.

        Setting the canvas fires the event of painting too, first with nothing painted.
        """

        def paint(value: dict[str, Any] | None, path: str | None, request: gr.Request) -> Updates:
            visit = Visit(self.desk, request)
            painted = brush_mask(value) if value else None
            known = visit.visitor.masks.get(path or "")
            if path and painted is not None and (known is None or not is_alike(known, painted)):
                visit.visitor.masks[path] = painted
                return {self.region: "mask"}
            return {self.region: gr.skip()}

        def clear(path: str | None, request: gr.Request) -> None:
            Visit(self.desk, request).visitor.masks.pop(path or "", None)

        def drop(file: str | None, path: str | None, request: gr.Request) -> Updates:
            visit = Visit(self.desk, request)
            if not file or not path:
                return {self.note: gr.skip()}
            visit.visitor.note_upload(file)
            try:
                picture = self.desk.picture(visit.visitor, path, None)
                mask = fit_mask(open_mask(file), picture.image.size)
            except ImageError as error:
                return {self.note: alert(visit.explain(error)), self.file: None}
            visit.visitor.masks[path] = mask
            return {self.file: None, self.region: "mask", self.brush: self.canvas(visit, picture, path)}

        return [
            self.brush.clear(clear, content, None, **AT_ONCE),
            self.brush.input(paint, [self.brush, content], [self.region], trigger_mode="always_last", **AT_ONCE),
            self.file.upload(drop, [self.file, content], [self.note, self.file, self.region, self.brush], **AT_ONCE),
        ]

    def _painted(self, visit: Visit, content: str) -> Image.Image | None:
        """The mask of this photograph, or one that a PNG brought before its photograph was there."""
        masks = visit.visitor.masks
        return masks.get(content) or masks.get("")

    def read(self, data: Data) -> Region:
        region: Region = data[self.region] or "everywhere"
        return region

    def choices(self, visit: Visit) -> Choices:
        return {self.region: [(visit.say(region), region) for region in get_args(Region)]}
