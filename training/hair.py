"""What lies over the head of a portrait or behind it: the hair or a scarf, the hat, and the glasses."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from training.face import Face, outline, place
from training.natural import Array, Rng, fractal, smoothstep
from training.relief import Canvas, Light, inside, normals, ridge, sample, strands
from training.sitter import Person

_LONG = ("long", "wavy", "bob")


def hair_back(person: Person, canvas: Canvas, light: Light, rng: Rng) -> None:
    """Hair that falls behind the neck, or a bun."""
    x, y = canvas.x + 0.12 * math.sin(person.yaw), canvas.y
    if person.style == "bun":
        away = np.hypot(x, y + 1.1)
        ball = np.sqrt(np.clip(1 - (away / 0.3) ** 2, 0.02, 1)) * 0.3
        texture = strands(rng, away, np.arctan2(y + 1.1, x) * 0.2 + away)
        colour = (
            person.hair * light.shade(normals(ball, canvas.pixel), 0.1) * np.clip(1 + 0.25 * texture, 0.4, 2)[..., None]
        )
        canvas.over(colour, inside(0.3 + 0.01 * texture - away, canvas.pixel * 2))
        return
    length = {"long": 1.9, "wavy": 1.7, "bob": 0.95, "scarf": 1.35}.get(person.style)
    if length is None:
        return
    length *= 0.9 + person.volume
    wave = 0.05 if person.style == "wavy" else 0.006
    reach = person.width + person.volume + 0.02
    edge = reach * (1 + 0.2 * smoothstep(-0.2, 1.2, y)) + wave * np.sin(y * 7 + np.sign(x)) * smoothstep(-0.3, 0.5, y)
    crown = np.sqrt(np.clip(1 - (np.clip(-y - 0.1, 0, 2) / (0.9 + person.volume)) ** 2.2, 0, 1))
    texture = strands(rng, y, x + wave * np.sin(y * 7 + np.sign(x)))
    if person.style == "scarf":
        texture = np.sin(x * 30 + 2 * np.sin(y * 5)) * 0.3
    cover = np.minimum(edge * crown - np.abs(x), y + 0.98 + person.volume)
    cover = np.minimum(cover, length + 0.05 * texture * (person.style != "scarf") - 0.3 * (x / reach) ** 2 - y)
    round_hair = 0.5 * np.sqrt(np.clip(1 - (x / (reach * 1.25)) ** 2, 0.02, 1))
    deep = 1 - 0.65 * ridge(x, 0.62) * smoothstep(0.2, 0.8, y)
    paint = person.cloth[1] if person.style == "scarf" else person.hair
    colour = paint * light.shade(normals(round_hair + 0.004 * texture, canvas.pixel), 0.1)
    canvas.over(colour * (deep * np.clip(1 + 0.3 * texture, 0.3, 2))[..., None], inside(cover, canvas.pixel * 2.5))


def _hair_cover(person: Person, canvas: Canvas, face: Face, lump: Array) -> Array:
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


def hair_front(person: Person, canvas: Canvas, light: Light, rng: Rng) -> None:
    """Hair on the skull and beside the face, or a scarf, or a hat."""
    face = place(person, canvas)
    x, y, pixel, style = canvas.x, canvas.y, canvas.pixel, person.style
    lump = sample(fractal(rng, 256, 1.2), (y + 2) * 55, (x + 2) * 55)
    cover = _hair_cover(person, canvas, face, lump)
    origin_x, origin_y = person.part * 1.4, -1.02
    falling = smoothstep(-0.35, 0.4, y)
    wave = 0.045 * np.sin(y * 7 + np.sign(x)) if style == "wavy" else np.float32(0)
    across = np.arctan2(x - origin_x, y - origin_y + 0.25) * 0.55 * (1 - falling) + (x + wave) * falling
    texture = strands(rng, np.hypot(x - origin_x, y - origin_y), across)
    if style == "curly":
        curls = sample(fractal(rng, 256, 0.9), (y + 2) * 55, (x + 2) * 55)
        texture = np.sin(curls * 4 + texture * 0.3) + 0.4 * curls
    round_hair = 0.75 * np.sqrt(
        np.clip(1 - (x / (person.width * 1.15 + person.volume)) ** 2 - 0.85 * np.clip(-(y + 0.05), 0, 1) ** 2, 0.03, 1)
    )
    relief = round_hair + (0.009 if style == "curly" else 0.005) * texture + 0.02 * lump
    if style == "scarf":
        slack = sample(fractal(rng, 256, 2.0), (y + 2) * 40, (x + 2) * 40)
        folds = np.sin(np.hypot(x, (y + 0.2) * 0.8) * 17 + 1.3 * slack)
        relief, texture = round_hair + 0.014 * folds, folds * 0.06
    normal = normals(ndimage.gaussian_filter(relief, 0.01 / pixel), pixel)
    paint = person.cloth[1] if style == "scarf" else person.hair
    colour = paint * light.shade(normal, 0.12) * np.clip(0.95 + 0.3 * texture, 0.25, 2)[..., None]
    if style != "scarf":
        band = light.shine(normal, 10) * np.clip(0.55 + 0.5 * texture, 0, 2)
        colour += (0.26 * band)[..., None] * (paint * 0.6 + 0.25) * light.key
    colour *= (1 - 0.35 * ridge(cover, 0.06))[..., None]
    canvas.darken(0.3 * inside(cover + 0.06, 0.14) * (np.abs(x) < face.half))
    ragged = 0.0 if style == "scarf" else 0.012 if style != "bald" else 0.03
    thin = 0.55 if style == "bald" else 1.0
    canvas.over(colour, thin * inside(cover + texture * ragged, pixel * 2.5 if style != "bald" else 0.12))


def glasses(person: Person, canvas: Canvas, rng: Rng) -> None:
    canvas = canvas.within(person.width + 0.1, -0.5, 0.5)
    face, pixel = place(person, canvas), canvas.pixel
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
        glare = inside(1 - away, 0.05) * smoothstep(0.1, 0.0, np.abs(u - eye_u + (v - eye_v) * 0.8 + 0.07))
        canvas.over(np.ones(3, np.float32), 0.14 * glare * seen)
        canvas.darken(0.22 * ridge(away - 1.2, 0.1) * (v > eye_v) * seen)
        arm = np.minimum(
            thick * 0.9 - np.abs(v - eye_v + 0.03),
            np.minimum((u - eye_u * 1.02) * side - wide * 0.95, person.width - np.abs(face.side)),
        )
        frame = np.maximum(thick - np.abs(away - 1) * min(wide, tall), arm)
        canvas.over(rim, inside(frame, pixel * 2) * seen)
    bridge = np.minimum(thick - np.abs(v - person.eye_v + 0.01 - 0.5 * u * u), person.eye_u * 1.02 - wide - np.abs(u))
    canvas.over(rim, inside(bridge, pixel * 2) * seen)


def hat(person: Person, canvas: Canvas, light: Light, rng: Rng) -> None:
    x, y, pixel = canvas.x, canvas.y, canvas.pixel
    head = outline(person, x, y)
    felt = sample(fractal(rng, 256, 0.7), (y + 2) * 90, (x + 2) * 90)
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
    shade = light.shade(normals(relief, pixel), 0.1) * (1 + 0.03 * felt)[..., None]
    canvas.darken(0.5 * smoothstep(0.34, 0.0, y - rim) * (np.abs(x) < head) * (y > rim))
    canvas.over(cloth * shade, inside(dome, pixel * 2))
    if person.hat == "brim":
        ribbon = np.minimum(dome, 0.075 - np.abs(rim - y - 0.17))
        canvas.over(cloth * 0.3 * shade, inside(ribbon, pixel * 2))
        brim = 1 - (x / 1.32) ** 2 - ((y + 0.33 - 0.12 * x * x) / 0.17) ** 2
        bent = light.shade(normals(0.3 * np.sqrt(np.clip(1.1 - (x / 1.32) ** 2, 0.05, 1)) + 0.35 * y, pixel), 0.1)
        canvas.over(cloth * 0.8 * bent * (1 + 0.03 * felt)[..., None], inside(brim * 0.12, pixel * 2))
