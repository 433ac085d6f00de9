"""The bare head of a portrait: an ellipsoid turned by a yaw, with ears, and with the features laid on it in face
coordinates: u to the side and v downwards, in units of half the head's height, (0, 0) in the middle of the face a
little below the eyes. Relief and colour are both drawn in these coordinates, so that everything turns with the head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from training.natural import Array, Rng, fractal, smoothstep
from training.relief import Canvas, Light, bump, inside, normals, ridge, sample, strands
from training.sitter import Person


@dataclass
class Face:
    """Where each pixel of a canvas lies on the head."""

    u: Array
    v: Array
    side: Array  # like u, but growing on past the ears towards the back of the head
    half: Array  # half width of the head's outline at each pixel's height, in head units


def outline(person: Person, x: Array, y: Array) -> Array:
    """Half width of the head at each height; on the far side of a turned head it follows brow, eye and cheek."""
    reach = np.where(y < -0.1, np.float32(0.9), np.float32(1.1))
    skull = np.sqrt(np.clip(1 - np.abs((y + 0.1) / reach) ** 2.3, 0, 1))
    half = person.width * skull * (1 - person.jaw * smoothstep(0.1, 0.95, y))
    turn = math.sin(person.yaw)
    far = smoothstep(0, 0.45, x * math.copysign(1, turn)) * abs(turn)
    bumps = 0.06 * ridge(y - 0.25, 0.17) - 0.09 * ridge(y - person.eye_v, 0.1) + 0.04 * ridge(y + 0.25, 0.12)
    return half + far * bumps


def place(person: Person, canvas: Canvas) -> Face:
    """Face coordinates of a canvas."""
    half = outline(person, canvas.x, canvas.y)
    across = np.clip(canvas.x / np.maximum(half, 0.02), -0.999, 0.999)
    longitude = np.arcsin(across) - person.yaw * np.clip(1.1 - 0.25 * canvas.y**2, 0.6, 1.1)
    u = np.sin(longitude) * person.width
    behind = np.maximum(np.abs(longitude) - np.float32(np.pi / 2), 0)
    side = np.where(behind > 0, np.sign(longitude) * (person.width + behind * 0.5), u)
    return Face(np.where(behind > 0, np.sign(longitude) * person.width * 1.1, u), canvas.y, side, half)


def ear(person: Person, canvas: Canvas, light: Light, side: int) -> None:
    """The ear on one side (-1 left, 1 right of the picture)."""
    turned = side * math.sin(person.yaw)  # > 0 for the far ear
    middle = side * (person.width * (math.cos(person.yaw) if turned < 0 else 1.0) + 0.01 - 0.14 * max(turned, 0))
    dx, dy = canvas.x - middle, canvas.y - 0.06
    away = np.hypot(dx / 0.1, (dy + 0.25 * side * dx) / 0.2)
    relief = (
        0.05 * np.exp(-((away - 0.78) ** 2) / 0.03)
        - 0.04 * np.exp(-(away**2) / 0.15)
        + 0.03 * bump(dx, dy, (0, 0.15), (0.05, 0.05))
    )
    skin = person.skin * np.array([1.0, 0.87, 0.83], np.float32) * light.shade(normals(relief, canvas.pixel), 0.3)
    canvas.over(skin * (1 - 0.4 * np.exp(-(away**2) / 0.12))[..., None], inside((1 - away) * 0.1, canvas.pixel * 2))


def _mouth(person: Person, face: Face) -> tuple[Array, Array, Array, Array, Array]:
    """Heights v of both edges of the upper and of the lower lip, top to bottom, and the place t across, -1 to 1."""
    t = face.u / person.mouth_width
    bow = np.clip(1 - t * t, 0, 1)
    parting = person.mouth_v + person.smile * (0.35 - 1.15 * t * t) + 0.01 * ridge(t, 0.25)
    fullness = 1 + 0.25 * person.feminine
    upper = parting - 0.046 * fullness * bow**0.7 * (1 - 0.22 * ridge(t, 0.15))
    gap = person.teeth * bow**0.6
    lower = parting + gap + 0.06 * fullness * bow**0.65
    return upper, parting, parting + gap, lower, t


def _relief(person: Person, face: Face) -> Array:
    """Height of the features over the head's ellipsoid, in head units."""
    u, v, tip, mouth = face.u, face.v, person.nose_tip, person.mouth_v
    upper, parting, parted, lower, t = _mouth(person, face)
    breadth = 0.058 + (person.nose_width - 0.035) * smoothstep(person.eye_v, tip, v) ** 2
    climb = smoothstep(person.eye_v - 0.14, tip, v) ** 1.15 * smoothstep(tip + 0.13, tip + 0.01, v)
    relief = person.nose * climb * np.exp(-((u / breadth) ** 2))
    relief += 0.03 * bump(u, v, (0, tip), (0.07, 0.06))
    brow = 0.028 if person.feminine else 0.055
    relief += brow * ridge(v - person.eye_v + 0.16, 0.08) * np.exp(-((u / 0.45) ** 4))
    for side, eye_u, eye_v in person.eyes:
        relief -= 0.08 * bump(u, v, (eye_u * 0.92, eye_v), (0.17, 0.1))
        relief += 0.07 * bump(u, v, (eye_u, eye_v), (0.125, 0.09))
        relief += person.cheeks * bump(u, v, (side * 0.39, 0.21), (0.19, 0.15))
        relief += 0.06 * bump(u, v, (side * person.nose_width * 0.92, tip + 0.03), (0.05, 0.055))
        fold = u - side * (person.nose_width + 0.06 + 0.5 * (v - tip))
        depth = 0.006 + 0.025 * person.age + 0.2 * max(person.smile, 0)
        relief -= (
            depth
            * ridge(fold, 0.035)
            * smoothstep(tip - 0.05, tip + 0.1, v)
            * smoothstep(mouth + 0.12, mouth - 0.06, v)
        )
        bag = v - eye_v - 0.105 + 0.25 * (u - eye_u) ** 2
        relief -= 0.02 * person.age * ridge(bag, 0.03) * ridge(u - eye_u, 0.13)
        if person.age > 0.4:
            rays = np.sin((v - eye_v) * 60 + (u * side - 0.5) * 20)
            relief += 0.01 * (person.age - 0.4) * rays * bump(u, v, (side * 0.55, eye_v), (0.07, 0.1))
    relief += 0.05 * bump(u, v, (0, mouth), (0.28, 0.15)) + 0.065 * bump(u, v, (0, 0.83), (0.18, 0.12))
    relief -= 0.03 * bump(u, v, (0, mouth + 0.16), (0.15, 0.045)) + 0.016 * bump(
        u, v, (0, (tip + mouth) / 2 + 0.02), (0.03, 0.05)
    )
    if person.age > 0.4:
        relief += (
            0.012 * (person.age - 0.4) * np.sin((v + 0.04 * np.cos(u * 5)) * 62) * bump(u, v, (0, -0.42), (0.35, 0.12))
        )
    plump = np.clip(np.maximum(np.minimum(v - upper, parting - v), np.minimum(v - parted, lower - v)) / 0.03, 0, 1)
    relief += 0.035 * np.sqrt(plump) * (np.abs(t) < 1)
    return relief - 0.022 * ridge(v - parting, 0.015) * (np.abs(t) < 1.06)


