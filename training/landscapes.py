"""Motifs of the style pictures: landscapes. Each is drawn at any size that 4 divides."""

from __future__ import annotations

import math

import numpy as np
from PIL import ImageDraw
from scipy import ndimage

from training.drawing import colour, mask, over, polygon, ramp
from training.natural import Array, Rng, fractal, grid, smoothstep


def night(rng: Rng, size: int) -> Array:
    """A sky of turning streams over a village, with a moon, stars and a cypress."""
    x, y = grid(size)
    u, v = x.copy(), y.copy()
    for at_x, at_y, radius, turn in (
        (0.42, 0.34, 0.2, 4.2),
        (0.62, 0.43, 0.15, -3.6),
        (0.12, 0.2, 0.14, 2.6),
        (0.9, 0.5, 0.13, 2.4),
    ):
        angle = turn * np.exp(-((u - at_x) ** 2 + (v - at_y) ** 2) / radius**2)
        du, dv = u - at_x, v - at_y
        u, v = at_x + du * np.cos(angle) - dv * np.sin(angle), at_y + du * np.sin(angle) + dv * np.cos(angle)
    streams = fractal(rng, size, 0.9, 7.0)
    streams = ndimage.gaussian_filter(streams, size * 0.004, mode="wrap")
    streams = ndimage.map_coordinates(streams, [v * size, u * size], order=1, mode="grid-wrap")
    bands = 0.5 + 0.5 * np.sin((v + 0.05 * np.sin(u * 6)) * 34)
    image = ramp(
        "0b1440 14307a 2a5fb0 5c9fd0 b9dbe0",
        np.clip(0.42 + 0.17 * streams + 0.22 * (bands - 0.5) + 0.25 * (y - 0.3), 0, 1),
    )
    for at_x, at_y, radius in (
        (0.09, 0.09, 0.03),
        (0.3, 0.1, 0.022),
        (0.5, 0.14, 0.026),
        (0.24, 0.48, 0.024),
        (0.66, 0.2, 0.02),
        (0.75, 0.34, 0.018),
        (0.95, 0.3, 0.022),
    ):
        away = np.hypot(x - at_x, y - at_y) / radius
        rings = np.exp(-((away / 2.2) ** 2)) * (0.72 + 0.28 * np.cos(away * 5))
        image = over(image, colour("ffe98a"), np.clip(rings, 0, 1))
        image = over(image, colour("fffbe0"), smoothstep(0.9, 0.5, away))
    away = np.hypot(x - 0.86, y - 0.13) / 0.075
    image = over(image, colour("f7c948"), np.clip(np.exp(-((away / 1.9) ** 2)) * (0.8 + 0.2 * np.cos(away * 6)), 0, 1))
    crescent = smoothstep(1.04, 0.96, away) * smoothstep(0.96, 1.04, np.hypot(x - 0.835, y - 0.12) / 0.068)
    image = over(image, colour("fff6c8"), crescent)
    for level, roll, codes in (
        (0.7, 0.035, "1d3a6e 2f5f94"),
        (0.77, 0.03, "183454 2a6076"),
        (0.86, 0.025, "102a3c 25573f"),
    ):
        edge = level + roll * np.sin(x * 7 + level * 31) + 0.02 * np.sin(x * 17 + level * 57)
        furrows = 0.5 + 0.5 * np.sin((y - edge) * 130 + 2 * np.sin(x * 9))
        image = over(image, ramp(codes, furrows), smoothstep(-0.002, 0.002, y - edge))
    for place in np.linspace(0.3, 0.96, 13):
        wide, high, foot = rng.uniform(0.035, 0.055), rng.uniform(0.035, 0.06), 0.86 + rng.uniform(-0.02, 0.06)
        wall = polygon(size, place + wide * np.array([-0.5, 0.5, 0.5, -0.5]), foot + high * np.array([0, 0, -1, -1]))
        roof = polygon(size, place + wide * np.array([-0.62, 0.62, 0.0]), foot + high * np.array([-0.95, -0.95, -1.7]))
        image = over(image, ramp("20405e 4a6f8f", rng.random((1, 1))[0])[0], wall)
        image = over(image, ramp("5a2f2a 27324e", rng.random((1, 1))[0])[0], roof)
        window = polygon(
            size,
            place + wide * np.array([-0.16, 0.16, 0.16, -0.16]),
            foot + high * np.array([-0.25, -0.25, -0.65, -0.65]),
        )
        image = over(image, colour("ffd75e"), window)
    spire = polygon(size, np.array([0.585, 0.6, 0.615]), np.array([0.84, 0.66, 0.84]))
    image = over(image, colour("1b2f4d"), spire)
    tall = np.clip((1.0 - y) / 0.86, 0, 1)
    flame = 0.085 * (1 - tall) ** 0.7 * (0.25 + tall) ** 0.3 + 0.009 * np.sin(y * 60) * (1 - tall)
    licks = np.sin(y * 40 + 9 * np.sin((x - 0.16) * 60))
    tree = smoothstep(0.003, -0.003, np.abs(x - 0.17 - 0.014 * np.sin(y * 11)) - flame) * (tall < 0.99)
    return over(image, ramp("0a1a1c 1f4030 4b5d2a", np.clip(0.4 + 0.35 * licks, 0, 1)), tree)


