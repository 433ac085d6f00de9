"""That the page always ends at what it says, in whatever order a network brings requests and answers."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browsing import expect_at_rest, expect_caption, number, slider, tab

pytestmark = pytest.mark.browser

# What the page sends because another box changed first is held back for a second, and so comes last.
LATE = """() => { const id = gradio_config.components.find(each => each.props.elem_id === 'style-2').id;
  const straight = window.fetch; window.held = 0;
  window.fetch = async (address, options) => {
    if (String(options && options.body).includes(`"trigger_id":${id},`) && String(address).includes('/run/')) {
      window.held += 1;
      await new Promise(over => setTimeout(over, 1000));
    }
    return straight(address, options);
  }; }"""
# The stream of what is queued lags a second behind everything else.
LAG = """() => { const straight = window.fetch;
  window.fetch = async (...all) => {
    const answer = await straight(...all);
    if (!String(all[0].url || all[0]).includes('queue/data')) return answer;
    const late = new TransformStream({transform: (part, stream) =>
      new Promise(done => setTimeout(() => { stream.enqueue(part); done(); }, 1000))});
    return new Response(answer.body.pipeThrough(late), answer);
  }; }"""


def test_what_was_read_off_before_all_controls_were_set_does_not_win(stylized: Page) -> None:
    number(stylized, "strength").fill("0.5")
    number(stylized, "strength").press("Tab")
    expect_caption(stylized, "Picture 2")
    stylized.evaluate(LATE)
    tab(stylized, "Grid")
    stylized.get_by_label("Values across").fill("0, 0.75")
    stylized.get_by_role("button", name="Fill the grid").click()
    expect(stylized.locator("#grid-plan")).to_contain_text("2 of 2 pictures are made", timeout=30_000)
    stylized.locator("#grid-sheet .thumbnail-item").nth(1).click()
    expect_caption(stylized, "Picture 3: strength 0.75")
    stylized.wait_for_function("window.held > 0")
    stylized.wait_for_timeout(1500)
    expect_caption(stylized, "Picture 3: strength 0.75")
    expect(number(stylized, "strength")).to_have_value("0.75")


def test_a_stream_that_lags_behind_loses_nothing(stylized: Page) -> None:
    stylized.evaluate(LAG)
    slider(stylized, "strength").focus()
    stylized.keyboard.press("Home")
    stylized.wait_for_timeout(500)  # the server has closed the stream by now, and the page does not know it yet
    stylized.keyboard.press("End")
    expect_caption(stylized, "Picture 3: strength 1.5")
    expect_at_rest(stylized)
