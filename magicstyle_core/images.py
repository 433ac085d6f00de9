"""From a file to pixels to a tensor and back: everything a photograph can do wrong is settled here."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from magicstyle_core.errors import ImageError, ModelError

MAX_PIXELS = 64_000_000
MIN_SIDE = 16
MAX_ASPECT = 8

# Formats of photographs and paintings. Pillow knows more, some of which start other programs (EPS) or draw a page.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "JPEG2000", "PPM", "TGA")
Image.init()  # registers them all; Image.open would otherwise know only the five commonest


def open_image(source: str | Path | BinaryIO | Image.Image) -> Image.Image:
    """The picture as people see it, in 8-bit RGB.

    Size limits are checked before any pixel is decoded. The picture is turned as its EXIF orientation says, its colours
    are brought to sRGB when it carries a profile, transparency is laid on white, 16-bit and floating-point values are
    scaled to 8 bits, and of an animation the first frame is taken.

    Args:
        source: a path, an open binary file, or a PIL image, which stays as it is.

    Raises:
        ImageError: there is no such file, it is no picture or broken, or its size cannot be used.
    """
    if isinstance(source, Image.Image):
        with _reported("The picture"):
            return _to_rgb(source)
    name = f"The file {Path(source).name!r}" if isinstance(source, (str, Path)) else "The file"
    with _reported(name), Image.open(source, formats=FORMATS) as image:
        return _to_rgb(image)


@contextmanager
def _reported(name: str) -> Iterator[None]:
    """Turns whatever opening and decoding raise into an ImageError about `name`."""
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist; check the path.") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not a picture that can be read; give a JPEG, PNG, WebP, AVIF or TIFF.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = re.search(r"\d+", str(error))
        raise _too_large(int(pixels[0]) if pixels else 2 * MAX_PIXELS) from error
    except Exception as error:  # Pillow's decoders raise some ten different kinds on damaged files
        raise ImageError(f"{name} cannot be read ({error}); save the picture again, as JPEG or PNG.") from error


def _too_large(pixels: int) -> ImageError:
    return ImageError(
        f"The picture has {pixels / 1e6:.1f} million pixels, the limit is {MAX_PIXELS / 1e6:g} million; scale it down."
    )


def _to_rgb(image: Image.Image) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large(width * height)
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"The picture is {width} × {height} pixels; give one of at least {MIN_SIDE} × {MIN_SIDE}.")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(
            f"The picture is {width} × {height} pixels; crop it to at most {MAX_ASPECT} times as long as it is wide."
        )
    profile = image.info.get("icc_profile")
    image = _to_8_bit(ImageOps.exif_transpose(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    elif image.mode not in ("L", "CMYK"):
        image = image.convert("RGB")
    if profile:
        try:
            converted = ImageCms.profileToProfile(
                image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile, or one of another colour model: the plain values are the best guess
        else:
            assert converted is not None  # None only when converting in place
            image = converted
    return image.convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Modes with more than 8 bits a channel as "L", where Pillow's own conversion would clip."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image, dtype=np.float64)  # (height, width)
    if not np.isfinite(values).all():
        raise ImageError("The picture contains values that are not numbers; save it again with 8 or 16 bits a channel.")
    if image.mode.startswith("I;16"):
        white = 65535.0
    else:  # neither mode says where white is: the smallest usual range that holds the values
        usual = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        white = next((limit for limit in usual if values.max() <= limit), values.max())
    return Image.fromarray(np.rint(values.clip(0, white) * (255 / white)).astype(np.uint8))


def fit(image: Image.Image, long_side: int, multiple: int) -> Image.Image:
    """The picture at the size the model wants.

    Args:
        long_side: pixels of the longer side.
        multiple: both sides come out as the nearest multiple of this, and at least one; else the aspect ratio is kept.
    """
    scale = long_side / max(image.size)
    width, height = (max(1, int(side * scale / multiple + 0.5)) * multiple for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def to_tensor(image: Image.Image) -> torch.Tensor:
    """An RGB picture as float32 (1, 3, height, width) in [-1, 1]."""
    pixels = torch.from_numpy(np.array(image, dtype=np.float32))  # (height, width, 3)
    return pixels.permute(2, 0, 1)[None] / 127.5 - 1  # (1, 3, height, width)


def to_image(tensor: torch.Tensor) -> Image.Image:
    """The inverse of `to_tensor`; values outside [-1, 1] are clipped.

    Raises:
        ModelError: the tensor contains NaN or infinity, which would come out as a black picture.
    """
    if not torch.isfinite(tensor).all():
        raise ModelError("The model returned a picture with NaN or infinity in it; try again with dtype fp32.")
    pixels = (tensor[0].float().permute(1, 2, 0) + 1) * 127.5  # (height, width, 3)
    return Image.fromarray(pixels.round().clamp(0, 255).to("cpu", torch.uint8).numpy())


def mask_to_tensor(mask: Image.Image, height: int, width: int) -> torch.Tensor:
    """A mask as float32 (1, 1, height, width) in [0, 1], from its alpha channel if it has one, else its brightness."""
    channel = mask.getchannel("A") if "A" in mask.getbands() else _to_8_bit(mask).convert("L")
    pixels = np.array(channel.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)  # (height, width)
    return torch.from_numpy(pixels)[None, None] / 255  # (1, 1, height, width)


def digest(image: Image.Image) -> str:
    """SHA-256 of size and pixels: equal exactly for equal pictures, whatever file they came from."""
    return hashlib.sha256(f"{image.mode} {image.width} {image.height} ".encode() + image.tobytes()).hexdigest()
