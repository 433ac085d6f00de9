"""The page in a browser: opening it, and what one does and sees there."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import BrowserContext, Locator, Page, expect

WAIT = 30_000  # milliseconds; a busy machine is slow, a fault would wait for ever
STEPS, DRAFT = 8, 4  # calls of `FlatPlace`


def open_page(context: BrowserContext, url: str) -> Page:
    """A new tab, as soon as the page in it has greeted its visitor."""
    page = context.new_page()
    page.goto(url)
    expect(page.locator("#wall button").first).to_be_visible()
    return page


def upload(page: Page, box: str, path: Path) -> None:
    page.locator(f"#{box} input[type=file]").set_input_files(path)


def caption(page: Page) -> Locator:
    return page.locator("#result figcaption")


def expect_caption(page: Page, text: str) -> None:
    expect(caption(page)).to_have_text(re.compile(f"^{re.escape(text)}"))


def expect_at_rest(page: Page) -> None:
    expect(page.locator("#status progress")).to_have_count(0)
    expect(page.locator("#result strong")).to_have_count(0)


def shown(page: Page) -> Image.Image:
    """The result on the page."""
    return fetched(page, page.locator("#result img").get_attribute("src"))


def fetched(page: Page, address: str | None) -> Image.Image:
    assert address
    body = page.request.get(page.url.split("?")[0] + address).body()
    with Image.open(io.BytesIO(body)) as image:
        return image.copy()


def slider(page: Page, name: str) -> Locator:
    return page.locator(f"#slider-{name} input[type=range]")


def number(page: Page, name: str) -> Locator:
    return page.locator(f"#slider-{name} input[type=number]")


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()
    wait_for_mounting(page)


def wait_for_mounting(page: Page) -> None:
    """Gradio mounts what a tab holds after the click; what is typed before that is done would be lost."""
    page.evaluate("() => new Promise(mounted => requestIdleCallback(() => setTimeout(mounted, 200)))")


def drag(page: Page, name: str, first: float, last: float, moves: int, pause: int) -> None:
    box = slider(page, name).bounding_box()
    assert box
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * first, y)
    page.mouse.down()
    for share in np.linspace(first, last, moves):
        page.mouse.move(box["x"] + box["width"] * share, y)
        page.wait_for_timeout(pause)
    page.mouse.up()