def _beard(person: Person, face: Face, texture: Array) -> Array:
    """Cover (0 to 1) of beard and moustache."""
    u, v, mouth = face.u, face.v, person.mouth_v
    t = u / person.mouth_width
    free = smoothstep(-0.02, 0.05, np.hypot(u / 1.5, (v - mouth - 0.03)) - 0.12)
    chin_only = person.beard in ("goatee", "moustache")
    low = smoothstep(
        -0.07,
        0.07,
        v - 0.36 - 0.9 * (0.45 - np.abs(u)) * (np.abs(u) > 0.2) * (v < 0.6) + 0.04 * texture - 0.18 * ridge(u, 0.3),
    )
    if chin_only:
        low = low * smoothstep(0.28, 0.2, np.abs(u)) * smoothstep(mouth, mouth + 0.12, v) * (person.beard == "goatee")
    lip = np.exp(-(((v - mouth + 0.105 - 0.07 * np.abs(t) ** 2) / 0.055) ** 4)) * smoothstep(1.6, 0.9, np.abs(t))
    strength = 0.3 if person.beard == "stubble" else 0.93
    return np.maximum(low * free, lip) * np.clip(0.85 + 0.25 * texture, 0, 1) * strength


def _skin(person: Person, face: Face, rng: Rng, pixel: float) -> tuple[Array, Array]:
    """Colour of the skin, lips, brows and beard, and the pores (mean 0, deviation 1)."""
    u, v, tip = face.u, face.v, person.nose_tip
    pores = sample(fractal(rng, 256, 0.7), (v + 2) * 130, (u + 2) * 130)
    blotches = sample(fractal(rng, 256, 1.5), (v + 2) * 60, (u + 2) * 60)
    albedo = person.skin * (1 + 0.015 * pores + 0.02 * blotches)[..., None]
    red = (
        bump(u, v, (-0.4, 0.22), (0.18, 0.15))
        + bump(u, v, (0.4, 0.22), (0.18, 0.15))
        + 0.7 * bump(u, v, (0, tip), (0.12, 0.08))
    )
    albedo *= 1 - (person.blush * red)[..., None] * np.array([0.1, 1.5, 1.4], np.float32)
    if person.freckles:
        spots = smoothstep(1.3, 2.0, pores) * bump(u, v, (0, 0.15), (0.5, 0.2))
        albedo *= 1 - spots[..., None] * np.array([0.15, 0.28, 0.33], np.float32)

    upper, parting, parted, lower, t = _mouth(person, face)
    lips = np.maximum(
        inside(np.minimum(v - upper, parting - v), pixel * 3), inside(np.minimum(v - parted, lower - v), pixel * 3)
    )
    lips = lips * smoothstep(1.0, 0.93, np.abs(t))
    colour = person.skin * np.array([0.9, 0.62, 0.6], np.float32)
    if person.lipstick is not None:
        colour = colour * 0.4 + person.lipstick * 0.6
    albedo += (colour - albedo) * (lips * 0.85)[..., None]

    if person.beard:
        texture = strands(rng, v + 0.3 * np.abs(u), u)
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


