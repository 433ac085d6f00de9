"""Procedural portraits: people drawn from a seed as lit reliefs.

A head is an ellipsoid turned by a yaw, with the features laid on it in face coordinates: u to the person's side and
v downwards, in units of half the head's height, (0, 0) between the eyes' height and the middle of the face. The relief
gives normals, the normals give light; colour is painted in the same coordinates, so everything turns with the head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from magicstyle_core.mini import natural as scenes
from magicstyle_core.mini.natural import Array, Rng, fractal, grid, hsv_to_rgb, smoothstep, to_uint8

_SKINS = np.array(
    [(0.97, 0.83, 0.75), (0.93, 0.76, 0.65), (0.87, 0.67, 0.53), (0.77, 0.56, 0.41), (0.62, 0.42, 0.29), (0.45, 0.29, 0.2), (0.32, 0.2, 0.14)],
    np.float32,
)
_HAIRS = np.array(
    [(0.07, 0.055, 0.05), (0.16, 0.1, 0.07), (0.3, 0.18, 0.1), (0.45, 0.28, 0.15), (0.72, 0.54, 0.3), (0.86, 0.74, 0.5), (0.5, 0.2, 0.09)],
    np.float32,
)
_IRISES = np.array([(0.25, 0.14, 0.07), (0.36, 0.22, 0.1), (0.33, 0.4, 0.2), (0.3, 0.45, 0.6), (0.45, 0.55, 0.6)], np.float32)


@dataclass
class _Canvas:
    """A crop of the picture with its place: x and y in head units around one head, upright with the head."""

    pixels: Array  # (height, width, 3), a view into the picture
    x: Array
    y: Array
    pixel: float  # size of a pixel in head units

    def over(self, colour: Array, cover: Array) -> None:
        """Paint a colour, or a picture of the crop's shape, where cover is 1."""
        self.pixels += (colour - self.pixels) * cover[..., None]


@dataclass
class _Light:
    direction: Array  # (3,): x to the right, y down, z towards the viewer; unit length
    key: Array  # colour of the main light
    fill: Array  # colour of the light from everywhere

    def shade(self, normal: tuple[Array, Array, Array], wrap: Array | float = 0.0) -> Array:
        """Light (height, width, 3) that a matt surface with these normals sends on."""
        facing = sum(n * d for n, d in zip(normal, self.direction, strict=True))
        wrap = np.asarray(wrap, np.float32)
        lit = np.clip((facing[..., None] + wrap) / (1 + wrap), 0, None)
        sky = 0.75 - 0.25 * normal[1]
        return lit * self.key + sky[..., None] * self.fill

    def shine(self, normal: tuple[Array, Array, Array], hardness: float) -> Array:
        half = self.direction + np.array([0, 0, 1], np.float32)
        half = half / np.linalg.norm(half)
        return np.clip(sum(n * d for n, d in zip(normal, half, strict=True)), 0, 1) ** hardness


def _bump(u: Array, v: Array, at: tuple[float, float], spread: tuple[float, float]) -> Array:
    return np.exp(-(((u - at[0]) / spread[0]) ** 2) - ((v - at[1]) / spread[1]) ** 2)


def _normals(height: Array, pixel: float) -> tuple[Array, Array, Array]:
    gy, gx = np.gradient(height, pixel)
    length = np.sqrt(gx * gx + gy * gy + 1)
    return -gx / length, -gy / length, 1 / length


def _inside(value: Array, soft: float) -> Array:
    """1 where value is positive, 0 where negative, with an edge `soft` wide."""
    return np.clip(value / soft + 0.5, 0, 1)


