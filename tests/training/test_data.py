"""The training pictures: drawn portraits, styles, and what is gathered and packed."""

from __future__ import annotations

import io
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from training.data import CONTENTS, SIZE, STYLES, Pictures, largest_square, webp_pictures, windows
from training.natural import fractal, luminance, photograph
from training.portraits import portrait
from training.styles import FAMILIES, sample_style


@pytest.fixture(scope="module")
def faces() -> list[np.ndarray]:
    return [portrait(seed, 128) for seed in (1, 2)]


def gradients(image: np.ndarray, sigma: float = 2.5) -> np.ndarray:
    """Gradient magnitude of the luminance, coarser than the texture of a style."""
    return ndimage.gaussian_gradient_magnitude(luminance(image.astype(np.float32)), sigma).ravel()


def look(image: np.ndarray) -> np.ndarray:
    """Palette and texture in a few numbers: colour quantiles, and contrast of the luminance in four bands."""
    light = luminance(image.astype(np.float32))
    levels = [light] + [ndimage.gaussian_filter(light, sigma) for sigma in (0.8, 1.6, 3.2)]
    bands = [2 * np.abs(fine - coarse).mean() for fine, coarse in pairwise(levels)]
    colours = image.reshape(-1, 3).astype(np.float32)
    chroma = colours - colours.mean(-1, keepdims=True)
    return np.concatenate([np.quantile(colours, (0.1, 0.5, 0.9), axis=0).ravel() / 4, chroma.mean(0), bands])


def test_a_seed_is_a_picture() -> None:
    first, again, other = portrait(3, 64), portrait(3, 64), portrait(4, 64)
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 5


def test_a_portrait_is_the_same_person_at_every_size() -> None:
    for seed in (1, 8):
        small, large = portrait(seed, 96).astype(np.float32), portrait(seed, 192).astype(np.float32)
        reduced = large.reshape(96, 2, 96, 2, 3).mean((1, 3))
        middle = slice(20, 70)
        assert np.corrcoef(small[middle, middle].ravel(), reduced[middle, middle].ravel())[0, 1] > 0.9


def test_portraits_have_contrast_and_stay_in_range() -> None:
    for seed in range(8):
        image = portrait(seed, 64)
        assert image.std() > 12
        assert 15 < image.mean() < 235


def test_noise_consumes_the_generator_alike_at_every_size() -> None:
    generators = [np.random.default_rng(0), np.random.default_rng(0)]
    fractal(generators[0], 32)
    fractal(generators[1], 64)
    assert generators[0].random() == generators[1].random()


def test_a_photograph_is_the_same_scene(faces: list[np.ndarray]) -> None:
    for seed in range(6):
        shot = photograph(faces[0], seed)
        assert shot.shape == faces[0].shape
        assert shot.dtype == np.uint8
        assert np.array_equal(shot, photograph(faces[0], seed))
        assert (
            np.corrcoef(luminance(shot.astype(float)).ravel(), luminance(faces[0].astype(float)).ravel())[0, 1] > 0.95
        )


def test_every_required_family_exists() -> None:
    required = {"palette", "oil", "watercolour", "ink", "halftone", "stipple", "mosaic", "glass", "woodcut", "pastel"}
    assert required | {"impasto", "pointillism", "poster"} == set(FAMILIES)
    assert {sample_style(seed).family for seed in range(200)} == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_style_is_fixed_by_its_seed(family: str, faces: list[np.ndarray]) -> None:
    style = sample_style(5, family)
    assert style == sample_style(5, family) != sample_style(6, family)
    assert style.family == family
    drawn = style(faces[0], 1)
    assert drawn.shape == faces[0].shape
    assert drawn.dtype == np.uint8
    assert np.array_equal(drawn, style(faces[0], 1))
    assert np.abs(drawn.astype(int) - faces[0]).mean() > 3


