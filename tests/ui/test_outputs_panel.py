"""What the shown picture becomes when somebody asks: a larger file, another format, its steps, an animation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from magicstyle_core.metadata import read_png
from magicstyle_core.serving.outputs import FRAMES
from tests.browsing import DRAFT, STEPS, fetched, tab
from tests.flat import FlatPlace

pytestmark = pytest.mark.browser


def test_a_larger_file_in_another_format_is_fetched_when_asked(
    stylized: Page, place: FlatPlace, tmp_path: Path
) -> None:
    calls = place.calls
    stylized.get_by_role("button", name="Larger …").click()
    stylized.get_by_role("radio", name="Four times").check()
    for kind, suffix in (("PNG", "png"), ("WebP", "webp")):
        stylized.locator("#format").get_by_role("radio", name=kind).check()
        with stylized.expect_download() as download:
            stylized.get_by_role("button", name="Make the file").click()
        assert download.value.suggested_filename == f"portrait-magicstyle-1-256.{suffix}"
        download.value.save_as(tmp_path / f"out.{suffix}")
        with Image.open(tmp_path / f"out.{suffix}") as image:
            assert (image.size, image.format) == ((256, 256), kind.upper())
        expect(stylized.locator("#outputs-note")).to_contain_text(f"1-256.{suffix}, 256 × 256 pixels.")
    assert read_png(tmp_path / "out.png").upsample == 4
    assert place.calls == calls


def test_the_filmstrip_shows_every_step_by_its_slider_without_a_call(stylized: Page, place: FlatPlace) -> None:
    tab(stylized, "Download")
    calls = place.calls
    stylized.get_by_role("button", name="Show every step").click()
    expect(stylized.locator("#outputs-note")).to_contain_text(f"{STEPS} steps: {STEPS} model calls.")
    assert place.calls - calls == STEPS
    strip = stylized.locator("#film")
    expect(strip.locator("figcaption")).to_have_text(re.compile(f"Picture 1: .* as step {STEPS} of {STEPS} foresaw"))
    last = strip.locator("img").get_attribute("src")
    strip.get_by_role("slider", name="Step").press("Home")
    expect(strip.locator("figcaption")).to_contain_text(f"as step 1 of {STEPS} foresaw")
    first = strip.locator("img").get_attribute("src")
    assert first != last
    assert fetched(stylized, first).size == (64, 64)
    assert place.calls - calls == STEPS


def test_an_animation_shows_its_progress_is_stopped_and_fetched(stylized: Page, place: FlatPlace) -> None:
    tab(stylized, "Download")
    place.seconds_per_call = 0.1
    stylized.get_by_role("button", name="Animate strength 0 to 1").click()
    expect(stylized.locator("#outputs-note progress")).to_have_attribute("max", str(FRAMES))
    stylized.keyboard.press("Escape")
    expect(stylized.locator("#outputs-note")).to_have_text("Stopped.")
    place.seconds_per_call = 0.0
    calls = place.calls
    with stylized.expect_download() as download:
        stylized.get_by_role("button", name="Animate strength 0 to 1").click()
    assert download.value.suggested_filename == "portrait-magicstyle-animation.webp"
    assert place.calls - calls == FRAMES * DRAFT
    expect(stylized.locator("#result figcaption")).to_contain_text("Picture 1")


def test_without_a_picture_there_is_nothing_to_make(page: Page) -> None:
    tab(page, "Download")
    page.get_by_role("button", name="Make the file").click()
    expect(page.locator("#outputs-note [role=alert]")).to_have_text("There is no finished picture yet.")
