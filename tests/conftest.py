from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import skimage.data
from PIL import Image

if TYPE_CHECKING:  # serving and the page are tested without torch, which takes seconds to load
    from magicstyle_core.engine import StyleEngine


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--ray", action="store_true", help="run the tests of the page before a Ray cluster")


@pytest.fixture(scope="session")
def tiny_sd1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny_models import write_tiny_sd

    return write_tiny_sd(tmp_path_factory.mktemp("tiny_sd1"), 1)


@pytest.fixture(scope="session")
def tiny_sd2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny_models import write_tiny_sd

    return write_tiny_sd(tmp_path_factory.mktemp("tiny_sd2"), 2)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def _own_upload_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))


@pytest.fixture(scope="session")
def engine() -> StyleEngine:
    """One mini model for the whole run; tests keep apart by session name."""
    from magicstyle_core.engine import StyleEngine

    return StyleEngine.load("mini", device="cpu", dtype="fp32")


@pytest.fixture(scope="session")
def astronaut() -> Image.Image:
    return Image.fromarray(skimage.data.astronaut())


@pytest.fixture(scope="session")
def painted() -> Image.Image:
    """A style no photograph has: overlapping strokes in five colours."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:256, 0:256]
    palette = np.array([(24, 40, 96), (236, 180, 60), (200, 70, 50), (70, 140, 130), (245, 235, 210)])
    canvas = np.empty((256, 256, 3), np.uint8)
    canvas[:] = palette[0]
    for _ in range(1500):
        x, y, angle = rng.uniform((0, 0, 0), (256, 256, np.pi))
        along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
        across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
        canvas[(abs(along) < 14) & (abs(across) < 3)] = palette[rng.integers(5)]
    return Image.fromarray(canvas)


_openings: list[str] | None = None  # while a test counts them


def _note_opening(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _openings is not None:
        _openings.append(str(arguments[0]))


sys.addaudithook(_note_opening)  # for good: Python knows no way to take one back


@pytest.fixture
def openings() -> Iterator[list[str]]:
    """Paths of the files that are opened, by whatever thread of this process, from the beginning of the test."""
    global _openings
    _openings = []
    yield _openings
    _openings = None
