"""The bundled examples: eight portraits and eight style pictures, drawn by this package.

Run `python -m training.examples OUT_DIR` to write them all.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from training.natural import Array, Rng, fractal, grid, hsv_to_rgb, smoothstep, to_uint8
from training.portraits import portrait
from training.styles import Style, sample_style

PORTRAIT_SIZE = 768
STYLE_SIZE = 640

# Seeds of `portrait`, chosen by eye for variety.
PORTRAITS: dict[str, int] = {
    "portrait_1": 203,
    "portrait_2": 251,
    "portrait_3": 225,
    "portrait_4": 242,
    "portrait_5": 244,
    "portrait_6": 218,
    "portrait_7": 215,
    "portrait_8": 250,
}


def _colour(code: str) -> Array:
    """A colour (3,) in [0, 1] from six hexadecimal digits."""
    return np.array([int(code[place : place + 2], 16) / 255 for place in (0, 2, 4)], np.float32)


def _ramp(codes: str, value: Array) -> Array:
    """Colours, given as hexadecimal codes with spaces between, at a value from 0 to 1."""
    table = np.stack([_colour(code) for code in codes.split()])
    stops = np.linspace(0, 1, len(table))
    return np.stack([np.interp(value, stops, table[:, channel]) for channel in range(3)], -1).astype(np.float32)


def _over(image: Array, colour: Array, cover: Array) -> Array:
    return image + (colour - image) * cover[..., None]


def _mask(size: int, draw: Callable[[ImageDraw.ImageDraw, int], None]) -> Array:
    """What `draw` paints with 255 on a canvas of twice the size, as a cover from 0 to 1."""
    canvas = Image.new("L", (size * 2, size * 2), 0)
    draw(ImageDraw.Draw(canvas), size * 2)
    return np.asarray(canvas.resize((size, size), Image.Resampling.BOX), np.float32) / 255


def _polygon(size: int, xs: Array, ys: Array) -> Array:
    """Cover of a polygon with corners in parts of the size."""
    return _mask(size, lambda draw, full: draw.polygon((np.stack([xs, ys], -1) * full).ravel().tolist(), fill=255))


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
    image = _ramp(
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
        image = _over(image, _colour("ffe98a"), np.clip(rings, 0, 1))
        image = _over(image, _colour("fffbe0"), smoothstep(0.9, 0.5, away))
    away = np.hypot(x - 0.86, y - 0.13) / 0.075
    image = _over(
        image, _colour("f7c948"), np.clip(np.exp(-((away / 1.9) ** 2)) * (0.8 + 0.2 * np.cos(away * 6)), 0, 1)
    )
    crescent = smoothstep(1.04, 0.96, away) * smoothstep(0.96, 1.04, np.hypot(x - 0.835, y - 0.12) / 0.068)
    image = _over(image, _colour("fff6c8"), crescent)
    for level, roll, codes in (
        (0.7, 0.035, "1d3a6e 2f5f94"),
        (0.77, 0.03, "183454 2a6076"),
        (0.86, 0.025, "102a3c 25573f"),
    ):
        edge = level + roll * np.sin(x * 7 + level * 31) + 0.02 * np.sin(x * 17 + level * 57)
        furrows = 0.5 + 0.5 * np.sin((y - edge) * 130 + 2 * np.sin(x * 9))
        image = _over(image, _ramp(codes, furrows), smoothstep(-0.002, 0.002, y - edge))
    for place in np.linspace(0.3, 0.96, 13):
        wide, high, foot = rng.uniform(0.035, 0.055), rng.uniform(0.035, 0.06), 0.86 + rng.uniform(-0.02, 0.06)
        wall = _polygon(size, place + wide * np.array([-0.5, 0.5, 0.5, -0.5]), foot + high * np.array([0, 0, -1, -1]))
        roof = _polygon(size, place + wide * np.array([-0.62, 0.62, 0.0]), foot + high * np.array([-0.95, -0.95, -1.7]))
        image = _over(image, _ramp("20405e 4a6f8f", rng.random((1, 1))[0])[0], wall)
        image = _over(image, _ramp("5a2f2a 27324e", rng.random((1, 1))[0])[0], roof)
        window = _polygon(
            size,
            place + wide * np.array([-0.16, 0.16, 0.16, -0.16]),
            foot + high * np.array([-0.25, -0.25, -0.65, -0.65]),
        )
        image = _over(image, _colour("ffd75e"), window)
    spire = _polygon(size, np.array([0.585, 0.6, 0.615]), np.array([0.84, 0.66, 0.84]))
    image = _over(image, _colour("1b2f4d"), spire)
    tall = np.clip((1.0 - y) / 0.86, 0, 1)
    flame = 0.085 * (1 - tall) ** 0.7 * (0.25 + tall) ** 0.3 + 0.009 * np.sin(y * 60) * (1 - tall)
    licks = np.sin(y * 40 + 9 * np.sin((x - 0.16) * 60))
    tree = smoothstep(0.003, -0.003, np.abs(x - 0.17 - 0.014 * np.sin(y * 11)) - flame) * (tall < 0.99)
    return _over(image, _ramp("0a1a1c 1f4030 4b5d2a", np.clip(0.4 + 0.35 * licks, 0, 1)), tree)


def waves(rng: Rng, size: int) -> Array:
    """Curling waves, row behind row, before a low red sun."""
    x, y = grid(size)
    image = _ramp("f3c98b f6e3bd fbf3df f4d9a8", y / 0.6)
    for height in (0.14, 0.2, 0.3):
        cloud = smoothstep(0.012, 0.008, np.abs(y - height - 0.012 * np.sin(x * 9 + height * 40))) * smoothstep(
            0.0, 0.2, np.sin(x * 5 + height * 30)
        )
        image = _over(image, _colour("fffdf2"), cloud)
    image = _over(image, _colour("d9482b"), smoothstep(0.162, 0.158, np.hypot(x - 0.66, y - 0.27)))
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
        body = _polygon(size, np.concatenate([xs, [xs[-1], xs[0]]]), np.concatenate([ys, [1.2, 1.2]]))
        depth = (
            ndimage.distance_transform_edt(np.pad(body > 0.5, ((0, 1), (0, 0)), mode="edge")).astype(np.float32)[:size]
            / size
        )
        stripes = 0.5 + 0.5 * np.cos(depth * 2 * np.pi / (0.02 + 0.014 * nearness) + 0.8 * np.sin(x * 11 + row))
        water = _ramp(
            "0f2f55 1d5c8c 4aa0b5 a9d8d3",
            np.clip(0.3 + 0.5 * stripes * np.exp(-depth * 4) + 0.22 * (1 - nearness), 0, 1),
        )
        foam = 0.008 + 0.012 * nearness
        bubbles = fractal(rng, size, 0.7) * 0.006 * (0.4 + nearness)
        water = _over(water, _colour("fdfaf0"), smoothstep(foam + 0.004, foam - 0.004, depth + bubbles))
        image = _over(image, water, body)
        outline = body * smoothstep(0.0045, 0.002, depth)
        image = _over(image, _colour("0c2240"), outline)
    for _ in range(70):
        drop_x, drop_y = rng.uniform(0, 1), rng.uniform(0.36, 0.62)
        image = _over(
            image, _colour("fdfaf0"), smoothstep(1.2, 0.8, np.hypot(x - drop_x, y - drop_y) / rng.uniform(0.002, 0.005))
        )
    return image


def sunrise(rng: Rng, size: int) -> Array:
    """Rays of a rising sun, hills and a river in pure colours."""
    x, y = grid(size)
    angle, away = np.arctan2(y - 0.42, x - 0.5), np.hypot(x - 0.5, y - 0.42)
    rays = np.floor((angle / np.pi + 1) * 11)
    tint = np.array(
        [
            _colour(c)
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
        + _colour("2b2d88") * (0.4 * smoothstep(0.35, 0.75, away))[..., None]
    )
    image = _over(sky, _colour("ffd23f"), smoothstep(0.205, 0.2, away))
    image = _over(image, _colour("fff3b0"), smoothstep(0.135, 0.13, away))
    for level, roll, phase, code in (
        (0.47, 0.06, 0.4, "3a86c8"),
        (0.56, 0.06, 2.3, "2a9d8f"),
        (0.66, 0.05, 4.0, "57a639"),
        (0.78, 0.05, 5.5, "9bc53d"),
        (0.9, 0.04, 1.2, "1b7f4b"),
    ):
        edge = level + roll * np.sin(x * 5 + phase)
        field = 0.82 + 0.3 * (np.sin((x + 0.4 * y) * 26 + phase * 3) > 0)
        image = _over(image, _colour(code) * field[..., None], smoothstep(-0.001, 0.001, y - edge))
    fall = np.clip((y - 0.52) / 0.48, 0, 1)
    bank = np.abs(x - 0.5 - 0.16 * np.sin(fall * 7) * (0.3 + fall)) - 0.015 - 0.13 * fall**1.5
    image = _over(
        image,
        _ramp("8fd3ff 1d6fd1 123e9c", (0.5 + 0.5 * np.sin(y * 46 + x * 9)) * fall),
        smoothstep(0.002, -0.002, bank) * (y > 0.53),
    )
    for at_x, at_y, radius, code in (
        (0.14, 0.62, 0.09, "0f5c3f"),
        (0.87, 0.66, 0.1, "146b3a"),
        (0.23, 0.7, 0.055, "2e8b57"),
        (0.77, 0.74, 0.05, "0d6b5f"),
    ):
        image = _over(
            image,
            _colour("5a3320"),
            (np.abs(x - at_x) < 0.012) * (y > at_y) * smoothstep(at_y + 2.1 * radius, at_y + 2.0 * radius, y),
        )
        image = _over(image, _colour(code), smoothstep(1.02, 0.98, np.hypot(x - at_x, (y - at_y) * 0.85) / radius))
    return image


def flowers(rng: Rng, size: int) -> Array:
    """Great loose flowers and leaves on a warm ground."""
    x, y = grid(size)
    image = _ramp("f7e3c5 f3cfae e9b7a0 cfd8c0", np.clip(0.5 + 0.22 * fractal(rng, size, 1.9) + 0.3 * (y - 0.5), 0, 1))
    for _ in range(26):
        at_x, at_y, turn, long = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.24)
        along = ((x - at_x) * math.cos(turn) + (y - at_y) * math.sin(turn)) / long
        across = ((y - at_y) * math.cos(turn) - (x - at_x) * math.sin(turn)) / long - 0.15 * along**2
        leaf = 0.24 * np.clip(1 - along**2, 0, 1) ** 0.8 - np.abs(across)
        veins = 0.5 + 0.5 * np.sin(along * 22 + np.abs(across) * 40)
        paint = _ramp("16473a 2f7a55 7fae6b", np.clip(0.45 + 0.3 * np.sign(across) + 0.2 * veins - 0.2, 0, 1))
        image = _over(image, paint, smoothstep(-0.02, 0.02, leaf))
    blooms = (
        (0.28, 0.3, 0.25, 0.97),
        (0.72, 0.26, 0.21, 0.08),
        (0.55, 0.62, 0.27, 0.93),
        (0.17, 0.74, 0.18, 0.76),
        (0.87, 0.66, 0.17, 0.11),
        (0.5, 0.08, 0.11, 0.68),
        (0.36, 0.93, 0.13, 0.06),
        (0.83, 0.93, 0.14, 0.9),
        (0.04, 0.5, 0.1, 0.12),
    )
    for at_x, at_y, radius, hue in sorted(blooms, key=lambda bloom: bloom[2]):
        angle, away = np.arctan2(y - at_y, x - at_x), np.hypot(x - at_x, y - at_y) / radius
        petals = rng.integers(5, 8)
        for ring, (reach, turn) in enumerate(((1.0, 0.0), (0.78, 0.5), (0.52, 0.2))):
            wobble = 0.06 * np.sin(angle * 3 + rng.uniform(0, 6))
            lobe = np.abs(np.cos((angle + wobble) * petals / 2 + turn * np.pi + hue * 9)) ** 0.55
            edge = reach * (0.62 + 0.38 * lobe)
            inner = np.clip(away / edge, 0, 1)
            streak = 0.06 * np.sin(angle * 60 + 3 * np.sin(away * 9))
            value = np.clip(0.45 + 0.5 * inner + streak + 0.1 * ring - 0.25 * (1 - lobe), 0, 1)
            petal = hsv_to_rgb(hue + 0.05 * (1 - inner) + 0.02 * ring, np.clip(0.95 - 0.6 * inner**2, 0, 1), value)
            image = image * (1 - 0.35 * smoothstep(1.12, 0.96, away / edge))[..., None]
            image = _over(image, petal, smoothstep(1.01, 0.98, away / edge))
        seeds = 0.5 + 0.5 * np.sin(angle * 13 + away * 60) * np.sin(away * 70)
        image = _over(image, _ramp("3a1f14 a8641b f4c542", np.clip(seeds, 0, 1)), smoothstep(0.2, 0.17, away))
    return image


def city(rng: Rng, size: int) -> Array:
    """A city by the water at dusk."""
    x, y = grid(size)
    shore = 0.62
    image = _ramp("2b1e5c 5a2f86 b4447e ee7752 fbb35a ffe39a", np.clip(y / shore, 0, 1) ** 1.2)
    image = _over(image, _colour("ffd6a0"), 0.55 * smoothstep(0.6, 1.9, fractal(rng, size, 1.5, 5.0)) * (y < shore))
    away = np.hypot(x - 0.36, y - 0.46)
    image = _over(
        image, _colour("fff0b8"), np.clip(smoothstep(0.085, 0.08, away) + 0.6 * np.exp(-((away / 0.2) ** 2)), 0, 1)
    )
    for nearness, code in ((0.0, "8a4a7d"), (0.5, "4a2f6b"), (1.0, "1c1a3f")):
        place = -0.02
        while place < 1:
            wide = rng.uniform(0.035, 0.09)
            centre = 0.75 if nearness == 1 else 0.5
            tall = rng.uniform(0.06, 0.2) + 0.26 * math.exp(-(((place - centre) / 0.24) ** 2)) * rng.uniform(0.4, 1)
            inside = (x >= place) & (x < place + wide) & (y > shore - tall) & (y < shore)
            image = _over(image, _colour(code), inside.astype(np.float32))
            if rng.random() < 0.35:
                mast = (np.abs(x - place - wide / 2) < 0.003) & (y > shore - tall - 0.06) & (y <= shore - tall)
                image = _over(image, _colour(code), mast.astype(np.float32))
            if nearness > 0:
                column, row = (x - place) / 0.021, (y - shore + tall) / 0.027
                lit = rng.random((64, 64)) < 0.25 + 0.3 * nearness
                pane = (np.abs(column % 1 - 0.5) < 0.28) & (np.abs(row % 1 - 0.5) < 0.3)
                glow = inside & pane & lit[row.astype(int) % 64, column.astype(int) % 64]
                image = _over(image, _colour("ffcf5c"), glow.astype(np.float32))
            place += wide * rng.uniform(0.8, 1.2)
    rows = np.clip(2 * shore - y + 0.012 * np.sin(y * 150 + 3 * np.sin(x * 9)) * (y - shore + 0.15), 0, 1) * size
    columns = (x + 0.02 * np.sin(y * 190 + 5 * np.sin(x * 13)) * (y - shore + 0.12)) * size
    water = np.stack(
        [ndimage.map_coordinates(image[..., c], [rows, columns], order=1, mode="nearest") for c in range(3)], -1
    )
    water = ndimage.gaussian_filter(water, (size * 0.008, size * 0.001, 0)) * 0.85 + _colour("141a4a") * 0.12
    image = _over(image, water, smoothstep(-0.001, 0.001, y - shore))
    hull = _polygon(size, np.array([0.2, 0.42, 0.39, 0.235]), np.array([0.79, 0.79, 0.825, 0.825]))
    sail = np.maximum(
        _polygon(size, np.array([0.305, 0.305, 0.4]), np.array([0.58, 0.775, 0.775])),
        _polygon(size, np.array([0.297, 0.297, 0.225]), np.array([0.61, 0.775, 0.775])),
    )
    return _over(_over(image, _colour("2a1233"), hull), _colour("fff1d0"), sail)


def mountains(rng: Rng, size: int) -> Array:
    """Mountains in mist, a red sun, a pine branch and birds."""
    x, y = grid(size)
    image = _ramp("efe6d2 f6efdf f1e7d0", y)
    image = _over(image, _colour("c8402f"), smoothstep(0.087, 0.083, np.hypot(x - 0.7, y - 0.22)) * 0.92)
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
        image = _over(image, _colour("f3ebd9"), 0.6 * mist)
        image = _over(image, _ramp("4a6a78 26343f 14191f", np.full_like(ink, nearness)), ink)
    for bird in range(7):
        at_x, at_y, wide = (
            0.32 + 0.035 * bird + rng.uniform(-0.01, 0.01),
            0.2 + rng.uniform(-0.05, 0.05),
            rng.uniform(0.012, 0.022),
        )
        wing = np.abs(y - at_y + 0.35 * wide * (1 - np.abs(np.abs(x - at_x) / wide - 0.5) * 2))
        image = _over(image, _colour("1a1f24"), smoothstep(0.0026, 0.0012, wing) * (np.abs(x - at_x) < wide))

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

    return _over(image, _colour("10171a"), _mask(size, branch) * 0.95)


def garden(rng: Rng, size: int) -> Array:
    """A tree with curling branches, fruit and birds on a golden ground."""
    x, y = grid(size)
    away = np.hypot(x - 0.5, y - 0.42)
    image = _ramp("fff1b8 f6cf5f e0a030 b8742a", np.clip(away * 1.5 + 0.05 * np.sin(away * 70), 0, 1))
    ground = 0.86 + 0.02 * np.sin(x * 9)
    image = _over(
        image, _ramp("2f8f6b 1c5f57 12404a", np.clip((y - ground) * 7, 0, 1)), smoothstep(-0.001, 0.001, y - ground)
    )
    pond = 1 - ((x - 0.5) / 0.36) ** 2 - ((y - 0.95) / 0.045) ** 2
    image = _over(
        image,
        _ramp("9be0f0 2c8fc9 174f9e", np.clip(0.5 + 0.5 * np.sin(pond * 12), 0, 1)),
        smoothstep(-0.02, 0.02, pond),
    )
    ends: list[tuple[float, float, int]] = []

    def tree(draw: ImageDraw.ImageDraw, full: int) -> None:
        def grow(at_x: float, at_y: float, heading: float, long: float, wide: float, level: int, bend: float) -> None:
            steps = 14
            for step in range(steps):
                to_x, to_y = at_x + long / steps * math.cos(heading), at_y + long / steps * math.sin(heading)
                thick = wide * (1 - 0.5 * step / steps)
                draw.line([at_x * full, at_y * full, to_x * full, to_y * full], 255, max(3, round(thick * full)))
                draw.ellipse(
                    [
                        (to_x - thick / 2) * full,
                        (to_y - thick / 2) * full,
                        (to_x + thick / 2) * full,
                        (to_y + thick / 2) * full,
                    ],
                    255,
                )
                at_x, at_y, heading = to_x, to_y, heading + bend * (1 + 1.2 * step / steps * (level > 1))
            ends.append((at_x, at_y, level))
            if level < 4:
                for side in (-1, 1):
                    grow(
                        at_x,
                        at_y,
                        0.75 * heading - 0.39 + side * rng.uniform(0.3, 0.6),
                        long * rng.uniform(0.7, 0.84),
                        wide * 0.58,
                        level + 1,
                        side * rng.uniform(0.0, 0.08),
                    )

        grow(0.5, 0.9, -math.pi / 2 - 0.1, 0.3, 0.08, 0, 0.014)
        for side in (-1, 1):
            grow(0.5 + 0.01 * side, 0.7, -math.pi / 2 + side * 0.9, 0.25, 0.036, 1, -side * 0.045)

    trunk = _mask(size, tree)
    bark = 0.5 + 0.5 * np.sin(x * 150 + 6 * np.sin(y * 20))
    image = _over(image, _ramp("4a2410 8a4b1f", bark), trunk)
    fruit = ("d7263d", "f46036", "2e86de", "1b998b", "e84393", "7b2cbf", "f9f871", "ffffff")
    for at_x, at_y, level in ends:
        for _ in range(4 if level >= 3 else 1):
            leaf_x, leaf_y, turn = at_x + rng.normal(0, 0.03), at_y + rng.normal(0, 0.03), rng.uniform(0, math.pi)
            along = ((x - leaf_x) * math.cos(turn) + (y - leaf_y) * math.sin(turn)) / 0.044
            across = ((y - leaf_y) * math.cos(turn) - (x - leaf_x) * math.sin(turn)) / 0.02
            image = _over(
                image, _ramp("0f5132 2fa84f a5d653", rng.random((1,)))[0], smoothstep(1.1, 0.9, along**2 + across**2)
            )
    for at_x, at_y, level in ends:
        if level >= 3 and rng.random() < 0.75:
            ball = np.hypot(x - at_x, y - at_y - 0.012) / rng.uniform(0.024, 0.034)
            paint = _colour(fruit[rng.integers(len(fruit))])
            image = _over(
                image, np.clip(paint * (1.15 - 0.5 * ball[..., None] ** 2), 0, 1), smoothstep(1.05, 0.95, ball)
            )
    for at_x, at_y, side, code in ((0.2, 0.72, 1, "2463c9"), (0.81, 0.74, -1, "c2255c")):
        body = ((x - at_x) / 0.06) ** 2 + ((y - at_y - 0.15 * side * (x - at_x)) / 0.036) ** 2
        tail = _polygon(size, at_x - side * np.array([0.04, 0.15, 0.13]), at_y + np.array([0.0, 0.02, 0.075]))
        head = np.hypot(x - at_x - side * 0.055, y - at_y + 0.03) / 0.026
        beak = _polygon(size, at_x + side * np.array([0.075, 0.075, 0.11]), at_y + np.array([-0.042, -0.022, -0.028]))
        image = _over(image, _colour("f9c74f"), beak)
        image = _over(
            image,
            _colour(code),
            np.maximum(tail, np.maximum(smoothstep(1.05, 0.95, body), smoothstep(1.05, 0.95, head))),
        )
        image = _over(
            image,
            _colour("9ad8ff"),
            smoothstep(1.1, 0.9, ((x - at_x + side * 0.01) / 0.034) ** 2 + ((y - at_y - 0.005) / 0.017) ** 2),
        )
        image = _over(
            image, _colour("ffffff"), smoothstep(1.1, 0.8, np.hypot(x - at_x - side * 0.062, y - at_y + 0.034) / 0.007)
        )
    return image


def geometry(rng: Rng, size: int) -> Array:
    """Discs, arcs, bars and triangles in five colours."""
    x, y = grid(size)
    cream, red, blue, yellow, black, teal = (
        _colour(code) for code in ("f2e6cf", "d8432e", "1f4e8c", "f0b429", "22201f", "3b9c95")
    )
    image = np.broadcast_to(cream, (size, size, 3)) * (1 - 0.08 * y[..., None])
    tilted = (x * 0.8 + y * 0.6, y * 0.8 - x * 0.6)

    def disc(at_x: float, at_y: float, radius: float) -> Array:
        return smoothstep(radius + 0.002, radius - 0.002, np.hypot(x - at_x, y - at_y))

    image = _over(image, yellow, disc(0.66, 0.33, 0.27))
    image = _over(image, blue, disc(0.33, 0.62, 0.25))
    image = _over(
        image,
        red,
        smoothstep(-0.002, 0.002, np.minimum(0.06 - np.abs(tilted[1] - 0.05), 0.5 - np.abs(tilted[0] - 0.75))),
    )
    image = _over(image, black, _polygon(size, np.array([0.05, 0.45, 0.16]), np.array([0.12, 0.2, 0.47])))
    image = _over(image, teal, _polygon(size, np.array([0.55, 0.97, 0.8]), np.array([0.93, 0.83, 0.52])))
    overlap = disc(0.66, 0.33, 0.27) * disc(0.56, 0.52, 0.16)
    image = _over(image, red, disc(0.56, 0.52, 0.16))
    image = _over(image, _colour("b5651d"), overlap)
    for number, radius in enumerate(np.linspace(0.05, 0.2, 5)):
        ring = smoothstep(0.012, 0.008, np.abs(np.hypot(x - 0.33, y - 0.62) - radius)) * (
            np.arctan2(y - 0.62, x - 0.33) < 0.4 * number
        )
        image = _over(image, cream if number % 2 else yellow, ring)
    for number in range(6):
        image = _over(
            image, black, smoothstep(0.006, 0.003, np.abs(y - 0.07 - 0.022 * number)) * (x > 0.56) * (x < 0.95)
        )
    image = _over(image, cream, disc(0.72, 0.27, 0.1))
    image = _over(image, black, disc(0.72, 0.27, 0.045))
    checks = (np.floor(x * 26) + np.floor(y * 26)) % 2
    image = _over(image, black, checks * (x > 0.05) * (x < 0.32) * (y > 0.885) * (y < 0.965))
    image = _over(image, red, smoothstep(0.004, 0.001, np.abs(tilted[0] - 1.02)) * (y > 0.35))
    image = _over(image, black, smoothstep(0.005, 0.002, np.abs(y - 0.86 + 0.35 * x)) * (x < 0.9))
    glow = fractal(rng, size, 1.9)
    return image * (1 + 0.06 * glow + 0.18 * (0.5 - np.hypot(x - 0.4, y - 0.4)))[..., None]


def _medium(family: str, **changes: Any) -> Style:
    """A medium that keeps the picture's own colours."""
    plain = replace(sample_style(0, family), recolour=0.0, contrast=1.05, stretch=3.0, angle=0.7)
    return replace(plain, **changes)