@pytest.mark.parametrize("family", FAMILIES)
def test_a_style_keeps_light_and_dark(family: str, faces: list[np.ndarray]) -> None:
    kept = []
    for seed in range(3):
        drawn = sample_style(seed, family)(faces[0], seed)
        light, dark = (ndimage.gaussian_filter(luminance(x.astype(np.float32)), 3) for x in (drawn, faces[0]))
        kept.append(np.corrcoef(light.ravel(), dark.ravel())[0, 1])
    assert np.mean(kept) > 0.6


@pytest.mark.parametrize("family", sorted({*FAMILIES} - {"glass"}))  # the leads of glass are edges of their own
def test_a_style_keeps_the_edges_where_they_are(family: str, faces: list[np.ndarray]) -> None:
    here, moved = [], []
    for seed in range(3):
        drawn = sample_style(seed, family)(faces[0], seed)
        here.append(np.corrcoef(gradients(drawn), gradients(faces[0]))[0, 1])
        moved.append(np.corrcoef(gradients(np.roll(drawn, (4, 4), (0, 1))), gradients(faces[0]))[0, 1])
    assert np.mean(here) > 0.3
    assert np.mean(here) > np.mean(moved) + 0.05


def test_one_style_on_two_portraits_looks_more_alike_than_two_styles(faces: list[np.ndarray]) -> None:
    styles = [sample_style(seed, family) for seed, family in enumerate(FAMILIES)]
    looks = [[look(style(face, number)) for number, face in enumerate(faces)] for style in styles]
    same = np.mean([np.abs(first - second).mean() for first, second in looks])
    different = np.mean([np.abs(a[0] - b[1]).mean() for a, b in combinations(looks, 2)])
    assert same < 0.6 * different


def test_styles_take_pictures_that_are_not_square() -> None:
    image = portrait(2, 96)[:64]
    for family in FAMILIES:
        assert sample_style(1, family)(image, 0).shape == (64, 96, 3)


def test_pictures_inside_a_resource_file_are_found(tmp_path: Path) -> None:
    parts = [b"qres" + bytes(40)]
    for side in (24, 40):
        buffer = io.BytesIO()
        Image.new("RGB", (side, side + 8), (200, 30, 30)).save(buffer, "WEBP")
        parts += [buffer.getvalue(), b"RIFF, but no picture"]
    (tmp_path / "some.rcc").write_bytes(b"".join(parts))
    assert [image.size for image in webp_pictures(tmp_path / "some.rcc")] == [(24, 32), (40, 48)]


def test_the_largest_square_lies_inside_of_the_piece() -> None:
    opaque = np.zeros((40, 60), bool)
    opaque[5:32, 10:50] = True
    opaque[5:9, 10:14] = False
    left, upper, right, lower = largest_square(opaque)
    assert right - left == lower - upper >= 25
    assert opaque[upper:lower, left:right].all()


def test_windows_of_small_pictures_are_fewer() -> None:
    rng = np.random.default_rng(0)
    large, small = (Image.new("RGB", (side, side + 100)) for side in (600, 200))
    assert [window.shape for window in windows(large, rng, 5)] == [(SIZE, SIZE, 3)] * 5
    assert len(list(windows(small, rng, 5))) == 2


def test_windows_are_drawn_by_their_shares(tmp_path: Path) -> None:
    for value, name in enumerate([*CONTENTS, *STYLES]):
        np.save(tmp_path / f"{name}.npy", np.full((2, SIZE, SIZE, 3), value * 40, np.uint8))
    pictures, rng = Pictures(tmp_path), np.random.default_rng(0)
    drawn = pictures.draw(rng, {"photographs": 0.5, "paintings": 0.5, "missing": 9.0}, 40, 64)
    assert drawn.shape == (40, 3, 64, 64)
    levels = ((drawn[:, 0, 0, 0] + 1) * 127.5).round().tolist()
    assert set(levels) == {0, 120}
    assert 10 <= levels.count(0) <= 30
