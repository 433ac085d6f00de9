"""What comes in as a photograph: every kind is read right or refused with a message that helps."""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from magicstyle_core.errors import ImageError
from magicstyle_core.images import MAX_PIXELS, open_picture

RED, GREEN, WHITE = (255, 0, 0), (0, 128, 0), (255, 255, 255)


def photo(width: int = 40, height: int = 24) -> Image.Image:
    """A horizontal and a vertical ramp: every turn, flip and swap of channels changes it."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, np.full_like(across, 60)], axis=-1).astype(np.uint8))


def saved(image: Image.Image, kind: str, **options: object) -> io.BytesIO:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    buffer.seek(0)
    return buffer


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def opened(source: str | Path | BinaryIO | Image.Image, long_side: int = 40) -> Image.Image:
    """At its own size, where the long side is 40 pixels."""
    return open_picture(source, long_side, 1).image


def test_path_file_and_picture_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    photo().save(path)
    expected = pixels(photo())
    for source in (path, str(path), io.BytesIO(path.read_bytes()), photo()):
        image = opened(source)
        assert image.mode == "RGB"
        assert np.array_equal(pixels(image), expected)


UPRIGHT = {  # how a picture is stored of which the EXIF orientation says this
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def turned(orientation: int, image: Image.Image) -> tuple[Image.Image, Image.Exif]:
    exif = Image.Exif()
    exif[0x0112] = orientation
    undo = UPRIGHT[orientation]
    return (image if undo is None else image.transpose(undo)), exif


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    stored, exif = turned(orientation, photo())
    assert np.array_equal(pixels(opened(saved(stored, kind, exif=exif))), pixels(photo()))


@pytest.mark.parametrize("kind", ["JPEG", "MPO", "WEBP", "AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", [1, 2, 6, 8])
def test_what_phones_write_is_turned_and_reduced(orientation: int, kind: str) -> None:
    stored, exif = turned(orientation, photo(320, 192))
    image = opened(saved(stored, kind, exif=exif.tobytes(), quality=95))
    assert image.size == (40, 24)
    assert np.abs(pixels(image) - pixels(photo())).mean() < 4


def test_alpha_is_laid_on_white() -> None:
    image = Image.new("RGBA", (40, 40), (*RED, 0))
    image.paste((*RED, 255), (0, 0, 20, 40))
    image.putpixel((0, 0), (*RED, 128))
    result = opened(saved(image, "PNG"))
    assert result.getpixel((39, 0)) == WHITE
    assert result.getpixel((8, 8)) == RED
    assert result.getpixel((0, 0)) == (255, 127, 127)


@pytest.mark.parametrize("mode", ["LA", "RGBa"])
def test_other_alpha_modes_are_laid_on_white(mode: str) -> None:
    transparent = Image.new("RGBA", (40, 40), (0, 0, 0, 0)).convert(mode)
    assert opened(transparent).getpixel((3, 3)) == WHITE


def test_greyscale_becomes_three_equal_channels() -> None:
    grey = photo().convert("L")
    assert np.array_equal(pixels(opened(saved(grey, "JPEG", quality=100))).std(axis=-1), np.zeros((24, 40)))
    assert np.array_equal(pixels(opened(grey))[..., 0], pixels(grey))


def test_black_and_white_is_read() -> None:
    bilevel = photo().convert("1")
    assert np.array_equal(pixels(opened(saved(bilevel, "PNG")))[..., 0], 255 * pixels(bilevel))


def test_cmyk_keeps_its_colours() -> None:
    jpeg = saved(photo().convert("CMYK"), "JPEG", quality=100, subsampling=0)
    assert np.abs(pixels(opened(jpeg)) - pixels(photo())).max() <= 8


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    ramp = np.linspace(0, 65535, 40 * 24).reshape(24, 40).astype(np.uint16)
    image = opened(saved(Image.fromarray(ramp), kind))
    assert np.abs(pixels(image)[..., 0] - ramp / 257).max() <= 0.5


@pytest.mark.parametrize(("white", "kind"), [(1, "F"), (255, "F"), (65535, "F"), (4e6, "F"), (255, "I"), (65535, "I")])
def test_wide_values_are_scaled_to_their_range(white: float, kind: str) -> None:
    ramp = np.linspace(0, white, 40 * 24).reshape(24, 40).astype(np.float32 if kind == "F" else np.int32)
    source = Image.fromarray(ramp)
    assert source.mode == kind
    image = opened(saved(source, "TIFF"))
    assert np.abs(pixels(image)[..., 0] - ramp * (255 / white)).max() <= 0.51


def test_16_bit_colour_png_is_scaled() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = np.full((20, 20, 3), (65535, 32896, 257), dtype=">u2")
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", 20, 20, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    assert opened(io.BytesIO(png)).getpixel((5, 5)) == (255, 128, 1)


def test_not_a_number_in_a_float_picture_is_refused() -> None:
    values = np.full((20, 20), np.nan, dtype=np.float32)
    with pytest.raises(ImageError, match="not numbers"):
        opened(saved(Image.fromarray(values), "TIFF"))


def test_palette_with_and_without_transparency() -> None:
    image = Image.new("P", (40, 40), 0)
    image.putpalette([*RED, *GREEN])
    image.paste(1, (20, 0, 40, 40))
    assert opened(saved(image, "PNG")).getpixel((0, 0)) == RED
    for transparency in (0, bytes([0, 255])):
        result = opened(saved(image, "PNG", transparency=transparency))
        assert result.getpixel((0, 0)) == WHITE
        assert result.getpixel((39, 0)) == GREEN


def test_transparent_colour_of_an_rgb_png() -> None:
    image = Image.new("RGB", (40, 40), RED)
    image.paste(GREEN, (20, 0, 40, 40))
    result = opened(saved(image, "PNG", transparency=RED))
    assert (result.getpixel((0, 0)), result.getpixel((39, 0))) == (WHITE, GREEN)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    frames = [Image.new("RGB", (40, 40), colour) for colour in (RED, GREEN)]
    source = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert opened(source).getpixel((9, 9)) == RED


def test_colour_profile_is_brought_to_srgb() -> None:
    srgb, lab = (ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes() for name in ("sRGB", "LAB"))
    plain = opened(saved(photo(), "PNG", icc_profile=srgb))
    assert np.abs(pixels(plain) - pixels(photo())).max() <= 1
    swapped = srgb.replace(b"rXYZ", b"....").replace(b"gXYZ", b"rXYZ").replace(b"....", b"gXYZ")  # its red is our green
    converted = opened(saved(photo(), "PNG", icc_profile=swapped))
    assert np.abs(pixels(converted) - pixels(photo())[..., [1, 0, 2]]).max() <= 2
    for profile in (b"broken", lab):
        assert np.array_equal(pixels(opened(saved(photo(), "PNG", icc_profile=profile))), pixels(photo()))


def test_the_source_picture_stays_as_it_is() -> None:
    source = photo().convert("RGBA")
    before = source.copy()
    opened(source)
    assert source == before


def test_pixel_limit_is_checked_before_decoding() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    for width, height in ((side, side), (10_000, 9_500), (30_000, 20_000)):  # ours, Pillow's warning, Pillow's error
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
        png += b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))  # no pixels at all: decoding would fail
        with pytest.raises(ImageError, match=rf"{width * height / 1e6:.1f} million pixels, the limit is 64 million"):
            opened(io.BytesIO(png))


@pytest.mark.parametrize(("width", "height"), [(15, 40), (40, 15), (1, 1)])
def test_tiny_pictures_are_refused(width: int, height: int) -> None:
    with pytest.raises(ImageError, match=rf"{width} × {height} pixels; give one of at least 16 × 16"):
        opened(photo(width, height))


def test_absurd_aspect_ratios_are_refused() -> None:
    assert opened(photo(160, 20)).size == (40, 5)
    with pytest.raises(ImageError, match="161 × 20 pixels; crop it to at most 8 times"):
        opened(photo(161, 20))


NO_PICTURES = [
    (b"", "is empty"),
    (b"\x89PNG\r\n\x1a\n", "is not a picture that can be read"),
    (bytes(range(256)), "is not a picture that can be read"),
    (b"hello", "is text, not a picture"),
    ("<!doctype html><title>Grüße</title>".encode(), "is text, not a picture"),
    (b"%PDF-1.7", "is a PDF"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript page"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is an SVG drawing"),
    (b"<?xml version='1.0'?>\n<!-- drawn by hand -->\n<svg/>", "is an SVG drawing"),
    (b"8BPS\0\1", "is a Photoshop document"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "is a JPEG XL"),
    (b"\0\0\0\x18ftypcrx \0\0\0\1", "raw file"),
    (b"II*\0\x10\0\0\0CR\2\0", "raw file"),
    (b"FUJIFILMCCD-RAW 0201", "raw file"),
    (b"\0\0\0\x18ftypmp42\0\0\0\0", "is a video"),
    (b"\0\0\0\x14ftypqt  ", "is a video"),
    (b"RIFF\x10\0\0\0AVI LIST", "is a video"),
    (b"\x1aE\xdf\xa3\x01", "is a video"),
    (b"PK\x03\x04", "is an archive"),
]


@pytest.mark.parametrize(("content", "verdict"), NO_PICTURES)
def test_what_is_no_picture_is_called_by_its_name(tmp_path: Path, content: bytes, verdict: str) -> None:
    path = tmp_path / "fake.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=rf"^The file 'fake\.jpg' .*{verdict}.*[;,] .*\.$"):
        opened(path)


@pytest.mark.parametrize("tags", [{50706: b"\1\4\0\0"}, {254: 1}])
def test_a_raw_file_that_looks_like_a_tiff_is_refused(tags: dict[int, object]) -> None:
    with pytest.raises(ImageError, match="raw file, not yet a picture; export it as JPEG"):
        opened(saved(photo(), "TIFF", tiffinfo=tags))


def test_what_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"'gone\.png' does not exist"):
        opened(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="is a folder"):
        opened(tmp_path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "TIFF", "BMP"])
def test_truncated_files_are_refused(kind: str) -> None:
    data = saved(photo(200, 160), kind).getvalue()
    with pytest.raises(ImageError, match="The file is (damaged or incomplete|not a picture)"):
        opened(io.BytesIO(data[: len(data) // 2]))


@pytest.mark.parametrize("seed", range(40))
def test_damaged_files_give_a_picture_or_an_image_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(
        saved(photo(60, 40), ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "HEIF", "ICO"][seed % 8]).getvalue()
    )
    for _ in range(6):
        data[rng.integers(len(data))] = rng.integers(256)
    with contextlib.suppress(ImageError):  # any other error fails the test
        assert opened(io.BytesIO(bytes(data))).mode == "RGB"


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1000, 500), (512, 256)),
        ((500, 1000), (256, 512)),
        ((100, 100), (512, 512)),
        ((1000, 667), (512, 344)),
        ((4000, 500), (512, 64)),
    ],
)
def test_the_aspect_ratio_is_kept_on_the_grid(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert open_picture(photo(*size), 512, 8).image.size == expected


def test_no_side_goes_below_one_multiple() -> None:
    assert open_picture(photo(160, 20), 128, 64).image.size == (128, 64)


def test_a_fitting_picture_is_left_alone() -> None:
    assert open_picture(photo(64, 48), 64, 8).image == photo(64, 48)


def test_a_picture_is_its_pixels_and_its_alpha() -> None:
    picture = open_picture(photo(), 40, 8)
    again = open_picture(saved(photo(), "PNG"), 40, 8)
    assert picture == again
    assert len({picture, again}) == 1
    assert (picture.pixels.shape, picture.pixels.dtype, picture.alpha) == ((24, 40, 3), np.uint8, None)
    assert not picture.pixels.flags.writeable
    changed, see_through = photo(), photo()
    changed.putpixel((0, 0), (1, 0, 60))
    see_through.putalpha(Image.new("L", (40, 24), 255))
    assert open_picture(see_through, 40, 8) == picture  # opaque after all
    see_through.putpixel((39, 0), (*WHITE, 0))
    others = [open_picture(image, 40, 8) for image in (changed, photo(24, 40), see_through)]
    assert len({picture, *others}) == 4
    assert open_picture(Image.new("RGB", (20, 30)), 24, 8) != open_picture(Image.new("RGB", (30, 20)), 24, 8)


def test_alpha_is_kept_at_the_size_of_the_picture() -> None:
    image = Image.new("RGBA", (400, 400), (0, 0, 0, 0))
    image.paste((*RED, 255), (0, 0, 200, 400))
    picture = open_picture(saved(image, "WEBP", lossless=True), 40, 8)
    assert picture.alpha is not None
    assert (picture.alpha.shape, picture.alpha.dtype) == ((40, 40), np.uint8)
    assert (picture.alpha[5, 5], picture.alpha[5, 35]) == (255, 0)
    edge = picture.pixels[5, 18:22].astype(int)
    assert (edge[:, 0] >= 253).all()  # the black under the transparent half does not show
    assert np.abs(edge[:, 1] - (255 - picture.alpha[5, 18:22].astype(int))).max() <= 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_large_file_looks_as_if_reduced_with_care(kind: str) -> None:
    rng = np.random.default_rng(0)
    grain = Image.fromarray(rng.integers(0, 256, (600, 800, 3), dtype=np.uint8)).resize((1600, 1200))
    buffer = saved(grain, kind, **({"quality": 95} if kind == "JPEG" else {}))
    with Image.open(buffer) as whole:
        careful = pixels(whole.resize((104, 80), Image.Resampling.LANCZOS))
    error = pixels(open_picture(buffer, 104, 8).image) - careful
    assert 10 * np.log10(255**2 / np.square(error).mean()) > 45


MEMORY = """
import resource, sys
from PIL import Image
from magicstyle_core.images import open_picture
open_picture(sys.argv[1], 512, 8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
open_picture(sys.argv[2], 512, 8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def more_memory(small: Path, large: Path) -> float:
    """Million bytes that a process needs for the large file and did not need for the small one."""
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, str(small), str(large)], capture_output=True, text=True, check=True
    )
    return int(run.stdout) / (1e6 if sys.platform == "darwin" else 1e3)  # macOS counts bytes


def test_a_jpeg_of_48_megapixels_takes_the_memory_of_a_small_one(tmp_path: Path) -> None:
    small, large = tmp_path / "small.jpg", tmp_path / "large.jpg"
    photo(900, 675).save(small)
    photo(900, 675).resize((8000, 6000), Image.Resampling.NEAREST).save(large)
    assert more_memory(small, large) < 20  # whole it would be 192


def test_a_16_bit_picture_is_reduced_before_it_is_scaled(tmp_path: Path) -> None:
    small, large = tmp_path / "small.tif", tmp_path / "large.tif"
    for path, side in ((small, 512), (large, 4096)):
        Image.fromarray(np.full((side, side), 40_000, dtype=np.uint16)).save(path)
    assert more_memory(small, large) < 7 * 4096**2 / 1e6  # the file's 2 bytes a pixel and 4 for reducing; not 8 more


def test_pictures_need_no_torch() -> None:
    code = "import sys, magicstyle_core.images, magicstyle_core.regions; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
