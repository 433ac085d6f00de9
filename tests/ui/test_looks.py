"""What the page looks like and reads like: on a phone, in German, by keyboard, to a screen reader."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

import app
from magicstyle_core.ui.texts import ENGLISH, GERMAN, i18n, language, say
from tests.browsing import open_page
from tests.flat import FlatPlace

# Findings of axe in elements that Gradio draws and we cannot reach: rule, part of the element, and why it is there.
GRADIOS_OWN = [
    ("aria-prohibited-attr", 'class="empty'),  # the label on the box of an empty gallery
    ("aria-prohibited-attr", 'aria-label="Click to upload or drop files"'),  # the label on the frame of a picture
]


@pytest.fixture
def phone(browser: Browser, url: str, place: FlatPlace, photograph: Path, style: Path) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 390, "height": 844}, locale="de-DE")
    page = open_page(context, url)
    page.locator("#content input[type=file]").set_input_files(photograph)
    page.locator("#style-1 input[type=file]").set_input_files(style)
    expect(page.locator("#result img")).to_be_visible()
    yield page
    context.close()


def test_on_a_phone_the_result_stays_in_view_and_nothing_is_wider_than_it(phone: Page) -> None:
    phone.locator("#slider-colour").scroll_into_view_if_needed()
    box = phone.locator("#result").bounding_box()
    assert box
    assert box["y"] >= -1
    assert box["y"] + box["height"] <= 0.42 * 844
    image = phone.locator("#result img").bounding_box()
    assert image
    assert image["height"] > 150
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    for tool in phone.locator(".ms-tools > :visible").all():
        edges = tool.bounding_box()
        assert edges
        assert edges["x"] + edges["width"] <= 390
    assert phone.evaluate(COVERED) == []
    lens, history = phone.locator("#lens-panel").bounding_box(), phone.locator("#history").bounding_box()
    assert lens
    assert history
    assert box["y"] + box["height"] < lens["y"] < history["y"]


COVERED = """() => {
  const box = document.querySelector('#result').getBoundingClientRect(), found = [];
  for (let x = box.left + 5; x < box.right; x += 10) for (let y = box.top + 5; y < box.bottom; y += 10) {
    const top = document.elementFromPoint(x, y);
    if (!top.closest('#result')) found.push(top.outerHTML.slice(0, 80));
  }
  return found;
}"""  # what lies on the result


def test_everything_is_german_for_germans(phone: Page) -> None:
    expect(phone.locator("#result figcaption")).to_have_text(re.compile("^Bild 1: Stärke 1, 8 Schritte"))
    expect(phone.locator("#status")).to_contain_text("Fertig in")
    expect(phone.get_by_role("button", name="Stilisieren")).to_be_visible()
    expect(phone.get_by_role("tab", name="Aussehen")).to_be_visible()
    expect(phone.locator("#presets")).to_contain_text("Malerisch")
    expect(phone.locator("#slider-strength")).to_contain_text("Stilstärke")
    phone.get_by_role("tab", name="Bereich").click()
    expect(phone.get_by_role("radio", name="Überall")).to_be_visible()


def test_every_language_has_every_sentence_with_the_same_values() -> None:
    assert GERMAN.keys() == ENGLISH.keys()
    for key, text in ENGLISH.items():
        assert set(re.findall(r"{(\w+)", GERMAN[key])) == set(re.findall(r"{(\w+)", text)), key


def test_no_value_of_a_control_is_taken_for_a_key(place: FlatPlace) -> None:
    def strings(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | tuple):
            for each in value:
                yield from strings(each)

    keys = {key for words in i18n.translations.values() for key in words}
    components = app.build_page(place, grace_seconds=600).get_config_file()["components"]
    values = {text for each in components for prop in each["props"].values() for text in strings(prop)}
    assert {"fine", "everywhere"} <= values
    assert values & keys == set()


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [("de-AT,de;q=0.9,en;q=0.8", "de"), ("fr,en;q=0.5,de;q=0.7", "de"), ("fr", "en"), (None, "en"), ("*;q=x", "en")],
)
def test_the_language_is_the_best_that_there_is(accepted: str | None, chosen: str) -> None:
    assert language(accepted) == chosen


def test_lengths_of_time_read_as_people_say_them() -> None:
    assert say("en", "waiting", place=1, seconds=0.84) == "Number 1 in the line, about 0.8 s."
    assert say("de", "waiting", place=2, seconds=200) == "Platz 2 in der Schlange, etwa 3 min."


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_accessibility_fault(
    context: BrowserContext, url: str, place: FlatPlace, photograph: Path, style: Path, theme: str
) -> None:
    page = open_page(context, f"{url}?__theme={theme}")
    page.locator("#content input[type=file]").set_input_files(photograph)
    page.locator("#style-1 input[type=file]").set_input_files(style)
    expect(page.locator("#history img")).to_be_visible()
    found = serious_faults(page)
    for tab in ("Advanced", "Region", "Grid", "Memory"):
        page.get_by_role("tab", name=tab, exact=True).click()
        page.wait_for_timeout(500)
        found += serious_faults(page)
    assert found == []


def serious_faults(page: Page) -> list[tuple[str, str]]:
    """Rule and element of what axe-core calls serious or critical, but for the listed ones."""
    return [
        (violation["id"], node["html"])
        for violation in Axe().run(page).response["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
        if not any(violation["id"] == rule and part in node["html"] for rule, part in GRADIOS_OWN)
    ]


def test_the_keyboard_is_seen_on_every_kind_of_control(page: Page) -> None:
    page.locator("#content").press("Tab")
    for selector in (
        "#slider-strength input[type=range]",
        "#live input",
        "#stylize",
        "#wall button",
        "#presets button",
    ):
        control = page.locator(selector).first
        control.focus()
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Tab")
        outline = control.evaluate(
            "control => getComputedStyle(control).outlineStyle + getComputedStyle(control).outlineWidth"
        )
        assert outline == "solid3px", selector
