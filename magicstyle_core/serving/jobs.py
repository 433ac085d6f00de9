"""What a visitor wants, what happens on the way, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from magicstyle_core.errors import SettingsError
from magicstyle_core.layers import GROUPS
from magicstyle_core.metadata import Recipe
from magicstyle_core.settings import WAY_DOWN, FusionSettings, InversionSettings

Region = Literal["everywhere", "face", "background", "mask"]
Phase = Literal["photograph", "style", "draft", "full", "grid"]


@dataclass(frozen=True)
class Job:
    """One picture to make: images by path, everything that is set, and where the style goes."""

    content: str  # "" while there is none
    styles: tuple[tuple[str, float], ...]  # path and weight
    settings: FusionSettings
    inversion: InversionSettings
    region: Region = "everywhere"
    mask: Image.Image | None = None  # "L", white where the style goes; only for the regions other than everywhere
    style_masks: tuple[Image.Image | None, ...] = ()  # "L", of each style, white where it is looked at; () = everywhere

    @property
    def images(self) -> list[str]:
        """What is there of them, the photograph first."""
        return [path for path in (self.content, *(path for path, _ in self.styles)) if path]

    @property
    def is_complete(self) -> bool:
        """Whether there is a photograph and a style; what is there alone can only be inverted ahead."""
        return bool(self.content and self.styles)


@dataclass(frozen=True)
class Aim:
    """Where the lens points. Raises SettingsError."""

    spot: tuple[float, float]  # of the result, across and down, from 0 to 1
    group: str = GROUPS[-1]  # of the layers that are asked
    way_down: float = WAY_DOWN  # at which step, from 0 (noise) to 1

    def __post_init__(self) -> None:
        if not all(isinstance(place, int | float) and 0 <= place <= 1 for place in self.spot):
            raise SettingsError(f"The spot got {self.spot}, expected two numbers from 0 to 1.")
        if self.group not in GROUPS:
            raise SettingsError(f"group got {self.group!r}, expected one of {', '.join(GROUPS)}.")
        if not isinstance(self.way_down, int | float) or not 0 <= self.way_down <= 1:
            raise SettingsError(f"way_down got {self.way_down!r}, expected a number from 0 to 1.")


@dataclass(frozen=True)
class Wish:
    """What the page asks for: a job, rendered or only prepared for."""

    job: Job
    render: bool


@dataclass(frozen=True)
class Waiting:
    """Others are at work first."""

    place: int  # 1 = next
    seconds: float  # until the first step, about


@dataclass(frozen=True)
class Step:
    """One model call is done."""

    phase: Phase
    step: int
    total: int
    seconds_left: float  # of this phase: the mean of its steps so far, for the steps to come


@dataclass(frozen=True)
class Pause:
    """Work stands still through no fault of the visitor's, and goes on by itself."""

    reason: Literal["moved", "away"]  # a machine was lost and another one begins again; no machine can be reached


@dataclass(frozen=True)
class Record:
    """A picture with everything that is said about it. What is shown, its caption and its download are all this."""

    job: Job
    path: Path  # the PNG
    number: int  # in the visitor's history; 0 for a draft
    recipe: Recipe  # what the PNG says, unless its visitor wants it to say nothing
    inversion_calls: int = 0
    calls: int = 0  # of the picture itself
    seconds: float = 0.0
    starred: bool = False  # the history keeps it longer

    @property
    def is_draft(self) -> bool:
        return self.number == 0


Event = Waiting | Step | Pause
