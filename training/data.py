"""The pictures that the embedded model learns from, gathered and packed once.

    python -m training.data --data FOLDER [--paintings FOLDER]

Photographs and paintings come from Debian packages by name, more paintings from a folder of the reader's own; portraits
and styles are drawn by this project. Everything lies under FOLDER, outside the repository. Each kind is one array of
uint8, (pictures, 384, 384, 3), so that a training step only cuts windows out of memory. A kind that exists is kept.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing import Pool
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from scipy import ndimage
from torch import Tensor

from training.natural import photograph
from training.portraits import portrait
from training.styles import FAMILIES, sample_style

Job = TypeVar("Job")

SIZE = 384  # what the model comes with
PORTRAITS, PAINTED = 300, 300  # pictures drawn: half a second and a second each
EXAMPLES = Path(__file__).resolve().parents[1] / "assets" / "examples"

# Debian packages, and where their photographs lie. Their licences stand in the model's card.
PHOTOGRAPHS = {
    "mate-backgrounds": "usr/share/backgrounds/mate/nature/*.jpg",
    "lomiri-wallpapers-16.04": "usr/share/backgrounds/*_by_*.jpg",
    "lomiri-wallpapers-20.04": "usr/share/backgrounds/Kleiber*.jpg",
    "plasma-workspace-wallpapers": "usr/share/wallpapers/*/contents/images/2560x1600.jpg",
}
DRAWN_WALLPAPERS = ("Autumn", "PastelHills")  # of plasma-workspace-wallpapers; the other large ones are photographs
GCOMPRIS = "gcompris-qt-data"
GCOMPRIS_PHOTOGRAPHS = (
    "categorization", "erase", "explore_farm_animals", "explore_monuments", "explore_world_animals",
    "explore_world_music",
)  # fmt: skip
GCOMPRIS_PAINTINGS = (2, 4, 7, 8, 10, 12, 15, 19)  # places among the large pictures of details.rcc (3.1-2)

CONTENTS = {"photographs": 0.7, "portraits": 0.3}  # shares among the content pictures
STYLES = {"painted": 0.6, "paintings": 0.2, "own_styles": 0.2}

# Pictures in the folder of paintings that nothing is trained on: training.evaluate measures on them.
HELD_OUT = ("van_gogh_self_portrait_straw_hat", "monet_water_lilies", "picabia_edtaonisl", "hoitsu_cherry_tree")


def unpack(package: str, folder: Path) -> Path:
    """The files of a Debian package, downloaded and unpacked below `folder` unless they are there."""
    unpacked = folder / "packages" / package
    if not unpacked.exists():
        unpacked.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", package], cwd=unpacked.parent, check=True)
        (archive,) = unpacked.parent.glob(f"{package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, unpacked.with_suffix(".partial")], check=True)
        unpacked.with_suffix(".partial").rename(unpacked)
        archive.unlink()
    return unpacked


def webp_pictures(resource: Path) -> Iterator[Image.Image]:
    """The WebP pictures inside a Qt resource file, in order."""
    data, start = resource.read_bytes(), 0
    while (start := data.find(b"RIFF", start)) >= 0:
        if data[start + 8 : start + 12] == b"WEBP":
            length = int.from_bytes(data[start + 4 : start + 8], "little") + 8
            yield Image.open(io.BytesIO(data[start : start + length]))
        start += 4


def largest_square(opaque: np.ndarray) -> tuple[int, int, int, int]:
    """The largest square (left, upper, right, lower) without a hole in a mask (height, width)."""
    distance = ndimage.distance_transform_cdt(np.pad(opaque, 1), "chessboard")[1:-1, 1:-1]
    row, column = np.unravel_index(distance.argmax(), distance.shape)
    reach = int(distance.max()) - 1
    return int(column) - reach, int(row) - reach, int(column) + reach + 1, int(row) + reach + 1


def windows(image: Image.Image, rng: np.random.Generator, count: int) -> Iterator[np.ndarray]:
    """Square windows of every scale, from all of the short side down to SIZE pixels, as uint8 (SIZE, SIZE, 3)."""
    image = image.convert("RGB")
    short = min(image.size)
    for number in range(count if short >= 1.5 * SIZE else min(count, 2)):
        side = short if number == 0 else round(short * (SIZE / short) ** rng.random()) if short > SIZE else short
        left, upper = (int(rng.integers(0, length - side + 1)) for length in image.size)
        box = (left, upper, left + side, upper + side)
        yield np.asarray(image.resize((SIZE, SIZE), Image.Resampling.LANCZOS, box, reducing_gap=3))


def photographs(folder: Path) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for package, pattern in PHOTOGRAPHS.items():
        for path in sorted(unpack(package, folder).glob(pattern)):
            if not any(name in path.parts for name in DRAWN_WALLPAPERS):
                with Image.open(path) as image:
                    yield from windows(ImageOps.exif_transpose(image), rng, 8)
    for name in GCOMPRIS_PHOTOGRAPHS:
        for picture in webp_pictures(_resource(folder, name)):
            if picture.mode == "RGB" and min(picture.size) >= 200:
                yield from windows(picture, rng, 6)


def paintings(folder: Path, own_folder: Path | None) -> Iterator[np.ndarray]:
    """Paintings in the public domain; jigsaw pieces lend the largest square inside."""
    rng = np.random.default_rng(1)
    for path in sorted(own_folder.glob("*.jpg")) if own_folder else ():
        if path.stem not in HELD_OUT:
            with Image.open(path) as image:
                yield from windows(image, rng, 16)
    large = [
        image for image in webp_pictures(_resource(folder, "details")) if image.mode == "RGB" and min(image.size) >= 200
    ]
    for place in GCOMPRIS_PAINTINGS:
        yield from windows(large[place], rng, 8)
    for piece in webp_pictures(_resource(folder, "paintings")):
        alpha = np.asarray(piece.convert("RGBA"))[..., 3]
        square = piece.crop(largest_square(alpha > 250))
        if square.width >= 100:  # smaller ones are too blurred at SIZE
            yield from windows(square, rng, 1)


def held_out(own_folder: Path | None) -> Iterator[np.ndarray]:
    """The middle of each painting that nothing is trained on."""
    for path in [own_folder / f"{name}.jpg" for name in HELD_OUT] if own_folder else ():
        with Image.open(path) as image:
            yield np.asarray(ImageOps.fit(image.convert("RGB"), (SIZE, SIZE), Image.Resampling.LANCZOS))


def own_styles() -> Iterator[np.ndarray]:
    """Windows of this project's own style pictures."""
    rng = np.random.default_rng(2)
    for path in sorted(EXAMPLES.glob("style_*.webp")):
        with Image.open(path) as image:
            yield from windows(image, rng, 12)


