"""Images with the statistics of photographs, drawn from a seed, and the marks a camera leaves.

Dead leaves (occluding shapes whose sizes follow a power law, Lee, Mumford and Huang 2001), 1/f noise, landscapes,
materials and lit solids. The model learns from them that edges, textures and gradients occur at every size.
All drawing functions take and return float32 images (height, width, 3) in [0, 1].
"""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image, ImageDraw
from scipy import fft, ndimage

Array = np.ndarray
Rng = np.random.Generator


def hsv_to_rgb(hue: Array | float, saturation: Array | float, value: Array | float) -> Array:
    """Colours (..., 3) in [0, 1] from hue (in turns, any real number), saturation and value in [0, 1]."""
    hue, saturation, value = np.broadcast_arrays(*(np.asarray(x, np.float32) for x in (hue, saturation, value)))
    ramp = np.abs((hue[..., None] * 6 + np.array([0, 4, 2], np.float32)) % 6 - 3) - 1
    return (value[..., None] * (1 - saturation[..., None] * (1 - np.clip(ramp, 0, 1)))).astype(np.float32)


def to_uint8(image: Array) -> Array:
    """A float image in [0, 1] as uint8."""
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def luminance(image: Array) -> Array:
    """Luma (height, width) of an image (height, width, 3)."""
    return image @ np.array([0.299, 0.587, 0.114], np.float32)


def smoothstep(low: float | Array, high: float | Array, x: Array) -> Array:
    """0 below low, 1 above high, a smooth ramp between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def fractal(rng: Rng, size: int, slope: float = 1.0, stretch: float = 1.0, angle: float = 0.0) -> Array:
    """A noise field (size, size) of mean 0 and deviation 1 whose amplitude falls with frequency to the power -slope.

    Periodic. With stretch > 1 its features are that many times longer along the direction angle (radians, 0 is
    horizontal) than across it.
    """
    fy = np.fft.fftfreq(size, 1 / size).astype(np.float32)[:, None]
    fx = np.fft.rfftfreq(size, 1 / size).astype(np.float32)[None, :]
    along = (fx * math.cos(angle) + fy * math.sin(angle)) * stretch
    across = fy * math.cos(angle) - fx * math.sin(angle)
    power = along * along + across * across
    power[0, 0] = np.inf
    own = np.random.default_rng(rng.integers(2**63))  # the caller's generator moves on alike for every size
    spectrum = own.standard_normal((2, size, size // 2 + 1), np.float32)
    weighted = (spectrum[0] + 1j * spectrum[1]) * power ** np.float32(-slope / 2)
    field = fft.irfft2(weighted, s=(size, size))
    return (field - field.mean()) / (field.std() + 1e-8)


def blobs(rng: Rng, size: int, features: float) -> Array:
    """Smooth noise (size, size), mean 0, deviation 1, with about `features` humps along a side."""
    own = np.random.default_rng(rng.integers(2**63))
    coarse = own.standard_normal((size // 4, size // 4)).astype(np.float32)
    field = ndimage.zoom(ndimage.gaussian_filter(coarse, size / features / 10, mode="wrap"), 4, order=1)
    return (field - field.mean()) / (field.std() + 1e-8)


def grid(size: int) -> tuple[Array, Array]:
    """Coordinates x and y, each (size, size), running from 0 to 1."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = np.meshgrid(line, line)
    return x, y


def colours(rng: Rng, count: int) -> Array:
    """Colours (count, 3) that belong together: one to three hues, mostly earth, sky or leaf, of every brightness."""
    common = rng.choice([0.08, 0.58, 0.28], rng.integers(1, 4), p=[0.5, 0.3, 0.2])
    hues = np.where(rng.random(len(common)) < 0.3, rng.random(len(common)), common + rng.normal(0, 0.04, len(common)))
    hue = rng.choice(hues, count) + rng.normal(0, 0.03, count)
    saturation = np.clip(rng.beta(1.5, 2.5, count) * rng.uniform(0.5, 1.3), 0, 1)
    return hsv_to_rgb(hue, saturation, rng.beta(1.3, 1.3, count) * 0.92 + 0.05)


def reduced(image: Array, factor: int) -> Array:
    """The image averaged over blocks of factor by factor pixels."""
    height, width = image.shape[0] // factor, image.shape[1] // factor
    return image.reshape(height, factor, width, factor, -1).mean((1, 3)).reshape(height, width, *image.shape[2:])


