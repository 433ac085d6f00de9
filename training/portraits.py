"""Procedural portraits: one person or two, drawn from a seed before a background. What is around the head, the
background and the clothed body, is drawn here, and everything is put together from back to front under one light.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image
from scipy import ndimage

from training import natural as scenes
from training.face import ear, head
from training.hair import glasses, hair_back, hair_front, hat
from training.natural import Array, Rng, fractal, grid, smoothstep, to_uint8
from training.relief import Canvas, Light, bump, inside, normals, ridge, sample
from training.sitter import Person, sitter


def _background(rng: Rng, size: int) -> Array:
    """What is behind the sitter: a studio wall, or a scene out of focus."""
    if rng.random() < 0.45:
        x, y = grid(size)
        paint = scenes.colours(rng, 2)
        angle = float(rng.uniform(0, 2 * np.pi))
        ramp = smoothstep(-0.7, 0.7, (x - 0.5) * math.cos(angle) + (y - 0.5) * math.sin(angle))
        glow = np.exp(-((x - rng.uniform(0.2, 0.8)) ** 2 + (y - rng.uniform(0.2, 0.7)) ** 2) / rng.uniform(0.1, 0.5))
        wall = paint[0] + (paint[1] - paint[0]) * (ramp * rng.uniform(0, 0.7))[..., None]
        return wall * (0.65 + 0.5 * glow + fractal(rng, size, 1.6) * rng.uniform(0, 0.05))[..., None]
    drawn = (scenes.leaves, scenes.landscape, scenes.landscape, scenes.solids, scenes.masonry, scenes.clouds)
    half = -(-size // 8) * 4
    scene = np.clip(drawn[rng.integers(len(drawn))](rng, half), 0, 1)
    blur = rng.uniform(0.006, 0.045) * half
    scene = ndimage.gaussian_filter(scene, (blur, blur, 0))
    return ndimage.zoom(scene, (2, 2, 1), order=1)[:size, :size] * np.float32(rng.uniform(0.65, 1.0))


def _body(person: Person, canvas: Canvas, light: Light, rng: Rng) -> None:
    """Neck, shoulders and clothes."""
    x, y, soft = canvas.x, canvas.y, canvas.pixel * 1.5
    neck = 0.46 - 0.1 * person.feminine
    fold = fractal(rng, 256, 1.9, 3.0, rng.uniform(1, 2))
    fold = sample(fold, y * 64, x * 64)
    reach = np.abs(x) / person.shoulder
    slope = 0.3 * smoothstep(0.22, 0.5, reach) + 0.3 * reach**2 + 9 * np.maximum(reach - 0.82, 0) ** 2
    top = 1.05 + slope + 0.012 * fold

    # Neck and chest
    neck_x = x + 0.1 * math.sin(person.yaw) * smoothstep(1.5, 0.6, y)
    throat = neck * 0.8 * np.sqrt(np.clip(1 - (neck_x / (neck * 1.15)) ** 2, 0.02, 1))
    cords = 0.02 * ridge(np.abs(neck_x) - 0.26 + 0.22 * np.clip(y - 0.8, 0, 1), 0.09) * smoothstep(0.8, 1.1, y)
    pit = 0.03 * bump(x, y, (0, 1.4), (0.09, 0.07))
    bones = 0.025 * ridge(y - 1.42 - 0.1 * np.abs(x), 0.05) * (np.abs(x) > 0.1)
    chest = smoothstep(1.2, 1.45, y)
    relief = throat * (1 - chest) + (0.4 - 0.2 * x * x) * chest + cords + bones - pit
    normal = normals(ndimage.gaussian_filter(relief, 0.02 / canvas.pixel), canvas.pixel)
    skin = person.skin * light.shade(normal, np.array([0.4, 0.27, 0.22], np.float32))
    chin = smoothstep(0.42, -0.08, y - 0.97 - 0.25 * light.direction[0] * x + 0.5 * x * x)
    flare = neck + 0.8 * np.clip(y - 0.92, 0, 1) ** 2
    bare = np.maximum(np.minimum(flare - np.abs(neck_x), y - 0.3), np.minimum(y - top, 0.85 - np.abs(x)))
    canvas.over(skin * (1 - 0.6 * chin)[..., None], inside(bare, soft))

    # Clothes
    paint = person.cloth
    cloth = np.broadcast_to(paint[0], canvas.pixels.shape)
    lie = y - 0.5 * slope
    if person.pattern == "stripes":
        bands = smoothstep(-0.1, 0.1, np.sin((lie + fold * 0.02) * (16 + 40 * person.brow_arch * 6)))
        cloth = cloth + (paint[1] - cloth) * bands[..., None]
    elif person.pattern == "checks":
        checks = smoothstep(-0.1, 0.1, np.sin(x * 19 + fold * 0.3)) + smoothstep(
            -0.1, 0.1, np.sin(lie * 19 + fold * 0.3)
        )
        cloth = cloth + (paint[1] - cloth) * (checks * 0.45)[..., None]
    elif person.pattern == "knit":
        cloth = cloth * (1 + 0.1 * np.sin(x * 62) * np.sin(lie * 48 + 2 * np.abs((x * 62 / np.pi) % 2 - 1)))[..., None]
    chest_round = 0.7 * np.sqrt(np.clip(1.02 - (reach / 1.05) ** 2, 0.02, 1)) + 0.22 * smoothstep(0, 0.7, y - top)
    armpit = ridge(np.abs(x) - person.shoulder * (0.66 - 0.06 * (y - 1.8)), 0.05) * smoothstep(1.75, 2.2, y)
    relief = chest_round + 0.03 * fold * smoothstep(1.1, 1.8, y) - 0.06 * armpit
    shade = light.shade(normals(ndimage.gaussian_filter(relief, 0.012 / canvas.pixel), canvas.pixel), 0.12)
    depth, width, power = {
        "round": (0.2, 0.48, 2.0),
        "vee": (0.7, 0.44, 1.0),
        "wide": (0.38, 0.66, 2.4),
        "shirt": (0.42, 0.34, 1.0),
        "jacket": (0.95, 0.4, 0.9),
    }[person.collar]
    shape = 1 - np.clip(np.abs(x) / width, 0, 1) ** power
    opening = np.where(np.abs(x) < width, y - 1.07 - depth * shape, np.float32(1))
    if person.collar == "jacket":  # a shirt below it
        shirt = np.minimum(y - top, y - 1.07 - 0.32 * (1 - np.clip(np.abs(x) / 0.36, 0, 1)))
        canvas.over((paint[2] * 0.3 + 0.65) * shade, inside(shirt, soft))
        tie = np.minimum(0.07 + 0.05 * (y - 1.3) - np.abs(x), y - 1.36)
        canvas.over(paint[1] * 0.8 * shade, inside(tie, soft))
    dress = np.minimum(y - top, opening)
    canvas.darken(0.45 * inside(dress + 0.03, 0.06) * (y > top))
    hem = (
        1
        - 0.3 * np.exp(-np.clip(opening, 0, 1) / 0.02)
        - 0.25 * ridge(opening - 0.09, 0.012) * (person.collar in ("round", "wide"))
    )
    canvas.over(cloth * shade * hem[..., None], inside(dress, soft))
    if person.collar in ("shirt", "jacket"):
        edge = (
            np.abs(x) - 0.18 - 0.62 * (y - 1.0) * (y > 1.0)
            if person.collar == "shirt"
            else np.abs(x) - 0.2 - 0.3 * (1.35 - y)
        )
        wing = np.minimum(np.minimum(edge, 0.2 - edge), np.minimum(y - 1.02, 1.5 - 0.35 * np.abs(x) - y))
        paper = (paint[2] * 0.3 + 0.65) if person.collar == "jacket" else paint[0] * 1.12
        canvas.darken(0.3 * inside(wing + 0.03, 0.06))
        canvas.over(paper * shade, inside(wing, soft))


def _draw(person: Person, picture: Array, centre: tuple[float, float], radius: float, light: Light, rng: Rng) -> None:
    """Draw one person: centre and radius (half the head's height) in parts of the picture's size."""
    size = picture.shape[0]
    x, y = grid(size)
    x, y = (x - centre[0]) / radius, (y - centre[1]) / radius
    cos, sin = math.cos(person.roll), math.sin(person.roll)
    everything = Canvas(picture, x, y, 1 / (size * radius))
    hair_back(person, everything, light, rng)
    _body(person, everything.within(9, 0.2, 9), light, rng)
    around = everything.within(1.5, -1.7, 1.75)
    upright = Canvas(around.pixels, around.x * cos + around.y * sin, around.y * cos - around.x * sin, around.pixel)
    near = -1 if person.yaw > 0 else 1
    ears = upright.within(1.05, -0.25, 0.35)
    ear(person, ears, light, -near)
    if abs(person.yaw) < 0.2:
        ear(person, ears, light, near)
    head(person, upright, light, rng)
    if person.glasses:
        glasses(person, upright, rng)
    if person.style != "bald" or person.age > 0.35:
        hair_front(person, upright, light, rng)
    if abs(person.yaw) >= 0.2 and person.style in ("short", "side", "bald", "bun"):
        ear(person, ears, light, near)
    if person.hat:
        hat(person, upright, light, rng)


def portrait(seed: int, size: int = 256) -> Array:
    """A portrait of one or sometimes two people, uint8 (size, size, 3) RGB."""
    rng = np.random.default_rng([seed, 5])
    fine = -(-size * 3 // 8) * 4
    picture = np.ascontiguousarray(_background(rng, fine), np.float32)
    side = rng.uniform(-1.1, 1.1)
    direction = np.array(
        [math.sin(side), -rng.uniform(0.2, 0.8), rng.uniform(0.55, 1.0) * math.cos(side) + 0.2], np.float32
    )
    warmth, power = rng.normal(0, 0.05), rng.uniform(0.75, 1.05)
    light = Light(
        direction / np.linalg.norm(direction),
        np.array([1 + warmth, 1, 1 - warmth], np.float32) * power,
        np.array([1 - warmth, 1, 1 + warmth], np.float32) * rng.uniform(0.2, 0.45),
    )
    if rng.random() < 0.12:
        places = [
            (rng.uniform(0.27, 0.32), rng.uniform(0.38, 0.48)),
            (rng.uniform(0.68, 0.73), rng.uniform(0.38, 0.48)),
        ]
        radii = rng.uniform(0.2, 0.25, 2).tolist()
    else:
        places = [(0.5 + rng.normal(0, 0.035), rng.uniform(0.41, 0.47))]
        radii = [rng.uniform(0.24, 0.33)]
    for place, radius in zip(places, radii, strict=True):
        _draw(sitter(rng), picture, place, radius, light, rng)
    small = Image.fromarray(to_uint8(picture)).resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(small)
