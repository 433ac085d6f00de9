"""The instrument: scrub, presets, wall, keys, links, history and grid, in a real Chromium."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from magicstyle_core.settings import FusionSettings, apply_preset
from tests.browsing import (
    DRAFT,
    STEPS,
    caption,
    expect_caption,
    fetched,
    number,
    shown,
    slider,
    tab,
    upload,
)
from tests.flat import FlatPlace

pytestmark = pytest.mark.browser


def test_the_scrub_costs_no_call_and_the_true_picture_follows(stylized: Page, place: FlatPlace) -> None:
    place.idles = True
    number(stylized, "structure").fill("0.5")
    number(stylized, "structure").press("Tab")
    expect(stylized.locator("#result figure")).to_have_attribute("data-scrub", re.compile("1.25"))
    expect(stylized.locator("#presets img")).to_have_count(6)
    place.idles = False
    calls = place.calls
    box = slider(stylized, "strength").bounding_box()
    assert box
    y = box["y"] + box["height"] / 2
    stylized.mouse.move(box["x"] + box["width"] * 0.6, y)
    stylized.mouse.down()
    for share in np.linspace(0.6, 0.1, 20):
        stylized.mouse.move(box["x"] + box["width"] * share, y)
        stylized.wait_for_timeout(30)
    expect(caption(stylized)).to_have_text("Preview between drafts; the true picture follows.")
    expect(stylized.locator("#result .ms-scrub img")).to_have_count(2)
    filled = slider(stylized, "strength").evaluate("range => range.style.getPropertyValue('--range_progress')")
    assert float(filled.strip("%")) == pytest.approx(100 * float(number(stylized, "strength").input_value()) / 1.5)
    assert place.calls == calls
    stylized.mouse.up()
    expect_caption(stylized, "Picture 3: strength 0.")
    expect(stylized.locator("#result .ms-scrub")).to_have_count(0)
    assert place.calls - calls == DRAFT + STEPS


def test_a_preset_renders_once(stylized: Page, place: FlatPlace) -> None:
    calls = place.calls
    stylized.locator("#presets").get_by_role("button", name="Gentle").click()
    expect_caption(stylized, "Picture 2: strength 0.6")
    stylized.wait_for_timeout(500)
    expect(stylized.locator("#history img")).to_have_count(2)
    assert place.calls - calls <= DRAFT + STEPS


def test_a_painting_of_the_wall_goes_on_the_own_photograph(page: Page, photograph: Path) -> None:
    upload(page, "content", photograph)
    page.locator("#wall").get_by_role("button", name="Use Style waves").click()
    expect_caption(page, "Picture 1")
    expect(page.locator("#style-1 img")).to_be_visible()


def test_keys(stylized: Page, place: FlatPlace) -> None:
    place.seconds_per_call = 0.5
    slider(stylized, "strength").focus()
    stylized.keyboard.press("Home")
    expect_caption(stylized, "Draft")
    stylized.keyboard.press("Escape")
    expect_caption(stylized, "Picture 1")
    expect(stylized.locator("#status")).to_contain_text("Stopped. Picture 1 is back.")
    place.seconds_per_call = 0.0
    stylized.wait_for_timeout(1500)  # Gradio drops a click while the event of the stopped run has not ended
    stylized.keyboard.press("Enter")
    expect_caption(stylized, "Picture 2: strength 0")
    stylized.keyboard.down("z")
    expect(stylized.locator(".ms-is-original")).to_have_count(1)
    stylized.keyboard.up("z")
    expect(stylized.locator(".ms-is-original")).to_have_count(0)
    tab(stylized, "Settings and files")
    stylized.locator("#keys input").uncheck()
    slider(stylized, "strength").focus()
    stylized.keyboard.down("z")
    expect(stylized.locator(".ms-is-original")).to_have_count(0)


def test_the_wipe_moves_by_keys(stylized: Page) -> None:
    stylized.get_by_label("Photograph ⟷ result").focus()
    stylized.keyboard.press("End")
    assert stylized.locator(".ms-figure").evaluate("figure => figure.style.getPropertyValue('--wipe')") == "100%"


def test_a_link_carries_the_settings_and_no_picture(stylized: Page, url: str) -> None:
    number(stylized, "strength").fill("0.5")
    number(stylized, "strength").press("Tab")
    tab(stylized, "Settings and files")
    link = stylized.get_by_label("Link to these settings")
    expect(link).to_have_value(re.compile("strength=0.5"))
    expect(stylized.get_by_label("As a command")).to_have_value(re.compile("--strength 0.5"))
    other = stylized.context.new_page()
    other.goto(f"{url}?preset=Bold&structure=0.25")
    expect(number(other, "strength")).to_have_value(str(apply_preset("Bold", FusionSettings()).strength))
    expect(number(other, "structure")).to_have_value("0.25")
    other.goto(f"{url}?strength=9")
    expect(other.locator("#controls-note [role=alert]")).to_contain_text("strength got")


def test_history_keeps_deletes_and_packs(stylized: Page, tmp_path: Path) -> None:
    number(stylized, "strength").fill("0.5")
    number(stylized, "strength").press("Tab")
    expect_caption(stylized, "Picture 2")
    stylized.get_by_role("button", name="Keep picture 1", exact=True).click()
    expect(stylized.get_by_role("button", name="Stop keeping picture 1")).to_be_visible()
    with stylized.expect_download() as download:
        stylized.get_by_role("button", name="Download all as a zip").click()
    download.value.save_as(tmp_path / "all.zip")
    assert len(zipfile.ZipFile(tmp_path / "all.zip").namelist()) == 2
    stylized.get_by_role("button", name="Delete picture 2").click()
    expect(stylized.locator("#history img")).to_have_count(1)
    expect_caption(stylized, "Picture 1")


def test_settings_stay_out_of_the_file_when_asked(stylized: Page, tmp_path: Path) -> None:
    source = stylized.locator("#result img").get_attribute("src") or ""
    tab(stylized, "Settings and files")
    stylized.get_by_label("Leave settings out of the PNG").check()
    expect(stylized.locator("#result img")).not_to_have_attribute("src", source)
    assert shown(stylized).info == {}


def test_a_grid_is_announced_filled_and_clickable(stylized: Page) -> None:
    tab(stylized, "Grid")
    stylized.get_by_label("Values across").fill("0, 0.75")
    expect(stylized.locator("#grid-plan")).to_contain_text("2 pictures: 16 model calls")
    stylized.get_by_role("button", name="Fill the grid").click()
    expect(stylized.locator("#grid-plan")).to_contain_text("2 of 2 pictures are made", timeout=30_000)
    stylized.locator("#grid-sheet .thumbnail-item").nth(1).click()
    expect(stylized.locator("#grid-plan")).to_contain_text("Style strength 0.75")
    expect(number(stylized, "strength")).to_have_value("0.75")
    expect_caption(stylized, "Picture 2: strength 0.75")
    stylized.get_by_role("button", name="3 × 3 drafts").click()
    expect(stylized.locator("#grid-plan")).to_contain_text("9 of 9 pictures are made", timeout=30_000)


def test_forget_empties_page_and_store(stylized: Page, place: FlatPlace) -> None:
    place.idles = True
    number(stylized, "structure").fill("0.5")
    number(stylized, "structure").press("Tab")
    expect(stylized.locator("#presets img")).to_have_count(6)
    tab(stylized, "Memory")
    expect(stylized.locator("#memory")).to_contain_text("Your pictures")
    before = len(place.stored)
    stylized.get_by_role("button", name="Forget my pictures").click()
    expect(stylized.locator("#status")).to_contain_text("Forgotten")
    expect(stylized.locator("#history img")).to_have_count(0)
    expect(stylized.locator("#result img")).to_have_count(0)
    expect(stylized.locator("#presets img")).to_have_count(0)
    assert len(place.stored) == before - 2


def test_the_first_screen_shows_a_portrait_and_everything_in_its_place(page: Page) -> None:
    sample = page.get_by_role("img", name=re.compile("astronaut", re.IGNORECASE))
    box = sample.bounding_box()
    assert box
    assert box["height"] > 400
    assert box["y"] + box["height"] < 900
    for name in ("Stylize", "Stop"):
        button = page.get_by_role("button", name=name, exact=True).bounding_box()
        assert button
        assert button["y"] + button["height"] <= 900
    assert page.locator("#left").evaluate("left => left.scrollHeight <= left.clientHeight + 1")


def test_holding_the_picture_or_its_button_shows_the_photograph(stylized: Page) -> None:
    original = stylized.locator(".ms-is-original")
    button = stylized.get_by_role("button", name="Hold to see the photograph")
    for element in (stylized.locator(".ms-stage"), button):
        element.hover()
        stylized.mouse.down()
        expect(original).to_have_count(1)
        stylized.mouse.up()
        expect(original).to_have_count(0)
    button.focus()
    stylized.keyboard.down("Space")
    expect(original).to_have_count(1)
    stylized.keyboard.up("Space")
    expect(original).to_have_count(0)


def test_the_wipe_goes_by_itself_until_it_is_taken_and_not_for_who_wants_less_motion(stylized: Page) -> None:
    figure, button = stylized.locator(".ms-figure"), stylized.get_by_role("button", name="Wipe by itself")
    moved = "figure => parseFloat(figure.style.getPropertyValue('--wipe'))"
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    stylized.wait_for_function("() => parseFloat(document.querySelector('.ms-wipe').value) > 40")
    stylized.get_by_label("Photograph ⟷ result").press("Home")
    expect(button).to_have_attribute("aria-pressed", "false")
    stylized.wait_for_timeout(300)
    assert figure.evaluate(moved) == 0
    stylized.emulate_media(reduced_motion="reduce")
    expect(button).to_be_hidden()
    stylized.locator(".ms-auto").dispatch_event("click")
    stylized.wait_for_timeout(300)
    assert figure.evaluate(moved) == 0


def test_keys_are_off_where_one_writes(stylized: Page, place: FlatPlace) -> None:
    tab(stylized, "Grid")
    calls = place.calls
    stylized.get_by_label("Values across").focus()
    stylized.keyboard.down("z")
    expect(stylized.locator(".ms-is-original")).to_have_count(0)
    stylized.keyboard.up("z")
    for key in ("Escape", "Enter"):
        stylized.keyboard.press(key)
    stylized.wait_for_timeout(300)
    expect(stylized.locator("#status")).to_contain_text("Done in")
    assert place.calls == calls


def test_presets_are_thumbnails_of_the_own_picture(stylized: Page, place: FlatPlace) -> None:
    place.idles = True
    number(stylized, "structure").fill("0.5")
    number(stylized, "structure").press("Tab")
    images = stylized.locator("#presets img")
    expect(images).to_have_count(6)
    own = np.asarray(shown(stylized).convert("RGB"), float)
    for image in images.all():
        thumbnail = np.asarray(fetched(stylized, image.get_attribute("src")).convert("RGB"), float)
        assert np.corrcoef(thumbnail[:, 0, 0], own[:, 0, 0])[0, 1] > 0.9


@pytest.mark.parametrize(("kind", "expected"), [("As JSON", '{"strength": 0.5}'), ("As a command", "--strength 0.5")])
def test_settings_are_copied(stylized: Page, kind: str, expected: str) -> None:
    stylized.context.grant_permissions(["clipboard-read", "clipboard-write"])
    number(stylized, "strength").fill("0.5")
    number(stylized, "strength").press("Tab")
    tab(stylized, "Settings and files")
    field = stylized.get_by_label(kind)
    expect(field).to_have_value(re.compile(re.escape(expected)))
    stylized.locator(f"label:has-text('{kind}') + .ms-copy").click()
    copied = stylized.evaluate("navigator.clipboard.readText()")
    assert copied == field.input_value()


PASTE = """([bytes, kind]) => {
  const files = new DataTransfer();
  files.items.add(new File([new Uint8Array(bytes)], 'image.png', {type: kind}));
  document.activeElement.dispatchEvent(new ClipboardEvent('paste', {clipboardData: files, bubbles: true}));
}"""


def paste(page: Page, path: Path) -> None:
    page.evaluate(PASTE, [list(path.read_bytes()), "image/png"])


def test_a_pasted_picture_fills_what_is_empty_and_replaces_only_what_was_touched(
    page: Page, photograph: Path, style: Path, tmp_path: Path
) -> None:
    paste(page, photograph)
    expect(page.locator("#content img")).to_be_visible()
    paste(page, style)
    expect_caption(page, "Picture 1")
    expect(page.locator("#style-1 img")).to_be_visible()
    Image.new("RGB", (64, 64), "white").save(tmp_path / "other.png")
    before = [page.locator(f"#{box} img").get_attribute("src") for box in ("content", "style-1")]
    paste(page, tmp_path / "other.png")
    expect(page.get_by_role("alert").filter(has_text="Both boxes are full")).to_be_visible()
    page.locator("#style-1 img").click()
    expect(page.get_by_text("Both boxes are full")).to_have_count(0)
    paste(page, tmp_path / "other.png")
    expect_caption(page, "Picture 2")
    expect(page.locator("#style-1 img")).not_to_have_attribute("src", before[1] or "")
    assert page.locator("#content img").get_attribute("src") == before[0]


def test_a_camera_and_the_clipboard_are_offered(page: Page) -> None:
    for box in ("#content", "#style-1"):
        for source in ("Capture from camera", "Paste from clipboard"):
            expect(page.locator(box).get_by_role("button", name=source)).to_be_visible()
