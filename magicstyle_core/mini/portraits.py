"""Procedural portraits: people drawn from a seed as lit reliefs.

A head is an ellipsoid turned by a yaw, with the features laid on it in face coordinates: u to the side and v downwards,
in units of half the head's height, (0, 0) in the middle of the face a little below the eyes. The relief gives normals,
the normals give light, and colour is painted in the same coordinates, so that everything turns with the head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from magicstyle_core.mini import natural as scenes
from magicstyle_core.mini.natural import Array, Rng, fractal, grid, hsv_to_rgb, smoothstep, to_uint8

Normals = tuple[Array, Array, Array]

# From light to dark, and from dark to light with red last.
_SKINS = np.array(
    [(0.96, 0.82, 0.74), (0.93, 0.76, 0.65), (0.87, 0.67, 0.53), (0.77, 0.56, 0.42), (0.63, 0.43, 0.3),
     (0.47, 0.31, 0.22), (0.36, 0.23, 0.17)], np.float32)  # fmt: skip
_HAIRS = np.array(
    [(0.07, 0.055, 0.05), (0.14, 0.09, 0.065), (0.27, 0.165, 0.1), (0.42, 0.27, 0.15), (0.66, 0.5, 0.3),
     (0.8, 0.68, 0.47), (0.48, 0.19, 0.09)], np.float32)  # fmt: skip
_IRISES = np.array(
    [(0.25, 0.14, 0.07), (0.36, 0.22, 0.1), (0.33, 0.4, 0.2), (0.3, 0.45, 0.6), (0.45, 0.55, 0.6)], np.float32
)
_WOMENS_HAIR = {"long": 0.26, "wavy": 0.22, "bob": 0.16, "bun": 0.14, "curly": 0.1, "short": 0.06, "scarf": 0.06}
_MENS_HAIR = {"short": 0.36, "side": 0.28, "bald": 0.14, "curly": 0.12, "long": 0.05, "wavy": 0.05}
_LONG = ("long", "wavy", "bob")


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

    def darken(self, amount: Array) -> None:
        self.pixels *= (1 - amount)[..., None]

    def within(self, width: float, top: float, bottom: float) -> _Canvas:
        """The smallest part of this canvas that holds all pixels with |x| < width and top < y < bottom."""
        seen = (np.abs(self.x) < width) & (self.y > top) & (self.y < bottom)
        rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        return _Canvas(self.pixels[window], self.x[window], self.y[window], self.pixel)


@dataclass
class _Light:
    direction: Array  # (3,): x to the right, y down, z towards the viewer; unit length
    key: Array  # colour of the main light
    fill: Array  # colour of the light from everywhere

    def shade(self, normal: Normals, wrap: Array | float = 0.0) -> Array:
        """Light (height, width, 3) that a matt surface with these normals sends on."""
        facing = normal[0] * self.direction[0] + normal[1] * self.direction[1] + normal[2] * self.direction[2]
        wrap = np.asarray(wrap, np.float32)
        lit = np.maximum((facing[..., None] + wrap) / (1 + wrap), 0)
        return lit * self.key + (0.75 - 0.25 * normal[1])[..., None] * self.fill

    def shine(self, normal: Normals, hardness: float) -> Array:
        """Light (height, width) that a polished surface reflects to the viewer."""
        half = self.direction + np.array([0, 0, 1], np.float32)
        half = half / np.linalg.norm(half)
        return np.maximum(normal[0] * half[0] + normal[1] * half[1] + normal[2] * half[2], 0) ** hardness

    @property
    def brightness(self) -> float:
        """Light on a surface that faces the viewer."""
        return float(self.key.mean() * 0.62 + self.fill.mean() * 0.75)


@dataclass
class _Face:
    """Where each pixel of a canvas lies on the head."""

    u: Array
    v: Array
    side: Array  # like u, but growing on past the ears towards the back of the head
    half: Array  # half width of the head's outline at each pixel's height, in head units


@dataclass(frozen=True)
class _Person:
    """What makes a sitter. Lengths are in head units."""

    age: float  # 0 to 1
    feminine: bool
    skin: Array
    hair: Array
    iris: Array
    cloth: Array  # (3, 3): three colours
    lipstick: Array | None
    yaw: float
    roll: float
    width: float
    jaw: float
    eye_u: float
    eye_v: float
    eye_width: float
    eye_open: float
    gaze: float
    slant: float
    brow_arch: float
    brow_height: float
    brow_thickness: float
    nose: float
    nose_width: float
    mouth_v: float
    mouth_width: float
    smile: float
    teeth: float
    cheeks: float
    blush: float
    freckles: bool
    hairline: float
    style: str
    volume: float
    part: float
    fringe: bool
    beard: str
    glasses: bool
    hat: str
    shoulder: float
    collar: str
    pattern: str

    @property
    def eyes(self) -> tuple[tuple[int, float, float], ...]:
        """Side and place (u, v) of each eye."""
        return ((-1, -self.eye_u, self.eye_v), (1, self.eye_u, self.eye_v))

    @property
    def nose_tip(self) -> float:
        return self.eye_v + 0.38


def _sitter(rng: Rng) -> _Person:
    age, feminine = float(rng.beta(1.2, 1.7)), bool(rng.random() < 0.5)
    tone = float(rng.random() * (len(_SKINS) - 1.001))
    skin = _SKINS[int(tone)] + (_SKINS[int(tone) + 1] - _SKINS[int(tone)]) * (tone % 1)
    hair = _HAIRS[rng.integers(0, 3 if tone > 3.5 else len(_HAIRS))] * rng.uniform(0.75, 1.2)
    if rng.random() < 0.05:
        hair = hsv_to_rgb(rng.random(), 0.55, rng.uniform(0.4, 0.8))
    chances = _WOMENS_HAIR if feminine else _MENS_HAIR
    style = str(rng.choice(list(chances), p=list(chances.values())))
    grey = float(smoothstep(0.55, 0.9, np.array(age + rng.normal(0, 0.1))))
    hair = hair + (rng.uniform(0.5, 0.78) - hair) * grey
    volume = {"short": 0.06, "side": 0.11, "bald": 0.0, "curly": 0.27, "bun": 0.06, "scarf": 0.09}.get(style, 0.1)
    beard = (
        ""
        if feminine
        else str(rng.choice(("", "stubble", "moustache", "goatee", "full"), p=(0.5, 0.16, 0.07, 0.09, 0.18)))
    )
    smile = float(rng.normal(0.045, 0.03))
    return _Person(
        age=age,
        feminine=feminine,
        skin=(skin * (1 + rng.normal(0, 0.025, 3))).astype(np.float32),
        hair=hair.astype(np.float32),
        iris=_IRISES[rng.integers(0, 2 if tone > 3 else len(_IRISES))] * np.float32(rng.uniform(0.8, 1.2)),
        cloth=scenes.colours(rng, 3),
        lipstick=hsv_to_rgb(rng.uniform(-0.05, 0.03), rng.uniform(0.5, 0.75), rng.uniform(0.5, 0.8))
        if feminine and rng.random() < 0.55
        else None,
        yaw=float(np.clip(rng.normal(0, 0.32), -0.7, 0.7)),
        roll=float(rng.normal(0, 0.05)),
        width=float(rng.uniform(0.69, 0.78)),
        jaw=float(rng.uniform(0.02, 0.22) + 0.09 * feminine),
        eye_u=float(rng.uniform(0.29, 0.33)),
        eye_v=float(rng.uniform(-0.09, -0.02)),
        eye_width=float(rng.uniform(0.145, 0.175)),
        eye_open=float(rng.uniform(0.058, 0.085) - 0.012 * age),
        gaze=float(rng.normal(0, 0.025)),
        slant=float(rng.normal(0.004, 0.012)),
        brow_arch=float(rng.uniform(0.02, 0.06)),
        brow_height=float(rng.uniform(0.14, 0.18)),
        brow_thickness=float(rng.uniform(0.018, 0.028) + 0.012 * (not feminine)),
        nose=float(rng.uniform(0.15, 0.23) - 0.02 * feminine),
        nose_width=float(rng.uniform(0.085, 0.125) - 0.014 * feminine + 0.004 * tone),
        mouth_v=float(rng.uniform(0.5, 0.56)),
        mouth_width=float(rng.uniform(0.24, 0.3)) + max(smile, 0) * 0.6,
        smile=smile,
        teeth=float(max(smile - 0.05, 0) * 1.1),
        cheeks=float(rng.uniform(0.04, 0.07)),
        blush=float(rng.uniform(0.03, 0.11)),
        freckles=bool(rng.random() < 0.12 and tone < 2.5),
        hairline=float(rng.uniform(-0.7, -0.56) - 0.1 * age * (not feminine)),
        style=style,
        volume=volume * float(rng.uniform(0.8, 1.3)),
        part=float(rng.choice([-0.28, -0.1, 0.1, 0.28])),
        fringe=bool(rng.random() < 0.3) and style in ("bob", "long", "short"),
        beard=beard,
        glasses=bool(rng.random() < 0.12 + 0.2 * age),
        hat=str(rng.choice(("", "beanie", "brim"), p=(0.87, 0.07, 0.06))) if style not in ("scarf", "bun") else "",
        shoulder=float(rng.uniform(1.45, 1.85) - 0.22 * feminine),
        collar=str(rng.choice(("round", "vee", "wide", "shirt", "jacket"))),
        pattern=str(rng.choice(("plain", "stripes", "checks", "knit"), p=(0.45, 0.2, 0.15, 0.2))),
    )


def _bump(u: Array, v: Array, at: tuple[float, float], spread: tuple[float, float]) -> Array:
    """A round hill of height 1."""
    return np.exp(-(((u - at[0]) / spread[0]) ** 2) - ((v - at[1]) / spread[1]) ** 2)


def _ridge(away: Array, breadth: float) -> Array:
    """A long hill of height 1, along the line where `away` is 0."""
    return np.exp(-((away / breadth) ** 2))


def _normals(height: Array, pixel: float) -> Normals:
    gy, gx = np.gradient(height, pixel)
    length = np.sqrt(gx * gx + gy * gy + 1)
    return -gx / length, -gy / length, 1 / length


def _inside(value: Array, soft: float) -> Array:
    """1 where value is positive, 0 where negative, with an edge `soft` wide."""
    return np.clip(value / soft + 0.5, 0, 1)


def _sample(noise: Array, rows: Array, columns: Array) -> Array:
    """A periodic noise field looked up at fractional places."""
    return ndimage.map_coordinates(noise, [rows, columns], order=1, mode="grid-wrap")


def _strands(rng: Rng, along: Array, across: Array) -> Array:
    """Hair texture of mean 0: long in `along`, fine in `across`, both in head units."""
    noise = fractal(rng, 256, 0.5, 4.0, math.pi / 2)
    locks = fractal(rng, 256, 1.1, 4.0, math.pi / 2)
    return 0.7 * _sample(noise, along * 9, across * 170) + 0.6 * _sample(locks, along * 11, across * 80)


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


def _outline(person: _Person, x: Array, y: Array) -> Array:
    """Half width of the head at each height; on the far side of a turned head it follows brow, eye and cheek."""
    reach = np.where(y < -0.1, np.float32(0.9), np.float32(1.1))
    skull = np.sqrt(np.clip(1 - np.abs((y + 0.1) / reach) ** 2.3, 0, 1))
    half = person.width * skull * (1 - person.jaw * smoothstep(0.1, 0.95, y))
    turn = math.sin(person.yaw)
    far = smoothstep(0, 0.45, x * math.copysign(1, turn)) * abs(turn)
    bumps = 0.06 * _ridge(y - 0.25, 0.17) - 0.09 * _ridge(y - person.eye_v, 0.1) + 0.04 * _ridge(y + 0.25, 0.12)
    return half + far * bumps


def _place(person: _Person, canvas: _Canvas) -> _Face:
    """Face coordinates of a canvas."""
    half = _outline(person, canvas.x, canvas.y)
    across = np.clip(canvas.x / np.maximum(half, 0.02), -0.999, 0.999)
    longitude = np.arcsin(across) - person.yaw * np.clip(1.1 - 0.25 * canvas.y**2, 0.6, 1.1)
    u = np.sin(longitude) * person.width
    behind = np.maximum(np.abs(longitude) - np.float32(np.pi / 2), 0)
    side = np.where(behind > 0, np.sign(longitude) * (person.width + behind * 0.5), u)
    return _Face(np.where(behind > 0, np.sign(longitude) * person.width * 1.1, u), canvas.y, side, half)


def _body(person: _Person, canvas: _Canvas, light: _Light, rng: Rng) -> None:
    """Neck, shoulders and clothes."""
    x, y, soft = canvas.x, canvas.y, canvas.pixel * 1.5
    neck = 0.46 - 0.1 * person.feminine
    fold = fractal(rng, 256, 1.9, 3.0, rng.uniform(1, 2))
    fold = _sample(fold, y * 64, x * 64)
    reach = np.abs(x) / person.shoulder
    slope = 0.3 * smoothstep(0.22, 0.5, reach) + 0.3 * reach**2 + 9 * np.maximum(reach - 0.82, 0) ** 2
    top = 1.05 + slope + 0.012 * fold

    # Neck and chest
    neck_x = x + 0.1 * math.sin(person.yaw) * smoothstep(1.5, 0.6, y)
    throat = neck * 0.8 * np.sqrt(np.clip(1 - (neck_x / (neck * 1.15)) ** 2, 0.02, 1))
    cords = 0.02 * _ridge(np.abs(neck_x) - 0.26 + 0.22 * np.clip(y - 0.8, 0, 1), 0.09) * smoothstep(0.8, 1.1, y)
    pit = 0.03 * _bump(x, y, (0, 1.4), (0.09, 0.07))
    bones = 0.025 * _ridge(y - 1.42 - 0.1 * np.abs(x), 0.05) * (np.abs(x) > 0.1)
    chest = smoothstep(1.2, 1.45, y)
    relief = throat * (1 - chest) + (0.4 - 0.2 * x * x) * chest + cords + bones - pit
    normal = _normals(ndimage.gaussian_filter(relief, 0.02 / canvas.pixel), canvas.pixel)
    skin = person.skin * light.shade(normal, np.array([0.4, 0.27, 0.22], np.float32))
    chin = smoothstep(0.42, -0.08, y - 0.97 - 0.25 * light.direction[0] * x + 0.5 * x * x)
    flare = neck + 0.8 * np.clip(y - 0.92, 0, 1) ** 2
    bare = np.maximum(np.minimum(flare - np.abs(neck_x), y - 0.3), np.minimum(y - top, 0.85 - np.abs(x)))
    canvas.over(skin * (1 - 0.6 * chin)[..., None], _inside(bare, soft))

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
    armpit = _ridge(np.abs(x) - person.shoulder * (0.66 - 0.06 * (y - 1.8)), 0.05) * smoothstep(1.75, 2.2, y)
    relief = chest_round + 0.03 * fold * smoothstep(1.1, 1.8, y) - 0.06 * armpit
    shade = light.shade(_normals(ndimage.gaussian_filter(relief, 0.012 / canvas.pixel), canvas.pixel), 0.12)
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
        canvas.over((paint[2] * 0.3 + 0.65) * shade, _inside(shirt, soft))
        tie = np.minimum(0.07 + 0.05 * (y - 1.3) - np.abs(x), y - 1.36)
        canvas.over(paint[1] * 0.8 * shade, _inside(tie, soft))
    dress = np.minimum(y - top, opening)
    canvas.darken(0.45 * _inside(dress + 0.03, 0.06) * (y > top))
    hem = (
        1
        - 0.3 * np.exp(-np.clip(opening, 0, 1) / 0.02)
        - 0.25 * _ridge(opening - 0.09, 0.012) * (person.collar in ("round", "wide"))
    )
    canvas.over(cloth * shade * hem[..., None], _inside(dress, soft))
    if person.collar in ("shirt", "jacket"):
        edge = (
            np.abs(x) - 0.18 - 0.62 * (y - 1.0) * (y > 1.0)
            if person.collar == "shirt"
            else np.abs(x) - 0.2 - 0.3 * (1.35 - y)
        )
        wing = np.minimum(np.minimum(edge, 0.2 - edge), np.minimum(y - 1.02, 1.5 - 0.35 * np.abs(x) - y))
        paper = (paint[2] * 0.3 + 0.65) if person.collar == "jacket" else paint[0] * 1.12
        canvas.darken(0.3 * _inside(wing + 0.03, 0.06))
        canvas.over(paper * shade, _inside(wing, soft))


def _hair_back(person: _Person, canvas: _Canvas, light: _Light, rng: Rng) -> None:
    """Hair that falls behind the neck, or a bun."""
    x, y = canvas.x + 0.12 * math.sin(person.yaw), canvas.y
    if person.style == "bun":
        away = np.hypot(x, y + 1.1)
        ball = np.sqrt(np.clip(1 - (away / 0.3) ** 2, 0.02, 1)) * 0.3
        texture = _strands(rng, away, np.arctan2(y + 1.1, x) * 0.2 + away)
        colour = (
            person.hair
            * light.shade(_normals(ball, canvas.pixel), 0.1)
            * np.clip(1 + 0.25 * texture, 0.4, 2)[..., None]
        )
        canvas.over(colour, _inside(0.3 + 0.01 * texture - away, canvas.pixel * 2))
        return
    length = {"long": 1.9, "wavy": 1.7, "bob": 0.95, "scarf": 1.35}.get(person.style)
    if length is None:
        return
    length *= 0.9 + person.volume
    wave = 0.05 if person.style == "wavy" else 0.006
    reach = person.width + person.volume + 0.02
    edge = reach * (1 + 0.2 * smoothstep(-0.2, 1.2, y)) + wave * np.sin(y * 7 + np.sign(x)) * smoothstep(-0.3, 0.5, y)
    crown = np.sqrt(np.clip(1 - (np.clip(-y - 0.1, 0, 2) / (0.9 + person.volume)) ** 2.2, 0, 1))
    texture = _strands(rng, y, x + wave * np.sin(y * 7 + np.sign(x)))
    if person.style == "scarf":
        texture = np.sin(x * 30 + 2 * np.sin(y * 5)) * 0.3
    cover = np.minimum(edge * crown - np.abs(x), y + 0.98 + person.volume)
    cover = np.minimum(cover, length + 0.05 * texture * (person.style != "scarf") - 0.3 * (x / reach) ** 2 - y)
    round_hair = 0.5 * np.sqrt(np.clip(1 - (x / (reach * 1.25)) ** 2, 0.02, 1))
    deep = 1 - 0.65 * _ridge(x, 0.62) * smoothstep(0.2, 0.8, y)
    paint = person.cloth[1] if person.style == "scarf" else person.hair
    colour = paint * light.shade(_normals(round_hair + 0.004 * texture, canvas.pixel), 0.1)
    canvas.over(colour * (deep * np.clip(1 + 0.3 * texture, 0.3, 2))[..., None], _inside(cover, canvas.pixel * 2.5))


def _ear(person: _Person, canvas: _Canvas, light: _Light, side: int) -> None:
    """The ear on one side (-1 left, 1 right of the picture)."""
    turned = side * math.sin(person.yaw)  # > 0 for the far ear
    middle = side * (person.width * (math.cos(person.yaw) if turned < 0 else 1.0) + 0.01 - 0.14 * max(turned, 0))
    dx, dy = canvas.x - middle, canvas.y - 0.06
    away = np.hypot(dx / 0.1, (dy + 0.25 * side * dx) / 0.2)
    relief = (
        0.05 * np.exp(-((away - 0.78) ** 2) / 0.03)
        - 0.04 * np.exp(-(away**2) / 0.15)
        + 0.03 * _bump(dx, dy, (0, 0.15), (0.05, 0.05))
    )
    skin = person.skin * np.array([1.0, 0.87, 0.83], np.float32) * light.shade(_normals(relief, canvas.pixel), 0.3)
    canvas.over(skin * (1 - 0.4 * np.exp(-(away**2) / 0.12))[..., None], _inside((1 - away) * 0.1, canvas.pixel * 2))


def _mouth(person: _Person, face: _Face) -> tuple[Array, Array, Array, Array, Array]:
    """Heights v of both edges of the upper and of the lower lip, top to bottom, and the place t across, -1 to 1."""
    t = face.u / person.mouth_width
    bow = np.clip(1 - t * t, 0, 1)
    parting = person.mouth_v + person.smile * (0.35 - 1.15 * t * t) + 0.01 * _ridge(t, 0.25)
    fullness = 1 + 0.25 * person.feminine
    upper = parting - 0.046 * fullness * bow**0.7 * (1 - 0.22 * _ridge(t, 0.15))
    gap = person.teeth * bow**0.6
    lower = parting + gap + 0.06 * fullness * bow**0.65
    return upper, parting, parting + gap, lower, t


def _relief(person: _Person, face: _Face) -> Array:
    """Height of the features over the head's ellipsoid, in head units."""
    u, v, tip, mouth = face.u, face.v, person.nose_tip, person.mouth_v
    upper, parting, parted, lower, t = _mouth(person, face)
    breadth = 0.058 + (person.nose_width - 0.035) * smoothstep(person.eye_v, tip, v) ** 2
    climb = smoothstep(person.eye_v - 0.14, tip, v) ** 1.15 * smoothstep(tip + 0.13, tip + 0.01, v)
    relief = person.nose * climb * np.exp(-((u / breadth) ** 2))
    relief += 0.03 * _bump(u, v, (0, tip), (0.07, 0.06))
    brow = 0.028 if person.feminine else 0.055
    relief += brow * _ridge(v - person.eye_v + 0.16, 0.08) * np.exp(-((u / 0.45) ** 4))
    for side, eye_u, eye_v in person.eyes:
        relief -= 0.08 * _bump(u, v, (eye_u * 0.92, eye_v), (0.17, 0.1))
        relief += 0.07 * _bump(u, v, (eye_u, eye_v), (0.125, 0.09))
        relief += person.cheeks * _bump(u, v, (side * 0.39, 0.21), (0.19, 0.15))
        relief += 0.06 * _bump(u, v, (side * person.nose_width * 0.92, tip + 0.03), (0.05, 0.055))
        fold = u - side * (person.nose_width + 0.06 + 0.5 * (v - tip))
        depth = 0.006 + 0.025 * person.age + 0.2 * max(person.smile, 0)
        relief -= (
            depth
            * _ridge(fold, 0.035)
            * smoothstep(tip - 0.05, tip + 0.1, v)
            * smoothstep(mouth + 0.12, mouth - 0.06, v)
        )
        bag = v - eye_v - 0.105 + 0.25 * (u - eye_u) ** 2
        relief -= 0.02 * person.age * _ridge(bag, 0.03) * _ridge(u - eye_u, 0.13)
        if person.age > 0.4:
            rays = np.sin((v - eye_v) * 60 + (u * side - 0.5) * 20)
            relief += 0.01 * (person.age - 0.4) * rays * _bump(u, v, (side * 0.55, eye_v), (0.07, 0.1))
    relief += 0.05 * _bump(u, v, (0, mouth), (0.28, 0.15)) + 0.065 * _bump(u, v, (0, 0.83), (0.18, 0.12))
    relief -= 0.03 * _bump(u, v, (0, mouth + 0.16), (0.15, 0.045)) + 0.016 * _bump(
        u, v, (0, (tip + mouth) / 2 + 0.02), (0.03, 0.05)
    )
    if person.age > 0.4:
        relief += (
            0.012 * (person.age - 0.4) * np.sin((v + 0.04 * np.cos(u * 5)) * 62) * _bump(u, v, (0, -0.42), (0.35, 0.12))
        )
    plump = np.clip(np.maximum(np.minimum(v - upper, parting - v), np.minimum(v - parted, lower - v)) / 0.03, 0, 1)
    relief += 0.035 * np.sqrt(plump) * (np.abs(t) < 1)
    return relief - 0.022 * _ridge(v - parting, 0.015) * (np.abs(t) < 1.06)


