"""Where the style goes: everywhere, on faces, on the background, or where a mask is white."""

from __future__ import annotations

from typing import Any, get_args

import gradio as gr
from PIL import Image, ImageChops, ImageFilter, ImageOps

from magicstyle_core.errors import ImageError
from magicstyle_core.images import Picture
from magicstyle_core.regions import brush_mask, face_mask
from magicstyle_core.serving.desk import Desk
from magicstyle_core.serving.jobs import Job, Region
from magicstyle_core.ui.controls import Controls
from magicstyle_core.ui.texts import label
from magicstyle_core.ui.visit import AT_ONCE, Data, Updates, Visit, alert, file_url, note

LINE = (207, 90, 59)  # vermilion, seen on skin and on leaves


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
            brush=gr.Brush(default_size=30, colors=["#cf5a3b"], color_mode="fixed"), height=380, visible=False,
            elem_id="brush", buttons=[],
        )  # fmt: skip
        self.file = gr.File(label=label("mask_file"), height=110, elem_id="mask-file", visible=False)

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
        updates: Updates = {self.region: job.region}
        if job.region == "mask" and job.mask is not None:
            visit.visitor.masks[job.content] = job.mask
        return {**updates, **self.shown(visit, job)}

    def shown(self, visit: Visit, job: Job) -> Updates:
        """What the region means for this photograph, and the tools for it."""
        text = visit.say(f"region_{job.region}")
        if job.content and job.region in ("face", "background") and job.mask is None:
            text = visit.say("no_face")
        picture = note(text)
        if job.mask is not None and job.content:
            path = visit.visitor.new_file("region.webp")
            outlined(self.desk.picture(visit.visitor, job.content, job.inversion.size).image, job.mask).save(path)
            picture += f'<img class="ms-outline" src="{file_url(path)}" alt="{visit.html("region_outline")}">'
        is_mask = job.region == "mask"
        return {
            self.note: picture,
            self.brush: gr.update(visible=is_mask),
            self.file: gr.update(visible=is_mask),
        }

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
        """What is painted or dropped becomes the mask. Returns these events, for a wish to follow."""

        def paint(value: dict[str, Any] | None, path: str | None, request: gr.Request) -> None:
            visit = Visit(self.desk, request)
            painted = brush_mask(value) if value else None
            if path and painted is not None:
                visit.visitor.masks[path] = painted
            elif path:
                visit.visitor.masks.pop(path, None)

        def drop(file: str | None, path: str | None, request: gr.Request) -> Updates:
            visit = Visit(self.desk, request)
            if not file or not path:
                return {self.note: gr.skip()}
            visit.visitor.note_upload(file)
            try:
                picture = self.desk.picture(visit.visitor, path, None)
                mask = self.desk.place.open(file, None).image.convert("L").resize(picture.image.size)
            except ImageError as error:
                return {self.note: alert(str(error)), self.file: None}
            visit.visitor.masks[path] = mask
            return {self.file: None, self.brush: self.canvas(visit, picture, path)}

        return [
            self.brush.input(paint, [self.brush, content], None, trigger_mode="always_last", **AT_ONCE),
            self.file.upload(drop, [self.file, content], [self.note, self.file, self.brush], **AT_ONCE),
        ]

    def _painted(self, visit: Visit, content: str) -> Image.Image | None:
        """The mask of this photograph, or one that a PNG brought before its photograph was there."""
        masks = visit.visitor.masks
        return masks.get(content) or masks.get("")

    def read(self, data: Data) -> Region:
        region: Region = data[self.region] or "everywhere"
        return region

    def greet(self, visit: Visit) -> Updates:
        return {self.region: gr.Radio(choices=[(visit.say(region), region) for region in get_args(Region)])}


def outlined(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture with a line where the mask crosses one half."""
    inside = mask.resize(picture.size).point(lambda value: 255 * (value >= 128))
    edge = ImageChops.subtract(inside.filter(ImageFilter.MaxFilter(5)), inside)
    return Image.composite(Image.new("RGB", picture.size, LINE), picture, edge)