def _background(rng: Rng, size: int) -> Array:
    """What is behind the sitter: a studio wall, or a scene out of focus."""
    kind = rng.random()
    x, y = grid(size)
    if kind < 0.4:
        paint = scenes.colours(rng, 2)
        angle = rng.uniform(0, 2 * np.pi)
        ramp = smoothstep(-0.7, 0.7, (x - 0.5) * math.cos(angle) + (y - 0.5) * math.sin(angle))
        glow = np.exp(-((x - rng.uniform(0.2, 0.8)) ** 2 + (y - rng.uniform(0.2, 0.7)) ** 2) / rng.uniform(0.1, 0.5))
        wall = paint[0] + (paint[1] - paint[0]) * (ramp * rng.uniform(0, 0.7))[..., None]
        wall = wall * (0.6 + 0.5 * glow + fractal(rng, size, rng.uniform(1, 2)) * rng.uniform(0, 0.06))[..., None]
        return wall
    drawn = (scenes.leaves, scenes.landscape, scenes.solids, scenes.masonry, scenes.clouds)[rng.integers(5)]
    half = -(-size // 8) * 4
    scene = np.clip(drawn(rng, half), 0, 1)
    blur = rng.uniform(0.004, 0.045) * half
    scene = ndimage.gaussian_filter(scene, (blur, blur, 0))
    return ndimage.zoom(scene, (2, 2, 1), order=1)[:size, :size] * np.float32(rng.uniform(0.6, 1.0))


@dataclass
class _Person:
    """Everything that makes one sitter, drawn once from the seed."""

    rng: Rng
    age: float
    feminine: float
    skin: Array
    hair: Array
    yaw: float
    roll: float
    width: float
    jaw: float
    eye_u: float
    eye_v: float
    eye_width: float
    eye_open: float
    gaze: float
    nose: float
    nose_width: float
    mouth_v: float
    mouth_width: float
    smile: float
    hairline: float
    style: str
    beard: float
    glasses: bool
    hat: str


def _sitter(rng: Rng) -> _Person:
    age, feminine = float(rng.beta(1.3, 1.6)), float(rng.random() < 0.5)
    tone = rng.random() * (len(_SKINS) - 1.001)
    skin = _SKINS[int(tone)] + (_SKINS[int(tone) + 1] - _SKINS[int(tone)]) * np.float32(tone % 1)
    skin = skin * (1 + rng.normal(0, 0.03, 3)).astype(np.float32)
    hair = _HAIRS[rng.integers(0, 3 if tone > 3.5 else len(_HAIRS))] * np.float32(rng.uniform(0.7, 1.2))
    if rng.random() < 0.06:
        hair = hsv_to_rgb(rng.random(), 0.6, rng.uniform(0.4, 0.8))
    grey = smoothstep(0.55, 0.9, np.array(age + rng.normal(0, 0.1)))
    hair = hair + (np.float32(rng.uniform(0.55, 0.85)) - hair) * grey
    if feminine:
        styles, chances = ("long", "wavy", "bob", "bun", "curly", "short", "scarf"), (0.28, 0.22, 0.16, 0.12, 0.1, 0.06, 0.06)
    else:
        styles, chances = ("short", "side", "bald", "curly", "long", "wavy"), (0.36, 0.26, 0.14, 0.12, 0.06, 0.06)
    style = str(rng.choice(styles, p=chances))
    return _Person(
        rng=rng,
        age=age,
        feminine=feminine,
        skin=skin.astype(np.float32),
        hair=hair.astype(np.float32),
        yaw=float(np.clip(rng.normal(0, 0.3), -0.65, 0.65)),
        roll=float(rng.normal(0, 0.05)),
        width=float(rng.uniform(0.68, 0.78)),
        jaw=float(rng.uniform(0.04, 0.24) + 0.07 * feminine),
        eye_u=float(rng.uniform(0.29, 0.34)),
        eye_v=float(rng.uniform(-0.1, -0.02)),
        eye_width=float(rng.uniform(0.135, 0.165)),
        eye_open=float(rng.uniform(0.05, 0.075) - 0.01 * age),
        gaze=float(rng.normal(0, 0.03)),
        nose=float(rng.uniform(0.15, 0.24)),
        nose_width=float(rng.uniform(0.085, 0.13) - 0.015 * feminine),
        mouth_v=float(rng.uniform(0.5, 0.57)),
        mouth_width=float(rng.uniform(0.21, 0.29)),
        smile=float(rng.normal(0.02, 0.03)),
        hairline=float(rng.uniform(-0.72, -0.55) - 0.1 * age * (1 - feminine)),
        style=style,
        beard=float((not feminine) * (rng.random() < 0.45) * rng.uniform(0.3, 1)),
        glasses=bool(rng.random() < 0.12 + 0.2 * age),
        hat=str(rng.choice(("", "beanie", "brim"), p=(0.86, 0.08, 0.06))) if style != "scarf" else "",
    )


def _profile(y: Array, jaw: float) -> Array:
    """Half width of the head at each height as a part of its greatest half width."""
    reach = np.where(y < -0.1, np.float32(0.9), np.float32(1.1))
    skull = np.sqrt(np.clip(1 - np.abs((y + 0.1) / reach) ** 2.3, 0, 1))
    return skull * (1 - jaw * smoothstep(0.1, 0.95, y))


def _body(person: _Person, canvas: _Canvas, light: _Light) -> None:
    """Neck, shoulders and clothes."""
    rng, x, y, soft = person.rng, canvas.x, canvas.y, canvas.pixel * 1.5
    size = max(x.shape)
    neck = 0.45 - 0.08 * person.feminine
    lean = 0.12 * math.sin(person.yaw)
    neck_x = x + lean * smoothstep(1.6, 0.6, y)
    shoulder = rng.uniform(1.35, 1.9) - 0.2 * person.feminine
    reach = np.clip(np.abs(x) / shoulder, 0, 1.2)
    top = 1.08 + 0.12 * smoothstep(0.2, 0.5, reach) + 0.42 * reach**2 + 1.5 * np.clip(reach - 0.88, 0, 1) ** 1.2
    fold = fractal(rng, -(-size // 4) * 4, 2.0, 2.5, rng.uniform(1, 2))[: x.shape[0], : x.shape[1]]

    throat = np.sqrt(np.clip(1 - (neck_x / (neck * 1.02)) ** 2, 0, 1))
    flare = neck + 0.9 * np.clip(y - 0.95, 0, 1) ** 2
    cords = 0.03 * (_bump(neck_x, y, (-0.15, 1.2), (0.05, 0.3)) + _bump(neck_x, y, (0.15, 1.2), (0.05, 0.3)))
    skin = person.skin * light.shade(_normals(throat * neck * 0.9 + cords, canvas.pixel), 0.25)
    under = 1 - 0.55 * smoothstep(1.28, 0.85, y - 0.1 * np.abs(x))
    cover = _inside(np.minimum(flare - np.abs(neck_x), y - 0.3), soft)
    chest = _inside(y - top, soft)
    canvas.over(skin * under[..., None], np.maximum(cover, chest * (np.abs(x) < 0.8)))

    height = 0.55 * np.sqrt(np.clip(1 - reach**2 * 0.8, 0, 1)) + 0.25 * np.clip(y - top, 0, 0.5) + fold * 0.035 * smoothstep(1.1, 1.9, y)
    paint = scenes.colours(rng, 3)
    cloth = np.broadcast_to(paint[0], canvas.pixels.shape)
    pattern = rng.integers(5)
    if pattern == 1:
        cloth = cloth + (paint[1] - cloth) * smoothstep(-0.1, 0.1, np.sin((y + fold * 0.03) * rng.uniform(14, 34)))[..., None]
    elif pattern == 2:
        checks = smoothstep(-0.1, 0.1, np.sin(x * 22 + fold * 0.4)) + smoothstep(-0.1, 0.1, np.sin(y * 22 + fold * 0.4))
        cloth = cloth + (paint[1] - cloth) * (checks / 2)[..., None]
    elif pattern == 3:
        cloth = cloth * (1 + 0.12 * np.sin(x * 90) * np.sin(y * 90))[..., None]
    collar = rng.integers(4)
    depth = (0.26, 0.75, 0.4, 0.5)[collar]
    width = (0.5, 0.46, 0.62, 0.4)[collar]
    opening = y - 1.06 - depth * (1 - np.clip(np.abs(x) / width, 0, 1) ** (1.8, 1.0, 2.2, 1.0)[collar])
    dress = np.minimum(y - top, np.where(np.abs(x) < width, opening, 1.0))
    shaded = cloth * light.shade(_normals(height, canvas.pixel), 0.1)
    rim = 1 - 0.45 * np.exp(-np.clip(dress, 0, 1) / 0.03)
    canvas.over(shaded * rim[..., None], _inside(dress, soft))
    if collar == 3:  # shirt collar
        wing = np.minimum(0.13 - np.abs(np.abs(x) - 0.3 - 0.25 * (1.45 - y)), np.minimum(y - 1.1, 1.62 - 0.5 * np.abs(x) - y))
        canvas.over(paint[2] * 0.5 + 0.4 * light.shade(_normals(height, canvas.pixel), 0.1), _inside(wing, soft))


def _strands(person: _Person, along: Array, across: Array, curl: float) -> Array:
    """Hair texture, mean 0: long in `along`, fine in `across`, both in head units."""
    noise = fractal(person.rng, 256, 0.55, 10.0, np.pi / 2)
    bent = across + curl * np.sin(along * 9 + 3 * across)
    return ndimage.map_coordinates(noise, [along * 30, bent * 190], order=1, mode="grid-wrap")


def _hair_back(person: _Person, canvas: _Canvas, light: _Light) -> None:
    """Hair that falls behind the neck."""
    rng, x, y = person.rng, canvas.x, canvas.y
    length = {"long": 1.9, "wavy": 1.7, "bob": 0.95, "curly": 0.75, "scarf": 1.5}.get(person.style, 0.0)
    if person.style == "bun":
        away = np.hypot(x + 0.3 * math.sin(person.yaw), (y + 1.12))
        ball = np.sqrt(np.clip(1 - (away / 0.32) ** 2, 0, 1)) * 0.32
        texture = _strands(person, away, np.arctan2(y + 1.12, x) * 0.3, 0.0)
        colour = person.hair * light.shade(_normals(ball, canvas.pixel)) * np.clip(1 + 0.25 * texture, 0.4, 2)[..., None]
        canvas.over(colour, _inside(0.32 - away, canvas.pixel * 2))
    if length == 0:
        return
    length *= rng.uniform(0.85, 1.1)
    wave = {"wavy": 0.06, "curly": 0.1}.get(person.style, 0.01)
    spread = person.width * rng.uniform(1.16, 1.4) + (0.2 if person.style == "curly" else 0)
    edge = spread * (1 + 0.12 * smoothstep(-0.2, 0.9, y)) + wave * np.sin(y * 8 + np.sign(x)) * smoothstep(-0.3, 0.5, y)
    round_top = np.sqrt(np.clip(1 - (np.clip(-y - 0.1, 0, 2) / (0.95 + 1.2 * wave)) ** 2, 0, 1))
    texture = _strands(person, y, x + wave * np.sin(y * 8), wave)
    bottom = length + 0.06 * texture - 0.2 * (x / spread) ** 2
    crown = y + 1.05 + 1.2 * wave
    cover = np.minimum(np.minimum(edge * round_top - np.abs(x), crown), bottom - y)
    height = 0.5 * np.sqrt(np.clip(1 - (x / (edge + 1e-3)) ** 2, 0, 1)) + 0.006 * texture
    depth = 1 - 0.6 * np.exp(-((x / 0.55) ** 2)) * smoothstep(0.3, 0.8, y)
    if person.style == "scarf":
        texture = texture * 0.15
    colour = person.hair * light.shade(_normals(height, canvas.pixel)) * (depth * np.clip(1 + 0.3 * texture, 0.3, 2))[..., None]
    canvas.over(colour, _inside(cover, canvas.pixel * 2.5))


def _head(person: _Person, canvas: _Canvas, light: _Light) -> None:
    """Ears, face and what is on it, then hair."""
    rng, x, y, pixel = person.rng, canvas.x, canvas.y, canvas.pixel
    soft = pixel * 1.5
    for side in (-1, 1):
        turn = side * math.sin(person.yaw)
        middle = side * (person.width * (0.98 - 0.1 * max(turn, 0))) - 0.1 * math.sin(person.yaw)
        away = np.hypot((x - middle) / 0.11, (y - 0.06 + 0.25 * side * (x - middle)) / 0.21)
        ear = 0.12 * np.exp(-((away - 0.75) ** 2) / 0.05) + 0.05 * np.exp(-(away**2) / 0.2)
        skin = person.skin * np.array([1.0, 0.86, 0.82], np.float32) * light.shade(_normals(ear, pixel), 0.3)
        canvas.over(skin, _inside((1 - away) * 0.12, soft))

    half = person.width * _profile(y, person.jaw)
    place = np.clip(x / np.maximum(half, 0.02), -0.999, 0.999)
    longitude = np.arcsin(place) - person.yaw * np.clip(1.1 - 0.25 * y**2, 0.6, 1.1)
    u, v = np.sin(longitude) * person.width, y
    front = np.cos(longitude) > -0.05
    dome = np.sqrt(1 - place**2) * 0.85 * np.sqrt(np.clip(_profile(y, person.jaw), 0, 1))

    eyes = [(-person.eye_u, person.eye_v), (person.eye_u, person.eye_v)]
    mouth_v, tip = person.mouth_v, person.eye_v + 0.38
    ridge_width = 0.045 + (person.nose_width - 0.035) * smoothstep(person.eye_v, tip, v) ** 2
    climb = smoothstep(person.eye_v - 0.12, tip - 0.02, v) ** 1.2 * smoothstep(tip + 0.12, tip, v)
    relief = person.nose * climb * np.exp(-np.abs(u / ridge_width) ** 2.4)
    male = 1 - person.feminine
    relief += (0.03 + 0.035 * male) * np.exp(-(((v - person.eye_v + 0.16) / 0.08) ** 2)) * np.exp(-((u / 0.45) ** 4))
    for side, (eu, ev) in zip((-1, 1), eyes, strict=True):
        relief -= 0.085 * _bump(u, v, (eu * 0.93, ev), (0.17, 0.1))
        relief += 0.065 * _bump(u, v, (eu, ev), (0.12, 0.09))
        relief += (0.045 + 0.02 * rng.random()) * _bump(u, v, (side * 0.4, 0.22), (0.2, 0.16))
        relief += 0.07 * _bump(u, v, (side * person.nose_width * 0.95, tip + 0.03), (0.05, 0.055))
        fold = np.abs(u - side * (0.16 + 0.55 * (v - tip)))
        crease = (0.008 + 0.03 * person.age + 0.25 * max(person.smile, 0)) * smoothstep(tip - 0.05, tip + 0.1, v) * smoothstep(mouth_v + 0.12, mouth_v - 0.05, v)
        relief -= crease * np.exp(-((fold / 0.035) ** 2))
        bag = (v - ev - 0.1 + 0.25 * (u - eu) ** 2) / 0.03
        relief -= 0.022 * person.age * np.exp(-(bag**2)) * np.exp(-(((u - eu) / 0.13) ** 2))
        crow = np.sin((v - ev) * 60 + (u - side * 0.5) * side * 20)
        relief += 0.01 * max(person.age - 0.35, 0) * crow * _bump(u, v, (side * 0.55, ev), (0.07, 0.1))
    relief += 0.05 * _bump(u, v, (0, mouth_v), (0.28, 0.15))
    relief += 0.07 * _bump(u, v, (0, 0.84), (0.17, 0.12)) - 0.035 * _bump(u, v, (0, mouth_v + 0.15), (0.14, 0.045))
    relief -= 0.018 * _bump(u, v, (0, (tip + mouth_v) / 2 + 0.02), (0.03, 0.06))
    lines = np.sin((v + 0.04 * np.cos(u * 5)) * 62)
    relief += 0.012 * max(person.age - 0.35, 0) * lines * _bump(u, v, (0, -0.42), (0.35, 0.12))

    t = u / person.mouth_width
    parting = mouth_v - person.smile * 1.6 * t**2 + 0.012 * np.exp(-((t / 0.25) ** 2))
    bow = np.clip(1 - t**2, 0, 1)
    upper = parting - (0.05 + 0.015 * person.feminine) * bow**0.8 * (1 - 0.25 * np.exp(-((t / 0.16) ** 2)))
    lower = parting + (0.07 + 0.015 * person.feminine) * bow**0.7
    lips = _inside(np.minimum(v - upper, lower - v), pixel * 3) * (bow > 0)
    relief += lips * 0.035 * np.clip(np.minimum(v - upper, lower - v) / 0.03, 0, 1) ** 0.5
    relief -= 0.03 * np.exp(-(((v - parting) / 0.013) ** 2)) * (np.abs(t) < 1.08)

    height = dome + ndimage.gaussian_filter(relief, 0.012 / pixel) * front
    normal = _normals(height, pixel)
    hollow = np.clip(1 + 2.2 * (relief - ndimage.gaussian_filter(relief, 0.1 / pixel)), 0.55, 1.12)

    # Colour of the skin
    pores = fractal(rng, 256, 0.6)
    pores = ndimage.map_coordinates(pores, [(v + 2) * 90, (u + 2) * 90], order=1, mode="grid-wrap")
    albedo = np.broadcast_to(person.skin, canvas.pixels.shape).copy()
    blush = 0.10 * rng.uniform(0.5, 1.6)
    red = blush * (_bump(u, v, (-0.4, 0.22), (0.17, 0.14)) + _bump(u, v, (0.4, 0.22), (0.17, 0.14)) + 0.8 * _bump(u, v, (0, tip), (0.12, 0.08)))
    albedo *= 1 - red[..., None] * np.array([0.1, 1.5, 1.5], np.float32)
    albedo *= (1 + 0.025 * pores)[..., None]
    if rng.random() < 0.12:
        spots = smoothstep(1.5, 2.2, pores) * _bump(u, v, (0, 0.15), (0.5, 0.2))
        albedo *= 1 - spots[..., None] * np.array([0.2, 0.35, 0.4], np.float32)
    lip_colour = person.skin * np.array([0.86, 0.6, 0.58], np.float32)
    if person.feminine and rng.random() < 0.6:
        lip_colour = lip_colour * 0.4 + 0.6 * hsv_to_rgb(rng.uniform(-0.05, 0.03), rng.uniform(0.5, 0.8), rng.uniform(0.45, 0.8))
    albedo += (lip_colour - albedo) * (lips * 0.85)[..., None]

    # Beard and brows are hair in the skin
    if person.beard > 0:
        texture = _strands(person, v + 0.3 * np.abs(u), u, 0.02)
        low = smoothstep(-0.08, 0.08, v - 0.34 - 0.25 * np.clip(0.5 - np.abs(u), 0, 1) + 0.06 * texture)
        lip = _inside(0.1 - np.abs(v - mouth_v + 0.13 - 0.1 * np.abs(t)), 0.06) * _inside(1.15 - np.abs(t), 0.2)
        beard = np.maximum(low, lip) * (1 - smoothstep(0.12, 0.0, np.maximum(np.abs(v - mouth_v) - 0.1, 0) + np.maximum(np.abs(u) - 0.16, 0)) * (v > mouth_v - 0.06))
        beard = beard * (1 - lips) * np.clip(0.75 + 0.3 * texture, 0, 1) * min(1.0, person.beard + 0.15)
        albedo += (person.hair * np.clip(1 + 0.35 * texture, 0.3, 2)[..., None] - albedo) * beard[..., None]
    arch, thick = rng.uniform(0.02, 0.06), rng.uniform(0.018, 0.03) + 0.012 * male
    raised = rng.uniform(0.13, 0.17)
    for side, (eu, ev) in zip((-1, 1), eyes, strict=True):
        s = (u - eu * 1.03) * side / 0.19
        line = ev - raised - arch * (1 - (s - 0.25) ** 2) + 0.015 * s
        taper = thick * np.clip(1.05 - 0.5 * np.clip(s, 0, 2), 0.2, 1)
        hairs = 0.7 + 0.45 * np.sin((u * side * 1.2 + (v - line) * 1.6) * 130 + pores)
        brow = np.exp(-np.abs((v - line) / taper) ** 3) * smoothstep(1.15, 0.85, np.abs(s)) * np.clip(hairs, 0.35, 1)
        albedo += (person.hair * 0.75 - albedo) * (0.85 * brow)[..., None]

    wrap = np.array([0.42, 0.26, 0.2], np.float32)  # light that travels through skin comes out red
    face = albedo * light.shade(normal, wrap) * hollow[..., None]
    oil = light.shine(normal, 18) * (0.5 + 0.5 * _bump(u, v, (0, 0.05), (0.3, 0.5))) * rng.uniform(0.05, 0.22) * (1 + 0.3 * pores)
    face += (oil * (1 + 0.8 * lips))[..., None] * light.key
    face *= (1 - 0.55 * np.exp(-(((v - parting) / 0.014) ** 2)) * smoothstep(1.1, 0.95, np.abs(t)))[..., None]
    for side in (-1, 1):
        nostril = _bump(u, v, (side * person.nose_width * 0.55, tip + 0.075), (0.036, 0.02))
        face *= 1 - 0.7 * nostril[..., None]

    _eyes(person, face, u, v, eyes, light, pixel)
    outline = np.minimum((half - np.abs(x)), 1 - np.abs(y))
    canvas.over(face, _inside(outline, soft))
    _hair_front(person, canvas, light, u, v, half)
    if person.glasses:
        _glasses(person, canvas, u, v, eyes, half)


def _eyes(person: _Person, face: Array, u: Array, v: Array, eyes: list[tuple[float, float]], light: Array | _Light, pixel: float) -> None:
    """Paint both eyes into the face."""
    rng = person.rng
    iris_colour = _IRISES[rng.integers(0, 2 if person.skin.mean() < 0.5 else len(_IRISES))] * np.float32(rng.uniform(0.8, 1.2))
    slant = rng.normal(0, 0.012)
    lash = 0.35 + 0.4 * person.feminine
    opening = person.eye_open
    brightness = light.key.mean() * 0.62 + light.fill.mean() * 0.7
    glint_u, glint_v = 0.028 * light.direction[0], -0.022
    for side, (eu, ev) in zip((-1, 1), eyes, strict=True):
        s = (u - eu) / person.eye_width
        almond = np.clip(1 - np.abs(s) ** 2.2, 0, 1)
        centre = ev - slant * s * side
        top = centre - opening * almond**0.7 * (1 - 0.12 * s * side)
        bottom = centre + opening * 0.62 * almond**0.8
        open_eye = _inside(np.minimum(v - top, bottom - v), pixel * 1.6) * (almond > 0)
        iu, iv = eu + person.gaze, ev - 0.012
        away = np.hypot(u - iu, v - iv) / 0.066
        spokes = 0.85 + 0.3 * np.sin(np.arctan2(v - iv, u - iu) * 17) * 0.4 + 0.5 * np.clip((v - iv) / 0.07, 0, 1)
        white = np.array([0.93, 0.9, 0.87], np.float32) * brightness * (1 - 0.25 * np.abs(s)[..., None] ** 2)
        eye = white + (iris_colour * brightness * 1.15 * spokes[..., None] - white) * _inside((1 - away) * 0.066, pixel * 2)[..., None]
        eye = eye * (1 - 0.6 * np.exp(-(((away - 0.97) / 0.13) ** 2)))[..., None]
        eye = eye + (0.02 - eye) * _inside((0.45 - away) * 0.066, pixel * 2)[..., None]
        eye = eye * (0.45 + 0.55 * smoothstep(-0.005, 0.04, v - top))[..., None]
        glint = _bump(u, v, (iu + glint_u, iv + glint_v), (0.017, 0.017))
        eye = eye + (0.95 - eye) * np.clip(glint * 1.3, 0, 1)[..., None]
        face += (eye - face) * open_eye[..., None]
        lid = np.exp(-(((v - top + 0.004) / (0.011 + 0.007 * lash)) ** 2)) * smoothstep(1.1, 0.9, np.abs(s - 0.03 * side))
        low = np.exp(-(((v - bottom - 0.004) / 0.009) ** 2)) * smoothstep(1.05, 0.85, np.abs(s))
        crease = np.exp(-(((v - top + 0.042 - 0.01 * np.abs(s)) / 0.012) ** 2)) * smoothstep(1.15, 0.7, np.abs(s))
        face *= (1 - np.clip(lid * (0.62 + 0.3 * lash), 0, 0.95))[..., None]
        face *= (1 - 0.35 * low)[..., None] * (1 - 0.33 * crease)[..., None]


def _hair_front(person: _Person, canvas: _Canvas, light: _Light, u: Array, v: Array, half: Array) -> None:
    """Hair on the skull and around the face, or a scarf, or a hat."""
    rng, x, y, pixel = person.rng, canvas.x, canvas.y, canvas.pixel
    style = person.style
    volume = {"short": 0.05, "side": 0.1, "bald": 0.0, "curly": 0.24, "bun": 0.05, "scarf": 0.1}.get(style, 0.1) * rng.uniform(0.8, 1.3)
    lump = fractal(rng, 256, 1.4)
    lump = ndimage.map_coordinates(lump, [(y + 2) * 60, (x + 2) * 60], order=1, mode="grid-wrap")
    rough = 0.04 if style == "curly" else 0.008
    skull = (person.width * 1.02 + volume * 0.8) * np.sqrt(np.clip(1 - (np.clip(-(y + 0.1), 0, 3) / (0.92 + volume)) ** 2.2, 0, 1))
    part = float(rng.choice([-0.25, 0.0, 0.25])) if style != "bald" else 0.0
    fringe = rng.random() < (0.35 if person.feminine else 0.2) and style in ("bob", "long", "short", "wavy")
    line = person.hairline + 0.9 * np.clip(np.abs(u - part * 0.5) - 0.1, 0, 1) ** 2
    if fringe:
        line = np.full_like(u, person.eye_v - 0.22) + 0.06 * np.abs(u) + 0.02 * lump
    ear_level = {"short": 0.05, "side": 0.1, "bald": 0.2, "bun": -0.1}.get(style, 0.3)
    temple = person.width * (0.86 if style not in ("long", "wavy", "bob", "scarf") else 0.8)
    curtain = {"long": 1.6, "wavy": 1.4, "bob": 0.85, "scarf": 0.8, "curly": 0.5}.get(style, ear_level)
    opening = temple + 0.02 * lump + 0.1 * smoothstep(0.2, 0.9, v) * (style in ("long", "wavy"))
    onto_face = np.maximum(line - v, np.minimum(np.abs(u) * 1.02 - opening, curtain - v))
    if style == "bald":
        onto_face = np.minimum(np.abs(u) - temple, np.minimum(ear_level - v, v + 0.45)) * 0.6
    beyond = np.minimum(np.abs(x) - np.maximum(half * 0.97, opening * smoothstep(0.2, 0.6, y)), curtain - y)
    side_out = np.minimum(skull + rough * lump * 3 - np.abs(x), y + 0.1 + 0.92 + volume)
    below = (person.width * 1.06 + volume) + 0.02 * lump - np.abs(x)
    silhouette = np.where(y < -0.1, side_out, np.minimum(below, curtain - y))
    cover = np.minimum(silhouette, np.maximum(onto_face, np.where(y > -0.9, beyond, np.float32(1))))
    if style == "bald":
        if rng.random() < 0.5:
            return
        cover = np.minimum(cover, np.minimum(0.2 - y, y + 0.5))

    angle = np.arctan2(x - part * 0.8, -(y + 0.95 + 0.0))
    radius = np.hypot(x - part * 0.8, y + 0.95)
    falling = smoothstep(-0.3, 0.4, y)
    across = angle * 0.5 * (1 - falling) + x * falling
    curl = {"wavy": 0.03, "curly": 0.16}.get(style, 0.004)
    texture = _strands(person, radius, across, curl)
    if style == "curly":
        texture = texture * 0.5 + 1.2 * np.sin(lump * 5 + texture)
    height = 0.75 * np.sqrt(np.clip(1 - (x / (person.width * 1.15 + volume)) ** 2 - np.clip(-(y + 0.05), 0, 1) ** 2 * 0.85, 0.02, 1))
    height = height + 0.005 * texture + 0.03 * lump
    normal = _normals(ndimage.gaussian_filter(height, 0.01 / pixel), pixel)
    paint = person.hair
    band = light.shine(normal, 10) * np.clip(0.55 + 0.5 * texture, 0, 2)
    if style == "scarf":
        paint = scenes.colours(rng, 1)[0]
        texture, band = 0.25 * lump, band * 0.1
    colour = paint * light.shade(normal, 0.1) * np.clip(0.95 + 0.33 * texture, 0.25, 2)[..., None]
    colour = colour + (band * 0.28)[..., None] * (paint * 0.6 + 0.25) * light.key
    shadow = _inside(cover + 0.07, 0.14) * (np.abs(x) < half)
    canvas.pixels *= (1 - 0.35 * shadow)[..., None]
    canvas.over(colour, _inside(cover + texture * 0.012 * (style != "scarf"), pixel * 2.5))

    if person.hat:
        cloth = scenes.colours(rng, 1)[0]
        rise = 0.2 if person.hat == "beanie" else 0.35
        wide = (person.width + volume + 0.06) * np.sqrt(np.clip(1 - (np.clip(-(y + 0.45), 0, 3) / (0.52 + rise)) ** 2.6, 0, 1))
        brim_line = -0.42 + 0.16 * (1 - (x / 0.9) ** 2)
        dome = np.minimum(wide - np.abs(x), brim_line - y)
        height = 0.8 * np.sqrt(np.clip(1 - (x / 0.98) ** 2, 0.02, 1)) + 0.2 * y
        if person.hat == "beanie":
            height = height + 0.012 * np.sin(x / np.maximum(wide, 0.1) * 45) + 0.04 * smoothstep(0.3, 0.27, brim_line - y)
        shade = light.shade(_normals(height, pixel), 0.1) * (1 + 0.05 * lump)[..., None]
        canvas.pixels *= (1 - 0.4 * _inside(0.16 - np.abs(y - brim_line - 0.1), 0.2) * (np.abs(x) < half))[..., None]
        canvas.over(cloth * shade, _inside(dome, pixel * 2))
        if person.hat == "brim":
            flat = 1 - (x / 1.35) ** 2 - ((y + 0.36) / 0.2) ** 2
            canvas.over(cloth * 0.75 * shade, _inside(flat * 0.2, pixel * 2))
            ribbon = np.minimum(dome, 0.07 - np.abs(brim_line - y - 0.17))
            canvas.over(cloth * 0.3 * shade, _inside(ribbon, pixel * 2))


def _glasses(person: _Person, canvas: _Canvas, u: Array, v: Array, eyes: list[tuple[float, float]], half: Array) -> None:
    rng, pixel = person.rng, canvas.pixel
    rim = np.array([0.05, 0.05, 0.06], np.float32) if rng.random() < 0.6 else scenes.colours(rng, 1)[0] * 0.7
    power, wide, tall, thick = float(rng.choice([2.0, 2.6, 4.0])), rng.uniform(0.2, 0.235), rng.uniform(0.14, 0.19), rng.uniform(0.012, 0.026)
    on_face = np.abs(canvas.x) < half * 1.02
    for side, (eu, ev) in zip((-1, 1), eyes, strict=True):
        away = (np.abs((u - eu * 1.02) / wide) ** power + np.abs((v - ev - 0.03) / tall) ** power) ** (1 / power)
        glare = _inside(1 - away, 0.05) * smoothstep(0.1, 0.0, np.abs((u - eu) + (v - ev) * 0.8 + 0.07)) * 0.16
        canvas.over(np.ones(3, np.float32), glare * on_face)
        canvas.over(np.float32(0.5) * canvas.pixels, 0.25 * np.exp(-(((away - 1.22) / 0.12) ** 2)) * (v > ev) * on_face)
        canvas.over(rim, _inside(thick - np.abs(away - 1) * min(wide, tall), pixel * 2) * on_face)
        arm = np.minimum(thick * 0.9 - np.abs(v - ev + 0.03), (u - eu * 1.02) * side - wide * 0.95)
        canvas.over(rim, _inside(arm, pixel * 2) * on_face)
    bridge = np.minimum(thick - np.abs(v - eyes[0][1] + 0.01 - 0.5 * u**2), person.eye_u - wide * 0.9 - np.abs(u))
    canvas.over(rim, _inside(bridge, pixel * 2) * on_face)


def _draw(person: _Person, picture: Array, centre: tuple[float, float], radius: float, light: _Light) -> None:
    """Draw one person: centre and radius (half the head's height) in parts of the picture's size."""
    size = picture.shape[0]
    x, y = grid(size)
    dx, dy = (x - centre[0]) / radius, (y - centre[1]) / radius
    cos, sin = math.cos(person.roll), math.sin(person.roll)
    everything = _Canvas(picture, dx, dy, 1 / (size * radius))
    _hair_back(person, everything, light)
    _body(person, everything, light)
    left, right = (int(np.clip((centre[0] + k * radius * 1.5) * size, 0, size)) for k in (-1, 1))
    top, bottom = (int(np.clip((centre[1] + k * radius) * size, 0, size)) for k in (-1.75, 1.75))
    window = slice(top, bottom), slice(left, right)
    dx, dy = dx[window], dy[window]
    head = _Canvas(picture[window], dx * cos + dy * sin, dy * cos - dx * sin, 1 / (size * radius))
    _head(person, head, light)


def portrait(seed: int, size: int = 256) -> Array:
    """A portrait of one or sometimes two people, uint8 (size, size, 3) RGB."""
    rng = np.random.default_rng([seed, 5])
    fine = -(-size * 3 // 8) * 4
    picture = np.ascontiguousarray(_background(rng, fine), np.float32)
    side = rng.uniform(-1.1, 1.1)
    direction = np.array([np.sin(side), -rng.uniform(0.2, 0.8), rng.uniform(0.55, 1.0) * np.cos(side) + 0.2], np.float32)
    warm = rng.normal(0, 0.06)
    power = rng.uniform(0.7, 1.05)
    light = _Light(
        direction / np.linalg.norm(direction),
        np.array([1 + warm, 1, 1 - warm], np.float32) * power,
        np.array([1 - warm, 1, 1 + warm], np.float32) * rng.uniform(0.12, 0.42),
    )
    if rng.random() < 0.12:
        places = [(rng.uniform(0.26, 0.32), rng.uniform(0.36, 0.5)), (rng.uniform(0.68, 0.74), rng.uniform(0.36, 0.5))]
        radii = rng.uniform(0.2, 0.25, 2)
    else:
        places = [(0.5 + rng.normal(0, 0.04), rng.uniform(0.4, 0.48))]
        radii = [rng.uniform(0.23, 0.34)]
    for place, radius in zip(places, radii, strict=True):
        _draw(_sitter(rng), picture, place, float(radius), light)
    small = Image.fromarray(to_uint8(picture)).resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(small)