def _eyes(person: Person, pixels: Array, face: Face, light: Light, pixel: float) -> None:
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
        opened = inside(np.minimum(v - top, bottom - v), pixel * 1.6) * (almond > 0)
        dx, dy = u - person.gaze, v + 0.012
        away = np.hypot(dx, dy) / iris_radius
        white = np.array([0.9, 0.87, 0.84], np.float32) * bright * (1 - 0.3 * s[..., None] ** 2)
        spokes = 0.8 + 0.14 * np.sin(np.arctan2(dy, dx) * 17) + 0.7 * np.clip(dy / 0.07, 0, 1)
        eye = (
            white
            + (person.iris * bright * 1.2 * spokes[..., None] - white)
            * inside((1 - away) * iris_radius, pixel * 2)[..., None]
        )
        eye *= (1 - 0.55 * ridge(away - 0.97, 0.13))[..., None]
        eye += (0.02 - eye) * inside((0.45 - away) * iris_radius, pixel * 2)[..., None]
        eye *= (0.45 + 0.55 * smoothstep(-0.005, 0.04, v - top))[..., None]
        spark = np.clip(1.4 * bump(dx, dy, glint, (0.017, 0.017)), 0, 1)
        eye += (min(1.0, 0.75 + 0.3 * bright) - eye) * spark[..., None]
        corner = bump(s * side, v, (-1, 0.004), (0.12, 0.02))
        eye += (person.skin * np.array([0.95, 0.6, 0.58], np.float32) * bright - eye) * (0.6 * corner)[..., None]
        patch += (eye - patch) * opened[..., None]
        ends = smoothstep(1.12, 0.9, np.abs(s - 0.03 * side))
        line = ridge(v - top + 0.004, 0.011 + 0.007 * lash) * ends
        wing = (
            ridge(v - top + 0.012 + 0.04 * (s * side - 0.6), 0.012)
            * smoothstep(0.5, 0.95, s * side)
            * smoothstep(1.3, 1.05, s * side)
        )
        low = ridge(v - bottom - 0.004, 0.009) * smoothstep(1.05, 0.85, np.abs(s))
        crease = ridge(v - top + 0.044 - 0.01 * np.abs(s), 0.013) * smoothstep(1.15, 0.7, np.abs(s))
        dark = (1 - np.clip(line * (0.62 + 0.3 * lash), 0, 0.95)) * (1 - 0.6 * lash * wing * (lash > 0.5))
        patch *= (dark * (1 - 0.3 * low) * (1 - 0.35 * crease))[..., None]


