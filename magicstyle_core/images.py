"""From any file to the picture that the model takes, once: whatever a photograph can do wrong is settled here."""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin, UnidentifiedImageError

from magicstyle_core.errors import ImageError

# Every present phone and camera but the 100 and 200 megapixel modes: WebP, which needs the most, takes 1 GB for these.
MAX_PIXELS = 64_000_000
MIN_SIDE = 16  # two latents of every model
MAX_ASPECT = 8  # at 512 pixels the short side is then 64, the least that SD's UNet takes

# A file is decoded, and reduced by whole factors, to no less than this many times the size that it ends with. Against
# one careful reduction of the whole picture: 2 gives 45 dB, 3 gives 54 dB (512 pixels out of 4096, sharp photographs).
GAP = 3.0

# What browsers show and phones write. Pillow knows more, some of which start other programs (EPS) or have no signature.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "TIFF", "BMP", "ICO", "JPEG2000", "PPM")
GIVE = "give a JPEG, PNG, WebP, AVIF, HEIC, GIF or TIFF"
Image.init()  # registers Pillow's own; Image.open would otherwise know only the five commonest
pillow_heif.register_heif_opener(thumbnails=False)

RAW = "is a camera's raw file, not yet a picture; export it as JPEG"
# How files begin that people take for pictures, and what to do about each. None of these begins a file of FORMATS.
NO_PICTURES = {
    rb"%PDF|%!PS|\xc5\xd0\xd3\xc6": "is a PDF or PostScript page; export it as PNG",
    rb"\s*(<\?xml.*?\?>\s*|<!--.*?-->\s*|<!DOCTYPE svg.*?>\s*)*<svg": "is an SVG drawing; export it as PNG",
    rb"8BP[SB]": "is a Photoshop document; export it as PNG",
    rb"\xff\x0a|\0\0\0\x0cJXL ": "is a JPEG XL, which is not read yet; save it as JPEG or PNG",
    rb"....ftypcrx |II\*\0....CR|FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\0|FOVb": RAW,
    rb"....(ftyp(?!avi|hei|hev|mif|msf|mia)|moov|mdat)|RIFF....AVI |\x1aE\xdf\xa3|\0\0\x01[\xb3\xba]|OggS|FLV|ID3": (
        "is a video or a sound; give one of its frames as a picture"
    ),
    rb"PK\x03\x04|\x1f\x8b|Rar!|7z\xbc\xaf": "is an archive or a document; give a picture out of it",
}
TEXT = re.compile(rb"[\t\n\r\f\x20-\x7e\x80-\xff]*\Z")
HEAD = 1024  # bytes that these are looked for in; an SVG may begin with comments

# Tags of a TIFF's first picture by which a raw file gives itself away: there is only a thumbnail in it.
DNG_VERSION, SUBFILE_TYPE, REDUCED = 50706, 254, 1


@dataclass(frozen=True)
class Picture:
    """A picture as the model takes it: upright, in sRGB, at the model's size. Equal pictures have equal digests."""

    pixels: NDArray[np.uint8] = field(compare=False, repr=False)  # (height, width, 3); transparent parts are white
    digest: str  # SHA-256 of size, pixels and alpha
    alpha: NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)  # (height, width); None = opaque

    @property
    def image(self) -> Image.Image:
        """The pixels in mode "RGB"."""
        return Image.fromarray(self.pixels)


def with_alpha(image: Image.Image, picture: Picture) -> Image.Image:
    """A result of this picture, as large, transparent where the picture is: mode "RGBA", or as it was."""
    if picture.alpha is None:
        return image
    whole = image.convert("RGB")
    whole.putalpha(Image.fromarray(picture.alpha))
    return whole


def open_picture(source: str | Path | BinaryIO | Image.Image, long_side: int, multiple: int) -> Picture:
    """Any picture as the model takes it.

    Size limits are checked before any pixel is decoded, and a JPEG is decoded at the smallest of its sizes that is
    large enough. The picture is then reduced, turned as its EXIF orientation says, brought to sRGB when it carries a
    profile, and laid on white where it is transparent. 16-bit and floating-point values are scaled to 8 bits; of an
    animation the first frame is taken.

    Args:
        source: a path, an open binary file, or a PIL image, which stays as it is.
        long_side: pixels of the longer side.
        multiple: both sides come out as the nearest multiple of this, and at least one; else the aspect ratio is kept.

    Raises:
        ImageError: there is no such file, it is no picture or broken, or its size cannot be used.
    """
    if isinstance(source, Image.Image):
        with _reported("The picture"):
            return _fitted(source, _size(source, long_side, multiple))
    if isinstance(source, (str, Path)):
        name = f"The file {Path(source).name!r}"
        with _reported(name), open(source, "rb") as file:
            return _read(file, name, long_side, multiple)
    with _reported("The file"):
        return _read(source, "The file", long_side, multiple)


