"""The page as people use it, in a real Chromium: what they see, and the UNet calls that it costs."""

from __future__ import annotations

import gc
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import app
from magicstyle_core import StyleEngine
from magicstyle_core.metadata import read_png

sync_api = pytest.importorskip("playwright.sync_api")
from axe_playwright_python.sync_playwright import Axe  # noqa: E402
from playwright.sync_api import Browser, Locator, Page, expect  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
STEPS = 8
WAIT = 60_000  # milliseconds; a busy machine is slow, a fault would wait for ever

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
        "ignore::pandas.errors.Pandas4Warning",
    ),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, engine: StyleEngine) -> Iterator[Page]:
    """A fresh page on a fresh server. It fails the test on any error in the console and any request elsewhere."""
    demo = app.build_demo(engine, steps=STEPS)
    url = app.launch(demo)
    expect.set_options(timeout=WAIT)
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: None if is_local(request.url, url) else errors.append(request.url))
    page.goto(url)
    expect(page.get_by_role("button", name="Stylize", exact=True)).to_be_visible()
    yield page
    page.close()
    demo.close()
    gc.collect()
    assert errors == []


def is_local(address: str, url: str) -> bool:
    return address.startswith((url, "data:", "blob:"))


@pytest.fixture
def photograph(tmp_path: Path, astronaut: Image.Image) -> Path:
    astronaut.save(tmp_path / "astronaut.png")
    return tmp_path / "astronaut.png"


@pytest.fixture
def style(tmp_path: Path, painted: Image.Image) -> Path:
    painted.save(tmp_path / "painted.png")
    return tmp_path / "painted.png"


@pytest.fixture
def stylized(page: Page, photograph: Path, style: Path) -> Page:
    """The page after a first stylization."""
    upload(page, "content", photograph)
    expect(page.locator("#status")).to_contain_text("photograph is inverted")
    upload(page, "style-1", style)
    expect(page.locator("#status")).to_contain_text("style is inverted")
    page.get_by_role("button", name="Stylize", exact=True).click()
    expect_pictures(page, 1)
    return page


def upload(page: Page, box: str, path: Path) -> None:
    page.locator(f"#{box} input[type=file]").set_input_files(path)


def expect_pictures(page: Page, count: int) -> None:
    """Wait until the history holds so many pictures and the status line says what the last one cost."""
    expect(page.locator("#history img")).to_have_count(count)
    expect(page.locator("#status")).to_contain_text("cached")


