"""Motifs of the style pictures: eight in which the medium is nearly all. Each is drawn at any size that 4 divides."""

from __future__ import annotations

import math

import numpy as np
from PIL import ImageDraw
from scipy import ndimage

from training.drawing import colour, mask, over, polygon, ramp
from training.natural import Array, Rng, blobs, fractal, grid, smoothstep


def forest(rng: Rng, size: int) -> Array:
    """Bare birches before a low moon, for a woodcut."""
    x, y = grid(size)
    image = ramp("d9d4c4 8e8c80 4b4a46", np.clip(0.25 + 0.7 * y + 0.1 * fractal(rng, size, 1.8), 0, 1))
    image = over(image, colour("f6f1e0"), smoothstep(0.15, 0.145, np.hypot(x - 0.62, y - 0.3)))
    for depth in range(3):
        for _ in range(5 + 2 * depth):
            foot, wide = rng.uniform(0, 1), (0.012 + 0.016 * depth) * rng.uniform(0.7, 1.3)
            lean, bend = rng.normal(0, 0.05), rng.uniform(0.005, 0.02)
            middle = foot + lean * (1 - y) + bend * np.sin(y * rng.uniform(3, 7) + foot * 20)
            across = (x - middle) / (wide * (0.55 + 0.6 * y))
            bark = smoothstep(0.6, 1.1, fractal(rng, size, 0.9, 6.0)) * 0.8
            light = np.clip(0.9 - 0.45 * (across + 0.6) ** 2 - bark, 0, 1)
            image = over(image, ramp("17161a 6a675f f4efe2", light), smoothstep(1.06, 0.94, np.abs(across)))

            def twigs(draw: ImageDraw.ImageDraw, full: int, foot: float = foot, lean: float = lean) -> None:
                for _ in range(7):
                    at = rng.uniform(0.05, 0.6)
                    px, py, turn = foot + lean * (1 - at), at, rng.choice([-1, 1]) * rng.uniform(0.5, 1.2)
                    for part in range(5):
                        qx, qy = px + 0.035 * math.sin(turn), py - 0.035 * math.cos(turn)
                        draw.line([px * full, py * full, qx * full, qy * full], 255, max(1, (6 - part) * full // 1000))
                        px, py, turn = qx, qy, turn + rng.normal(0, 0.3)

            image = over(image, colour("1b1a1d"), mask(size, twigs))
    snow = 0.86 + 0.03 * np.sin(x * 8) + 0.01 * fractal(rng, size, 1.8)
    return over(image, colour("f4efe2"), smoothstep(-0.004, 0.004, y - snow))


def harbour(rng: Rng, size: int) -> Array:
    """Gabled houses at a quay and their reflection, for pen and ink."""
    x, y = grid(size)
    image = ramp("fffaf0 efe4cf", np.clip(y * 1.6 + 0.1 * fractal(rng, size, 1.8), 0, 1))
    left, tones = -0.05, rng.permutation(np.linspace(0.15, 0.85, 9))
    for tone in tones:
        wide, tall = rng.uniform(0.1, 0.16), rng.uniform(0.24, 0.42)
        right, eaves = left + wide, 0.62 - tall
        wall = polygon(
            size,
            np.array([left, right, right, (left + right) / 2, left]),
            np.array([0.62, 0.62, eaves, eaves - rng.uniform(0.07, 0.14), eaves]),
        )
        image = over(image, ramp("5b4a3c a88c6c e8d9bd", np.full((1, 1), tone))[0], wall)
        for row in np.arange(eaves + 0.03, 0.58, 0.075):
            for column in np.linspace(left + 0.02, right - 0.045, 3):
                pane = (np.abs(x - column - 0.0125) < 0.0105) & (np.abs(y - row - 0.02) < 0.02)
                image = over(image, colour("231d1a"), pane * 0.9)
        left = right
    water = y > 0.64
    waver = 0.012 * np.sin(y * 160 + 3 * fractal(rng, size, 1.8)) * (y - 0.6) * 4
    rows, columns = np.clip(1.26 - y, 0, 1) * size, np.clip(x + waver, 0, 0.999) * size
    mirrored = np.stack(
        [ndimage.map_coordinates(image[..., c], [rows, columns], order=1, mode="nearest") for c in range(3)], -1
    )
    image = np.where(water[..., None], mirrored * 0.75, image)
    image = over(image, colour("3a3028"), smoothstep(0.012, 0.008, np.abs(y - 0.63)))
    for at_x, at_y, reach in ((0.3, 0.84, 0.15), (0.74, 0.75, 0.1)):
        hull = polygon(
            size,
            at_x + reach * np.array([-1, 1, 0.75, -0.7]),
            at_y + reach * np.array([0, -0.05, 0.32, 0.32]),
        )
        image = over(image, colour("2a221d"), hull)
        mast = (np.abs(x - at_x) < 0.004) & (y < at_y) & (y > at_y - 2.6 * reach)
        image = over(image, colour("2a221d"), mast.astype(np.float32))
    return image


def shell(rng: Rng, size: int) -> Array:
    """A spiral shell on a plain ground, for dots of sepia."""
    x, y = grid(size)
    u, v = x - 0.5, y - 0.52
    away, angle = np.hypot(u, v) + 1e-4, np.arctan2(v, u)
    turns = np.log(away / 0.012) / 0.13 - angle
    whorl = turns / (2 * np.pi)
    inside = whorl - np.floor(whorl)
    outer = smoothstep(0.42, 0.41, away * (1 + 0.06 * np.cos(angle - 0.6)))
    ribs = 0.5 + 0.5 * np.sin(np.log(away) * 60 + 6 * inside)
    light = np.clip(1.25 * np.sin(inside**0.6 * np.pi) ** 0.7 * (0.8 + 0.3 * np.cos(angle + 2.2)) - 0.1 * ribs, 0, 1)
    ground = ramp("f7efdc e6d7b8", np.clip(y + 0.08 * fractal(rng, size, 1.8), 0, 1))
    shadow = 0.5 * smoothstep(0.5, 0.3, np.hypot(u - 0.06, (v - 0.12) * 1.2))
    image = ground * (1 - 0.6 * shadow)[..., None]
    return over(image, ramp("2b1810 8a5a36 fbf3e0", light), outer)


def fruit(rng: Rng, size: int) -> Array:
    """A bowl of fruit before a curtain, for soft chalks."""
    x, y = grid(size)
    fold = np.sin(x * 26 + 2 * np.sin(y * 3) + 0.6 * fractal(rng, size, 1.9))
    image = ramp("1f2a44 35507a 6f93ad", np.clip(0.5 + 0.35 * fold, 0, 1))
    table = 0.66 + 0.01 * np.sin(x * 5)
    image = over(image, ramp("b5653a e0a26a f0c894", np.clip(0.4 + 0.3 * x + 0.1 * fractal(rng, size, 1.3), 0, 1)),
                 smoothstep(-0.003, 0.003, y - table))  # fmt: skip
    bowl = smoothstep(0.01, -0.01, np.hypot((x - 0.5) / 0.33, (y - 0.6) / 0.22) - 1) * (y > 0.6)
    image = image * (1 - 0.45 * smoothstep(1.2, 0.6, np.hypot((x - 0.55) / 0.4, (y - 0.83) / 0.07)))[..., None]
    places = (
        (0.33, 0.53, 0.1, "6e1a14 c8372a f59a6a"), (0.66, 0.52, 0.11, "7a3b05 e58a1c ffd98a"),
        (0.5, 0.47, 0.12, "20401a 6c9a36 d6e28a"), (0.43, 0.58, 0.09, "6b3a06 d8a422 fff0a8"),
        (0.58, 0.6, 0.09, "4a1230 98306a e08ab8"),
    )  # fmt: skip
    for at_x, at_y, radius, codes in places:
        u, v = (x - at_x) / radius, (y - at_y) / radius
        round_ = np.clip(1 - u * u - v * v, 0, 1)
        light = np.clip(
            0.15 + 0.75 * np.sqrt(round_) * (0.6 - 0.45 * u - 0.5 * v) + 0.06 * fractal(rng, size, 1.0), 0, 1
        )
        image = image * (1 - 0.3 * smoothstep(1.25, 0.9, np.hypot(u, v)))[..., None]
        image = over(image, ramp(codes, light), smoothstep(1.02, 0.97, np.hypot(u, v)))
    glaze = np.clip(0.55 - 0.9 * (x - 0.5) + 0.1 * np.sin(y * 90), 0, 1)
    return over(image, ramp("123a40 2f8a86 c8ece0", glaze), bowl)


def marbling(rng: Rng, size: int) -> Array:
    """Ink on water, combed: bands of colour drawn into waves."""
    x, y = grid(size)
    u, v = x * 6.0, y * 6.0
    for comb, (pitch, reach) in enumerate(((0.9, 0.9), (1.3, 0.7), (0.55, 0.35))):
        wave = reach * np.abs(((v if comb % 2 else u) / pitch) % 2 - 1)
        u, v = (u + wave, v) if comb % 2 else (u, v + wave)
    u, v = u + 0.35 * blobs(rng, size, 3), v + 0.35 * blobs(rng, size, 3)
    drops = np.sin(v * 2.1) + 0.6 * np.sin(u * 1.7 + v) + 0.3 * fractal(rng, size, 1.9)
    band = np.floor((drops + 2.2) * 3.2).astype(int) % 6
    edge = np.abs(((drops + 2.2) * 3.2) % 1 - 0.5)
    paints = np.stack([colour(code) for code in ("f3ead8", "1d3557", "c1452f", "e9b44c", "2a7f7a", "7b2d43")])
    image = paints[band]
    return over(image, colour("f8f1e3"), smoothstep(0.45, 0.49, edge) * 0.8)


def embroidery(rng: Rng, size: int) -> Array:
    """Cross stitches on linen: a border, a star and birds, all of small crosses."""
    count = 64
    cells_x, cells_y = np.meshgrid(np.arange(count), np.arange(count))
    fold_x, fold_y = np.minimum(cells_x, count - 1 - cells_x), np.minimum(cells_y, count - 1 - cells_y)
    across, down = np.abs(cells_x - 31.5), np.abs(cells_y - 31.5)
    pattern = np.zeros((count, count), int)
    pattern[(np.minimum(fold_x, fold_y) == 3) | (np.minimum(fold_x, fold_y) == 11)] = 1
    wave = np.abs((np.maximum(across, down) + np.minimum(across, down)) % 8 - 4)
    ring = (np.minimum(fold_x, fold_y) > 3) & (np.minimum(fold_x, fold_y) < 11)
    pattern[ring & (wave < 1.2)] = 2
    pattern[ring & (wave > 3)] = 3
    inner = np.maximum(across, down) < 19
    star = (np.abs(across - down) < 2.5) | (np.minimum(across, down) < 2)
    pattern[inner & star & (across + down < 26)] = 1
    pattern[inner & (np.abs(across + down - 14) < 1.5)] = 4
    pattern[inner & (np.abs(across + down - 22) < 1.5)] = 2
    pattern[inner & (np.hypot(across - 13.5, down - 13.5) < 3.5)] = 3
    x, y = grid(size)
    u, v = x * count, y * count
    number = pattern[np.minimum(v.astype(int), count - 1), np.minimum(u.astype(int), count - 1)]
    u, v = u % 1 - 0.5, v % 1 - 0.5
    first, second = np.abs(u - v) / 1.4, np.abs(u + v) / 1.4
    thread = np.maximum(smoothstep(0.2, 0.12, first), smoothstep(0.2, 0.12, second))
    sheen = np.clip(0.75 + 0.5 * (0.2 - np.minimum(first, second)) * 5 + 0.05 * fractal(rng, size, 0.5), 0, 1.2)
    linen = 0.5 + 0.25 * np.sin(x * count * 6 * np.pi) + 0.25 * np.sin(y * count * 6 * np.pi)
    image = ramp("c9bb9c e9dfc8", np.clip(linen, 0, 1))
    paints = np.stack([colour(code) for code in ("ddd2b8", "9b1c2b", "1f4b6e", "d99a2b", "2f6b3c")])
    return over(image, paints[number] * sheen[..., None], thread * (number > 0))


def drips(rng: Rng, size: int) -> Array:
    """Paint thrown and dripped over a raw canvas, layer over layer."""
    image = ramp("d8cbb0 e6dcc6", np.clip(0.5 + 0.3 * fractal(rng, size, 0.6), 0, 1))
    for code in ("2b2b2e", "f4f0e6", "b3382c", "2b2b2e", "e2b23a", "f4f0e6", "3d6f80", "2b2b2e"):

        def throws(draw: ImageDraw.ImageDraw, full: int) -> None:
            for _ in range(16):
                place, turn = rng.uniform(-0.1, 1.1, 2) * full, rng.uniform(0, 2 * np.pi)
                pace, curl = rng.uniform(0.006, 0.014) * full, rng.normal(0, 0.05)
                for _ in range(int(rng.integers(60, 140))):
                    curl = 0.9 * curl + rng.normal(0, 0.05)
                    turn += curl * 0.6
                    ahead = place + pace * np.array([math.cos(turn), math.sin(turn)])
                    wide = max(1.0, abs(rng.normal(0.006, 0.003)) * full)
                    draw.line([*place, *ahead], 255, round(wide))
                    place = ahead
                    if rng.random() < 0.12:
                        spot, radius = place + rng.normal(0, 0.02, 2) * full, rng.gamma(1.5, 0.0032) * full
                        draw.ellipse([*(spot - radius), *(spot + radius)], fill=255)

        cover = mask(size, throws)
        raised = ndimage.gaussian_filter(cover, size * 0.0025)
        light = np.gradient(raised, axis=0) * size * 0.02
        image = over(image * (1 - 0.25 * raised)[..., None], colour(code) + light[..., None], cover)
    return image


def ferns(rng: Rng, size: int) -> Array:
    """Ferns laid on paper and left in the sun: white on Prussian blue."""
    x, y = grid(size)
    tone = np.clip(0.45 + 0.12 * fractal(rng, size, 1.6) + 0.05 * fractal(rng, size, 0.4), 0, 1)
    image = ramp("0a1f4a 123a7a 2a62a8", tone)
    for foot_x, foot_y, turn, long in (
        (0.2, 1.02, -0.25, 0.95), (0.55, 1.05, 0.12, 1.05), (0.85, 1.0, 0.35, 0.8), (0.02, 0.4, 1.1, 0.55),
    ):  # fmt: skip

        def fern(
            draw: ImageDraw.ImageDraw, full: int, at: tuple[float, float] = (foot_x, foot_y), turn: float = turn,
            long: float = long,
        ) -> None:  # fmt: skip
            px, py = at
            for part in np.linspace(0, 1, 34):
                qx, qy = px + long / 34 * math.sin(turn), py - long / 34 * math.cos(turn)
                draw.line([px * full, py * full, qx * full, qy * full], 255, max(2, round(0.006 * full * (1 - part))))
                reach = 0.24 * long * math.sin(math.pi * min(1, part * 0.85 + 0.12)) ** 0.8
                for side in (-1, 1):
                    lean = turn + side * (1.25 - 0.4 * part)
                    for step in np.linspace(0.08, 1, 12):
                        lx, ly = qx + reach * step * math.sin(lean), qy - reach * step * math.cos(lean)
                        radius = 0.011 * long * (1.15 - step) * full + 1
                        draw.ellipse(
                            [lx * full - radius, ly * full - radius, lx * full + radius, ly * full + radius], 255
                        )
                px, py, turn = qx, qy, turn + 0.018

        leaf = mask(size, fern)
        veil = ndimage.gaussian_filter(leaf, size * 0.004)
        image = over(
            image, ramp("9fc3e6 f4f8fb", np.clip(0.3 + leaf * 0.8, 0, 1)), np.clip(0.75 * leaf + 0.25 * veil, 0, 1)
        )
    rim = smoothstep(
        0.03, 0.05, np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y)) + 0.006 * fractal(rng, size, 1.2)
    )
    return over(image, colour("f1ede2"), 1 - rim)