def head(person: Person, canvas: Canvas, light: Light, rng: Rng) -> None:
    """The face, without hair."""
    canvas = canvas.within(person.width + 0.12, -1.06, 1.06)
    face, pixel = place(person, canvas), canvas.pixel
    across = np.clip(canvas.x / np.maximum(face.half, 0.02), -0.999, 0.999)
    dome = 0.85 * np.sqrt(1 - across**2) * np.sqrt(np.clip(face.half / person.width, 0, 1))
    relief = _relief(person, face)
    normal = normals(dome + ndimage.gaussian_filter(relief, 0.011 / pixel), pixel)
    hollow = np.clip(1 + 2.2 * (relief - ndimage.gaussian_filter(relief, 0.1 / pixel, truncate=2)), 0.55, 1.12)
    albedo, pores = _skin(person, face, rng, pixel)

    wrap = np.array([0.42, 0.27, 0.21], np.float32)  # light that travels through skin comes out red
    pixels = albedo * light.shade(normal, wrap) * hollow[..., None]
    upper, parting, parted, lower, t = _mouth(person, face)
    u, v = face.u, face.v
    on_lips = np.minimum(v - upper, lower - v) > 0
    oil = light.shine(normal, 20) * (0.5 + 0.5 * bump(u, v, (0, 0.05), (0.3, 0.5))) * (1 + 0.1 * pores)
    pixels += (oil * (0.06 + 0.1 * person.blush * 10) * (1 + 0.8 * on_lips * (np.abs(t) < 0.9)))[..., None] * light.key
    if person.teeth > 0:
        gap = inside(np.minimum(v - parting, parted - v), pixel * 2) * (np.abs(t) < 0.97)
        teeth = (
            np.array([0.9, 0.87, 0.81], np.float32) * (light.brightness * smoothstep(1.0, 0.45, np.abs(t)))[..., None]
        )
        teeth *= (0.75 + 0.25 * smoothstep(0, 0.02, v - parting))[..., None] * (
            1 - 0.12 * ridge((u / 0.055) % 1 - 0.5, 0.06)
        )[..., None]
        pixels += (teeth - pixels) * gap[..., None]
    pixels *= (1 - 0.55 * ridge(v - parting, 0.013) * smoothstep(1.12, 0.95, np.abs(t)))[..., None]
    for side in (-1, 1):
        nostril = bump(u, v, (side * person.nose_width * 0.55, person.nose_tip + 0.075), (0.034, 0.018))
        corner = bump(t, v, (side * 1.03, person.mouth_v - person.smile), (0.09, 0.022))
        pixels *= (1 - 0.7 * nostril)[..., None] * (1 - 0.35 * corner)[..., None]
    _eyes(person, pixels, face, light, pixel)
    canvas.over(pixels, inside(np.minimum(face.half - np.abs(canvas.x), 1 - np.abs(canvas.y)), pixel * 1.5))