def _texture(rng: Rng, size: int) -> Array:
    """A texture (size, size) of mean about 0 and deviation about 1, of one of six kinds."""
    x, y = grid(size)
    angle = rng.uniform(0, np.pi)
    kind = rng.integers(6)
    if kind == 0:
        return fractal(rng, size, rng.uniform(0.4, 1.4))
    if kind == 1:
        return fractal(rng, size, rng.uniform(0.5, 1.1), rng.uniform(4, 20), angle)
    warp = fractal(rng, size, 1.8) * rng.uniform(0, 0.02)
    across = (x * np.cos(angle) + y * np.sin(angle) + warp) * rng.uniform(8, 45)
    along = (y * np.cos(angle) - x * np.sin(angle) + warp) * rng.uniform(8, 45)
    if kind == 2:
        return np.sin(across * 2 * np.pi) * 1.2
    if kind == 3:
        return np.sin(across * 2 * np.pi) * np.sin(along * 2 * np.pi) * 1.8
    if kind == 4:
        return np.sign(np.sin(across * 2 * np.pi)) * np.sign(np.sin(along * 2 * np.pi))
    return np.clip(fractal(rng, size, rng.uniform(0.2, 0.8)) - 0.8, 0, 3) * 1.4


def _shape(rng: Rng, radius: float) -> Array:
    """Corners (n, 2) of an ellipse, a box, a polygon or a lobed leaf around the origin."""
    kind = rng.integers(5)
    turn = rng.uniform(0, 2 * np.pi)
    aspect = rng.uniform(0.3, 1)
    if kind == 0:
        angles = np.array([0.25, 0.75, 1.25, 1.75]) * np.pi
        reach = np.full(4, 1.25)
    elif kind == 1:
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
        reach = np.ones(len(angles))
    else:
        angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        lobes = rng.integers(2, 7)
        reach = 1 + (kind > 2) * rng.uniform(0.05, 0.4) * np.sin(lobes * angles + turn)
    x, y = np.cos(angles) * reach, np.sin(angles) * reach * aspect
    return radius * np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], -1)


def leaves(rng: Rng, size: int) -> Array:
    """Dead leaves: textured, shaded shapes of every size that hide one another."""
    fine = size * 2
    count = int(rng.integers(60, 420))
    smallest, largest = fine * 0.012, fine * rng.uniform(0.2, 0.45)
    power = rng.random(count)
    radii = (smallest**-2 + power * (largest**-2 - smallest**-2)) ** -0.5  # density proportional to radius**-3
    radii = np.where(rng.random(count) < 0.25, rng.uniform(smallest * 4, largest, count), radii)
    radii = radii[np.argsort(-radii + rng.normal(0, fine * 0.1, count))]
    centres = rng.uniform(-0.05, 1.05, (count, 2)) * fine

    labels = Image.new("I", (fine, fine), 0)
    draw = ImageDraw.Draw(labels)
    for label, (centre, radius) in enumerate(zip(centres, radii, strict=True), start=1):
        draw.polygon([(float(a), float(b)) for a, b in _shape(rng, radius) + centre], fill=label)
    index = np.asarray(labels)

    base = np.concatenate([colours(rng, 1), colours(rng, count)])
    direction = rng.normal(0, 1, (count + 1, 2)).astype(np.float32)
    slope = (rng.uniform(0, 0.35, count + 1) / np.concatenate([[fine], radii])).astype(np.float32)
    middle = np.concatenate([[[fine / 2, fine / 2]], centres]).astype(np.float32)
    amplitude = (rng.gamma(1.2, 0.05, count + 1)).astype(np.float32)
    textures = np.stack([np.tile(_texture(rng, size), (2, 2)) for _ in range(4)])
    choice = rng.integers(0, 4, count + 1)

    rows, columns = np.mgrid[0:fine, 0:fine].astype(np.float32)
    shade = (
        (columns - middle[index, 0]) * direction[index, 0] + (rows - middle[index, 1]) * direction[index, 1]
    ) * slope[index]
    texture = textures[choice[index], rows.astype(np.int32), columns.astype(np.int32)] * amplitude[index]
    depth = reduced(index.astype(np.float32), 2) / count
    image = reduced(base[index] * np.clip(1 + shade + texture, 0.1, 2)[..., None], 2)
    hidden = np.clip(ndimage.gaussian_filter(depth, size * 0.012) - depth, 0, 1)
    return image * (1 - np.clip(hidden * rng.uniform(0, 2), 0, 0.75))[..., None]


