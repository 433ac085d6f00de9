"""Where the style goes: masks from faces, brush strokes and files. White = inside, black = outside."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageStat

from magicstyle_core.errors import ImageError, ModelError
from magicstyle_core.images import open_picture

if TYPE_CHECKING:
    import dlib

# Long sides at which faces are looked for, the first with a face wins. The detector's window is 80 pixels, so the
# first finds faces from a sixth of the picture's long side up, the second from a twelfth.
SEARCH_SIDES = (480, 960)
# Least score of a face. On skimage's astronaut at six sizes and eight drawn portraits, every face scores .34 or more,
# a round patch on the astronaut's suit up to .02.
SCORE = 0.2
MARGIN = 0.1  # of the long side; a face that touches the picture's edge is found only with some room around it


class Oval(NamedTuple):
    """An ellipse around the detector's square (eyebrows to chin), in sides of that."""

    width: float
    height: float
    rise: float  # of its centre above the square's
    feather: float  # standard deviation of the soft edge


HEAD = Oval(1.7, 2.3, 0.2, 0.1)  # with its hair
# From forehead to chin, without the wall behind, which stood around the head as a pale halo; by eye, on the astronaut
# in ten styles. With a feather of .2 the face glows into what is beside it.
FACE = Oval(1.2, 1.6, 0.0, 0.15)

FILE_SIDE = 2048  # pixels of the longer side of a mask from a file: no result is larger
# How far the shapes of a mask and its picture may differ: the model's grid changes a picture's by less (a side of 96
# pixels becomes 64 or 128), a picture lying on its side by more, unless it is almost square.
SHAPE_TOLERANCE = 1.4

LINE = (207, 90, 59)  # vermilion, seen on skin and on leaves
SAME = 1.0  # grey levels; the way through the canvas resamples edges, and one stroke changes 2 or more

_detector_lock = threading.Lock()  # the detector keeps the picture that it works on


@cache
def _detector() -> dlib.fhog_object_detector:
    try:
        import dlib
    except ImportError as error:  # not for every machine
        raise ModelError(
            "Faces cannot be found, because the package dlib-bin is missing; install it, or paint where the style goes."
        ) from error
    return dlib.get_frontal_face_detector()


def face_mask(image: Image.Image, oval: Oval = HEAD) -> Image.Image | None:
    """A soft-edged mask over every face, or None when no face is found.

    Faces are upright ones that look roughly at the viewer, found by dlib's detector (histograms of oriented gradients,
    Dalal and Triggs 2005), whose model is part of the library.

    Args:
        image: of any mode; upright, at the model's size.
        oval: what of a head is covered.

    Returns:
        Mode "L", as large as the image.

    Raises:
        ModelError: the detector is not installed.
    """
    for side in SEARCH_SIDES:
        scale = side / max(image.size)
        width, height = (max(1, round(length * scale)) for length in image.size)
        small = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        margin = round(side * MARGIN)
        pixels = np.pad(np.asarray(small), ((margin, margin), (margin, margin), (0, 0)), mode="edge")
        with _detector_lock:
            faces, *_ = _detector().run(pixels, 0, SCORE)
        if faces:
            break
    else:
        return None
    mask = Image.new("L", small.size)
    for face in faces:
        square = face.width()
        x, y = face.center().x - margin, face.center().y - margin - oval.rise * square
        across, down = oval.width * square / 2, oval.height * square / 2
        head = Image.new("L", small.size)
        ImageDraw.Draw(head).ellipse((x - across, y - down, x + across, y + down), fill=255)
        mask = ImageChops.lighter(mask, head.filter(ImageFilter.GaussianBlur(oval.feather * square)))
    return mask.resize(image.size, Image.Resampling.BILINEAR)


def brush_mask(editor_value: Mapping[str, Any]) -> Image.Image | None:
    """The painted part of a `gr.ImageEditor`'s value, or None when nothing is painted.

    Args:
        editor_value: its "layers" are RGBA pictures of one size, PIL or uint8 (height, width, 4).

    Returns:
        Mode "L", as large as the layers: the greatest alpha of any layer.
    """
    mask = None
    for layer in editor_value["layers"]:
        picture = layer if isinstance(layer, Image.Image) else Image.fromarray(layer)
        alpha = picture.convert("RGBA").getchannel("A")
        mask = alpha if mask is None else ImageChops.lighter(mask, alpha)
    return mask if mask is not None and mask.getbbox() else None


def open_mask(source: str | Path | BinaryIO | Image.Image) -> Image.Image:
    """A mask from any picture: its alpha channel if it is transparent anywhere, else its brightness.

    Returns:
        Mode "L", in the picture's own shape.

    Raises:
        ImageError: the file is no picture that can be read.
    """
    picture = open_picture(source, FILE_SIDE, 1)
    return picture.image.convert("L") if picture.alpha is None else Image.fromarray(picture.alpha)


def fit_mask(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A mask in the size of the picture that it is for.

    Raises:
        ImageError: it has another shape, so it was made for another picture, or for one that lies on its side.
    """
    difference = mask.width * size[1] / (mask.height * size[0])
    if not 1 / SHAPE_TOLERANCE < difference < SHAPE_TOLERANCE:
        raise ImageError(
            f"The mask is {mask.width} × {mask.height}, the picture {size[0]} × {size[1]} pixels; "
            "give a mask of the picture's shape."
        )
    return mask.resize(size, Image.Resampling.BILINEAR)


def is_alike(one: Image.Image, other: Image.Image) -> bool:
    """Whether two masks differ by less than the way through the browser's canvas changes one."""
    difference = ImageChops.difference(one, other.resize(one.size))
    return ImageStat.Stat(difference).mean[0] < SAME


def outlined(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture with a line where the mask crosses one half."""
    inside = mask.resize(picture.size).point(lambda value: 255 * (value >= 128))
    edge = ImageChops.subtract(inside.filter(ImageFilter.MaxFilter(5)), inside)
    return Image.composite(Image.new("RGB", picture.size, LINE), picture, edge)