Motif = Callable[[Rng, int], Array]
STYLES: dict[str, tuple[Motif, Style]] = {
    "style_night": (night, _medium("impasto", scale=4.6, amount=0.0, stretch=4.5)),
    "style_waves": (waves, _medium("poster", amount=0.3)),
    "style_sunrise": (sunrise, _medium("glass", scale=21.0, amount=0.0, stretch=4.5)),
    "style_flowers": (flowers, _medium("oil", scale=5.0, amount=0.5)),
    "style_city": (city, _medium("pointillism", scale=3.5, amount=0.1)),
    "style_mountains": (mountains, _medium("watercolour", amount=0.3)),
    "style_garden": (garden, _medium("mosaic", scale=4.2, amount=0.4, cool=((0.5, 0.43, 0.34), (0.9, 0.85, 0.7)))),
    "style_geometry": (geometry, _medium("halftone", scale=4.2, amount=0.2)),
}


def draw_style(name: str, size: int = STYLE_SIZE) -> Array:
    """One of the STYLES, uint8 (size, size, 3) RGB. The size must be a multiple of 4."""
    motif, style = STYLES[name]
    return style(to_uint8(motif(np.random.default_rng(7), size)), seed=7)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the bundled portraits and styles.")
    parser.add_argument("out_dir", type=Path, help="folder for the WebP files")
    out_dir = parser.parse_args().out_dir
    out_dir.mkdir(parents=True, exist_ok=True)
    pictures = {name: portrait(seed, PORTRAIT_SIZE) for name, seed in PORTRAITS.items()}
    pictures.update({name: draw_style(name) for name in STYLES})
    for name, picture in pictures.items():
        path = out_dir / f"{name}.webp"
        Image.fromarray(picture).save(path, quality=90, method=6)
        print(path)


if __name__ == "__main__":
    main()