def clouds(rng: Rng, size: int) -> Array:
    """Coloured 1/f noise: mostly brightness, with slower and weaker colour."""
    slope = rng.uniform(0.8, 1.9)
    light = fractal(rng, size, slope, rng.uniform(1, 3), rng.uniform(0, np.pi))
    first, second = fractal(rng, size, slope + 0.2), fractal(rng, size, slope + 0.2)
    tint = rng.normal(0, 0.07, (2, 3)).astype(np.float32)
    mean = colours(rng, 1)[0]
    return (
        mean * 0.6
        + 0.2
        + light[..., None] * rng.uniform(0.08, 0.22)
        + first[..., None] * tint[0]
        + second[..., None] * tint[1]
    )


def landscape(rng: Rng, size: int) -> Array:
    """Sky, clouds, ranges of hills that fade with distance, ground, and sometimes a sun and trees."""
    x, y = grid(size)
    hue = rng.uniform(0.5, 0.68) if rng.random() < 0.7 else rng.uniform(0, 1)
    top = hsv_to_rgb(hue, rng.uniform(0.2, 0.8), rng.uniform(0.3, 0.9))
    low = hsv_to_rgb(hue + rng.normal(0, 0.2), rng.uniform(0.05, 0.5), rng.uniform(0.7, 1))
    horizon = rng.uniform(0.3, 0.75)
    image = top + (low - top) * np.clip(y / horizon, 0, 1)[..., None] ** rng.uniform(0.7, 2)
    cover = smoothstep(rng.uniform(-0.5, 0.8), 2.0, fractal(rng, size, rng.uniform(1.2, 1.7), 3.0))
    image = image + (np.float32(0.97) - image) * (cover * rng.uniform(0, 1))[..., None]
    if rng.random() < 0.4:
        distance = np.hypot(x - rng.uniform(0.1, 0.9), y - rng.uniform(0.1, horizon)) / rng.uniform(0.02, 0.06)
        glow = np.clip(np.exp(-distance * 0.25) * 0.6 + smoothstep(1.1, 0.9, distance), 0, 1)[..., None]
        image = image + (hsv_to_rgb(rng.uniform(0.05, 0.16), 0.25, 1.0) - image) * glow
    ranges = rng.integers(1, 6)
    near = colours(rng, 1)[0] * 0.7
    for step in range(1, ranges + 1):
        nearness = step / ranges
        outline = fractal(rng, size, rng.uniform(1.1, 2))[0] * rng.uniform(0.01, 0.07) * (1.3 - nearness)
        edge = horizon + (0.95 - horizon) * (nearness - 1 / ranges) * 0.8 + outline
        ground = (
            near
            * (0.6 + 0.6 * rng.random())
            * (1 + fractal(rng, size, rng.uniform(0.5, 1.1), 3.0) * 0.16 * nearness)[..., None]
        )
        ground = ground * nearness + low * 0.85 * (1 - nearness)
        image = image + (ground - image) * smoothstep(-0.5, 0.5, (y - edge) * size)[..., None]
    if rng.random() < 0.4:
        for _ in range(rng.integers(1, 6)):
            middle, foot, height = rng.uniform(0, 1), rng.uniform(horizon, 1), rng.uniform(0.1, 0.4)
            crown = np.hypot((x - middle) / (height * 0.35), (y - foot + height) / (height * 0.5))
            crown = smoothstep(0.1, -0.1, crown - 1 + fractal(rng, size, 0.8) * 0.2)
            trunk = (np.abs(x - middle) < height * 0.03) & (y < foot) & (y > foot - height)
            image = image + (near * 0.35 - image) * trunk[..., None]
            leaf = (
                near
                * np.clip(0.6 + fractal(rng, size, 0.5) * 0.25 - (y - foot + height) / height * 0.5, 0.1, 2)[..., None]
            )
            image = image + (leaf - image) * crown[..., None]
    return image


