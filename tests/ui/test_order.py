"""That the page always ends at what it says, in whatever order a network brings requests and answers."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browsing import expect_at_rest, expect_caption, number, slider, tab
from tests.flat import FlatPlace

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
# Answers to what the visitor does come late, after news from the stream.
LATE_ANSWERS = """() => { const straight = window.fetch; window.held = window.late = 0;
  window.fetch = async (...all) => {
    const answer = await straight(...all);
    if (String(all[0].url || all[0]).includes('/run/')) {
      window.held += 1;
      await new Promise(over => setTimeout(over, 3000));
      window.late += 1;
    }
    return answer;
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

# What comes by the stream is kept in `window.said`.
LISTEN = """() => { const straight = window.fetch; window.said = '';
  window.fetch = async (...all) => {
    const answer = await straight(...all);
    if (!String(all[0].url || all[0]).includes('queue/data')) return answer;
    const [page, ours] = answer.body.tee();
    const heard = new WritableStream({write: text => { window.said += text; }});
    ours.pipeThrough(new TextDecoderStream()).pipeTo(heard).catch(() => {});
    return new Response(page, answer);
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


def change(page: Page) -> None:
    number(page, "structure").fill("0.75")
    number(page, "structure").press("Tab")


def keep(page: Page) -> None:
    page.get_by_role("button", name="Keep picture 1", exact=True).click()


@pytest.mark.parametrize(("act", "requests"), [(change, 2), (keep, 1)])
def test_a_late_answer_brings_no_older_picture_back(
    act: Callable[[Page], None], requests: int, stylized: Page, place: FlatPlace
) -> None:
    place.idles, place.seconds_per_call = True, 0.6
    number(stylized, "structure").fill("0.5")
    number(stylized, "structure").press("Tab")
    expect(stylized.locator("#result strong")).to_have_count(1)
    stylized.evaluate(LATE_ANSWERS)
    act(stylized)
    stylized.wait_for_function(f"window.held == {requests}")
    place.seconds_per_call = 0
    expect(stylized.locator("#presets img")).to_have_count(6)
    assert stylized.evaluate("window.held - window.late") > 0
    stylized.wait_for_function("window.held == window.late")
    stylized.wait_for_timeout(500)
    expect_caption(stylized, "Picture 2")
    expect_at_rest(stylized)
    expect(stylized.locator("#presets img")).to_have_count(6, timeout=1000)


def test_a_follower_that_ends_says_nothing_again(stylized: Page) -> None:
    stylized.evaluate(LISTEN)
    number(stylized, "structure").fill("0.5")
    number(stylized, "structure").press("Tab")
    expect_caption(stylized, "Picture 2")
    stylized.wait_for_function("/process_completed.*\\n/.test(window.said)")
    lines = stylized.evaluate("window.said").split("\n")[:-1]  # the last one may come in parts
    said = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    last = [message["output"]["data"] for message in said if message["msg"] == "process_completed"]
    assert last
    assert not any("value" in answer or "choices" in answer for answers in last for answer in answers)