def _beard(person: _Person, face: _Face, texture: Array) -> Array:
    """Cover (0 to 1) of beard and moustache."""
    u, v, mouth = face.u, face.v, person.mouth_v
    t = u / person.mouth_width
    free = smoothstep(-0.02, 0.05, np.hypot(u / 1.5, (v - mouth - 0.03)) - 0.12)
    chin_only = person.beard in ("goatee", "moustache")
    low = smoothstep(
        -0.07,
        0.07,
        v - 0.36 - 0.9 * (0.45 - np.abs(u)) * (np.abs(u) > 0.2) * (v < 0.6) + 0.04 * texture - 0.18 * _ridge(u, 0.3),
    )
    if chin_only:
        low = low * smoothstep(0.28, 0.2, np.abs(u)) * smoothstep(mouth, mouth + 0.12, v) * (person.beard == "goatee")
    lip = np.exp(-(((v - mouth + 0.105 - 0.07 * np.abs(t) ** 2) / 0.055) ** 4)) * smoothstep(1.6, 0.9, np.abs(t))
    strength = 0.3 if person.beard == "stubble" else 0.93
    return np.maximum(low * free, lip) * np.clip(0.85 + 0.25 * texture, 0, 1) * strength


def _skin(person: _Person, face: _Face, rng: Rng, pixel: float) -> tuple[Array, Array]:
    """Colour of the skin, lips, brows and beard, and the pores (mean 0, deviation 1)."""
    u, v, tip = face.u, face.v, person.nose_tip
    pores = _sample(fractal(rng, 256, 0.7), (v + 2) * 130, (u + 2) * 130)
    blotches = _sample(fractal(rng, 256, 1.5), (v + 2) * 60, (u + 2) * 60)
    albedo = person.skin * (1 + 0.015 * pores + 0.02 * blotches)[..., None]
    red = (
        _bump(u, v, (-0.4, 0.22), (0.18, 0.15))
        + _bump(u, v, (0.4, 0.22), (0.18, 0.15))
        + 0.7 * _bump(u, v, (0, tip), (0.12, 0.08))
    )
    albedo *= 1 - (person.blush * red)[..., None] * np.array([0.1, 1.5, 1.4], np.float32)
    if person.freckles:
        spots = smoothstep(1.3, 2.0, pores) * _bump(u, v, (0, 0.15), (0.5, 0.2))
        albedo *= 1 - spots[..., None] * np.array([0.15, 0.28, 0.33], np.float32)

    upper, parting, parted, lower, t = _mouth(person, face)
    lips = np.maximum(
        _inside(np.minimum(v - upper, parting - v), pixel * 3), _inside(np.minimum(v - parted, lower - v), pixel * 3)
    )
    lips = lips * smoothstep(1.0, 0.93, np.abs(t))
    colour = person.skin * np.array([0.9, 0.62, 0.6], np.float32)
    if person.lipstick is not None:
        colour = colour * 0.4 + person.lipstick * 0.6
    albedo += (colour - albedo) * (lips * 0.85)[..., None]

    if person.beard:
        texture = _strands(rng, v + 0.3 * np.abs(u), u)
        beard = _beard(person, face, texture) * (1 - lips)
        albedo += (person.hair * np.clip(1 + 0.3 * texture, 0.3, 2)[..., None] - albedo) * beard[..., None]
    for side, eye_u, eye_v in person.eyes:
        s = (u - eye_u * 1.03) * side / 0.2
        line = eye_v - person.brow_height - person.brow_arch * (1 - (s - 0.25) ** 2) + 0.015 * s
        taper = person.brow_thickness * np.clip(1.1 - 0.5 * np.clip(s, 0, 2), 0.25, 1.1)
        hairs = np.clip(0.85 + 0.3 * np.sin((u * side * 1.2 + (v - line) * 1.8) * 150 + 2 * pores), 0.4, 1)
        brow = np.exp(-(np.abs((v - line) / taper) ** 2.6)) * smoothstep(1.12, 0.8, np.abs(s)) * hairs
        albedo += (person.hair * 0.7 - albedo) * (0.85 * brow)[..., None]
    return albedo, pores