def _portrait(seed: int) -> np.ndarray:
    return photograph(portrait(seed, SIZE), seed)


def _painted(job: tuple[int, np.ndarray]) -> np.ndarray:
    """A photograph painted in a medium with a palette of its own."""
    seed, picture = job
    family = FAMILIES[seed % (len(FAMILIES) - 1)]  # the last one only changes colours
    return sample_style(seed, family)(picture, seed)


def painted(folder: Path) -> Iterator[np.ndarray]:
    plain = np.load(folder / "photographs.npy", mmap_mode="r")
    order = np.random.default_rng(3).permutation(np.resize(np.arange(len(plain)), PAINTED))
    return _drawn(_painted, ((seed, plain[place]) for seed, place in enumerate(order)))


def _drawn(draw: Callable[[Job], np.ndarray], jobs: Iterable[Job]) -> Iterator[np.ndarray]:
    with Pool(2, os.nice, (19,)) as pool:
        yield from pool.imap(draw, jobs, chunksize=8)


def _resource(folder: Path, name: str) -> Path:
    return unpack(GCOMPRIS, folder) / "usr/share/gcompris-qt/rcc" / f"{name}.rcc"


def pack(folder: Path, own_folder: Path | None) -> None:
    """Writes one array for each kind of picture: the quickest kinds first."""
    kinds: dict[str, Callable[[], Iterator[np.ndarray]]] = {
        "photographs": lambda: photographs(folder),
        "paintings": lambda: paintings(folder, own_folder),
        "held_out": lambda: held_out(own_folder),
        "own_styles": own_styles,
        "portraits": lambda: _drawn(_portrait, range(PORTRAITS)),
        "painted": lambda: painted(folder),
    }
    for name, pictures in kinds.items():
        path = folder / f"{name}.npy"
        if not path.exists():
            packed = np.stack(list(pictures()))
            np.save(folder / f"{name}.partial.npy", packed)
            (folder / f"{name}.partial.npy").rename(path)
            print(f"{name}: {len(packed)} pictures", flush=True)


class Pictures:
    """The packed pictures in memory, and random windows of them."""

    def __init__(self, folder: Path) -> None:
        self.kinds = {path.stem: np.load(path) for path in folder.glob("*.npy") if ".partial" not in path.name}

    def draw(self, rng: np.random.Generator, shares: Mapping[str, float], count: int, size: int) -> Tensor:
        """Windows (count, 3, size, size) in [-1, 1], each of a kind drawn by its share.

        Windows are `size` pixels to the whole picture wide, turned and mirrored; a third of the styles change colours.
        """
        names = [name for name in shares if name in self.kinds]
        weights = np.array([shares[name] for name in names])
        drawn = []
        for name in rng.choice(names, count, p=weights / weights.sum()):
            packed = self.kinds[str(name)]
            side = int(rng.integers(size, SIZE + 1))
            row, column = rng.integers(0, SIZE - side + 1, 2)
            window = packed[rng.integers(len(packed)), row : row + side, column : column + side]
            if rng.random() < 0.5:
                window = window[:, ::-1]
            if name not in CONTENTS:
                window = np.rot90(window, int(rng.integers(4)))
                if rng.random() < 1 / 3:
                    window = window[..., rng.permutation(3)]
            pixels = torch.from_numpy(np.ascontiguousarray(window)).permute(2, 0, 1)[None].float()
            drawn.append(F.interpolate(pixels, (size, size), mode="bilinear", antialias=True) / 127.5 - 1)
        return torch.cat(drawn)


def overview(folder: Path) -> Image.Image:
    """Twenty-four pictures of each kind, two rows a kind."""
    rows = []
    for name in ("photographs", "portraits", "painted", "paintings", "own_styles"):
        packed = np.load(folder / f"{name}.npy", mmap_mode="r")
        chosen = packed[np.linspace(0, len(packed) - 1, 24).astype(int), ::2, ::2]  # (24, 128, 128, 3)
        rows += [np.hstack(list(chosen[:12])), np.hstack(list(chosen[12:]))]
    return Image.fromarray(np.vstack(rows))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.data", description="Gathers the training pictures.")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of the packed pictures, outside the repository"
    )
    parser.add_argument("--paintings", type=Path, help="folder of paintings in the public domain, as JPEG")
    arguments = parser.parse_args()
    arguments.data.mkdir(parents=True, exist_ok=True)
    pack(arguments.data, arguments.paintings)
    overview(arguments.data).save(arguments.data / "overview.png")


if __name__ == "__main__":
    main()
