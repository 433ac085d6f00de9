"""Masks of regions: white where the style goes."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageDraw

from magicstyle_core import regions
from magicstyle_core.errors import ImageError, ModelError
from magicstyle_core.regions import FACE, brush_mask, face_mask, fit_mask, open_mask

EYES_AND_MOUTH = [(203, 115), (245, 112), (228, 155)]  # x, y in the astronaut's picture


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    return Image.fromarray(skimage.data.astronaut())


def test_the_face_and_its_hair_are_covered_and_the_corners_are_not(astronaut: Image.Image) -> None:
    mask = face_mask(astronaut)

    assert mask is not None
    assert (mask.mode, mask.size) == ("L", astronaut.size)
    assert [mask.getpixel(place) for place in EYES_AND_MOUTH] == [255, 255, 255]
    pixels = np.asarray(mask)
    assert pixels[45, 226] > 200  # hair
    assert [mask.getpixel(corner) for corner in [(0, 0), (511, 0), (0, 511), (511, 511)]] == [0, 0, 0, 0]
    assert 0.03 < pixels.mean() / 255 < 0.25


def test_a_face_is_covered_without_what_is_behind_the_head(astronaut: Image.Image) -> None:
    mask = face_mask(astronaut, FACE)

    assert mask is not None
    pixels = np.asarray(mask)
    assert min(pixels[y, x] for x, y in EYES_AND_MOUTH) > 220
    assert max(pixels[y, x] for x, y in [(155, 40), (290, 40), (225, 5)]) < 40  # the wall around the hair


def test_the_edge_is_soft(astronaut: Image.Image) -> None:
    mask = face_mask(astronaut)

    assert mask is not None
    steps = np.abs(np.diff(np.asarray(mask, dtype=np.int16), axis=1))
    assert steps.max() < 32


@pytest.mark.parametrize("name", ["coffee", "rocket"])
def test_without_a_face_there_is_no_mask(name: str) -> None:
    assert face_mask(Image.fromarray(getattr(skimage.data, name)())) is None


def test_a_small_face_is_found_in_a_large_picture(astronaut: Image.Image) -> None:
    scene = Image.new("RGB", (1000, 800), (120, 130, 140))
    scene.paste(astronaut, (450, 250))

    mask = face_mask(scene)

    assert mask is not None
    assert mask.getpixel((450 + 226, 250 + 130)) == 255
    assert mask.getpixel((200, 200)) == 0


def test_a_face_that_fills_the_picture_is_found(astronaut: Image.Image) -> None:
    mask = face_mask(astronaut.crop((170, 60, 285, 190)))

    assert mask is not None
    assert mask.getpixel((57, 65)) == 255


def test_every_face_is_covered(astronaut: Image.Image) -> None:
    pair = Image.new("RGB", (600, 300))
    for x in (0, 300):
        pair.paste(astronaut.crop((76, 0, 376, 300)), (x, 0))

    mask = face_mask(pair)

    assert mask is not None
    assert [mask.getpixel((x, 130)) for x in (150, 450)] == [255, 255]
    assert mask.getpixel((300, 280)) == 0


@pytest.mark.parametrize("side", [128, 256, 768])
def test_the_mask_covers_the_same_at_every_size_of_a_model(astronaut: Image.Image, side: int) -> None:
    mask, small = face_mask(astronaut), face_mask(astronaut.resize((side, side), Image.Resampling.LANCZOS))

    assert mask is not None
    assert small is not None
    assert small.size == (side, side)
    difference = np.asarray(small.resize(mask.size), dtype=float) - np.asarray(mask)
    assert np.abs(difference).mean() < 4


@pytest.mark.parametrize("angle", [-20, 20])
def test_a_head_that_leans_is_found(astronaut: Image.Image, angle: int) -> None:
    mask = face_mask(astronaut.rotate(angle, center=EYES_AND_MOUTH[0], fillcolor="grey"))

    assert mask is not None
    assert mask.getpixel(EYES_AND_MOUTH[0]) == 255


def test_without_the_detector_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch, astronaut: Image.Image) -> None:
    regions._detector.cache_clear()
    monkeypatch.setitem(sys.modules, "dlib", None)  # how Python marks a module that cannot be imported
    with pytest.raises(ModelError, match=r"dlib-bin is missing; install it, or paint where the style goes\.$"):
        face_mask(astronaut)


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_a_picture_of_another_mode_is_searched_too(astronaut: Image.Image, mode: str) -> None:
    assert face_mask(astronaut.convert(mode)) is not None


@pytest.mark.parametrize("size", [(1, 1), (3000, 2)])
def test_a_tiny_or_narrow_picture_is_no_error(size: tuple[int, int]) -> None:
    assert face_mask(Image.new("RGB", size)) is None


def _stroke(box: tuple[int, int, int, int], alpha: int = 255) -> Image.Image:
    layer = Image.new("RGBA", (60, 40))
    ImageDraw.Draw(layer).rectangle(box, fill=(207, 90, 59, alpha))
    return layer


def test_a_brush_mask_is_the_union_of_the_layers() -> None:
    first, second = _stroke((0, 0, 9, 9)), np.asarray(_stroke((5, 5, 19, 19), alpha=100))

    mask = brush_mask({"background": None, "layers": [first, second], "composite": None})

    assert mask is not None
    assert (mask.mode, mask.size) == ("L", (60, 40))
    assert [mask.getpixel(place) for place in [(2, 2), (7, 7), (15, 15), (30, 30)]] == [255, 255, 100, 0]


@pytest.mark.parametrize("layers", [[], [Image.new("RGBA", (60, 40))]])
def test_nothing_painted_is_no_mask(layers: list[Image.Image]) -> None:
    assert brush_mask({"background": Image.new("RGB", (60, 40)), "layers": layers, "composite": None}) is None


def _saved(image: Image.Image) -> io.BytesIO:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer


def test_a_mask_from_a_file_is_its_alpha_or_else_its_brightness() -> None:
    half = Image.new("L", (60, 40))
    half.paste(255, (30, 0, 60, 40))
    cut_out, opaque = Image.new("RGBA", (60, 40), "white"), half.convert("RGBA")
    cut_out.putalpha(half)
    for image in (half, half.convert("1"), half.convert("RGB"), cut_out, opaque):
        mask = fit_mask(open_mask(_saved(image)), (120, 80))
        assert (mask.mode, mask.size) == ("L", (120, 80))
        assert [mask.getpixel((x, 40)) for x in (3, 50, 70, 117)] == [0, 0, 255, 255]


def test_a_mask_of_another_shape_is_refused() -> None:
    assert fit_mask(Image.new("L", (1000, 667)), (512, 320)).size == (512, 320)
    with pytest.raises(ImageError, match="The mask is 667 × 1000, the picture 512 × 344 pixels; give a mask of the"):
        fit_mask(Image.new("L", (667, 1000)), (512, 344))


def test_a_mask_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ImageError, match="is text, not a picture"):
        open_mask(io.BytesIO(b"white"))
