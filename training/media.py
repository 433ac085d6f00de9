"""The media of styles: how a picture is painted, drawn, cut or set.

Each takes a style, the picture in that style's colours (float32, height x width x 3, in [0, 1]), the length of a 256th
of its short side in pixels and a generator, and returns the picture in the medium. Every length is in those units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import cKDTree

from training.natural import Array, Rng, fractal, luminance, reduced, smoothstep, to_uint8

if TYPE_CHECKING:
    from training.styles import Style


def _field(rng: Rng, image: Array, slope: float, stretch: float = 1.0, angle: float = 0.0) -> Array:
    """Noise of the picture's height and width."""
    height, width = image.shape[:2]
    size = -(-max(height, width) // 4) * 4
    return fractal(rng, size, slope, stretch, angle)[:height, :width]


def _coordinates(image: Array) -> tuple[Array, Array]:
    rows, columns = np.mgrid[0 : image.shape[0], 0 : image.shape[1]].astype(np.float32)
    return rows, columns


def _blur(image: Array, sigma: float) -> Array:
    return ndimage.gaussian_filter(image, (sigma, sigma) + (0,) * (image.ndim - 2), truncate=3)


def _calm(image: Array, radius: float, softness: float = 0.01) -> Array:
    """Smooth areas, kept edges: the guided filter (He, Sun and Tang 2010), guided by luminance."""
    size = 2 * max(1, round(radius)) + 1
    guide = luminance(image)

    def mean(values: Array) -> Array:
        return ndimage.uniform_filter(values, (size, size) + (0,) * (values.ndim - 2))

    middle, colour = mean(guide), mean(image)
    variance = mean(guide * guide) - middle * middle
    slope = (mean(guide[..., None] * image) - middle[..., None] * colour) / (variance + softness)[..., None]
    return mean(slope) * guide[..., None] + mean(colour - slope * middle[..., None])


def _flow(image: Array, sigma: float, angle: float) -> Array:
    """Direction (radians) along the forms: the structure tensor's minor axis, `angle` where nothing is seen."""
    light = _blur(luminance(image), 1.0)
    gy, gx = np.gradient(light)
    double_x = _blur(gx * gx - gy * gy, sigma) - 2e-5 * np.cos(2 * angle)
    double_y = _blur(2 * gx * gy, sigma) - 2e-5 * np.sin(2 * angle)
    return 0.5 * np.arctan2(double_y, double_x) + np.pi / 2


def _edges(image: Array, sigma: float) -> Array:
    """Dark contour lines in [0, 1]: where the picture is darker than its surroundings."""
    light = luminance(image)
    return smoothstep(0.015, 0.06, _blur(light, sigma * 1.8) - _blur(light, sigma))


def _relief(picture: Array, height: Array, angle: float, strength: float) -> Array:
    """The picture lit from the side, as paint of the given height (in pixels)."""
    gy, gx = np.gradient(height)
    slope = np.clip((gx * np.cos(angle) + gy * np.sin(angle)) * strength, -0.8, 0.8)
    lit = picture * (1 + np.minimum(slope, 0))[..., None]
    return lit + (1 - lit) * (np.maximum(slope, 0) * 0.6)[..., None]


def _strokes(
    style: Style, image: Array, unit: float, rng: Rng, ground: Array, ragged: float, jitter: float
) -> tuple[Array, Array, Array]:
    """Three layers of strokes along the forms, from broad to fine, the fine ones only where detail is.

    Returns the picture (height, width, 3), the height of the paint (height, width) and the cover (height, width).
    """
    height, width = image.shape[:2]
    broad = style.scale * unit
    flow = _flow(image, 2.5 * unit, style.angle) + _field(rng, image, 2.0) * 0.12
    centres: list[Array] = []
    sizes: list[Array] = []
    colours: list[Array] = []
    for layer, (shrink, need) in enumerate(((1.0, 0.0), (0.62, 0.02), (0.4, 0.05))):
        across = max(broad * shrink, 2.6 * unit)
        soft = _blur(image, across * 0.35)
        step = across * (0.8 if layer else 0.7) * max(1.0, style.stretch**0.5 * 0.8)
        ys, xs = np.mgrid[step / 2 : height : step, step / 2 : width : step]
        place = np.stack([ys.ravel(), xs.ravel()], -1) + rng.uniform(-0.5, 0.5, (ys.size, 2)) * step
        place = np.clip(place, 0, [height - 1, width - 1])
        detail = np.abs(luminance(image - _blur(image, across))) * 2
        rows, columns = place.astype(np.int32).T
        wanted = detail[rows, columns] + rng.normal(0, 0.004, len(place)) >= need
        place, rows, columns = place[wanted], rows[wanted], columns[wanted]
        order = rng.permutation(len(place))
        centres.append(place[order])
        sizes.append(np.full(len(order), across) * rng.uniform(0.8, 1.2, len(order)))
        colours.append(soft[rows, columns][order])
    centre, size = np.concatenate(centres), np.concatenate(sizes)
    count = len(centre)
    colour = np.concatenate(colours)
    colour = colour * (1 + rng.normal(0, jitter, (count, 1))) + rng.normal(0, jitter * 0.6, (count, 3))
    rows, columns = centre.astype(np.int32).T
    turn = flow[rows, columns] + rng.normal(0, 0.12, count)
    half = size / 2
    reach = half * style.stretch * rng.uniform(0.75, 1.2, count)

    # Corners of a blunt eight-sided stroke, (count, 8, 2), in pixels of twice the picture's size
    ahead = np.array([-1, -0.82, 0, 0.82, 1, 0.82, 0, -0.82])
    beside = np.array([0, -0.8, -1, -0.8, 0, 0.8, 1, 0.8])
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    x = centre[:, 1:] + ahead * reach[:, None] * cos - beside * half[:, None] * sin
    y = centre[:, :1] + ahead * reach[:, None] * sin + beside * half[:, None] * cos
    labels = Image.new("I", (width * 2, height * 2), 0)
    draw = ImageDraw.Draw(labels)
    for label, corners in enumerate((np.stack([x, y], -1) * 2).reshape(count, 16).tolist(), start=1):
        draw.polygon(corners, fill=label)
    index = np.asarray(labels)

    table = np.zeros((count + 1, 4), np.float32)  # what a pixel must know of its stroke to find its place across it
    table[1:, 0] = (np.sin(turn) * centre[:, 1] - np.cos(turn) * centre[:, 0]) / half
    table[1:, 1], table[1:, 2] = -np.sin(turn) / half, np.cos(turn) / half
    table[1:, 3] = rng.uniform(0, 48, count)
    tints = np.concatenate([[[0, 0, 0]], colour]).astype(np.float32)
    mine = table[index]
    fine_rows, fine_columns = np.mgrid[0 : height * 2, 0 : width * 2].astype(np.float32) / 2
    place_across = mine[..., 0] + mine[..., 1] * fine_columns + mine[..., 2] * fine_rows
    bristles = ndimage.gaussian_filter1d(rng.standard_normal(64 * 8).astype(np.float32), 1.6, mode="wrap")
    bristle = bristles[((mine[..., 3] + place_across + 1) * 8).astype(np.int32) % 512]
    paint = 1 - 0.8 * place_across**2 + bristle * 1.2
    cover = (index > 0).astype(np.float32) * np.clip(1 - ragged * (bristle * 2.2 + 0.2), 0, 1)
    base = np.repeat(np.repeat(ground, 2, 0), 2, 1)
    picture = base + (tints[index] - base) * cover[..., None]
    return reduced(picture, 2), reduced(paint * (index > 0), 2), reduced(cover, 2)


def oil(style: Style, image: Array, unit: float, rng: Rng) -> Array:
    picture, paint, _ = _strokes(style, image, unit, rng, _blur(image, 3 * unit), 0.0, 0.05 + 0.06 * style.amount)
    return _relief(picture, paint, style.angle, 0.12 + 0.2 * style.amount)


def impasto(style: Style, image: Array, unit: float, rng: Rng) -> Array:
    picture, paint, _ = _strokes(style, image, unit, rng, _blur(image, 3 * unit), 0.0, 0.07 + 0.08 * style.amount)
    return _relief(picture, _blur(paint, 0.5 * unit) * unit * 1.5, style.angle, 0.7 + 0.7 * style.amount)


def pastel(style: Style, image: Array, unit: float, rng: Rng) -> Array:
    ground = np.broadcast_to(style.paper, image.shape)
    light = image + (1 - image) * 0.18
    picture, _, cover = _strokes(style, light, unit, rng, ground, 0.5 + 0.4 * style.amount, 0.08)
    tooth = _field(rng, image, 0.25)
    tooth = _blur(tooth, 0.9 * unit)
    tooth /= tooth.std()
    bare = smoothstep(0.5, 1.6, tooth + (1 - cover) * 0.5) * (0.35 + 0.4 * style.amount)
    return picture + (style.paper - picture) * bare[..., None]


def _dots(style: Style, image: Array, unit: float, rng: Rng, ground: Array, jitter: float) -> Array:
    """Two layers of round dots on a ground, each with a colour near the picture's."""
    height, width = image.shape[:2]
    picture = Image.fromarray(to_uint8(np.repeat(np.repeat(ground, 2, 0), 2, 1)))
    draw = ImageDraw.Draw(picture)
    for shrink in (1.0, 0.8):
        step = style.scale * unit * shrink
        ys, xs = np.mgrid[step / 2 : height : step * 0.87, step / 2 : width : step]
        xs = xs + (np.arange(len(ys)) % 2)[:, None] * step / 2
        place = np.stack([ys.ravel(), xs.ravel()], -1) + rng.normal(0, 0.16, (ys.size, 2)) * step
        place = np.clip(place, 0, [height - 1, width - 1])
        rows, columns = place.astype(np.int32).T
        colour = _blur(image, step * 0.3)[rows, columns]
        grey = colour.mean(-1, keepdims=True)
        colour = grey + (colour - grey) * 1.35 + rng.normal(0, jitter, colour.shape)
        colour = colour * (1 + rng.normal(0, jitter, (len(colour), 1)))
        radius = step * rng.uniform(0.42, 0.58, (len(place), 1))
        corners = np.concatenate([place[:, ::-1] - radius, place[:, ::-1] + radius], -1) * 2
        order = rng.permutation(len(place))
        for box, fill in zip(corners[order].tolist(), map(tuple, to_uint8(colour)[order].tolist()), strict=True):
            draw.ellipse(box, fill=fill)
    return reduced(np.asarray(picture, np.float32) / 255, 2)


def pointillism(style: Style, image: Array, unit: float, rng: Rng) -> Array:
    ground = np.broadcast_to(style.paper * 0.6, image.shape) + _blur(image, 6 * unit) * 0.4
    return _dots(style, image, unit, rng, ground, 0.05 + 0.11 * style.amount)


def watercolour(style: Style, image: Array, unit: float, rng: Rng) -> Array:
    rows, columns = _coordinates(image)
    bleed = 1.6 * unit * style.amount + 0.6 * unit
    rows = rows + _blur(_field(rng, image, 0.8), 0.8 * unit) * bleed
    columns = columns + _blur(_field(rng, image, 0.8), 0.8 * unit) * bleed
    calm = _calm(_calm(image, 3 * unit), 4 * unit, 0.004)
    light = luminance(calm)
    levels = 4 + 3 * (1 - style.amount)
    stepped = light * levels
    stepped = (np.floor(stepped) + smoothstep(0.25, 0.75, stepped % 1)) / levels
    wash = calm * ((stepped + 0.08) / (light + 0.08))[..., None]
    wash = np.stack(
        [ndimage.map_coordinates(wash[..., c], [rows, columns], order=1, mode="nearest") for c in range(3)], -1
    )
    flat = luminance(wash)
    rim = smoothstep(0.008, 0.07, _blur(flat, 2.2 * unit) - flat)
    pigment = _field(rng, image, 1.4) * 0.1 + _blur(_field(rng, image, 0.3), 0.8 * unit) * 0.5
    density = 1 + 0.55 * rim + pigment * (0.25 + 0.5 * style.amount) - 0.2
    painted = style.paper * np.clip(wash / style.paper, 0.02, 1) ** np.clip(density, 0.3, 2)[..., None]
    tooth = _blur(_field(rng, image, 0.2), 0.8 * unit)
    gy, gx = np.gradient(tooth)
    return painted * (1 + (gx + gy) * 0.14)[..., None]


def _lines(style: Style, image: Array, angle: float, period: float, bend: Array) -> Array:
    """A triangle wave in [0, 1] across parallel lines, displaced by `bend` periods."""
    rows, columns = _coordinates(image)
    phase = (columns * np.cos(angle) + rows * np.sin(angle)) / period + bend
    return np.abs((phase % 1) * 2 - 1)


def ink(style: Style, image: Array, unit: float, rng: Rng) -> Array:
    light = luminance(_calm(image, 2 * unit))
    form = _blur(light, 5 * unit) * 1.6
    wave = _field(rng, image, 2.0) * 0.12
    ink = _edges(image, 1.1 * unit) * 0.95
    softness = 0.55 / style.scale
    for layer, threshold in enumerate((0.78, 0.56, 0.36, 0.2)):
        angle = style.angle + (0.0, 0.95, 0.45, 1.5)[layer]
        lines = _lines(style, image, angle, style.scale * unit, wave + form)
        breadth = np.clip((threshold - light) * 2.2, 0, 0.62)
        pressure = breadth * (1 + 0.25 * _field(rng, image, 1.2))
        ink = np.maximum(ink, smoothstep(-softness, softness, pressure - lines) * smoothstep(0.0, 0.05, breadth))
    solid = smoothstep(0.12, 0.05, light)
    ink = np.maximum(ink, solid) * (0.8 + 0.2 * style.amount)
    paper = style.paper * (1 + _blur(_field(rng, image, 0.5), unit)[..., None] * 0.02)
    wash = paper + (image - paper) * (0.45 * (1 - style.amount))
    return wash + (style.ink - wash) * ink[..., None]


def halftone(style: Style, image: Array, unit: float, rng: Rng) -> Array:
    period = style.scale * unit
    rows, columns = _coordinates(image)
    rows, columns = rows + rng.uniform(0, period), columns + rng.uniform(0, period)

    def screen(tone: Array, angle: float) -> Array:
        u = (columns * np.cos(angle) + rows * np.sin(angle)) * np.pi / period
        v = (rows * np.cos(angle) - columns * np.sin(angle)) * np.pi / period
        threshold = 0.5 + 0.25 * (np.cos(2 * u) + np.cos(2 * v))
        return smoothstep(-0.9 / style.scale, 0.9 / style.scale, threshold - tone)

    soft = _blur(image, 0.25 * period)
    if style.amount < 0.5:  # three inks, each with its own screen
        angles = style.angle + np.array([0.26, 1.31, 0.0])
        inks = [screen(np.clip(soft[..., c] * 1.1, 0, 1), angles[c]) for c in range(3)]
        return style.paper * (1 - 0.88 * np.stack(inks, -1))
    dots = screen(luminance(soft), style.angle)[..., None]
    paper = (
        style.paper + (np.clip(_blur(image, 2 * unit) * 0.6 + 0.45, 0, 1) - style.paper) * (1.5 - style.amount) * 0.9
    )
    return paper + (style.ink - paper) * dots


def stipple(style: Style, image: Array, unit: float, rng: Rng) -> Array:
    height, width = image.shape[:2]
    light = luminance(_calm(image, 2 * unit))
    dark = np.clip(1.04 - light, 0, 1) ** 1.25 + 0.5 * _edges(image, 1.2 * unit)
    page = Image.new("L", (width * 3, height * 3), 0)
    draw = ImageDraw.Draw(page)
    step = style.scale * unit
    ys, xs = np.mgrid[0 : height + step : step * 0.87, 0 : width + step : step]
    xs = xs + (np.arange(len(ys)) % 2)[:, None] * step / 2
    place = np.stack([ys.ravel(), xs.ravel()], -1) + rng.normal(0, 0.17, (ys.size, 2)) * step
    rows = np.clip(place[:, 0], 0, height - 1).astype(np.int32)
    columns = np.clip(place[:, 1], 0, width - 1).astype(np.int32)
    radius = step * 0.62 * np.sqrt(np.clip(dark[rows, columns], 0, 1))
    shown = radius > 0.1 * step
    boxes = np.concatenate([place[:, ::-1] - radius[:, None], place[:, ::-1] + radius[:, None]], -1)[shown] * 3
    for box in boxes.tolist():
        draw.ellipse(box, fill=255)
    ink = reduced(np.asarray(page, np.float32) / 255, 3)[..., None]
    paper = style.paper + (image - style.paper) * (0.5 * (1 - style.amount))
    inks = style.ink + (image * 0.6 - style.ink) * (0.6 * (1 - style.amount))
    return paper + (inks - paper) * ink


def _cells(image: Array, step: float, rng: Rng, jitter: float) -> tuple[Array, Array, Array]:
    """Voronoi cells of a jittered grid: number (height, width), distance to the border in pixels, and colours."""
    height, width = image.shape[:2]
    ys, xs = np.mgrid[step / 2 : height + step / 2 : step, step / 2 : width + step / 2 : step]
    xs = xs + (np.arange(len(ys)) % 2)[:, None] * step / 2 - step / 4
    place = np.stack([ys.ravel(), xs.ravel()], -1) + rng.uniform(-jitter, jitter, (ys.size, 2)) * step
    rows, columns = _coordinates(image)
    distance, index = cKDTree(place).query(np.stack([rows.ravel(), columns.ravel()], -1), k=2)
    cell = index[:, 0].reshape(height, width)
    between = np.linalg.norm(place[index[:, 0]] - place[index[:, 1]], axis=-1)
    border = (distance[:, 1] ** 2 - distance[:, 0] ** 2) / (2 * between)
    return cell, border.reshape(height, width).astype(np.float32), _averages(image, cell, len(place))


def _averages(image: Array, cell: Array, count: int) -> Array:
    """The mean colour (count, 3) of each cell."""
    sizes = np.maximum(np.bincount(cell.ravel(), minlength=count), 1)
    sums = [np.bincount(cell.ravel(), image[..., c].ravel(), count) for c in range(3)]
    return (np.stack(sums, -1) / sizes[:, None]).astype(np.float32)


def mosaic(style: Style, image: Array, unit: float, rng: Rng) -> Array:
    step = style.scale * unit
    cell, border, colour = _cells(image, step, rng, 0.12 + 0.25 * style.amount)
    colour = colour * (1 + rng.normal(0, 0.05 + 0.06 * style.amount, (len(colour), 1))) + rng.normal(
        0, 0.02, colour.shape
    )
    stone = colour[cell]
    bevel = np.minimum(border, 0.28 * step)
    stone = _relief(stone, bevel, style.angle, 0.28)
    joint = smoothstep(0.05 * step, 0.05 * step + min(max(unit, 0.7), 0.14 * step), border)[..., None]
    grout = style.ink * 0.8 if style.amount < 0.6 else style.paper * 0.85
    return grout + (stone - grout) * joint


def glass(style: Style, image: Array, unit: float, rng: Rng) -> Array:
    """Panes that follow the picture's areas, found as superpixels, painted and held by dark leads."""
    height, width = image.shape[:2]
    shrink = max(2, round(2 * unit))
    calm = _calm(image, 4 * unit)
    small = calm[: height // shrink * shrink, : width // shrink * shrink]
    small = reduced(small, shrink)
    step = style.scale * unit / shrink
    rows, columns = _coordinates(small)
    ys, xs = np.mgrid[step / 2 : small.shape[0] : step, step / 2 : small.shape[1] : step]
    place = np.stack([ys.ravel(), xs.ravel()], -1) + rng.uniform(-0.35, 0.35, (ys.size, 2)) * step
    place = np.clip(place, 0, np.array(small.shape[:2]) - 1)
    weight = 2 * step * style.stretch  # of a colour's distance against a place's
    points = np.concatenate([np.stack([rows, columns], -1), _blur(small, 1.0) * weight], -1).reshape(-1, 5)
    at = place.astype(np.int32)
    seeds = np.concatenate([place, _blur(small, 1.5)[at[:, 0], at[:, 1]] * weight], -1)
    for _ in range(2):
        cell = cKDTree(seeds).query(points)[1]
        sizes = np.maximum(np.bincount(cell, minlength=len(seeds)), 1)
        means = np.stack([np.bincount(cell, points[:, axis], len(seeds)) for axis in range(5)], -1) / sizes[:, None]
        seeds = np.where((sizes > 1)[:, None], means, seeds)
    cell = ndimage.median_filter(cell.reshape(small.shape[:2]), 5)
    border = np.zeros(cell.shape, bool)
    border[:, 1:] |= cell[:, 1:] != cell[:, :-1]
    border[1:] |= cell[1:] != cell[:-1]
    away = ndimage.distance_transform_edt(~border).astype(np.float32)
    tall, wide = np.arange(height) / shrink, np.arange(width) / shrink
    away = (
        ndimage.map_coordinates(_blur(away, 0.6), np.meshgrid(tall, wide, indexing="ij"), order=1, mode="nearest")
        * shrink
    )
    pane = (
        np.minimum(np.arange(height) // shrink, cell.shape[0] - 1)[:, None],
        np.minimum(np.arange(width) // shrink, cell.shape[1] - 1),
    )
    number = cell[pane]
    colour = _averages(image, number, len(seeds))
    grey = colour.mean(-1, keepdims=True)
    colour = np.clip(grey + (colour - grey) * 1.7, 0, 1) ** 0.8 * (1 + rng.normal(0, 0.08, (len(colour), 1)))
    painted = image - 0.8 * image * _edges(image, 1.1 * unit)[..., None]
    glass = colour[number] + (painted - colour[number]) * 0.5
    streaks = _field(rng, image, 1.0, 4.0, style.angle) * 0.07 * style.amount
    glow = 0.86 + 0.28 * smoothstep(0, 0.45 * style.scale * unit, away) + streaks
    breadth = (1.3 + 0.9 * style.amount) * unit
    lead = smoothstep(breadth + 0.9 * unit, breadth, away)[..., None]
    shine = np.clip(1 - away / breadth, 0, 1)[..., None] * 0.12
    return glass * glow[..., None] * (1 - lead) + (style.ink * 0.25 + shine) * lead


def woodcut(style: Style, image: Array, unit: float, rng: Rng) -> Array:
    calm = _calm(image, 2.5 * unit)
    light = luminance(calm)
    spread = np.quantile(light, [0.03, 0.97])
    light = np.clip((light - spread[0]) / max(float(spread[1] - spread[0]), 0.2), 0, 1)
    form = _blur(light, 4 * unit) * 2.2
    grain = _field(rng, image, 1.2, 8.0, style.angle + np.pi / 2)
    lines = _lines(style, image, style.angle, style.scale * unit, form + grain * 0.07)
    softness = 0.7 / style.scale
    cut = smoothstep(-softness, softness, light * 1.25 - 0.12 - (lines * 0.82 + 0.06) + grain * 0.05)
    cut = np.maximum(cut * (1 - _edges(image, 1.2 * unit)), smoothstep(0.86, 0.93, light))
    cut = cut[..., None]
    worn = (1 - 0.1 * np.clip(grain, 0, 2))[..., None]
    paper = style.paper + (np.clip(_calm(image, 5 * unit) * 0.8 + 0.25, 0, 1) - style.paper) * (1 - style.amount) * 0.9
    return paper * cut + (style.ink * worn + paper * (1 - worn)) * (1 - cut)


def poster(style: Style, image: Array, unit: float, rng: Rng) -> Array:
    calm = _calm(_calm(image, 4 * unit), 5 * unit, 0.003)
    light = luminance(calm)
    levels = round(3 + 3 * (1 - style.amount))
    place = np.clip(light, 0, 0.999) * levels
    sharp = np.floor(place) + smoothstep(0.44, 0.56, place % 1)
    flat = calm * ((np.clip(sharp / levels, 0, 1) + 0.06) / (light + 0.06))[..., None]
    outline = _edges(image, 1.3 * unit) * (style.amount > 0.4)
    grain = 1 + _blur(_field(rng, image, 0.4), 0.8 * unit) * 0.03
    return flat * grain[..., None] * (1 - outline)[..., None] + (style.ink * 0.6) * outline[..., None]
