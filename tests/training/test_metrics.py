from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from PIL import Image

from training import metrics


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    return np.asarray(Image.fromarray(skimage.data.astronaut()).resize((128, 128)))


@pytest.fixture(scope="module")
def other() -> np.ndarray:
    return np.asarray(Image.fromarray(skimage.data.coffee()).resize((128, 128)))


def test_a_picture_is_at_no_distance_from_itself(photograph: np.ndarray) -> None:
    assert metrics.style_distance(photograph, photograph) == 0
    assert metrics.texture_distance(photograph, photograph) == 0
    assert metrics.content_distance(photograph, photograph) == pytest.approx(0, abs=1e-5)
    assert metrics.palette_difference(photograph, photograph) == 0
    assert metrics.psnr(photograph, photograph) == float("inf")


def test_texture_ignores_palette_brightness_and_contrast(photograph: np.ndarray, other: np.ndarray) -> None:
    tinted = np.clip(photograph * 0.6 + np.array([60, 20, 0]), 0, 255).astype(np.uint8)
    assert metrics.texture_distance(tinted, photograph) < 0.1 * metrics.texture_distance(other, photograph)
    assert metrics.style_distance(tinted, photograph) > metrics.texture_distance(tinted, photograph)


def test_content_ignores_colour_but_not_place(photograph: np.ndarray) -> None:
    tinted = np.clip(photograph * 0.6 + np.array([60, 20, 0]), 0, 255).astype(np.uint8)
    assert metrics.content_distance(tinted, photograph) < metrics.content_distance(photograph[:, ::-1], photograph)


def test_standardised_pictures_are_grey_and_of_one_contrast(photograph: np.ndarray) -> None:
    grey = metrics.standardised(photograph)
    assert (grey == grey[..., :1]).all()
    assert grey.mean() == pytest.approx(metrics.GREY_MEAN, abs=3)
    assert grey.std() == pytest.approx(metrics.GREY_DEVIATION, abs=5)
    assert metrics.standardised(np.full((32, 32, 3), 7, np.uint8)).std() == 0


def test_psnr_and_palette_of_a_known_error() -> None:
    dark, light = (np.full((32, 32, 3), value, np.uint8) for value in (100, 110))
    assert metrics.psnr(dark, light) == pytest.approx(20 * np.log10(255 / 10))
    assert 2 < metrics.palette_difference(dark, light) < 6