def shown(page: Page) -> Image.Image:
    """The result on the page."""
    source = page.locator("#result img").get_attribute("src")
    assert source
    return Image.open(io.BytesIO(page.request.get(source).body())).convert("RGB")


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference in grey levels."""
    return float(np.abs(np.asarray(one, int) - np.asarray(other, int)).mean())


def slider(page: Page, name: str) -> Locator:
    return page.locator(f"#slider-{name} input[type=range]")


def open_section(page: Page, name: str) -> None:
    page.get_by_role("button", name=re.compile(f"^{name}")).click()
    wait_for_mounting(page)


def wait_for_mounting(page: Page) -> None:
    """Gradio mounts what a section or tab holds after the click; what is typed before that is done would be lost."""
    page.evaluate("() => new Promise(mounted => requestIdleCallback(() => setTimeout(mounted, 200)))")


def test_keyboard_on_a_slider_renders_again_without_inversion(stylized: Page, engine: StyleEngine) -> None:
    before = shown(stylized)
    calls = engine.stats()["unet_calls"]
    slider(stylized, "strength").focus()
    stylized.keyboard.press("Home")
    expect_pictures(stylized, 2)
    assert difference(before, shown(stylized)) > 3
    assert engine.stats()["unet_calls"] - calls <= 6 + STEPS
    expect(stylized.locator("#status")).to_contain_text("inversion reused")
    expect(stylized.get_by_role("radio", name="Custom")).to_be_checked()


def test_dragging_a_slider_ends_at_the_last_value(stylized: Page) -> None:
    box = slider(stylized, "structure").bounding_box()
    assert box
    y = box["y"] + box["height"] / 2
    stylized.mouse.move(box["x"] + box["width"] * 0.3, y)
    stylized.mouse.down()
    for share in np.linspace(0.3, 0.9, 12):
        stylized.mouse.move(box["x"] + box["width"] * share, y)
    stylized.mouse.up()
    value = float(stylized.locator("#slider-structure input[type=number]").input_value())
    assert value >= 0.8
    expect(stylized.locator("#history")).to_contain_text("#2")
    expect(stylized.locator("#status")).to_contain_text("cached")
    stylized.get_by_role("tab", name="Compare two").click()
    stylized.get_by_label("Left picture").click()
    expect(stylized.get_by_role("option").first).to_contain_text(f"structure {value:g}")


def test_a_newer_change_supersedes_and_stop_stops(stylized: Page, engine: StyleEngine) -> None:
    open_section(stylized, "Advanced")
    steps = stylized.locator("#slider-steps input[type=number]")
    steps.fill("60")
    steps.press("Enter")
    expect(stylized.locator("#steps-note")).to_contain_text("More need a new inversion")
    expect(stylized.locator("#status")).to_contain_text("Full picture", timeout=2 * WAIT)
    calls = engine.stats()["unet_calls"]
    slider(stylized, "colour").focus()
    stylized.keyboard.press("Home")
    expect(stylized.locator("#status")).to_contain_text("Draft")
    expect(stylized.locator("#status")).to_contain_text("Full picture")
    stylized.get_by_role("button", name="Stop", exact=True).click()
    expect(stylized.locator("#status")).to_contain_text("Stopped")
    stylized.wait_for_timeout(500)
    at_stop = engine.stats()["unet_calls"]
    assert at_stop - calls < 60
    stylized.wait_for_timeout(1000)
    assert engine.stats()["unet_calls"] == at_stop
    expect(stylized.locator("#history img")).to_have_count(1)


def test_a_preset_sets_several_sliders_and_renders_once(stylized: Page) -> None:
    stylized.get_by_role("radio", name="Gentle").check()
    expect_pictures(stylized, 2)
    expect(stylized.locator("#slider-strength input[type=number]")).to_have_value("0.6")
    expect(stylized.locator("#slider-structure input[type=number]")).to_have_value("0.6")
    stylized.wait_for_timeout(500)
    expect(stylized.locator("#history img")).to_have_count(2)


def test_layer_groups_and_diagram(stylized: Page) -> None:
    open_section(stylized, "Advanced")
    structure = stylized.locator("#groups").get_by_role("checkbox", name="Structure")
    on, added = stylized.locator("#diagram rect.ms-on"), stylized.locator("#diagram rect.ms-on.ms-structure")
    expect(on.first).to_be_visible()
    before = on.count()
    structure.check()
    expect_pictures(stylized, 2)
    expect(added.first).to_be_visible()
    assert on.count() == before + added.count()
    expect(stylized.locator("#layers input:checked")).to_have_count(on.count())
    structure.uncheck()
    expect_pictures(stylized, 3)
    expect(on).to_have_count(before)


def test_before_and_after_and_the_round_trip(stylized: Page) -> None:
    for tab, box in (("Before / after", "before-after"), ("Round trip", "round-trip")):
        stylized.get_by_role("tab", name=tab).click()
        expect(stylized.locator(f"#{box} img")).to_have_count(2)


def test_a_second_style(stylized: Page, tmp_path: Path) -> None:
    before = shown(stylized)
    Image.new("RGB", (200, 200), "navy").save(tmp_path / "navy.png")
    open_section(stylized, "More styles")
    upload(stylized, "style-2", tmp_path / "navy.png")
    expect_pictures(stylized, 2)
    assert difference(before, shown(stylized)) > 3


def test_background_spares_the_face(stylized: Page) -> None:
    everywhere = shown(stylized)
    open_section(stylized, "Where the style goes")
    stylized.get_by_role("radio", name="Background").check()
    expect_pictures(stylized, 2)
    masked = shown(stylized)
    face, corner = (102, 38, 128, 72), (0, 180, 60, 256)
    change_in_face = difference(masked.crop(face), everywhere.crop(face))
    assert change_in_face > 2 * difference(masked.crop(corner), everywhere.crop(corner))


def test_history_brings_back_picture_and_settings(stylized: Page) -> None:
    first = shown(stylized)
    slider(stylized, "strength").focus()
    stylized.keyboard.press("Home")
    expect_pictures(stylized, 2)
    stylized.locator("#history img").nth(1).click()
    expect(stylized.locator("#slider-strength input[type=number]")).to_have_value("1")
    assert difference(shown(stylized), first) == 0
    expect(stylized.locator("#history img")).to_have_count(2)


def test_png_out_and_in_again(stylized: Page, tmp_path: Path) -> None:
    slider(stylized, "strength").focus()
    stylized.keyboard.press("Home")
    expect_pictures(stylized, 2)
    with stylized.expect_download() as download:
        stylized.get_by_role("button", name="Download PNG").click()
    download.value.save_as(tmp_path / "out.png")
    assert read_png(tmp_path / "out.png").settings.strength == 0
    stylized.keyboard.press("Tab")
    stylized.get_by_role("radio", name="Bold").check()
    expect_pictures(stylized, 3)
    stylized.get_by_role("tab", name="Settings from a PNG").click()
    upload(stylized, "settings-file", tmp_path / "out.png")
    expect(stylized.locator("#settings-note")).to_contain_text("strength 0")
    expect(stylized.locator("#slider-strength input[type=number]")).to_have_value("0")
    source = stylized.locator("#result img").get_attribute("src")
    stylized.get_by_label("Leave settings out of the PNG").check()
    expect(stylized.locator("#result img")).not_to_have_attribute("src", source or "")
    with stylized.expect_download() as download:
        stylized.get_by_role("button", name="Download PNG").click()
    download.value.save_as(tmp_path / "private.png")
    assert Image.open(tmp_path / "private.png").info == {}


def test_the_grid_is_announced_filled_and_clickable(stylized: Page) -> None:
    stylized.get_by_role("tab", name="Parameter grid").click()
    wait_for_mounting(stylized)
    stylized.get_by_label("Values across").fill("0, 0.75")
    expect(stylized.locator("#grid-plan")).to_contain_text("2 pictures: 16 UNet calls")
    stylized.get_by_role("button", name="Fill the grid").click()
    expect(stylized.locator("#grid-plan")).to_contain_text("are done")
    sheet = stylized.locator("#grid-sheet img")
    box = sheet.bounding_box()
    assert box
    sheet.click(position={"x": box["width"] * 0.25, "y": box["height"] * 0.5})
    expect(stylized.locator("#grid-plan")).to_contain_text("strength 0.0")
    expect(stylized.locator("#slider-strength input[type=number]")).to_have_value("0")


def test_forget_empties_page_and_store(stylized: Page, engine: StyleEngine) -> None:
    stylized.get_by_role("tab", name="Memory and privacy").click()
    expect(stylized.locator("#memory")).to_contain_text("Your pictures")
    before = sum(engine.stats()["sessions"].values())
    stylized.get_by_role("button", name="Forget my pictures").click()
    expect(stylized.locator("#status")).to_contain_text("Forgotten")
    expect(stylized.locator("#history img")).to_have_count(0)
    expect(stylized.locator("#result img")).to_have_count(0)
    assert sum(engine.stats()["sessions"].values()) < before


def test_an_example_shows_its_result_at_once_and_a_slider_goes_on_from_it(page: Page) -> None:
    page.locator("#examples img").first.click()
    expect(page.locator("#result img")).to_be_visible()
    expect(page.locator("#content img")).to_be_visible()
    expect(page.locator("#style-1 img")).to_be_visible()
    before = shown(page)
    expect(page.locator("#history img")).to_have_count(0)
    slider(page, "strength").focus()
    page.keyboard.press("Home")
    expect_pictures(page, 1)
    assert difference(before, shown(page)) > 1


def test_no_serious_accessibility_fault(stylized: Page) -> None:
    open_section(stylized, "Advanced")
    assert serious_faults(stylized) == []
    stylized.goto(f"{stylized.url}?__theme=dark")
    expect(stylized.get_by_role("button", name="Stylize", exact=True)).to_be_visible()
    assert serious_faults(stylized) == []


def serious_faults(page: Page) -> list[tuple[str, str]]:
    """Rule and element of what axe-core calls serious or critical. Of Gradio's elements only the contrast is ours."""
    violations = Axe().run(page).response["violations"]
    return [
        (violation["id"], node["html"])
        for violation in violations
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
        if "svelte-" not in node["html"] or violation["id"] == "color-contrast"
    ]