def waves(rng: Rng, size: int) -> Array:
    """Curling waves, row behind row, before a low red sun."""
    x, y = grid(size)
    image = ramp("f3c98b f6e3bd fbf3df f4d9a8", y / 0.6)
    for height in (0.14, 0.2, 0.3):
        cloud = smoothstep(0.012, 0.008, np.abs(y - height - 0.012 * np.sin(x * 9 + height * 40))) * smoothstep(
            0.0, 0.2, np.sin(x * 5 + height * 30)
        )
        image = over(image, colour("fffdf2"), cloud)
    image = over(image, colour("d9482b"), smoothstep(0.162, 0.158, np.hypot(x - 0.66, y - 0.27)))
    t = np.linspace(-2 * np.pi, 10 * np.pi, 1600)
    for row in range(6):
        nearness = row / 5
        period, level = 0.26 + 0.3 * nearness, 0.42 + 0.13 * row
        tall = period * 0.23
        curl = 1.25 + 0.25 * nearness
        start = (0.1 * row + 0.37 * row * row) % 1 * period
        phase = t
        xs = (t - curl * np.sin(phase) + 0.5 * np.sin(2 * phase) * 0.4) / (2 * np.pi) * period - start
        ys = level + tall * np.cos(phase) + 0.02 * np.sin(2 * phase)
        body = polygon(size, np.concatenate([xs, [xs[-1], xs[0]]]), np.concatenate([ys, [1.2, 1.2]]))
        depth = (
            ndimage.distance_transform_edt(np.pad(body > 0.5, ((0, 1), (0, 0)), mode="edge")).astype(np.float32)[:size]
            / size
        )
        stripes = 0.5 + 0.5 * np.cos(depth * 2 * np.pi / (0.02 + 0.014 * nearness) + 0.8 * np.sin(x * 11 + row))
        water = ramp(
            "0f2f55 1d5c8c 4aa0b5 a9d8d3",
            np.clip(0.3 + 0.5 * stripes * np.exp(-depth * 4) + 0.22 * (1 - nearness), 0, 1),
        )
        foam = 0.008 + 0.012 * nearness
        bubbles = fractal(rng, size, 0.7) * 0.006 * (0.4 + nearness)
        water = over(water, colour("fdfaf0"), smoothstep(foam + 0.004, foam - 0.004, depth + bubbles))
        image = over(image, water, body)
        outline = body * smoothstep(0.0045, 0.002, depth)
        image = over(image, colour("0c2240"), outline)
    for _ in range(70):
        drop_x, drop_y = rng.uniform(0, 1), rng.uniform(0.36, 0.62)
        image = over(
            image, colour("fdfaf0"), smoothstep(1.2, 0.8, np.hypot(x - drop_x, y - drop_y) / rng.uniform(0.002, 0.005))
        )
    return image