def _eyes(person: _Person, pixels: Array, face: _Face, light: _Light, pixel: float) -> None:
    """Paint both eyes into the face."""
    lash = 0.7 if person.feminine else 0.4
    bright = light.brightness
    iris_radius, glint = 0.068, (0.028 * float(light.direction[0]), -0.024)
    for side, eye_u, eye_v in person.eyes:
        u, v = face.u - eye_u, face.v - eye_v
        rows = np.flatnonzero((np.abs(v) < 0.16).any(1) & (np.hypot(u, v) < 0.26).any(1))
        columns = np.flatnonzero((np.hypot(u, v) < 0.26).any(0))
        if len(rows) == 0 or len(columns) == 0:
            continue
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        u, v, patch = u[window], v[window], pixels[window]
        s = u / person.eye_width
        almond = np.clip(1 - np.abs(s) ** 2.2, 0, 1)
        middle = -person.slant * s * side
        top = middle - person.eye_open * almond**0.7 * (1 - 0.12 * s * side)
        bottom = middle + person.eye_open * 0.62 * almond**0.8
        opened = _inside(np.minimum(v - top, bottom - v), pixel * 1.6) * (almond > 0)
        dx, dy = u - person.gaze, v + 0.012
        away = np.hypot(dx, dy) / iris_radius
        white = np.array([0.9, 0.87, 0.84], np.float32) * bright * (1 - 0.3 * s[..., None] ** 2)
        spokes = 0.8 + 0.14 * np.sin(np.arctan2(dy, dx) * 17) + 0.7 * np.clip(dy / 0.07, 0, 1)
        eye = (
            white
            + (person.iris * bright * 1.2 * spokes[..., None] - white)
            * _inside((1 - away) * iris_radius, pixel * 2)[..., None]
        )
        eye *= (1 - 0.55 * _ridge(away - 0.97, 0.13))[..., None]
        eye += (0.02 - eye) * _inside((0.45 - away) * iris_radius, pixel * 2)[..., None]
        eye *= (0.45 + 0.55 * smoothstep(-0.005, 0.04, v - top))[..., None]
        spark = np.clip(1.4 * _bump(dx, dy, glint, (0.017, 0.017)), 0, 1)
        eye += (min(1.0, 0.75 + 0.3 * bright) - eye) * spark[..., None]
        corner = _bump(s * side, v, (-1, 0.004), (0.12, 0.02))
        eye += (person.skin * np.array([0.95, 0.6, 0.58], np.float32) * bright - eye) * (0.6 * corner)[..., None]
        patch += (eye - patch) * opened[..., None]
        ends = smoothstep(1.12, 0.9, np.abs(s - 0.03 * side))
        line = _ridge(v - top + 0.004, 0.011 + 0.007 * lash) * ends
        wing = (
            _ridge(v - top + 0.012 + 0.04 * (s * side - 0.6), 0.012)
            * smoothstep(0.5, 0.95, s * side)
            * smoothstep(1.3, 1.05, s * side)
        )
        low = _ridge(v - bottom - 0.004, 0.009) * smoothstep(1.05, 0.85, np.abs(s))
        crease = _ridge(v - top + 0.044 - 0.01 * np.abs(s), 0.013) * smoothstep(1.15, 0.7, np.abs(s))
        dark = (1 - np.clip(line * (0.62 + 0.3 * lash), 0, 0.95)) * (1 - 0.6 * lash * wing * (lash > 0.5))
        patch *= (dark * (1 - 0.3 * low) * (1 - 0.35 * crease))[..., None]


