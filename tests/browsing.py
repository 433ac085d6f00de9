"""Opening the page."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, Page, expect

WAIT = 12_000  # milliseconds; a busy machine is slow, a fault would wait for ever


def open_page(context: BrowserContext, url: str) -> Page:
    """A new tab, as soon as the page in it has greeted its visitor."""
    page = context.new_page()
    page.goto(url)
    expect(page.locator("#wall button").first).to_be_visible()
    return page
