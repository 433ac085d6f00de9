"""Who sits for a portrait: build, features, hair and clothes of a person as numbers and names, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.natural import Array, Rng, colours, hsv_to_rgb, smoothstep

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


@dataclass(frozen=True)
class Person:
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


def sitter(rng: Rng) -> Person:
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
    return Person(
        age=age,
        feminine=feminine,
        skin=(skin * (1 + rng.normal(0, 0.025, 3))).astype(np.float32),
        hair=hair.astype(np.float32),
        iris=_IRISES[rng.integers(0, 2 if tone > 3 else len(_IRISES))] * np.float32(rng.uniform(0.8, 1.2)),
        cloth=colours(rng, 3),
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