def _head(person: _Person, canvas: _Canvas, light: _Light, rng: Rng) -> None:
    """The face, without hair."""
    canvas = canvas.within(person.width + 0.12, -1.06, 1.06)
    face, pixel = _place(person, canvas), canvas.pixel
    across = np.clip(canvas.x / np.maximum(face.half, 0.02), -0.999, 0.999)
    dome = 0.85 * np.sqrt(1 - across**2) * np.sqrt(np.clip(face.half / person.width, 0, 1))
    relief = _relief(person, face)
    normal = _normals(dome + ndimage.gaussian_filter(relief, 0.011 / pixel), pixel)
    hollow = np.clip(1 + 2.2 * (relief - ndimage.gaussian_filter(relief, 0.1 / pixel, truncate=2)), 0.55, 1.12)
    albedo, pores = _skin(person, face, rng, pixel)

    wrap = np.array([0.42, 0.27, 0.21], np.float32)  # light that travels through skin comes out red
    pixels = albedo * light.shade(normal, wrap) * hollow[..., None]
    upper, parting, parted, lower, t = _mouth(person, face)
    u, v = face.u, face.v
    on_lips = np.minimum(v - upper, lower - v) > 0
    oil = light.shine(normal, 20) * (0.5 + 0.5 * _bump(u, v, (0, 0.05), (0.3, 0.5))) * (1 + 0.1 * pores)
    pixels += (oil * (0.06 + 0.1 * person.blush * 10) * (1 + 0.8 * on_lips * (np.abs(t) < 0.9)))[..., None] * light.key
    if person.teeth > 0:
        gap = _inside(np.minimum(v - parting, parted - v), pixel * 2) * (np.abs(t) < 0.97)
        teeth = (
            np.array([0.9, 0.87, 0.81], np.float32) * (light.brightness * smoothstep(1.0, 0.45, np.abs(t)))[..., None]
        )
        teeth *= (0.75 + 0.25 * smoothstep(0, 0.02, v - parting))[..., None] * (
            1 - 0.12 * _ridge((u / 0.055) % 1 - 0.5, 0.06)
        )[..., None]
        pixels += (teeth - pixels) * gap[..., None]
    pixels *= (1 - 0.55 * _ridge(v - parting, 0.013) * smoothstep(1.12, 0.95, np.abs(t)))[..., None]
    for side in (-1, 1):
        nostril = _bump(u, v, (side * person.nose_width * 0.55, person.nose_tip + 0.075), (0.034, 0.018))
        corner = _bump(t, v, (side * 1.03, person.mouth_v - person.smile), (0.09, 0.022))
        pixels *= (1 - 0.7 * nostril)[..., None] * (1 - 0.35 * corner)[..., None]
    _eyes(person, pixels, face, light, pixel)
    canvas.over(pixels, _inside(np.minimum(face.half - np.abs(canvas.x), 1 - np.abs(canvas.y)), pixel * 1.5))


