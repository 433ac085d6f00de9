"""What comes in as a photograph: every kind is read right or refused with a message that helps."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from magicstyle_core.errors import ImageError, ModelError
from magicstyle_core.images import MAX_PIXELS, digest, fit, mask_to_tensor, open_image, to_image, to_tensor

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


def test_path_file_and_picture_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    photo().save(path)
    expected = pixels(photo())
    for source in (path, str(path), io.BytesIO(path.read_bytes()), photo()):
        image = open_image(source)
        assert image.mode == "RGB"
        assert np.array_equal(pixels(image), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = photo().transpose(undo[orientation]) if orientation in undo else photo()
    image = open_image(saved(stored, "PNG", exif=exif))
    assert np.array_equal(pixels(image), pixels(photo()))


def test_alpha_is_laid_on_white() -> None:
    image = Image.new("RGBA", (32, 32), (*RED, 0))
    image.paste((*RED, 255), (0, 0, 16, 32))
    image.putpixel((0, 0), (*RED, 128))
    result = open_image(saved(image, "PNG"))
    assert result.getpixel((31, 0)) == WHITE
    assert result.getpixel((8, 8)) == RED
    assert result.getpixel((0, 0)) == (255, 127, 127)


@pytest.mark.parametrize("mode", ["LA", "RGBa"])
def test_other_alpha_modes_are_laid_on_white(mode: str) -> None:
    transparent = Image.new("RGBA", (32, 32), (0, 0, 0, 0)).convert(mode)
    assert open_image(transparent).getpixel((3, 3)) == WHITE


def test_greyscale_becomes_three_equal_channels() -> None:
    grey = photo().convert("L")
    assert np.array_equal(pixels(open_image(saved(grey, "JPEG", quality=100))).std(axis=-1), np.zeros((24, 40)))
    assert np.array_equal(pixels(open_image(grey))[..., 0], pixels(grey))


def test_black_and_white_is_read() -> None:
    bilevel = photo().convert("1")
    assert np.array_equal(pixels(open_image(saved(bilevel, "PNG")))[..., 0], 255 * pixels(bilevel))


def test_cmyk_keeps_its_colours() -> None:
    jpeg = saved(photo().convert("CMYK"), "JPEG", quality=100, subsampling=0)
    assert np.abs(pixels(open_image(jpeg)) - pixels(photo())).max() <= 8


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    ramp = np.linspace(0, 65535, 40 * 24).reshape(24, 40).astype(np.uint16)
    image = open_image(saved(Image.fromarray(ramp), kind))
    assert np.abs(pixels(image)[..., 0] - ramp / 257).max() <= 0.5


@pytest.mark.parametrize(("white", "kind"), [(1, "F"), (255, "F"), (65535, "F"), (4e6, "F"), (255, "I"), (65535, "I")])
def test_wide_values_are_scaled_to_their_range(white: float, kind: str) -> None:
    ramp = np.linspace(0, white, 40 * 24).reshape(24, 40).astype(np.float32 if kind == "F" else np.int32)
    source = Image.fromarray(ramp)
    assert source.mode == kind
    image = open_image(saved(source, "TIFF"))
    assert np.abs(pixels(image)[..., 0] - ramp * (255 / white)).max() <= 0.51


def test_16_bit_colour_png_is_scaled() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = np.full((20, 20, 3), (65535, 32896, 257), dtype=">u2")
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", 20, 20, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    assert open_image(io.BytesIO(png)).getpixel((5, 5)) == (255, 128, 1)


def test_not_a_number_in_a_float_picture_is_refused() -> None:
    values = np.full((20, 20), np.nan, dtype=np.float32)
    with pytest.raises(ImageError, match="not numbers"):
        open_image(saved(Image.fromarray(values), "TIFF"))


def test_palette_with_and_without_transparency() -> None:
    image = Image.new("P", (32, 32), 0)
    image.putpalette([*RED, *GREEN])
    image.paste(1, (16, 0, 32, 32))
    assert open_image(saved(image, "PNG")).getpixel((0, 0)) == RED
    for transparency in (0, bytes([0, 255])):
        result = open_image(saved(image, "PNG", transparency=transparency))
        assert result.getpixel((0, 0)) == WHITE
        assert result.getpixel((31, 0)) == GREEN


def test_transparent_colour_of_an_rgb_png() -> None:
    image = Image.new("RGB", (32, 32), RED)
    image.paste(GREEN, (16, 0, 32, 32))
    result = open_image(saved(image, "PNG", transparency=RED))
    assert (result.getpixel((0, 0)), result.getpixel((31, 0))) == (WHITE, GREEN)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    frames = [Image.new("RGB", (32, 32), colour) for colour in (RED, GREEN)]
    source = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert open_image(source).getpixel((9, 9)) == RED


def test_colour_profile_is_brought_to_srgb() -> None:
    srgb, lab = (ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes() for name in ("sRGB", "LAB"))
    plain = open_image(saved(photo(), "PNG", icc_profile=srgb))
    assert np.abs(pixels(plain) - pixels(photo())).max() <= 1
    swapped = srgb.replace(b"rXYZ", b"....").replace(b"gXYZ", b"rXYZ").replace(b"....", b"gXYZ")  # its red is our green
    converted = open_image(saved(photo(), "PNG", icc_profile=swapped))
    assert np.abs(pixels(converted) - pixels(photo())[..., [1, 0, 2]]).max() <= 2
    for profile in (b"broken", lab):
        assert np.array_equal(pixels(open_image(saved(photo(), "PNG", icc_profile=profile))), pixels(photo()))


def test_the_source_picture_stays_as_it_is() -> None:
    source = photo().convert("RGBA")
    before = source.copy()
    open_image(source)
    assert source == before


def test_pixel_limit_is_checked_before_decoding() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    for width, height in ((side, side), (10_000, 9_500), (30_000, 20_000)):  # ours, Pillow's warning, Pillow's error
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
        png += b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))  # no pixels at all: decoding would fail
        with pytest.raises(ImageError, match=rf"{width * height / 1e6:.1f} million pixels, the limit is 64 million"):
            open_image(io.BytesIO(png))


@pytest.mark.parametrize(("width", "height"), [(15, 40), (40, 15), (1, 1)])
def test_tiny_pictures_are_refused(width: int, height: int) -> None:
    with pytest.raises(ImageError, match=rf"{width} × {height} pixels; give one of at least 16 × 16"):
        open_image(photo(width, height))


def test_absurd_aspect_ratios_are_refused() -> None:
    assert open_image(photo(160, 20)).size == (160, 20)
    with pytest.raises(ImageError, match="161 × 20 pixels; crop it to at most 8 times"):
        open_image(photo(161, 20))


def test_files_that_are_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"'gone\.png' does not exist"):
        open_image(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="cannot be read"):
        open_image(tmp_path)
    for content in (b"", b"hello", b"%PDF-1.7", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n"):
        path = tmp_path / "fake.jpg"
        path.write_bytes(content)
        with pytest.raises(ImageError, match=r"'fake\.jpg' (is not a picture|cannot be read)"):
            open_image(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_truncated_files_are_refused(kind: str) -> None:
    data = saved(photo(200, 160), kind).getvalue()
    with pytest.raises(ImageError, match="The file"):
        open_image(io.BytesIO(data[: len(data) // 2]))


@pytest.mark.parametrize("seed", range(40))
def test_damaged_files_give_a_picture_or_an_image_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(saved(photo(60, 40), ["JPEG", "PNG", "WEBP", "GIF", "TIFF"][seed % 5]).getvalue())
    for _ in range(6):
        data[rng.integers(len(data))] = rng.integers(256)
    with contextlib.suppress(ImageError):  # any other error fails the test
        assert open_image(io.BytesIO(bytes(data))).mode == "RGB"


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
def test_fit_keeps_the_aspect_ratio_on_the_grid(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fit(photo(*size), 512, 8).size == expected


def test_fit_never_goes_below_one_multiple() -> None:
    assert fit(photo(160, 20), 128, 64).size == (128, 64)


def test_fit_leaves_a_fitting_picture_alone() -> None:
    assert fit(photo(64, 48), 64, 8) == photo(64, 48)


def test_tensor_and_picture_are_an_inverse_pair() -> None:
    image = Image.fromarray(np.arange(16 * 16 * 3, dtype=np.uint16).astype(np.uint8).reshape(16, 16, 3))
    tensor = to_tensor(image)
    assert (tensor.shape, tensor.dtype) == ((1, 3, 16, 16), torch.float32)
    assert (tensor.min(), tensor.max()) == (-1, 1)
    assert to_image(tensor) == image
    assert to_tensor(photo(40, 24)).shape == (1, 3, 24, 40)


def test_to_image_clips_and_refuses_what_is_not_finite() -> None:
    assert to_image(torch.full((1, 3, 16, 16), 9.0)).getpixel((0, 0)) == WHITE
    for value in (float("nan"), float("inf")):
        tensor = torch.zeros(1, 3, 16, 16, dtype=torch.bfloat16)
        tensor[0, 1, 2, 3] = value
        with pytest.raises(ModelError, match="NaN or infinity"):
            to_image(tensor)


def test_mask_from_brightness_or_alpha() -> None:
    brightness = Image.new("L", (40, 20), 0)
    brightness.paste(255, (20, 0, 40, 20))
    alpha = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
    alpha.putalpha(brightness)
    for mask in (brightness, alpha, brightness.convert("1"), brightness.convert("RGB")):
        tensor = mask_to_tensor(mask, 20, 40)
        assert tensor.shape == (1, 1, 20, 40)
        assert torch.equal(tensor[0, 0, 0], torch.tensor([0.0] * 20 + [1.0] * 20))
    small = mask_to_tensor(brightness, 5, 8)
    assert small.shape == (1, 1, 5, 8)
    assert 0 <= small.min() < 0.05 < 0.95 < small.max() <= 1


def test_digest_knows_pixels_and_size_only() -> None:
    assert digest(photo()) == digest(open_image(saved(photo(), "PNG")))
    changed = photo()
    changed.putpixel((0, 0), (1, 0, 60))
    assert len({digest(photo()), digest(changed), digest(photo(24, 40))}) == 3
    assert digest(Image.new("RGB", (20, 30))) != digest(Image.new("RGB", (30, 20)))
