"""The result at a larger size: the photograph's sharpness, the result's colours and strokes, the upload's alpha."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from magicstyle_core.__main__ import main
from magicstyle_core.enlarge import LARGEST_SIDE, enlarge, open_larger
from magicstyle_core.errors import SettingsError
from magicstyle_core.images import Picture, open_picture
from magicstyle_core.metadata import read_png

SIZE = 128


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, astronaut: Image.Image) -> Path:
    path = tmp_path_factory.mktemp("photographs") / "astronaut.png"
    astronaut.save(path)
    return path


def pair(file: Path, times: int) -> tuple[Picture, Picture]:
    return open_picture(file, SIZE, 8), open_larger(file, times, SIZE, 8)


def values(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), float)


def edges(image: Image.Image) -> float:
    """How much of the finest detail there is."""
    return float(np.abs(values(image) - values(image.filter(ImageFilter.GaussianBlur(1)))).mean())


def toned(picture: Picture) -> Image.Image:
    """A result that follows the photograph: other colours, the same drawing."""
    pixels = picture.pixels @ np.array([[0.2, 0.5, 0.1], [0.5, 0.2, 0.1], [0.1, 0.2, 0.6]])
    return Image.fromarray(pixels.round().astype(np.uint8))


@pytest.mark.parametrize("times", [2, 4])
def test_no_change_is_the_larger_photograph_and_reduced_again_it_is_the_result(file: Path, times: int) -> None:
    small, large = pair(file, times)
    assert large.image.size == tuple(times * side for side in small.image.size)
    assert np.array_equal(values(enlarge(small.image, small, large)), values(large.image))
    result = toned(small)
    reduced = enlarge(result, small, large).resize(result.size, Image.Resampling.LANCZOS)
    assert np.abs(values(reduced) - values(result)).mean() < 3


def test_edges_are_the_photographs_and_not_blown_up(file: Path) -> None:
    small, large = pair(file, 4)
    truth = toned(large)
    larger, blown_up = enlarge(toned(small), small, large), toned(small).resize(truth.size, Image.Resampling.LANCZOS)
    off, off_blown_up = (np.abs(values(each) - values(truth)).mean() for each in (larger, blown_up))
    assert off < off_blown_up / 3
    assert edges(larger) > 2 * edges(blown_up)


def test_strokes_that_follow_nothing_in_the_photograph_arrive(file: Path) -> None:
    small, large = pair(file, 2)
    strokes, true = (
        (picture.pixels * 0.7 + 70 * (np.arange(picture.pixels.shape[0])[:, None, None] // width % 2)).astype(np.uint8)
        for picture, width in ((small, 4), (large, 8))
    )
    larger = values(enlarge(Image.fromarray(strokes), small, large))
    assert np.abs(larger - true).mean() < np.abs(larger - values(large.image)).mean() / 3


def test_the_alpha_of_the_upload_comes_back_and_a_photograph_lying_on_its_side_is_turned(
    tmp_path: Path, astronaut: Image.Image
) -> None:
    whole = astronaut.crop((0, 0, 512, 384))
    whole.putalpha(Image.linear_gradient("L").resize(whole.size))
    exif = Image.Exif()
    exif[0x0112] = 6
    whole.save(tmp_path / "turned.png", exif=exif)
    small, large = pair(tmp_path / "turned.png", 2)
    larger = enlarge(small.image, small, large)
    assert (small.image.size, larger.size, larger.mode) == ((96, 128), (192, 256), "RGBA")
    assert large.alpha is not None
    assert np.array_equal(np.asarray(larger.getchannel("A")), large.alpha)


def test_too_large_is_said(file: Path) -> None:
    with pytest.raises(SettingsError, match=f"4 times 2048 pixels are asked for, the limit is {LARGEST_SIDE}"):
        open_larger(file, 4, 2048, 8)


def test_the_command_line_makes_it_and_the_png_makes_it_again(
    tmp_path: Path, file: Path, painted: Image.Image, capsys: pytest.CaptureFixture[str]
) -> None:
    painted.save(tmp_path / "style.png")
    command = ["stylize", str(file), str(tmp_path / "style.png"), "--steps", "2", "--size", "64"]
    first, again, lossy = (tmp_path / name for name in ("first.png", "again.png", "out.webp"))
    assert main([*command, "-o", str(first), "--upsample", "2"]) == 0
    assert "size: [128, 128]" in capsys.readouterr().out
    assert read_png(first).upsample == 2
    assert main([*command[:3], "-o", str(again), "--settings", str(first)]) == 0
    assert first.read_bytes() == again.read_bytes()
    assert main([*command, "-o", str(lossy), "--upsample", "4"]) == 0
    with Image.open(lossy) as image:
        assert image.size == (256, 256)
    assert main([*command, "-o", str(first), "--upsample", "3"]) == 1
    assert "error: argument --upsample" in capsys.readouterr().err
