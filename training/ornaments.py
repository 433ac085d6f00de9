"""Motifs of the style pictures: flowers, a garden, shapes. Each is drawn at any size that 4 divides."""

from __future__ import annotations

import math

import numpy as np
from PIL import ImageDraw

from training.drawing import colour, mask, over, polygon, ramp
from training.natural import Array, Rng, fractal, grid, hsv_to_rgb, smoothstep


def flowers(rng: Rng, size: int) -> Array:
    """Great loose flowers and leaves on a warm ground."""
    x, y = grid(size)
    image = ramp("f7e3c5 f3cfae e9b7a0 cfd8c0", np.clip(0.5 + 0.22 * fractal(rng, size, 1.9) + 0.3 * (y - 0.5), 0, 1))
    for _ in range(26):
        at_x, at_y, turn, long = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.24)
        along = ((x - at_x) * math.cos(turn) + (y - at_y) * math.sin(turn)) / long
        across = ((y - at_y) * math.cos(turn) - (x - at_x) * math.sin(turn)) / long - 0.15 * along**2
        leaf = 0.24 * np.clip(1 - along**2, 0, 1) ** 0.8 - np.abs(across)
        veins = 0.5 + 0.5 * np.sin(along * 22 + np.abs(across) * 40)
        paint = ramp("16473a 2f7a55 7fae6b", np.clip(0.45 + 0.3 * np.sign(across) + 0.2 * veins - 0.2, 0, 1))
        image = over(image, paint, smoothstep(-0.02, 0.02, leaf))
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
            image = over(image, petal, smoothstep(1.01, 0.98, away / edge))
        seeds = 0.5 + 0.5 * np.sin(angle * 13 + away * 60) * np.sin(away * 70)
        image = over(image, ramp("3a1f14 a8641b f4c542", np.clip(seeds, 0, 1)), smoothstep(0.2, 0.17, away))
    return image


