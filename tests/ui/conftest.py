from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

import app
from tests.browsing import WAIT, expect_caption, open_page, upload
from tests.flat import FlatPlace
from tests.replicas import FlatCluster, flat_cluster

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SERIOUS = ("error", "assert")

# Gradio leaves sockets and event loops to the garbage collector, and asks pandas for what it is about to drop.
FILTERS = (
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::pandas.errors.Pandas4Warning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for text in FILTERS:
                item.add_marker(pytest.mark.filterwarnings(text))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=WAIT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def flat(request: pytest.FixtureRequest) -> Iterator[FlatPlace | FlatCluster]:
    """A place without a model, one for a whole file."""
    if request.config.getoption("ray"):
        with flat_cluster() as cluster:
            yield cluster
    else:
        yield FlatPlace()


@pytest.fixture(scope="module")
def served(
    flat: FlatPlace | FlatCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, FlatPlace | FlatCluster, Path]]:
    """A page before that place, one server for a whole file: its address, place and folder of files."""
    folder = tmp_path_factory.mktemp("served")
    patch = pytest.MonkeyPatch()
    patch.setenv("GRADIO_TEMP_DIR", str(folder))
    demo = app.build_page(flat, grace_seconds=600)
    yield app.launch(demo), flat, folder
    demo.close()
    patch.undo()
    gc.collect()


@pytest.fixture
def url(served: tuple[str, FlatPlace | FlatCluster, Path], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(served[2]))
    return served[0]


@pytest.fixture
def place(served: tuple[str, FlatPlace | FlatCluster, Path]) -> FlatPlace | FlatCluster:
    place = served[1]
    place.seconds_per_call, place.idles, place.calls = 0.0, False, 0
    return place


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB")
    yield context
    context.close()


@pytest.fixture
def errors() -> list[str]:
    """Errors in the page's console, and addresses elsewhere that it asked for."""
    return []


@pytest.fixture
def page(context: BrowserContext, url: str, place: FlatPlace, errors: list[str]) -> Iterator[Page]:
    """A fresh page. It fails the test on any error in the console and any request elsewhere."""
    page = open_page(context, url)
    page.on("console", lambda message: errors.append(message.text) if message.type in SERIOUS else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: None if is_local(request.url, url) else errors.append(request.url))
    yield page
    assert errors == []


@pytest.fixture
def stylized(page: Page, photograph: Path, style: Path) -> Page:
    """The page after a first stylization, which comes by itself."""
    upload(page, "content", photograph)
    upload(page, "style-1", style)
    expect_caption(page, "Picture 1: strength 1, 8 steps")
    return page


def is_local(address: str, url: str) -> bool:
    return address.startswith((url, "data:", "blob:"))


@pytest.fixture(scope="session")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "portrait.png"
    Image.linear_gradient("L").convert("RGB").save(path)
    return path


@pytest.fixture(scope="session")
def style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "navy.png"
    Image.new("RGB", (128, 128), "navy").save(path)
    return path