def sunrise(rng: Rng, size: int) -> Array:
    """Rays of a rising sun, hills and a river in pure colours."""
    x, y = grid(size)
    angle, away = np.arctan2(y - 0.42, x - 0.5), np.hypot(x - 0.5, y - 0.42)
    rays = np.floor((angle / np.pi + 1) * 11)
    tint = np.array(
        [
            colour(c)
            for c in (
                "f9b233",
                "e4572e",
                "f6d55c",
                "d7263d",
                "f29e4c",
                "ffe08a",
                "b5179e",
                "f3722c",
                "5f2eea",
                "f7b801",
                "e85d75",
            )
        ]
    )
    sky = tint[(rays.astype(int) * 7) % 11]
    sky = (
        sky * (1 - 0.35 * smoothstep(0.2, 0.7, away))[..., None]
        + colour("2b2d88") * (0.4 * smoothstep(0.35, 0.75, away))[..., None]
    )
    image = over(sky, colour("ffd23f"), smoothstep(0.205, 0.2, away))
    image = over(image, colour("fff3b0"), smoothstep(0.135, 0.13, away))
    for level, roll, phase, code in (
        (0.47, 0.06, 0.4, "3a86c8"),
        (0.56, 0.06, 2.3, "2a9d8f"),
        (0.66, 0.05, 4.0, "57a639"),
        (0.78, 0.05, 5.5, "9bc53d"),
        (0.9, 0.04, 1.2, "1b7f4b"),
    ):
        edge = level + roll * np.sin(x * 5 + phase)
        field = 0.82 + 0.3 * (np.sin((x + 0.4 * y) * 26 + phase * 3) > 0)
        image = over(image, colour(code) * field[..., None], smoothstep(-0.001, 0.001, y - edge))
    fall = np.clip((y - 0.52) / 0.48, 0, 1)
    bank = np.abs(x - 0.5 - 0.16 * np.sin(fall * 7) * (0.3 + fall)) - 0.015 - 0.13 * fall**1.5
    image = over(
        image,
        ramp("8fd3ff 1d6fd1 123e9c", (0.5 + 0.5 * np.sin(y * 46 + x * 9)) * fall),
        smoothstep(0.002, -0.002, bank) * (y > 0.53),
    )
    for at_x, at_y, radius, code in (
        (0.14, 0.62, 0.09, "0f5c3f"),
        (0.87, 0.66, 0.1, "146b3a"),
        (0.23, 0.7, 0.055, "2e8b57"),
        (0.77, 0.74, 0.05, "0d6b5f"),
    ):
        image = over(
            image,
            colour("5a3320"),
            (np.abs(x - at_x) < 0.012) * (y > at_y) * smoothstep(at_y + 2.1 * radius, at_y + 2.0 * radius, y),
        )
        image = over(image, colour(code), smoothstep(1.02, 0.98, np.hypot(x - at_x, (y - at_y) * 0.85) / radius))
    return image


def city(rng: Rng, size: int) -> Array:
    """A city by the water at dusk."""
    x, y = grid(size)
    shore = 0.62
    image = ramp("2b1e5c 5a2f86 b4447e ee7752 fbb35a ffe39a", np.clip(y / shore, 0, 1) ** 1.2)
    image = over(image, colour("ffd6a0"), 0.55 * smoothstep(0.6, 1.9, fractal(rng, size, 1.5, 5.0)) * (y < shore))
    away = np.hypot(x - 0.36, y - 0.46)
    image = over(
        image, colour("fff0b8"), np.clip(smoothstep(0.085, 0.08, away) + 0.6 * np.exp(-((away / 0.2) ** 2)), 0, 1)
    )
    for nearness, code in ((0.0, "8a4a7d"), (0.5, "4a2f6b"), (1.0, "1c1a3f")):
        place = -0.02
        while place < 1:
            wide = rng.uniform(0.035, 0.09)
            centre = 0.75 if nearness == 1 else 0.5
            tall = rng.uniform(0.06, 0.2) + 0.26 * math.exp(-(((place - centre) / 0.24) ** 2)) * rng.uniform(0.4, 1)
            inside = (x >= place) & (x < place + wide) & (y > shore - tall) & (y < shore)
            image = over(image, colour(code), inside.astype(np.float32))
            if rng.random() < 0.35:
                mast = (np.abs(x - place - wide / 2) < 0.003) & (y > shore - tall - 0.06) & (y <= shore - tall)
                image = over(image, colour(code), mast.astype(np.float32))
            if nearness > 0:
                column, row = (x - place) / 0.021, (y - shore + tall) / 0.027
                lit = rng.random((64, 64)) < 0.25 + 0.3 * nearness
                pane = (np.abs(column % 1 - 0.5) < 0.28) & (np.abs(row % 1 - 0.5) < 0.3)
                glow = inside & pane & lit[row.astype(int) % 64, column.astype(int) % 64]
                image = over(image, colour("ffcf5c"), glow.astype(np.float32))
            place += wide * rng.uniform(0.8, 1.2)
    rows = np.clip(2 * shore - y + 0.012 * np.sin(y * 150 + 3 * np.sin(x * 9)) * (y - shore + 0.15), 0, 1) * size
    columns = (x + 0.02 * np.sin(y * 190 + 5 * np.sin(x * 13)) * (y - shore + 0.12)) * size
    water = np.stack(
        [ndimage.map_coordinates(image[..., c], [rows, columns], order=1, mode="nearest") for c in range(3)], -1
    )
    water = ndimage.gaussian_filter(water, (size * 0.008, size * 0.001, 0)) * 0.85 + colour("141a4a") * 0.12
    image = over(image, water, smoothstep(-0.001, 0.001, y - shore))
    hull = polygon(size, np.array([0.2, 0.42, 0.39, 0.235]), np.array([0.79, 0.79, 0.825, 0.825]))
    sail = np.maximum(
        polygon(size, np.array([0.305, 0.305, 0.4]), np.array([0.58, 0.775, 0.775])),
        polygon(size, np.array([0.297, 0.297, 0.225]), np.array([0.61, 0.775, 0.775])),
    )
    return over(over(image, colour("2a1233"), hull), colour("fff1d0"), sail)


