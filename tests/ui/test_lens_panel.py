"""The attention lens on the page and over the API."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browsing import expect_at_rest, expect_caption, number
from tests.flat import FlatPlace
from tests.until import until


@pytest.fixture
def client(url: str, place: FlatPlace) -> Iterator[Client]:
    client = Client(url, verbose=False, analytics_enabled=False)
    yield client
    client.close()


def test_a_client_sees_its_styles_side_by_side(client: Client, photograph: Path, style: Path, place: FlatPlace) -> None:
    pair = {"content": handle_file(photograph), "style": handle_file(style)}
    spot = {"across": 0.2, "down": 0.7, "group": "coarse", "way_down": 0.5}
    path, facts = client.predict(**pair, **spot, more_styles=[handle_file(photograph)], api_name="/lens")
    with Image.open(path) as image:
        assert image.size == (128, 64)
    assert facts == {"shares": [0.5, 0.5], "unet_calls": 3 * 8 + 1}
    assert client.predict(**pair, **spot, api_name="/lens")[1]["unet_calls"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"across": 1.2}, r"The spot got \(1.2, 0.5\), expected two numbers from 0 to 1"),
        ({"group": "tiny"}, "group got 'tiny', expected one of coarse, middle, fine"),
        ({"way_down": 2}, "way_down got 2"),
    ],
)
def test_a_mistake_is_one_sentence(
    client: Client, photograph: Path, style: Path, options: dict[str, Any], message: str
) -> None:
    pair = {"content": handle_file(photograph), "style": handle_file(style)}
    with pytest.raises(Exception, match=message):
        client.predict(**{**pair, "across": 0.5, "down": 0.5, **options}, api_name="/lens")


def open_lens(page: Page) -> None:
    page.locator("#lens-panel button").first.click()
    expect(page.locator("#lens-across input")).to_be_visible()


@pytest.mark.browser
def test_a_click_lights_up_the_style_and_a_control_looks_again(stylized: Page, place: FlatPlace) -> None:
    expect_at_rest(stylized)
    calls, stage = place.calls, stylized.locator("#result .ms-stage")
    open_lens(stylized)
    stylized.wait_for_timeout(2000)
    assert place.calls == calls
    box = stage.bounding_box()
    assert box
    side = min(box["width"], box["height"])  # the picture is a square in its middle
    stage.click(position={"x": box["width"] / 2 - side / 4, "y": box["height"] / 2 + side / 4})
    caption = stylized.locator("#lens figcaption")
    expect(caption).to_have_text("Where picture 1 looked, 25% across and 75% down.")
    expect(stylized.locator("#lens img")).to_have_attribute("src", re.compile("^data:image/webp"))
    expect(stylized.locator("#result .ms-spot")).to_be_visible()
    expect(stylized.locator("#result .ms-is-original")).to_have_count(0)
    expect(stylized.locator("#lens-across input")).to_have_value("0.25")
    expect_at_rest(stylized)
    assert place.calls == calls + 1
    stylized.locator("#lens-down input").fill("0")
    expect(caption).to_have_text("Where picture 1 looked, 25% across and 0% down.")
    stylized.get_by_role("radio", name="Large shapes").check()
    until(lambda: place.calls == calls + 3)
    stylized.locator("#lens-step input[type=range]").press("End")
    until(lambda: place.calls == calls + 4)
    number(stylized, "strength").fill("0.5")
    number(stylized, "strength").press("Tab")
    expect_caption(stylized, "Picture 2")
    stage.click()
    expect(caption).to_have_text("Where picture 2 looked, 50% across and 50% down.")


@pytest.mark.browser
def test_without_a_picture_the_lens_says_so(page: Page) -> None:
    open_lens(page)
    page.locator("#result .ms-stage").click()
    expect(page.locator("#lens-note [role=alert]")).to_have_text("There is no finished picture yet.")
