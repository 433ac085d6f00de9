"""Page and API before a Ray cluster: tests of the others once more, on replicas without a model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browsing import caption, expect_at_rest, number
from tests.replicas import FlatCluster, flat_cluster
from tests.ui.test_api import (  # noqa: F401
    client,
    pair,
    test_a_mask_says_where_and_a_size_how_large,
    test_every_answer_is_typed,
)
from tests.ui.test_browser import (  # noqa: F401
    test_a_slider_moved_and_moved_back_ends_at_the_picture_that_was_there,
    test_stop_brings_the_last_complete_picture_back,
    test_the_first_picture_comes_by_itself_and_is_one_record,
    test_who_waits_reads_the_place_and_gets_a_draft_before_a_long_job_ends,
)
from tests.ui.test_instrument import test_forget_empties_page_and_store  # noqa: F401

pytestmark = [pytest.mark.ray, pytest.mark.browser]


@pytest.fixture(scope="module")
def flat() -> Iterator[FlatCluster]:
    with flat_cluster() as cluster:
        yield cluster


def test_the_page_outlives_its_cluster(stylized: Page, place: FlatCluster) -> None:
    place.seconds_per_call = 1.0
    number(stylized, "strength").fill("0.5")
    number(stylized, "strength").press("Enter")
    expect(stylized.locator("#status")).to_contain_text("of 8, about")
    place._process.kill()  # the driver, and with it all of its cluster
    expect(stylized.locator("#status")).to_contain_text("your pictures are safe here")
    expect(stylized.locator("#status [role=alert]")).to_have_count(0)
    expect(caption(stylized)).to_contain_text("Picture 2: strength 0.5", timeout=120_000)
    expect_at_rest(stylized)
