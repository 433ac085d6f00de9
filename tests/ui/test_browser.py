"""The page as people use it, in a real Chromium: what they see, and the model calls that it costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect

from magicstyle_core.metadata import read_png
from magicstyle_core.settings import FusionSettings, apply_preset
from tests.browsing import (
    DRAFT,
    STEPS,
    WAIT,
    caption,
    drag,
    expect_at_rest,
    expect_caption,
    number,
    open_page,
    shown,
    slider,
    tab,
    upload,
)
from tests.flat import FlatPlace

pytestmark = pytest.mark.browser

EMPTY = ("seed", "render_steps")  # boxes that may be empty


def strength_shown(page: Page) -> float:
    """The strength that the picture was made with, read off its pixels: white goes to navy."""
    red = np.asarray(shown(page).convert("RGB"), float)[-1, :, 0].mean()
    return round((1 - red / 253) * 1.5, 1)  # 253: the gradient's last row at the place's size


def watch_pictures(page: Page) -> None:
    """Every address that the result shows from now on is kept in the page, after the one that it shows now."""
    page.evaluate(
        """() => { window.seen = [document.querySelector('#result img').getAttribute('src')];
        new MutationObserver(() => { const image = document.querySelector('#result img');
          const src = image && image.getAttribute('src');
          if (src && src !== window.seen.at(-1)) window.seen.push(src); })
        .observe(document.querySelector('#result'), {subtree: true, childList: true, attributes: true}); }"""
    )


# What browsers do not show


def test_a_picture_that_the_browser_leaves_blank_is_shown_beside_its_box(
    page: Page, photograph: Path, style: Path, tmp_path: Path
) -> None:
    for box, source, name in (("content", photograph, "phone.heic"), ("style-1", style, "scan.tif")):
        with Image.open(source) as image:
            image.convert("RGB").save(tmp_path / name)  # importing magicstyle_core.images lets Pillow write HEIF
        upload(page, box, tmp_path / name)
        stand_in = page.locator(f"#{box}-note img")
        expect(stand_in).to_be_visible()
        assert stand_in.evaluate("async image => { await image.decode(); return image.naturalWidth; }") > 0
    thumbnail = page.locator("#wall img").first  # the visitor's own style comes first
    expect(thumbnail).to_have_attribute("src", page.locator("#style-1-note img").get_attribute("src") or "")
    upload(page, "content", photograph)
    expect(page.locator("#content-note img")).to_have_count(0)


# Live


def test_the_first_picture_comes_by_itself_and_is_one_record(stylized: Page, place: FlatPlace, tmp_path: Path) -> None:
    expect_at_rest(stylized)
    expect(stylized.locator("#status")).to_contain_text("Done in")
    link = stylized.locator("#download")
    assert link.get_attribute("href") == stylized.locator("#result img").get_attribute("src")
    assert link.get_attribute("download") == "portrait-magicstyle-1.png"
    with stylized.expect_download() as download:
        link.click()
    download.value.save_as(tmp_path / "out.png")
    assert read_png(tmp_path / "out.png").settings.strength == strength_shown(stylized) == 1.0


def test_a_click_on_stylize_before_the_style_is_there_is_not_lost(page: Page, photograph: Path, style: Path) -> None:
    page.get_by_label("Live", exact=True).uncheck()
    page.get_by_role("button", name="Stylize", exact=True).click()
    expect(page.locator("#status [role=alert]")).to_contain_text("There is no photograph yet")
    upload(page, "content", photograph)
    page.get_by_role("button", name="Stylize", exact=True).click()
    upload(page, "style-1", style)
    expect_caption(page, "Picture 1")


def test_a_slider_moved_and_moved_back_ends_at_the_picture_that_was_there(stylized: Page, place: FlatPlace) -> None:
    first = stylized.locator("#result img").get_attribute("src")
    place.seconds_per_call = 0.4
    slider(stylized, "strength").focus()
    stylized.keyboard.press("Home")
    expect_caption(stylized, "Draft: strength 0,")
    number(stylized, "strength").fill("1")
    number(stylized, "strength").press("Enter")
    expect_caption(stylized, "Picture 1: strength 1")
    expect_at_rest(stylized)
    assert stylized.locator("#result img").get_attribute("src") == first
    expect(stylized.locator("#history img")).to_have_count(1)


def test_a_long_drag_shows_a_picture_for_every_five_calls_and_ends_at_the_last_value(
    stylized: Page, place: FlatPlace
) -> None:
    place.seconds_per_call = 0.2
    watch_pictures(stylized)
    calls = place.calls
    drag(stylized, "structure", 0.2, 0.9, moves=60, pause=100)
    made, pictures = place.calls - calls, len(stylized.evaluate("window.seen")) - 1
    assert pictures >= 3
    assert pictures >= made // (DRAFT + STEPS)  # tests/serving counts calls; here a busy browser is late with moves
    value = float(number(stylized, "structure").input_value())
    assert value >= 0.8
    expect_caption(stylized, "Picture 2")
    expect(caption(stylized)).to_contain_text(f"Structure {value:g}")
    expect_at_rest(stylized)


def test_between_draft_and_picture_there_is_nothing_else(stylized: Page, place: FlatPlace) -> None:
    place.seconds_per_call = 0.05
    watch_pictures(stylized)
    calls, opened = place.calls, place.opened
    slider(stylized, "strength").focus()
    stylized.keyboard.press("Home")
    expect_caption(stylized, "Picture 2: strength 0")
    names = [Path(source).name for source in stylized.evaluate("window.seen")[1:]]
    assert names == ["portrait-magicstyle-draft.png", "portrait-magicstyle-2.png"]
    assert (place.calls - calls, place.opened - opened) == (DRAFT + STEPS, 0)


@pytest.mark.parametrize(("typed", "value"), [("0.5", "0.5"), ("9", "1.5"), ("-3", "0")])
def test_a_typed_number_renders_and_one_out_of_range_is_put_right(stylized: Page, typed: str, value: str) -> None:
    number(stylized, "strength").fill(typed)
    number(stylized, "strength").press("Tab")
    expect_caption(stylized, f"Picture 2: strength {value},")
    expect(number(stylized, "strength")).to_have_value(value)
    assert strength_shown(stylized) == float(value)


def test_the_reset_arrow_renders(stylized: Page) -> None:
    number(stylized, "strength").fill("0.5")
    number(stylized, "strength").press("Tab")
    expect_caption(stylized, "Picture 2: strength 0.5")
    stylized.locator("#slider-strength button").click()
    expect_caption(stylized, "Picture 1: strength 1")
    expect_at_rest(stylized)


def test_an_emptied_number_is_said_and_kills_nothing(stylized: Page) -> None:
    number(stylized, "strength").fill("")
    number(stylized, "strength").press("Tab")
    slider(stylized, "structure").focus()
    stylized.keyboard.press("End")
    expect(caption(stylized)).to_contain_text("Structure 1")
    expect_at_rest(stylized)


def test_stop_brings_the_last_complete_picture_back(stylized: Page, place: FlatPlace) -> None:
    first = stylized.locator("#result img").get_attribute("src")
    place.seconds_per_call = 0.2
    slider(stylized, "strength").focus()
    stylized.keyboard.press("Home")
    expect_caption(stylized, "Draft")
    stylized.get_by_role("button", name="Stop", exact=True).click()
    expect(stylized.locator("#status")).to_contain_text("Stopped. Picture 1 is back.")
    calls = place.calls
    expect_caption(stylized, "Picture 1: strength 1, 8 steps. Controls differ.")
    assert stylized.locator("#result img").get_attribute("src") == first
    assert stylized.locator("#download").get_attribute("href") == first
    expect(stylized.locator("#status progress")).to_have_count(0)
    stylized.wait_for_timeout(600)
    assert place.calls - calls <= 1


def test_with_live_off_the_caption_says_that_the_controls_differ(stylized: Page, place: FlatPlace) -> None:
    stylized.get_by_label("Live", exact=True).uncheck()
    calls = place.calls
    slider(stylized, "strength").focus()
    stylized.keyboard.press("Home")
    expect(caption(stylized)).to_contain_text("Controls differ.")
    assert place.calls == calls
    stylized.get_by_role("button", name="Stylize", exact=True).click()
    expect_caption(stylized, "Picture 2: strength 0")


# Words


def test_every_error_stands_beside_its_thing(stylized: Page, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\0no picture")
    tab(stylized, "Settings and files")
    upload(stylized, "settings-file", tmp_path / "broken.png")
    expect(stylized.locator("#settings-note [role=alert]")).to_contain_text("cannot be read as a PNG")
    upload(stylized, "style-1", tmp_path / "broken.png")
    expect(stylized.locator("#style-1-note [role=alert]")).to_contain_text("is not a picture that can be read")
    expect(stylized.locator("#status [role=alert]")).to_be_visible()
    expect_caption(stylized, "Picture 1")
    tab(stylized, "Grid")
    stylized.get_by_label("Values across").fill("much")
    expect(stylized.locator("#grid-plan [role=alert]")).to_contain_text("strength got 'much'")


def test_a_bad_combination_is_said_and_a_preset_repairs_it(stylized: Page) -> None:
    tab(stylized, "Advanced")
    number(stylized, "start").fill("0.9")
    number(stylized, "start").press("Tab")
    number(stylized, "end").fill("0.1")
    number(stylized, "end").press("Tab")
    expect(stylized.locator("#status [role=alert]")).to_contain_text("start (0.9) lies after end (0.1)")
    tab(stylized, "Look")
    expect(stylized.locator("#controls-note [role=alert]")).to_contain_text("lies after end")
    stylized.locator("#presets").get_by_role("button", name="Gentle").click()
    expect(caption(stylized)).to_contain_text("strength 0.6")
    expect(number(stylized, "strength")).to_have_value("0.6")
    expect_at_rest(stylized)
    expect(stylized.locator("#presets [aria-pressed=true]")).to_have_text("Gentle")
    expect(stylized.locator("#controls-note [role=alert]")).to_have_count(0)


# State


def test_a_history_click_brings_region_and_mask_back(stylized: Page, tmp_path: Path) -> None:
    tab(stylized, "Region")
    stylized.get_by_role("radio", name="Where I paint").check()
    mask = Image.new("L", (256, 256))
    mask.paste(255, (0, 0, 256, 128))
    mask.save(tmp_path / "mask.png")
    upload(stylized, "mask-file", tmp_path / "mask.png")
    expect(caption(stylized)).to_contain_text("Where I paint")
    expect(stylized.locator("#region-note img")).to_be_visible()
    masked = shown(stylized)
    stylized.get_by_role("radio", name="Everywhere").check()
    expect_caption(stylized, "Picture 1: strength 1, 8 steps.")
    stylized.locator("#history .ms-show").first.click()
    expect(caption(stylized)).to_contain_text("Where I paint")
    expect(stylized.get_by_role("radio", name="Where I paint")).to_be_checked()
    assert np.array_equal(np.asarray(shown(stylized)), np.asarray(masked))
    expect_at_rest(stylized)
    stylized.wait_for_timeout(500)
    expect(stylized.locator("#history img")).to_have_count(2)


def test_a_png_brings_everything_back_and_renders(stylized: Page, style: Path, tmp_path: Path) -> None:
    tab(stylized, "Advanced")
    seed, render_steps = (stylized.locator(f"#slider-{name} textarea, #slider-{name} input") for name in EMPTY)
    seed.fill("0")
    seed.press("Tab")
    render_steps.fill("6")
    render_steps.press("Tab")
    tab(stylized, "Look")
    number(stylized, "strength").fill("0.5")
    number(stylized, "strength").press("Tab")
    expect(caption(stylized)).to_contain_text("strength 0.5")
    expect_at_rest(stylized)
    with stylized.expect_download() as download:
        stylized.locator("#download").click()
    download.value.save_as(tmp_path / "out.png")
    recipe = read_png(tmp_path / "out.png")
    assert (recipe.settings.seed, recipe.settings.render_steps) == (0, 6)
    tab(stylized, "Look")
    stylized.locator("#presets").get_by_role("button", name="Bold").click()
    expect(caption(stylized)).to_contain_text(f"strength {apply_preset('Bold', FusionSettings()).strength}")
    tab(stylized, "Advanced")
    seed.fill("")
    seed.press("Tab")
    tab(stylized, "Settings and files")
    upload(stylized, "settings-file", tmp_path / "out.png")
    expect(stylized.locator("#settings-note")).to_have_text("Settings are back.")
    expect(caption(stylized)).to_contain_text("strength 0.5")
    expect(seed).to_have_value("0")
    expect_at_rest(stylized)
    Image.new("RGB", (64, 64), "red").save(tmp_path / "other.png")
    upload(stylized, "content", tmp_path / "other.png")
    expect_at_rest(stylized)
    upload(stylized, "settings-file", tmp_path / "out.png")
    expect(stylized.locator("#settings-note")).to_contain_text("another one than the file's")


def test_a_reload_brings_everything_back(stylized: Page, place: FlatPlace, errors: list[str]) -> None:
    number(stylized, "strength").fill("0.5")
    number(stylized, "strength").press("Tab")
    expect_caption(stylized, "Picture 2: strength 0.5")
    calls = place.calls
    stylized.reload()
    for error in [error for error in errors if "BodyStreamBuffer was aborted" in error or "errored out" in error]:
        errors.remove(error)  # the page that was left, of Gradio's event stream, where that was still open
    expect_caption(stylized, "Picture 2: strength 0.5")
    expect(stylized.locator("#history img")).to_have_count(2)
    expect(number(stylized, "strength")).to_have_value("0.5")
    expect(stylized.locator("#content img")).to_be_visible()
    expect_at_rest(stylized)
    assert place.calls == calls
    slider(stylized, "strength").focus()
    stylized.keyboard.press("Home")
    expect_caption(stylized, "Picture 3: strength 0")


def test_a_reload_keeps_the_visitors_language(stylized: Page, browser: Browser, url: str) -> None:
    token = stylized.evaluate("sessionStorage.getItem('ms-token')")
    stylized.close()
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="de-DE")
    context.add_init_script(f"sessionStorage.setItem('ms-token', '{token}')")
    german = open_page(context, url)
    expect_caption(german, "Bild 1: Stärke 1")
    for name, tab_name in (("Überall", "Bereich"), ("Mischen", "Mehr"), ("aus", "Mehr")):
        tab(german, tab_name)
        expect(german.get_by_role("radio", name=name, exact=True)).to_be_checked()
    expect(german.get_by_role("checkbox", name="Große Formen")).to_be_visible()
    context.close()


def test_settings_survive_without_their_visitor_and_two_tabs_are_two_visitors(stylized: Page, url: str) -> None:
    number(stylized, "strength").fill("0.5")
    number(stylized, "strength").press("Tab")
    expect_caption(stylized, "Picture 2")
    other = open_page(stylized.context, url)
    expect(number(other, "strength")).to_have_value("0.5")
    expect(other.locator("#history img")).to_have_count(0)
    with stylized.context.expect_page() as opened:
        stylized.evaluate("window.open(location.href)")  # a tab with a copy of the storage
    copy = opened.value
    expect(copy.locator("#wall button").first).to_be_visible()
    expect(copy.locator("#history img")).to_have_count(0)
    tokens = {each.evaluate("sessionStorage.getItem('ms-token')") for each in (stylized, other, copy)}
    assert len(tokens) == 3


def test_a_token_that_another_tab_uses_is_left_to_it_and_one_that_none_uses_is_taken_up(
    stylized: Page, url: str
) -> None:
    token = stylized.evaluate("sessionStorage.getItem('ms-token')")
    same = f"if (!sessionStorage.getItem('ms-token')) sessionStorage.setItem('ms-token', '{token}')"
    stylized.context.add_init_script(same)
    copy = open_page(stylized.context, url)
    expect(copy.locator("#history img")).to_have_count(0)
    assert copy.evaluate("sessionStorage.getItem('ms-token')") != token
    number(stylized, "strength").fill("0.5")
    number(stylized, "strength").press("Tab")
    expect_caption(stylized, "Picture 2: strength 0.5")
    expect(copy.locator("#history img")).to_have_count(0)
    stylized.close()
    again = open_page(copy.context, url)  # as a browser opens a tab again that it had put away
    expect_caption(again, "Picture 2: strength 0.5")
    assert again.evaluate("sessionStorage.getItem('ms-token')") == token


def test_three_seconds_offline_lose_nothing(context: BrowserContext, url: str, photograph: Path, style: Path) -> None:
    page = open_page(context, url)
    upload(page, "content", photograph)
    upload(page, "style-1", style)
    expect_caption(page, "Picture 1")
    context.set_offline(True)
    slider(page, "strength").focus()
    page.keyboard.press("Home")
    page.wait_for_timeout(3000)
    context.set_offline(False)
    page.wait_for_timeout(2000)
    if page.locator("#result").count() == 0:
        page.goto(url)
    expect(page.locator("#history img")).not_to_have_count(0)
    slider(page, "structure").focus()
    page.keyboard.press("End")
    expect(caption(page)).to_contain_text("Structure 1")
    expect_at_rest(page)


# Others


def test_who_waits_reads_the_place_and_gets_a_draft_before_a_long_job_ends(
    stylized: Page, url: str, photograph: Path, style: Path, place: FlatPlace
) -> None:
    other = open_page(stylized.context, url)  # before: settings are kept for the next tab
    place.seconds_per_call = 0.4
    tab(stylized, "Advanced")
    number(stylized, "steps").fill("150")
    number(stylized, "steps").press("Tab")
    expect(stylized.locator("#status")).to_contain_text("of 150")
    other.evaluate(  # what stands there for a moment is easily missed by looking now and then
        """() => { window.said = [];
          new MutationObserver(() => window.said.push(document.querySelector('#status').innerText)).observe(
            document.body, {childList: true, subtree: true, characterData: true}); }"""
    )
    upload(other, "content", photograph)
    upload(other, "style-1", style)
    expect(caption(other)).to_contain_text("Draft", timeout=3 * WAIT)
    assert any("Number 1 in the line" in said for said in other.evaluate("window.said"))
    expect(stylized.locator("#status")).to_contain_text("of 150")
    for each in (stylized, other):
        each.get_by_role("button", name="Stop", exact=True).click()