def test_paint_where_the_style_goes(stylized: Page) -> None:
    everywhere = shown(stylized)
    open_section(stylized, "Where the style goes")
    stylized.get_by_role("radio", name="Brush").check()
    canvas = stylized.locator("#brush canvas").first
    canvas.scroll_into_view_if_needed()
    stylized.wait_for_timeout(1000)
    box = canvas.bounding_box()
    assert box
    stylized.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.5)
    stylized.mouse.down()
    stylized.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.5, steps=5)
    stylized.mouse.up()
    expect_pictures(stylized, 2)
    painted_only = shown(stylized)
    corner = (0, 0, 40, 40)
    assert difference(everywhere.crop(corner), painted_only.crop(corner)) > 3


def test_compare_two_results(stylized: Page) -> None:
    slider(stylized, "strength").focus()
    stylized.keyboard.press("Home")
    expect_pictures(stylized, 2)
    stylized.get_by_role("tab", name="Compare two").click()
    for box, number in (("compare-left", 1), ("compare-right", 2)):
        stylized.locator(f"#{box} input").click()
        stylized.get_by_role("option", name=re.compile(f"#{number} ")).click()
        expect(stylized.get_by_role("option")).to_have_count(0)
    expect(stylized.locator("#compare img")).to_have_count(2)


def test_what_is_missing_or_broken_is_said(page: Page, tmp_path: Path) -> None:
    page.get_by_role("button", name="Stylize", exact=True).click()
    expect(page.get_by_text("There is no photograph yet")).to_be_visible()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    upload(page, "content", tmp_path / "broken.png")
    expect(page.get_by_text("is not a picture that can be read")).to_be_visible()