def _hair_cover(person: _Person, canvas: _Canvas, face: _Face, lump: Array) -> Array:
    """Where hair or scarf lies before the head: distance to its border, positive inside."""
    x, y, v = canvas.x + 0.1 * math.sin(person.yaw), canvas.y, face.v
    style, volume = person.style, person.volume
    away = np.abs(face.side)
    end = {"long": 1.5, "wavy": 1.35, "bob": 0.82, "scarf": 1.4, "curly": 0.45, "side": 0.1, "bun": 0.0}.get(
        style, 0.04
    )
    lump = lump * (style != "scarf")
    rough = 0.09 if style == "curly" else 0.012
    rise = 0.9 + volume
    crown = np.sqrt(np.clip(1 - (np.clip(-(y + 0.1), 0, 3) / rise) ** 2.2, 0, 1))
    reach = person.width * 1.02 + volume * (0.85 + 0.4 * smoothstep(-0.2, 0.4, y) * (style in _LONG))
    outside = np.minimum(reach * crown + rough * lump * crown - np.abs(x), y + 0.1 + rise + rough * lump)
    if style == "curly":
        outside = np.minimum(outside, 1.0 + volume * 1.4 + rough * lump - np.hypot(x, y + 0.15) / 0.98)

    from_part = np.abs(face.u - person.part * 0.6)
    line = person.hairline + 0.9 * np.clip(from_part - 0.12, 0, 1) ** 2 + 0.01 * lump
    if style in _LONG:
        line = person.hairline - 0.06 + 0.95 * from_part**1.4
    if person.fringe:
        line = person.eye_v - 0.24 + 0.25 * face.u**2 + 0.015 * lump
    inset = {"long": 0.8, "wavy": 0.8, "bob": 0.78, "scarf": 0.76, "curly": 0.84}.get(style, 0.9)
    temple = person.width * inset + 0.06 * smoothstep(0.0, 0.6, v) * (style in _LONG)
    beside = np.minimum(away - temple - 0.01 * lump, end - y + 0.03 * lump)
    if style == "bald":
        return np.minimum(np.minimum(outside, away - person.width * 0.93), np.minimum(0.12 - y, y + 0.42))
    past_chin = np.minimum(np.abs(x) - temple - 0.01 * lump, end - y + 0.03 * lump)
    in_head = np.maximum(line - v, np.minimum(beside, past_chin + 0.6 * smoothstep(0.75, 0.0, y)))
    if style == "scarf":  # wound about the neck
        past_chin = np.maximum(past_chin, np.minimum(y - 0.93 - 0.25 * x * x, 1.5 - 0.3 * x * x - y))
    past_chin = np.where(y < 0.1, np.float32(1), past_chin)
    covered = np.where((np.abs(canvas.x) < face.half) & (y < 0.97), in_head, past_chin)
    return np.minimum(outside, covered)