def _read(file: BinaryIO, name: str, long_side: int, multiple: int) -> Picture:
    file.seek(0)
    head = file.read(HEAD)
    if not head:
        raise ImageError(f"{name} is empty; choose another, or save the picture again.")
    for beginning, verdict in NO_PICTURES.items():
        if re.match(beginning, head, re.DOTALL):
            raise ImageError(f"{name} {verdict}.")
    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        kind = "is text, not a picture" if TEXT.match(head) else "is not a picture that can be read"
        raise ImageError(f"{name} {kind}; {GIVE}.") from error
    if isinstance(image, TiffImagePlugin.TiffImageFile) and (
        DNG_VERSION in image.tag_v2 or image.tag_v2.get(SUBFILE_TYPE) == REDUCED
    ):
        raise ImageError(f"{name} {RAW}.")
    width, height = size = _size(image, long_side, multiple)
    image.draft(None, (math.ceil(GAP * width), math.ceil(GAP * height)))  # does something to a JPEG alone
    return _fitted(image, size)


@contextmanager
def _reported(name: str) -> Iterator[None]:
    """Turns whatever opening and decoding raise into an ImageError about `name`."""
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist; check the path.") from error
    except IsADirectoryError as error:
        raise ImageError(f"{name} is a folder; give a picture out of it.") from error
    except PermissionError as error:
        raise ImageError(f"{name} may not be opened; check its permissions.") from error
    except MemoryError as error:
        raise ImageError(f"{name} needs more memory than there is; scale it down.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = re.search(r"\d+", str(error))
        raise _too_large(int(pixels[0]) if pixels else 2 * MAX_PIXELS) from error
    except Exception as error:  # Pillow's decoders raise some ten different kinds on damaged files
        raise ImageError(
            f"{name} is damaged or incomplete ({error}); copy it again, or save it anew as JPEG or PNG."
        ) from error


def _too_large(pixels: int) -> ImageError:
    return ImageError(
        f"The picture has {pixels / 1e6:.1f} million pixels, the limit is {MAX_PIXELS / 1e6:g} million; scale it down."
    )


def _size(image: Image.Image, long_side: int, multiple: int) -> tuple[int, int]:
    """Width and height for the model."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large(width * height)
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"The picture is {width} × {height} pixels; give one of at least {MIN_SIDE} × {MIN_SIDE}.")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(
            f"The picture is {width} × {height} pixels; crop it to at most {MAX_ASPECT} times as long as it is wide."
        )
    scale = long_side / max(width, height)
    width, height = (max(1, int(side * scale / multiple + 0.5)) * multiple for side in (width, height))
    return width, height


def _fitted(image: Image.Image, size: tuple[int, int]) -> Picture:
    """The picture at this size. Whatever its mode lets wait comes after the reduction."""
    profile = image.info.get("icc_profile")
    white = _white(image) if image.mode[0] in "IF" else None
    if image.mode.startswith("I;16"):
        image = image.convert("I")  # the same values, in a mode that can be reduced
    elif image.has_transparency_data:
        image = image.convert("RGBA").convert("RGBa")  # colours times alpha: transparent pixels count for nothing
    elif image.mode not in ("L", "RGB", "CMYK", "I", "F"):
        image = image.convert("RGB")
    image = ImageOps.exif_transpose(image.resize(size, Image.Resampling.LANCZOS, reducing_gap=GAP))
    if white is not None:
        image = _to_8_bit(image, white)
    alpha = None
    if image.mode == "RGBa":
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert("RGB")
    image = _to_srgb(image, profile)
    if alpha is not None:
        image = Image.composite(image, Image.new("RGB", image.size, "white"), alpha)
        if alpha.getextrema()[0] == 255:
            alpha = None
    digest = hashlib.sha256(f"{image.width} {image.height} ".encode())
    digest.update(image.tobytes())
    if alpha is not None:
        digest.update(alpha.tobytes())
    return Picture(np.asarray(image), digest.hexdigest(), None if alpha is None else np.asarray(alpha))  # read-only


def _white(image: Image.Image) -> float:
    """The value of white in a mode of more than 8 bits."""
    if image.mode.startswith("I;16"):
        return 65535.0
    usual = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    top = cast(tuple[float, float], image.getextrema())[1]  # of one channel
    return next((limit for limit in usual if top <= limit), top)  # the smallest usual range that holds the values


def _to_8_bit(image: Image.Image, white: float) -> Image.Image:
    """Mode "I" or "F" as "L", where Pillow's own conversion would clip."""
    values = np.asarray(image, dtype=np.float32)  # (height, width)
    if not np.isfinite(values).all():
        raise ImageError("The picture contains values that are not numbers; save it again with 8 or 16 bits a channel.")
    return Image.fromarray(np.rint(values.clip(0, white) * (255 / white)).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Mode "RGB" in sRGB; without a profile, or with one that cannot be right, the values as they are."""
    if profile:
        try:
            converted = ImageCms.profileToProfile(
                image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError):
            pass  # broken, or of another colour model
        else:
            assert converted is not None  # None only when converting in place
            return converted
    return image.convert("RGB")


def side_by_side(images: Sequence[Image.Image]) -> Image.Image:
    """Pictures in one row, on black."""
    row = Image.new("RGB", (sum(image.width for image in images), max(image.height for image in images)))
    left = 0
    for image in images:
        row.paste(image, (left, 0))
        left += image.width
    return row