def solids(rng: Rng, size: int) -> Array:
    """A table or a wall with lit balls, eggs and boxes on it, with highlights and cast shadows."""
    x, y = grid(size)
    edge = rng.uniform(0.25, 0.75)
    wall, table = colours(rng, 2)
    image = np.where((y < edge)[..., None], wall * (0.8 + 0.4 * x[..., None]), table * (0.7 + 0.5 * y[..., None]))
    image = image * (1 + _texture(rng, size) * rng.uniform(0, 0.1))[..., None]
    light = np.array([rng.uniform(-1, 1), rng.uniform(-1, -0.2), rng.uniform(0.4, 1.2)], np.float32)
    light = light / np.linalg.norm(light)
    count = int(rng.integers(1, 9))
    for foot, paint in zip(np.sort(rng.uniform(edge, 1.05, count)), colours(rng, count), strict=True):
        radius, aspect, middle = rng.uniform(0.05, 0.22), rng.uniform(0.7, 1.4), rng.uniform(0, 1)
        cast = np.hypot((x - middle + light[0] * radius) / (radius * 1.5), (y - foot) / (radius * 0.45))
        image = image * (1 - 0.6 * smoothstep(1.2, 0.3, cast))[..., None]
        dx, dy = (x - middle) / radius, (y - foot + radius * aspect) / (radius * aspect)
        squared = dx**2 + dy**2
        dz = np.sqrt(np.clip(1 - squared, 0, 1))
        lambert = np.clip(dx * light[0] + dy * light[1] + dz * light[2], 0, 1)
        shine = np.clip(2 * lambert * dz - light[2], 0, 1) ** rng.uniform(6, 60) * rng.uniform(0, 0.8)
        skin = (1 + _texture(rng, size) * rng.uniform(0, 0.12)) * (0.25 + 0.95 * lambert)
        ball = paint * skin[..., None] + shine[..., None]
        image = (
            image
            + (ball - image) * smoothstep(1 + 1.5 / (radius * size), 1 - 1.5 / (radius * size), squared)[..., None]
        )
    return image


def masonry(rng: Rng, size: int) -> Array:
    """Bricks, tiles or planks with joints, each stone a little different."""
    x, y = grid(size)
    angle = rng.normal(0, 0.2)
    u = x * np.cos(angle) - y * np.sin(angle) + fractal(rng, size, 2) * rng.uniform(0, 0.006)
    v = x * np.sin(angle) + y * np.cos(angle) + fractal(rng, size, 2) * rng.uniform(0, 0.006)
    v = v * (1 + rng.uniform(-0.4, 0.4) * x)
    rows, ratio = rng.uniform(4, 20), rng.uniform(0.2, 1)
    row = np.floor(v * rows)
    column_place = u * rows * ratio + 0.5 * (row % 2) * (rng.random() < 0.7)
    column = np.floor(column_place)
    joint = np.minimum(0.5 - np.abs(v * rows - row - 0.5), (0.5 - np.abs(column_place - column - 0.5)) / ratio)
    number = ((row * 37 + column * 101) % 64).astype(np.int32)
    stone, mortar = colours(rng, 2)
    tone = stone * (1 + rng.normal(0, rng.uniform(0.03, 0.25), (64, 1)) + rng.normal(0, 0.03, (64, 3)))
    image = tone[number] * (1 + fractal(rng, size, 0.8, rng.uniform(1, 8)) * rng.uniform(0.03, 0.15))[..., None]
    width = rng.uniform(0.03, 0.12)
    return mortar + (image - mortar) * smoothstep(width * 0.5, width * 1.3, joint)[..., None]


def photograph(image: Array, seed: int) -> Array:
    """The image (uint8, height x width x 3) as a camera might have kept it.

    Exposure, white balance, contrast, vignette, slight blur, sensor noise and JPEG compression, each by chance.
    """
    rng = np.random.default_rng([seed, 2])
    height, width = image.shape[:2]
    light = (image.astype(np.float32) / 255) ** 2.2
    light = light * np.exp(rng.normal(0, 0.15)) * np.exp(rng.normal(0, 0.05, 3)).astype(np.float32)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    light = light * (1 - rng.uniform(0, 0.25) * (x**2 + y**2))[..., None]
    if rng.random() < 0.5:
        light = ndimage.gaussian_filter(light, (rng.uniform(0.2, 0.9),) * 2 + (0,))
    if rng.random() < 0.6:
        spread = np.sqrt(np.clip(light, 0, 1) * rng.uniform(0, 4e-4) + rng.uniform(0, 4e-5))
        light = light + spread * rng.standard_normal(light.shape, np.float32)
    picture = np.clip(light, 0, 1) ** np.float32(1 / 2.2)
    picture = picture + (smoothstep(0.0, 1.0, picture) - picture) * rng.uniform(0, 0.4)
    if rng.random() < 0.5:
        buffer = io.BytesIO()
        Image.fromarray(to_uint8(picture)).save(buffer, "JPEG", quality=int(rng.integers(70, 97)))
        return np.asarray(Image.open(buffer))
    return to_uint8(picture)