def _hair_front(person: _Person, canvas: _Canvas, light: _Light, rng: Rng) -> None:
    """Hair on the skull and beside the face, or a scarf, or a hat."""
    face = _place(person, canvas)
    x, y, pixel, style = canvas.x, canvas.y, canvas.pixel, person.style
    lump = _sample(fractal(rng, 256, 1.2), (y + 2) * 55, (x + 2) * 55)
    cover = _hair_cover(person, canvas, face, lump)
    origin_x, origin_y = person.part * 1.4, -1.02
    falling = smoothstep(-0.35, 0.4, y)
    wave = 0.045 * np.sin(y * 7 + np.sign(x)) if style == "wavy" else np.float32(0)
    across = np.arctan2(x - origin_x, y - origin_y + 0.25) * 0.55 * (1 - falling) + (x + wave) * falling
    texture = _strands(rng, np.hypot(x - origin_x, y - origin_y), across)
    if style == "curly":
        curls = _sample(fractal(rng, 256, 0.9), (y + 2) * 55, (x + 2) * 55)
        texture = np.sin(curls * 4 + texture * 0.3) + 0.4 * curls
    round_hair = 0.75 * np.sqrt(
        np.clip(1 - (x / (person.width * 1.15 + person.volume)) ** 2 - 0.85 * np.clip(-(y + 0.05), 0, 1) ** 2, 0.03, 1)
    )
    relief = round_hair + (0.009 if style == "curly" else 0.005) * texture + 0.02 * lump
    if style == "scarf":
        slack = _sample(fractal(rng, 256, 2.0), (y + 2) * 40, (x + 2) * 40)
        folds = np.sin(np.hypot(x, (y + 0.2) * 0.8) * 17 + 1.3 * slack)
        relief, texture = round_hair + 0.014 * folds, folds * 0.06
    normal = _normals(ndimage.gaussian_filter(relief, 0.01 / pixel), pixel)
    paint = person.cloth[1] if style == "scarf" else person.hair
    colour = paint * light.shade(normal, 0.12) * np.clip(0.95 + 0.3 * texture, 0.25, 2)[..., None]
    if style != "scarf":
        band = light.shine(normal, 10) * np.clip(0.55 + 0.5 * texture, 0, 2)
        colour += (0.26 * band)[..., None] * (paint * 0.6 + 0.25) * light.key
    colour *= (1 - 0.35 * _ridge(cover, 0.06))[..., None]
    canvas.darken(0.3 * _inside(cover + 0.06, 0.14) * (np.abs(x) < face.half))
    ragged = 0.0 if style == "scarf" else 0.012 if style != "bald" else 0.03
    thin = 0.55 if style == "bald" else 1.0
    canvas.over(colour, thin * _inside(cover + texture * ragged, pixel * 2.5 if style != "bald" else 0.12))


