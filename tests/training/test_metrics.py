from __future__ import annotations

import numpy as np
import pytest

from training import metrics


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def grey(value: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_wasserstein_of_a_shift_is_its_mean_projection() -> None:
    samples = np.random.default_rng(1).standard_normal((300, 1))
    assert metrics.sliced_wasserstein(samples, samples + 2.5) == pytest.approx(2.5)


def test_wasserstein_does_not_depend_on_the_number_of_samples() -> None:
    samples = np.random.default_rng(1).standard_normal((400, 3))
    assert metrics.sliced_wasserstein(samples, np.repeat(samples, 3, axis=0)) < 0.02


def test_a_picture_is_at_no_distance_from_itself(noise: np.ndarray) -> None:
    assert metrics.colour_distance(noise, noise) == 0
    assert metrics.texture_distance(noise, noise) == 0
    assert metrics.edge_correlation(noise, noise) == pytest.approx(1)
    assert metrics.ssim(noise, noise) == pytest.approx(1)
    assert metrics.delta_e(noise, noise) == 0
    assert metrics.psnr(noise, noise) == float("inf")


def test_colour_ignores_where_the_pixels_are_and_texture_does_not(noise: np.ndarray) -> None:
    ordered = np.sort(noise.reshape(-1, 3).view("u1,u1,u1"), axis=0).view("u1").reshape(noise.shape)
    assert metrics.colour_distance(noise, ordered) == pytest.approx(0)
    assert metrics.texture_distance(noise, ordered) > 1


def test_texture_ignores_brightness() -> None:
    assert metrics.texture_distance(grey(60), grey(200)) == pytest.approx(0)
    assert metrics.colour_distance(grey(60), grey(200)) > 20


def test_distances_compare_pictures_of_different_sizes(noise: np.ndarray) -> None:
    assert metrics.colour_distance(noise, grey(128, 20, 30)) > 5
    assert metrics.texture_distance(noise, grey(128, 20, 30)) > 5


def test_edges_survive_recolouring_but_not_moving() -> None:
    picture = grey(40)
    picture[10:30, 20:40] = 200
    assert metrics.edge_correlation(picture, 255 - picture) > 0.95
    assert metrics.edge_correlation(picture, np.roll(picture, 15, axis=1)) < 0.6


def test_psnr_and_delta_e_of_a_known_error() -> None:
    assert metrics.psnr(grey(100), grey(110)) == pytest.approx(20 * np.log10(255 / 10))
    assert 2 < metrics.delta_e(grey(100), grey(110)) < 6
