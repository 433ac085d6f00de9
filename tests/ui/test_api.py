"""The API before a place without a model: its types, and every mistake as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from magicstyle_core.metadata import read_png
from magicstyle_core.settings import FusionSettings, apply_preset
from tests.flat import FlatPlace


@pytest.fixture
def client(url: str, place: FlatPlace) -> Iterator[Client]:
    client = Client(url, verbose=False, analytics_enabled=False)
    yield client
    client.close()


@pytest.fixture
def pair(photograph: Path, style: Path) -> dict[str, Any]:
    return {"content": handle_file(photograph), "style": handle_file(style)}


def test_every_answer_is_typed(client: Client) -> None:
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(endpoints) == {"/invert", "/stylize", "/grid", "/lens", "/restore", "/forget", "/stats"}
    for name, endpoint in endpoints.items():
        assert all(each["python_type"]["type"] != "Any" for each in endpoint["returns"]), name
    names = [parameter["parameter_name"] for parameter in endpoints["/stylize"]["parameters"]]
    assert names[:6] == ["content", "style", "strength", "steps", "preset", "settings"]
    assert names[-5:] == ["region", "mask", "size", "upsample", "style_masks"]
    assert len(endpoints["/stylize"]["returns"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [1.0, 2.0]}, "weights got .* expected 1 numbers above 0"),
        ({"settings": {"seed": 2**70}}, "seed got .* expected a whole number"),
        ({"settings": {"strenght": 1}}, "Unknown setting strenght"),
        ({"strength": 9}, "strength got 9"),
        ({"preset": "Loud"}, "no preset 'Loud'"),
        ({"steps": 1}, "steps got 1, expected a whole number from 2 to 200"),
        ({"size": 1}, "size got 1"),
        ({"upsample": 3}, "upsample got 3, expected one of 1, 2, 4"),
        ({"region": "nose"}, "region got 'nose'"),
        ({"region": "mask"}, "belong together"),
        ({"content": "portrait.png"}, "content got 'portrait.png', expected an uploaded file"),
    ],
)
def test_a_mistake_is_one_sentence(client: Client, pair: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        client.predict(**{**pair, **options}, api_name="/stylize")


def test_a_file_of_the_server_is_nobodys_upload(url: str, place: FlatPlace, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "secret.png")
    file = {"path": str(tmp_path / "secret.png"), "meta": {"_type": "gradio.FileData"}}
    address = f"{url}gradio_api/call/stylize"
    event = httpx.post(address, json={"data": [file, file]}).json()["event_id"]
    answer = httpx.get(f"{address}/{event}", timeout=30).text
    assert "event: error" in answer
    assert place.calls == 0


def test_a_larger_picture_is_asked_for_by_the_number_of_times(client: Client, pair: dict[str, Any]) -> None:
    path, facts = client.predict(**pair, upsample=4, api_name="/stylize")
    with Image.open(path) as image:
        assert image.size == (256, 256)
    assert (read_png(path).upsample, facts["unet_calls"]) == (4, 8)


def test_a_mask_says_where_and_a_size_how_large(client: Client, pair: dict[str, Any], tmp_path: Path) -> None:
    mask = Image.new("L", (256, 256))
    mask.paste(255, (0, 0, 128, 256))
    mask.save(tmp_path / "mask.png")
    options = {"region": "mask", "mask": handle_file(tmp_path / "mask.png"), "size": 128}
    path, facts = client.predict(**pair, **options, api_name="/stylize")
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), int)
    assert pixels.shape == (128, 128, 3)
    assert abs(pixels[100, 10, 0] - pixels[100, 120, 0]) > 20
    recipe = read_png(path)
    assert (recipe.region, recipe.inversion.size, facts["unet_calls"]) == ("mask", 128, 8)
    assert recipe.mask_image is not None
    restored = client.predict(handle_file(path), api_name="/restore")
    assert (restored["region"], restored["inversion"]["size"]) == ("mask", 128)


def test_without_a_preset_it_is_the_models_own(
    client: Client, pair: dict[str, Any], place: FlatPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "facts", replace(place.facts, preset="Bold"))
    settings = client.predict(**pair, settings={"structure": 0.5}, api_name="/stylize")[1]["settings"]
    bold = apply_preset("Bold", FusionSettings())
    assert bold.strength != FusionSettings().strength
    assert (settings["strength"], settings["faces"], settings["structure"]) == (bold.strength, bold.faces, 0.5)