def garden(rng: Rng, size: int) -> Array:
    """A tree with curling branches, fruit and birds on a golden ground."""
    x, y = grid(size)
    away = np.hypot(x - 0.5, y - 0.42)
    image = ramp("fff1b8 f6cf5f e0a030 b8742a", np.clip(away * 1.5 + 0.05 * np.sin(away * 70), 0, 1))
    ground = 0.86 + 0.02 * np.sin(x * 9)
    image = over(
        image, ramp("2f8f6b 1c5f57 12404a", np.clip((y - ground) * 7, 0, 1)), smoothstep(-0.001, 0.001, y - ground)
    )
    pond = 1 - ((x - 0.5) / 0.36) ** 2 - ((y - 0.95) / 0.045) ** 2
    image = over(
        image,
        ramp("9be0f0 2c8fc9 174f9e", np.clip(0.5 + 0.5 * np.sin(pond * 12), 0, 1)),
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

    trunk = mask(size, tree)
    bark = 0.5 + 0.5 * np.sin(x * 150 + 6 * np.sin(y * 20))
    image = over(image, ramp("4a2410 8a4b1f", bark), trunk)
    fruit = ("d7263d", "f46036", "2e86de", "1b998b", "e84393", "7b2cbf", "f9f871", "ffffff")
    for at_x, at_y, level in ends:
        for _ in range(4 if level >= 3 else 1):
            leaf_x, leaf_y, turn = at_x + rng.normal(0, 0.03), at_y + rng.normal(0, 0.03), rng.uniform(0, math.pi)
            along = ((x - leaf_x) * math.cos(turn) + (y - leaf_y) * math.sin(turn)) / 0.044
            across = ((y - leaf_y) * math.cos(turn) - (x - leaf_x) * math.sin(turn)) / 0.02
            image = over(
                image, ramp("0f5132 2fa84f a5d653", rng.random((1,)))[0], smoothstep(1.1, 0.9, along**2 + across**2)
            )
    for at_x, at_y, level in ends:
        if level >= 3 and rng.random() < 0.75:
            ball = np.hypot(x - at_x, y - at_y - 0.012) / rng.uniform(0.024, 0.034)
            paint = colour(fruit[rng.integers(len(fruit))])
            image = over(
                image, np.clip(paint * (1.15 - 0.5 * ball[..., None] ** 2), 0, 1), smoothstep(1.05, 0.95, ball)
            )
    for at_x, at_y, side, code in ((0.2, 0.72, 1, "2463c9"), (0.81, 0.74, -1, "c2255c")):
        body = ((x - at_x) / 0.06) ** 2 + ((y - at_y - 0.15 * side * (x - at_x)) / 0.036) ** 2
        tail = polygon(size, at_x - side * np.array([0.04, 0.15, 0.13]), at_y + np.array([0.0, 0.02, 0.075]))
        head = np.hypot(x - at_x - side * 0.055, y - at_y + 0.03) / 0.026
        beak = polygon(size, at_x + side * np.array([0.075, 0.075, 0.11]), at_y + np.array([-0.042, -0.022, -0.028]))
        image = over(image, colour("f9c74f"), beak)
        image = over(
            image,
            colour(code),
            np.maximum(tail, np.maximum(smoothstep(1.05, 0.95, body), smoothstep(1.05, 0.95, head))),
        )
        image = over(
            image,
            colour("9ad8ff"),
            smoothstep(1.1, 0.9, ((x - at_x + side * 0.01) / 0.034) ** 2 + ((y - at_y - 0.005) / 0.017) ** 2),
        )
        image = over(
            image, colour("ffffff"), smoothstep(1.1, 0.8, np.hypot(x - at_x - side * 0.062, y - at_y + 0.034) / 0.007)
        )
    return image


def geometry(rng: Rng, size: int) -> Array:
    """Discs, arcs, bars and triangles in five colours."""
    x, y = grid(size)
    cream, red, blue, yellow, black, teal = (
        colour(code) for code in ("f2e6cf", "d8432e", "1f4e8c", "f0b429", "22201f", "3b9c95")
    )
    image = np.broadcast_to(cream, (size, size, 3)) * (1 - 0.08 * y[..., None])
    tilted = (x * 0.8 + y * 0.6, y * 0.8 - x * 0.6)

    def disc(at_x: float, at_y: float, radius: float) -> Array:
        return smoothstep(radius + 0.002, radius - 0.002, np.hypot(x - at_x, y - at_y))

    image = over(image, yellow, disc(0.66, 0.33, 0.27))
    image = over(image, blue, disc(0.33, 0.62, 0.25))
    image = over(
        image,
        red,
        smoothstep(-0.002, 0.002, np.minimum(0.06 - np.abs(tilted[1] - 0.05), 0.5 - np.abs(tilted[0] - 0.75))),
    )
    image = over(image, black, polygon(size, np.array([0.05, 0.45, 0.16]), np.array([0.12, 0.2, 0.47])))
    image = over(image, teal, polygon(size, np.array([0.55, 0.97, 0.8]), np.array([0.93, 0.83, 0.52])))
    overlap = disc(0.66, 0.33, 0.27) * disc(0.56, 0.52, 0.16)
    image = over(image, red, disc(0.56, 0.52, 0.16))
    image = over(image, colour("b5651d"), overlap)
    for number, radius in enumerate(np.linspace(0.05, 0.2, 5)):
        ring = smoothstep(0.012, 0.008, np.abs(np.hypot(x - 0.33, y - 0.62) - radius)) * (
            np.arctan2(y - 0.62, x - 0.33) < 0.4 * number
        )
        image = over(image, cream if number % 2 else yellow, ring)
    for number in range(6):
        image = over(
            image, black, smoothstep(0.006, 0.003, np.abs(y - 0.07 - 0.022 * number)) * (x > 0.56) * (x < 0.95)
        )
    image = over(image, cream, disc(0.72, 0.27, 0.1))
    image = over(image, black, disc(0.72, 0.27, 0.045))
    checks = (np.floor(x * 26) + np.floor(y * 26)) % 2
    image = over(image, black, checks * (x > 0.05) * (x < 0.32) * (y > 0.885) * (y < 0.965))
    image = over(image, red, smoothstep(0.004, 0.001, np.abs(tilted[0] - 1.02)) * (y > 0.35))
    image = over(image, black, smoothstep(0.005, 0.002, np.abs(y - 0.86 + 0.35 * x)) * (x < 0.9))
    glow = fractal(rng, size, 1.9)
    return image * (1 + 0.06 * glow + 0.18 * (0.5 - np.hypot(x - 0.4, y - 0.4)))[..., None]