def mountains(rng: Rng, size: int) -> Array:
    """Mountains in mist, a red sun, a pine branch and birds."""
    x, y = grid(size)
    image = ramp("efe6d2 f6efdf f1e7d0", y)
    image = over(image, colour("c8402f"), smoothstep(0.087, 0.083, np.hypot(x - 0.7, y - 0.22)) * 0.92)
    line = (np.arange(size) + 0.5) / size
    for step in range(6):
        nearness = step / 5
        peaks = np.zeros(size)
        for _ in range(4):
            at, wide, tall = rng.uniform(0, 1), rng.uniform(0.1, 0.24), rng.uniform(0.1, 0.3) * (1 - 0.5 * nearness)
            peaks = np.maximum(peaks, tall * np.exp(-(np.abs((line - at) / wide) ** 1.35)))
        rough = fractal(rng, size, 1.3)[0] * 0.006 + fractal(rng, size, 1.9)[0] * 0.012
        edge = 0.42 + 0.1 * step - peaks + rough
        ridge = fractal(rng, size, 1.0, 5.0, 1.2)
        tone = 0.2 + 0.62 * nearness
        below = y - edge[None, :]
        ink = tone * np.exp(-np.clip(below, 0, 1) / (0.13 + 0.1 * nearness)) * (1 + 0.16 * ridge)
        ink = np.clip(ink + 0.16 * tone * smoothstep(0.02, 0.0, below), 0, 1) * smoothstep(-0.002, 0.002, below)
        mist = smoothstep(0, 0.3, below)
        image = over(image, colour("f3ebd9"), 0.6 * mist)
        image = over(image, ramp("4a6a78 26343f 14191f", np.full_like(ink, nearness)), ink)
    for bird in range(7):
        at_x, at_y, wide = (
            0.32 + 0.035 * bird + rng.uniform(-0.01, 0.01),
            0.2 + rng.uniform(-0.05, 0.05),
            rng.uniform(0.012, 0.022),
        )
        wing = np.abs(y - at_y + 0.35 * wide * (1 - np.abs(np.abs(x - at_x) / wide - 0.5) * 2))
        image = over(image, colour("1a1f24"), smoothstep(0.0026, 0.0012, wing) * (np.abs(x - at_x) < wide))

    def branch(draw: ImageDraw.ImageDraw, full: int) -> None:
        spine = [(-0.02, 0.32), (0.08, 0.27), (0.16, 0.25), (0.25, 0.19), (0.34, 0.2)]
        for (ax, ay), (bx, by), wide in zip(spine, spine[1:], (0.018, 0.014, 0.01, 0.006), strict=False):
            draw.line([ax * full, ay * full, bx * full, by * full], 255, round(wide * full))
            for _ in range(9):
                s = rng.random()
                px, py = ax + (bx - ax) * s, ay + (by - ay) * s
                qx, qy = px + rng.uniform(-0.01, 0.05), py + rng.uniform(-0.05, 0.05)
                draw.line([px * full, py * full, qx * full, qy * full], 255, max(2, round(0.003 * full)))
                for needle in np.linspace(-2.6, -0.5, 22) + rng.normal(0, 0.1, 22):
                    long = rng.uniform(0.02, 0.038)
                    draw.line(
                        [
                            qx * full,
                            qy * full,
                            (qx + long * math.cos(needle)) * full,
                            (qy + long * math.sin(needle)) * full,
                        ],
                        255,
                        3,
                    )

    return over(image, colour("10171a"), mask(size, branch) * 0.95)
