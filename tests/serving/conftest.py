from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from magicstyle_core import FusionSettings, InversionSettings
from magicstyle_core.serving.desk import Desk
from magicstyle_core.serving.jobs import Job
from magicstyle_core.serving.visitors import Visitor, Visitors
from tests.flat import FlatPlace
from tests.until import MakeJob


@pytest.fixture
def place() -> FlatPlace:
    return FlatPlace()


@pytest.fixture
def desk(place: FlatPlace, tmp_path: Path) -> Desk:
    return Desk(place, Visitors(tmp_path / "files", forget=place.forget), tmp_path / "bundled")


@pytest.fixture
def visitor(desk: Desk) -> Visitor:
    return desk.visitors.get("a tab")


@pytest.fixture
def job(tmp_path: Path) -> MakeJob:
    def job(strength: float = 1.0, steps: int = 8, content: str = "photo.png", **settings: Any) -> Job:
        for name, colour in ((content, (0, 0, 0)), ("style.png", (150, 150, 150))):
            if not (tmp_path / name).exists():
                Image.new("RGB", (64, 64), colour).save(tmp_path / name)
        fusion = FusionSettings(strength=strength, **settings)
        styles = ((str(tmp_path / "style.png"), 1.0),)
        return Job(str(tmp_path / content), styles, fusion, InversionSettings(steps=steps))

    return job