def _hat(person: _Person, canvas: _Canvas, light: _Light, rng: Rng) -> None:
    x, y, pixel = canvas.x, canvas.y, canvas.pixel
    head = _outline(person, x, y)
    felt = _sample(fractal(rng, 256, 0.7), (y + 2) * 90, (x + 2) * 90)
    cloth = person.cloth[2]
    rise = 0.2 if person.hat == "beanie" else 0.34
    wide = (person.width + person.volume * 0.8 + 0.06) * np.sqrt(
        np.clip(1 - (np.clip(-(y + 0.42), 0, 3) / (0.56 + rise)) ** 2.6, 0, 1)
    )
    rim = -0.4 + 0.16 * (1 - (x / 0.9) ** 2)
    dome = np.minimum(np.minimum(wide - np.abs(x), y + 0.97 + rise), rim - y)
    relief = 0.8 * np.sqrt(np.clip(1 - (x / 1.02) ** 2, 0.03, 1)) + 0.25 * y - 0.2 * np.clip(-(y + 0.6), 0, 1) ** 2
    if person.hat == "beanie":
        relief += 0.012 * np.sin(np.clip(x / np.maximum(wide, 0.1), -1, 1) * 40) + 0.04 * smoothstep(0.3, 0.26, rim - y)
    shade = light.shade(_normals(relief, pixel), 0.1) * (1 + 0.03 * felt)[..., None]
    canvas.darken(0.5 * smoothstep(0.34, 0.0, y - rim) * (np.abs(x) < head) * (y > rim))
    canvas.over(cloth * shade, _inside(dome, pixel * 2))
    if person.hat == "brim":
        ribbon = np.minimum(dome, 0.075 - np.abs(rim - y - 0.17))
        canvas.over(cloth * 0.3 * shade, _inside(ribbon, pixel * 2))
        brim = 1 - (x / 1.32) ** 2 - ((y + 0.33 - 0.12 * x * x) / 0.17) ** 2
        bent = light.shade(_normals(0.3 * np.sqrt(np.clip(1.1 - (x / 1.32) ** 2, 0.05, 1)) + 0.35 * y, pixel), 0.1)
        canvas.over(cloth * 0.8 * bent * (1 + 0.03 * felt)[..., None], _inside(brim * 0.12, pixel * 2))


