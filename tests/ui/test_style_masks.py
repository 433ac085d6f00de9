"""A part of a painting: dropped or painted on the page, given over the API, and in the PNG that makes itself again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image
from playwright.sync_api import Page, expect

from magicstyle_core.metadata import read_png
from tests.browsing import caption, expect_at_rest, expect_caption, shown, tab, upload
from tests.flat import FlatPlace


@pytest.fixture
def halved(tmp_path: Path) -> Path:
    """A style that is red on the left and navy on the right."""
    image = Image.new("RGB", (128, 128), "navy")
    image.paste("red", (0, 0, 64, 128))
    image.save(tmp_path / "halved.png")
    return tmp_path / "halved.png"


@pytest.fixture
def left(tmp_path: Path) -> Path:
    mask = Image.new("L", (128, 128))
    mask.paste(255, (0, 0, 64, 128))
    mask.save(tmp_path / "left.png")
    return tmp_path / "left.png"


@pytest.fixture
def client(url: str, place: FlatPlace) -> Iterator[Client]:
    client = Client(url, verbose=False, analytics_enabled=False)
    yield client
    client.close()


def redness(image: Image.Image) -> float:
    """Less blue: the part that is used is red."""
    pixels = np.asarray(image.convert("RGB"), float)
    return float(pixels[..., 0].mean() - pixels[..., 2].mean())


def test_a_client_names_the_part(client: Client, photograph: Path, halved: Path, left: Path) -> None:
    pair = {"content": handle_file(photograph), "style": handle_file(halved)}
    path, _ = client.predict(**pair, style_masks=[handle_file(left)], api_name="/stylize")
    with Image.open(path) as image:
        assert redness(image) > 100
    mask = read_png(path).styles[0].mask_image
    assert mask is not None
    assert (mask.getpixel((5, 5)), mask.getpixel((60, 5))) == (255, 0)
    path, _ = client.predict(**pair, style_masks=[None], api_name="/stylize")
    assert read_png(path).styles[0].mask == ""
    with pytest.raises(Exception, match="style_masks got 2, expected 1, one for each style"):
        client.predict(**pair, style_masks=[None, None], api_name="/stylize")


def test_a_grid_uses_the_part_in_every_cell(client: Client, photograph: Path, halved: Path, left: Path) -> None:
    options = {
        "content": handle_file(photograph), "style": handle_file(halved), "x_name": "strength", "x_values": "0.5, 1.5"
    }  # fmt: skip
    path, _ = client.predict(**options, style_masks=[handle_file(left)], api_name="/grid")
    with Image.open(path) as masked:
        last = masked.getpixel((masked.width - 20, masked.height - 20))
        first = masked.getpixel((20, masked.height - 20))
    assert isinstance(first, tuple)
    assert last == (255, 0, 0)
    assert first[0] > first[2] + 50
    path, _ = client.predict(**options, style_masks=[None], api_name="/grid")
    with Image.open(path) as whole:
        assert whole.getpixel((whole.width - 20, whole.height - 20)) != (255, 0, 0)
    with pytest.raises(Exception, match="style_masks got 2, expected 1, one for each style"):
        client.predict(**options, style_masks=[None, None], api_name="/grid")


@pytest.mark.browser
def test_a_dropped_mask_counts_until_it_is_cleared_and_a_png_brings_it_back(
    page: Page, photograph: Path, halved: Path, left: Path, tmp_path: Path
) -> None:
    upload(page, "content", photograph)
    upload(page, "style-1", halved)
    expect_caption(page, "Picture 1")
    assert redness(shown(page)) < 100
    tab(page, "More styles")
    Image.new("L", (128, 128)).save(tmp_path / "black.png")
    upload(page, "style-mask-file", tmp_path / "black.png")
    expect(page.locator("#style-mask-note [role=alert]")).to_contain_text("black everywhere")
    upload(page, "style-mask-file", left)
    expect_caption(page, "Picture 2")
    expect(caption(page)).to_contain_text("a part of the style")
    assert redness(shown(page)) > 100
    expect_at_rest(page)
    with page.expect_download() as download:
        page.locator("#download").click()
    download.value.save_as(tmp_path / "out.png")
    page.locator("#history .ms-show").nth(1).click()
    expect_caption(page, "Picture 1")
    expect_at_rest(page)
    tab(page, "Settings and files")
    upload(page, "settings-file", tmp_path / "out.png")
    expect(caption(page)).to_contain_text("a part of the style")
    assert redness(shown(page)) > 100


@pytest.mark.browser
def test_what_is_painted_is_used(page: Page, photograph: Path, halved: Path) -> None:
    upload(page, "content", photograph)
    upload(page, "style-1", halved)
    expect_caption(page, "Picture 1")
    expect_at_rest(page)
    before = redness(shown(page))
    tab(page, "More styles")
    canvas = page.locator("#style-brush canvas").last
    canvas.scroll_into_view_if_needed()
    expect(canvas).to_be_visible()
    page.wait_for_timeout(1000)  # the canvas draws what it was given
    box = canvas.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2 - 40, box["y"] + box["height"] / 2 - 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 - 40, box["y"] + box["height"] / 2 + 20, steps=8)
    page.mouse.up()
    expect_caption(page, "Picture 2")
    expect(caption(page)).to_contain_text("a part of the style")
    assert redness(shown(page)) > before + 20  # a brush as wide as half the picture takes some navy along
