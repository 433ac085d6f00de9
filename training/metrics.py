"""How near a picture is to a style and to its content.

Pictures are uint8 arrays (height, width, 3), RGB. Distances of colour and texture compare distributions, so the two
pictures need neither the same subject nor the same size. Needs scikit-image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

Picture = NDArray[np.uint8]
Samples = NDArray[np.float64]

DIRECTIONS = 128  # projections of a sliced Wasserstein distance
QUANTILES = 512  # points at which two projected distributions are compared
PATCH = 7  # pixels along a texture patch


def sliced_wasserstein(first: Samples, second: Samples) -> float:
    """Mean distance of the sorted projections of two samples, (n, dim) and (m, dim), on fixed random directions.

    Source: Bonneel et al., Sliced and Radon Wasserstein Barycenters of Measures, 2015.
    """
    directions = np.random.default_rng(0).standard_normal((first.shape[1], DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
    quantiles = [_quantiles(samples @ directions, levels) for samples in (first, second)]  # (quantiles, directions)
    return float(np.abs(quantiles[0] - quantiles[1]).mean())


def colour_distance(first: Picture, second: Picture) -> float:
    """Sliced Wasserstein distance of the pixels' colours, in CIELAB units."""
    return sliced_wasserstein(rgb2lab(first).reshape(-1, 3), rgb2lab(second).reshape(-1, 3))


def texture_distance(first: Picture, second: Picture) -> float:
    """Sliced Wasserstein distance of 7×7 patches of lightness, less each patch's mean."""
    return sliced_wasserstein(_patches(first), _patches(second))


def gradient_magnitude(picture: Picture) -> Samples:
    """How steep lightness is at every pixel, (height, width); outlines stand out."""
    smooth = ndimage.gaussian_filter(_lightness(picture), 1.0)
    return np.hypot(ndimage.sobel(smooth, 0), ndimage.sobel(smooth, 1))


def edge_correlation(first: Picture, second: Picture) -> float:
    """Correlation of the gradient magnitudes of lightness; 1 where every outline stayed. Same sizes."""
    return float(np.corrcoef(gradient_magnitude(first).ravel(), gradient_magnitude(second).ravel())[0, 1])


def ssim(first: Picture, second: Picture) -> float:
    """Structural similarity of lightness. Same sizes."""
    return float(structural_similarity(_lightness(first), _lightness(second), data_range=100))


def psnr(first: Picture, second: Picture) -> float:
    """Peak signal to noise ratio in dB. Same sizes; infinite for equal pictures."""
    if np.array_equal(first, second):
        return float("inf")
    return float(peak_signal_noise_ratio(first, second))


def delta_e(first: Picture, second: Picture) -> float:
    """Mean CIEDE2000 colour difference. Same sizes; about 1 is just visible side by side."""
    return float(deltaE_ciede2000(rgb2lab(first), rgb2lab(second)).mean())


def _lightness(picture: Picture) -> Samples:
    return rgb2lab(picture)[..., 0]


def _quantiles(projected: Samples, levels: Samples) -> Samples:
    positions = levels * len(projected) - 0.5
    below = np.clip(np.floor(positions).astype(int), 0, len(projected) - 1)
    ordered = np.sort(projected, axis=0)
    weight = np.clip(positions - below, 0, 1)[:, None]
    return ordered[below] * (1 - weight) + ordered[np.minimum(below + 1, len(projected) - 1)] * weight


def _patches(picture: Picture) -> Samples:
    windows = np.lib.stride_tricks.sliding_window_view(_lightness(picture), (PATCH, PATCH))[::2, ::2]
    patches = windows.reshape(-1, PATCH * PATCH)
    return patches - patches.mean(1, keepdims=True)