def _glasses(person: _Person, canvas: _Canvas, rng: Rng) -> None:
    canvas = canvas.within(person.width + 0.1, -0.5, 0.5)
    face, pixel = _place(person, canvas), canvas.pixel
    u, v = face.u, face.v
    rim = np.array([0.05, 0.05, 0.06], np.float32) if rng.random() < 0.6 else person.cloth[1] * 0.6
    power, wide, tall = (
        float(rng.choice([2.0, 2.6, 4.0])),
        float(rng.uniform(0.2, 0.23)),
        float(rng.uniform(0.15, 0.19)),
    )
    thick = float(rng.uniform(0.011, 0.022))
    seen = np.abs(canvas.x) < face.half * 1.02
    for side, eye_u, eye_v in person.eyes:
        away = (np.abs((u - eye_u * 1.02) / wide) ** power + np.abs((v - eye_v - 0.03) / tall) ** power) ** (1 / power)
        glare = _inside(1 - away, 0.05) * smoothstep(0.1, 0.0, np.abs(u - eye_u + (v - eye_v) * 0.8 + 0.07))
        canvas.over(np.ones(3, np.float32), 0.14 * glare * seen)
        canvas.darken(0.22 * _ridge(away - 1.2, 0.1) * (v > eye_v) * seen)
        arm = np.minimum(
            thick * 0.9 - np.abs(v - eye_v + 0.03),
            np.minimum((u - eye_u * 1.02) * side - wide * 0.95, person.width - np.abs(face.side)),
        )
        frame = np.maximum(thick - np.abs(away - 1) * min(wide, tall), arm)
        canvas.over(rim, _inside(frame, pixel * 2) * seen)
    bridge = np.minimum(thick - np.abs(v - person.eye_v + 0.01 - 0.5 * u * u), person.eye_u * 1.02 - wide - np.abs(u))
    canvas.over(rim, _inside(bridge, pixel * 2) * seen)


def _draw(person: _Person, picture: Array, centre: tuple[float, float], radius: float, light: _Light, rng: Rng) -> None:
    """Draw one person: centre and radius (half the head's height) in parts of the picture's size."""
    size = picture.shape[0]
    x, y = grid(size)
    x, y = (x - centre[0]) / radius, (y - centre[1]) / radius
    cos, sin = math.cos(person.roll), math.sin(person.roll)
    everything = _Canvas(picture, x, y, 1 / (size * radius))
    _hair_back(person, everything, light, rng)
    _body(person, everything.within(9, 0.2, 9), light, rng)
    around = everything.within(1.5, -1.7, 1.75)
    head = _Canvas(around.pixels, around.x * cos + around.y * sin, around.y * cos - around.x * sin, around.pixel)
    near = -1 if person.yaw > 0 else 1
    ears = head.within(1.05, -0.25, 0.35)
    _ear(person, ears, light, -near)
    if abs(person.yaw) < 0.2:
        _ear(person, ears, light, near)
    _head(person, head, light, rng)
    if person.glasses:
        _glasses(person, head, rng)
    if person.style != "bald" or person.age > 0.35:
        _hair_front(person, head, light, rng)
    if abs(person.yaw) >= 0.2 and person.style in ("short", "side", "bald", "bun"):
        _ear(person, ears, light, near)
    if person.hat:
        _hat(person, head, light, rng)


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
    light = _Light(
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
        _draw(_sitter(rng), picture, place, radius, light, rng)
    small = Image.fromarray(to_uint8(picture)).resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(small)
