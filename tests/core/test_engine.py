from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from magicstyle_core import FusionSettings, Inversion, InversionSettings, SettingsError, StyleEngine
from magicstyle_core.bank import FeatureBank
from magicstyle_core.settings import Palette, inversion_calls, table

STEPS = 8


def psnr(a: Image.Image, b: Image.Image) -> float:
    with np.errstate(divide="ignore"):
        return float(peak_signal_noise_ratio(np.asarray(a), np.asarray(b)))


def bank_of(engine: StyleEngine, inversion: Inversion) -> FeatureBank:
    bank = engine.store.bank(inversion.session, inversion.key)
    assert bank is not None
    return bank


@pytest.fixture(scope="module")
def content(engine: StyleEngine, astronaut: Image.Image) -> Inversion:
    return engine.invert(astronaut, InversionSettings(steps=STEPS), session="test_engine")


@pytest.fixture(scope="module")
def style(engine: StyleEngine, painted: Image.Image) -> Inversion:
    return engine.invert(painted, InversionSettings(steps=STEPS), session="test_engine")


class Render(TypedDict):
    draft: bool
    mask: Image.Image | None


def anything(rng: np.random.Generator, steps: int) -> FusionSettings:
    """Settings from all over the table, at strength 0."""
    values: dict[str, Any] = {}
    for row in table():
        if row.group == "inversion":
            continue
        if row.low is None or row.high is None:
            choices = row.choices or ((), ("all",), ("up.fine",))
            values[row.name] = choices[rng.integers(len(choices))]
        elif row.kind == "whole":
            values[row.name] = (
                None if rng.random() < 0.5 else int(rng.integers(int(row.low), min(int(row.high), steps) + 1))
            )
        else:
            values[row.name] = float(rng.uniform(row.low, row.high))
    window = dict(zip(("start", "end"), sorted((values["start"], values["end"])), strict=True))
    return FusionSettings(**{**values, **window, "strength": 0.0, "outside": 0.0})


@pytest.mark.parametrize("steps", [3, 8, 50])
def test_strength_0_is_the_photograph_whatever_else_is_set(
    engine: StyleEngine, astronaut: Image.Image, painted: Image.Image, steps: int
) -> None:
    inversion, rng = InversionSettings(steps=steps, size=64), np.random.default_rng(steps)
    content, style = (engine.invert(image, inversion, session="nothing") for image in (astronaut, painted))
    half = Image.fromarray(np.array([[0, 255], [0, 255]], np.uint8))
    for n in range(8):
        settings, how = anything(rng, steps), Render(draft=n % 2 == 0, mask=half if n % 3 == 0 else None)
        round_trip = engine.stylize(content, style, settings.replace(detail=0.0), **how).image
        assert round_trip.tobytes() == engine.decode(content).tobytes(), settings
        photograph = engine.stylize(content, [(style, 1.0), (content, 2.0)], settings.replace(detail=1.0), **how).image
        assert photograph.tobytes() == content.picture.image.tobytes(), settings


def test_strength_0_is_the_round_trip_in_bf16(astronaut: Image.Image, painted: Image.Image) -> None:
    engine = StyleEngine.load("mini", device="cpu", dtype="bf16")
    settings = InversionSettings(steps=STEPS, size=128)
    content, style = engine.invert(astronaut, settings), engine.invert(painted, settings)
    for strength in (0.0, 1e-6):  # without FFA, and with FFA that adds nothing
        picture = engine.stylize(content, style, FusionSettings(strength=strength, detail=0))
        assert psnr(picture.image, engine.decode(content)) >= 35


def test_ffa_that_adds_nothing_is_the_round_trip_too(engine: StyleEngine, content: Inversion, style: Inversion) -> None:
    picture = engine.stylize(content, style, FusionSettings(strength=1e-6, structure=0.5, detail=0))
    assert psnr(picture.image, engine.decode(content)) >= 45


def test_without_the_residual_the_way_back_is_the_round_trip_too(engine: StyleEngine, content: Inversion) -> None:
    bare = engine.stylize(content, content, FusionSettings(layers=(), residual=0.0)).image
    assert psnr(bare, engine.decode(content)) >= 38


def test_detail_brings_back_what_the_vae_lost(
    engine: StyleEngine, content: Inversion, style: Inversion, astronaut: Image.Image
) -> None:
    photograph = content.picture.image
    found = [
        psnr(engine.stylize(content, style, FusionSettings(strength=0, detail=detail)).image, photograph)
        for detail in (0, 0.5, 1)
    ]
    assert found[0] < 32 < found[1] < 45 < found[2]
    calls = engine.model.unet_calls
    engine.stylize(content, style, FusionSettings(strength=0, detail=0.7))
    assert engine.model.unet_calls == calls


def test_strength_1_visibly_differs(engine: StyleEngine, content: Inversion, style: Inversion) -> None:
    assert psnr(engine.stylize(content, style, FusionSettings(strength=1)).image, engine.decode(content)) < 25


@pytest.mark.parametrize("palette", ["off", "both", "end", "adain"])
def test_colour_0_keeps_the_photographs_colours_whatever_the_palette(
    engine: StyleEngine, content: Inversion, style: Inversion, palette: Palette
) -> None:
    taken = FusionSettings(detail=0, palette=palette)
    own = taken.replace(colour=0.0)
    photograph, before, after = (
        np.asarray(image, float).mean((0, 1))
        for image in (content.picture.image, *(engine.stylize(content, style, s).image for s in (taken, own)))
    )
    assert abs(after - photograph).max() < 6 < abs(before - photograph).max() / 2
    calls = engine.model.unet_calls
    engine.stylize(content, style, taken.replace(colour=0.5))
    assert (engine.model.unet_calls == calls) == (palette == "off")  # nothing in latents depends on it


def test_ffa_makes_a_difference_that_no_finish_makes(engine: StyleEngine, content: Inversion, style: Inversion) -> None:
    bare = FusionSettings(detail=0, palette="off", layers=("all",))
    pictures = [engine.stylize(content, style, bare.replace(layers=layers)).image for layers in (("all",), ())]
    assert psnr(*pictures) < 20
    assert psnr(pictures[1], engine.decode(content)) >= 45  # without FFA and palette nothing happens


def test_content_as_its_own_style_comes_back(engine: StyleEngine, content: Inversion) -> None:
    settings = FusionSettings(detail=0, temperature=1, balance=0, neighbours=0)
    assert psnr(engine.stylize(content, content, settings).image, engine.decode(content)) >= 40


def test_what_each_action_costs_in_unet_calls(
    engine: StyleEngine, astronaut: Image.Image, painted: Image.Image
) -> None:
    def calls(action: Callable[[], object]) -> int:
        before = engine.model.unet_calls
        action()
        return engine.model.unet_calls - before

    def invert(image: Image.Image) -> Inversion:
        return engine.invert(image, InversionSettings(steps=10), session="costs")

    assert calls(lambda: [invert(astronaut), invert(painted)]) == 2 * inversion_calls(10, engine.model.corrections)
    assert calls(lambda: [invert(astronaut), invert(painted)]) == 0
    content, style = invert(astronaut), invert(painted)
    for strength in (0.4, 0.9):
        settings = FusionSettings(strength=strength)
        assert calls(partial(engine.stylize, content, style, settings)) == 10
    assert calls(lambda: engine.stylize(content, style, FusionSettings(render_steps=7))) == 7
    assert calls(lambda: engine.stylize(content, style, FusionSettings(), draft=True)) == 4


def test_a_moved_slider_opens_no_file_and_hashes_no_picture(
    engine: StyleEngine,
    astronaut: Image.Image,
    painted: Image.Image,
    tmp_path: Path,
    openings: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashed, sha256 = [0], hashlib.sha256

    class Counting:
        def __init__(self, data: bytes = b"") -> None:
            self.hash = sha256()
            self.update(data)

        def update(self, data: bytes) -> None:
            hashed[0] += len(data)
            self.hash.update(data)

        def hexdigest(self) -> str:
            return self.hash.hexdigest()

    monkeypatch.setattr(hashlib, "sha256", Counting)
    paths, settings = (tmp_path / "photograph.jpg", tmp_path / "style.png"), InversionSettings(steps=2, size=64)
    for image, path in zip((astronaut, painted), paths, strict=True):
        image.save(path)
    openings.clear()
    content, style = (engine.invert(path, settings, session="openings") for path in paths)
    assert [openings.count(str(path)) for path in paths] == [1, 1]
    pixels = content.picture.pixels.nbytes
    assert hashed[0] >= 2 * pixels
    mask = Image.new("L", astronaut.size, 255)
    engine.stylize(content, style, mask=mask)  # PyTorch may look at the machine's own files once
    openings.clear()
    hashed[0] = 0
    for strength in (0.2, 0.5, 0.8):
        engine.stylize(content, style, FusionSettings(strength=strength), mask=mask)
        engine.recipe(content, style, FusionSettings(strength=strength), mask=mask)
    assert openings == []
    assert hashed[0] < pixels  # over all three: the settings and the map of strength over latents, no picture


def test_a_draft_shows_what_the_full_render_will_be(engine: StyleEngine, content: Inversion, style: Inversion) -> None:
    for settings, least in ((FusionSettings(neighbours=0), 26), (FusionSettings(), 22.5)):
        full, draft = (engine.stylize(content, style, settings, draft=draft).image for draft in (False, True))
        assert psnr(draft, full) >= least
        assert psnr(engine.decode(content), full) < 20


def test_a_closed_render_stops_within_one_unet_call(engine: StyleEngine, content: Inversion, style: Inversion) -> None:
    before = engine.model.unet_calls
    frames = engine.render(content, style, FusionSettings(strength=0.9))
    next(frames)
    frames.close()
    assert engine.model.unet_calls == before + 1
    assert not any(type(module.processor).__module__.startswith("magicstyle") for module in attention(engine))


def attention(engine: StyleEngine) -> list[torch.nn.Module]:
    return [engine.model.unet.get_submodule(layer.name) for layer in engine.layers()]


def test_frames_count_up_and_previews_resemble_the_picture(
    engine: StyleEngine, content: Inversion, style: Inversion
) -> None:
    frames = list(engine.render(content, style, FusionSettings(strength=0.95), preview_every=3))
    assert [frame.step for frame in frames] == list(range(1, STEPS + 1))
    assert [frame.step for frame in frames if frame.image] == [3, 6, 8]
    assert [frame.final for frame in frames] == [False] * (STEPS - 1) + [True]
    preview, picture = frames[5].image, frames[-1].image
    assert preview is not None
    assert picture is not None
    assert preview.size == picture.size
    assert psnr(preview, picture) > 15
    again = engine.render(content, style, FusionSettings(strength=0.95), preview_every=1)
    assert all(frame.image is not None for frame in again)  # also where the picture could be had without a call


def test_banked_and_recomputed_features_give_the_same_picture(
    engine: StyleEngine, content: Inversion, style: Inversion, astronaut: Image.Image, painted: Image.Image
) -> None:
    poor = StyleEngine(engine.model, budget_bytes=0)
    before = engine.model.unet_calls
    first, second = (poor.invert(picture, InversionSettings(steps=STEPS)) for picture in (astronaut, painted))
    alone, together = FusionSettings(neighbours=0), FusionSettings()
    recomputed = poor.stylize(first, second, alone)
    inverting = 2 * inversion_calls(STEPS, engine.model.corrections)
    assert engine.model.unet_calls - before == inverting + 3 * STEPS  # three rows per step
    assert recomputed.unet_calls == 3 * STEPS
    assert poor.stats()["bytes"]["device"] == 0
    assert psnr(recomputed.image, engine.stylize(content, style, alone).image) >= 40
    # From 16 bits to 32 neighbours decide near ties together.
    assert psnr(poor.stylize(first, second, together).image, engine.stylize(content, style, together).image) >= 35


def test_where_not_all_layers_fit_the_presets_are_stored_and_others_named_first(
    engine: StyleEngine, content: Inversion, astronaut: Image.Image, painted: Image.Image
) -> None:
    whole = bank_of(engine, content)
    small = StyleEngine(engine.model, budget_bytes=int(whole.nbytes * 1.5))
    own, other = (small.invert(picture, InversionSettings(steps=STEPS)) for picture in (astronaut, painted))
    assert small.stats()["bytes"]["device"] < whole.nbytes
    every = FusionSettings(layers=("all",))
    for settings, calls in ((FusionSettings(), 0), (FusionSettings(layers=()), 0), (every, 2 * STEPS)):
        assert small.missing_calls(own, other, settings) == calls
        assert small.stylize(own, other, settings).unet_calls == STEPS + calls


def test_a_budget_for_one_bank_keeps_one_and_refills(
    engine: StyleEngine, content: Inversion, style: Inversion, astronaut: Image.Image, painted: Image.Image
) -> None:
    whole = bank_of(engine, content)
    small = StyleEngine(engine.model, budget_bytes=int(whole.nbytes * 0.6))
    settings = InversionSettings(steps=STEPS)
    pair = small.invert(astronaut, settings), small.invert(painted, settings)
    assert 0 < small.stats()["bytes"]["device"] < whole.nbytes * 0.6
    assert small.missing_calls(*pair, FusionSettings()) == STEPS
    for strength in (1.0, 0.8):
        picture = small.stylize(*pair, FusionSettings(strength=strength))
        assert psnr(picture.image, engine.stylize(content, style, FusionSettings(strength=strength)).image) >= 40
        assert small.stats()["bytes"]["device"] <= whole.nbytes * 0.6


def test_bytes_per_image_against_stored_query_key_value(engine: StyleEngine, content: Inversion) -> None:
    bank = bank_of(engine, content)
    qkv = 3 * sum(row.values.numel() for row in bank.rows.values())
    assert bank.nbytes <= 0.36 * qkv * bank.dtype.itemsize  # at the same precision
    assert bank.nbytes + content.nbytes <= 0.36 * qkv * engine.model.dtype.itemsize  # all there is, as they come


def test_a_session_forgotten_during_a_render_still_ends_well(
    engine: StyleEngine, astronaut: Image.Image, painted: Image.Image
) -> None:
    settings = InversionSettings(steps=4, size=128)
    content, style = (engine.invert(image, settings, session="gone") for image in (astronaut, painted))
    frames = engine.render(content, style)
    next(frames)
    assert engine.forget("gone") > 0
    *_, last = frames
    content, style = (engine.invert(image, settings, session="back") for image in (astronaut, painted))
    assert last.image is not None
    assert psnr(last.image, engine.stylize(content, style).image) >= 40
    assert "gone" not in engine.stats()["sessions"]


def test_sessions_render_side_by_side(engine: StyleEngine, content: Inversion, style: Inversion) -> None:
    expected = {
        strength: engine.stylize(content, style, FusionSettings(strength=strength)).image for strength in (0.3, 1.0)
    }
    fresh = StyleEngine(engine.model)  # has rendered nothing yet, on the same UNet
    got: dict[float, Image.Image] = {}
    threads = [
        threading.Thread(
            target=lambda s: got.__setitem__(s, fresh.stylize(content, style, FusionSettings(strength=s)).image),
            args=(strength,),
        )
        for strength in expected
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for strength, picture in expected.items():
        assert psnr(got[strength], picture) >= 60


def test_out_of_memory_steps_down_and_gives_the_same_picture(
    engine: StyleEngine, content: Inversion, style: Inversion, astronaut: Image.Image, painted: Image.Image
) -> None:
    own = StyleEngine(engine.model, budget_bytes=None)
    settings = InversionSettings(steps=STEPS)
    pair = own.invert(astronaut, settings), own.invert(painted, settings)
    raised: list[bool] = []

    def run_out(*_: object) -> None:
        if not raised:
            raised.append(True)
            raise torch.OutOfMemoryError("CUDA out of memory, raised by the test")

    hook = engine.model.unet.register_forward_pre_hook(run_out)
    try:
        picture = own.stylize(*pair, FusionSettings())
    finally:
        hook.remove()
    assert raised
    assert psnr(picture.image, engine.stylize(content, style, FusionSettings()).image) >= 40
    assert own.stats()["bytes"]["device"] == 0 or own.stats()["messages"]
    assert any("out of memory" in message for message in own.stats()["messages"])


def test_a_render_goes_on_from_what_an_earlier_one_shares(
    engine: StyleEngine, astronaut: Image.Image, painted: Image.Image
) -> None:
    def render(on: StyleEngine, session: str, settings: FusionSettings) -> tuple[bytes, int]:
        inversion = InversionSettings(steps=10, size=128)
        content, style = (on.invert(image, inversion, session=session) for image in (astronaut, painted))
        picture = on.stylize(content, style, settings)
        return picture.image.tobytes(), picture.unet_calls

    early = FusionSettings(end=0.5)
    first, calls = render(engine, "prefix", early)
    assert calls == 10
    assert render(engine, "prefix", early) == (first, 0)
    for changed, left in (
        (early.replace(end=0.7), 5),
        (early.replace(temperature=2.0), 10),
        (early.replace(seed=1), 10),
    ):
        expected, _ = render(StyleEngine(engine.model), "fresh", changed)
        assert render(engine, "prefix", changed) == (expected, left)
    assert render(engine, "another session", early) == (first, 10)
    engine.forget("prefix")
    assert render(engine, "prefix", early) == (first, 10)


def test_a_mask_keeps_the_rest(engine: StyleEngine, content: Inversion, style: Inversion) -> None:
    mask = Image.new("L", (100, 100), 0)
    mask.paste(255, (0, 0, 50, 100))
    plain = np.asarray(engine.decode(content), float)
    masked = engine.stylize(content, style, FusionSettings(detail=0), mask=mask).image
    change = np.abs(np.asarray(masked, float) - plain).mean(axis=(0, 2))
    half = len(change) // 2
    assert change[: half - 32].mean() > 5
    assert change[half + 32 :].mean() < 0.5  # only what the decoder sees past the edge


def test_a_seed_varies_the_picture_and_repeats(engine: StyleEngine, content: Inversion, style: Inversion) -> None:
    one, again, other = (engine.stylize(content, style, FusionSettings(seed=seed)).image for seed in (1, 1, 2))
    assert one.tobytes() == again.tobytes()
    assert one.tobytes() != other.tobytes()
    assert psnr(one, other) > 12


def test_aspect_ratio_is_kept(engine: StyleEngine, style: Inversion, painted: Image.Image) -> None:
    wide = Image.effect_mandelbrot((300, 120), (-2, -1, 1, 1), 50).convert("RGB")
    content = engine.invert(wide, InversionSettings(steps=STEPS), session="wide")
    picture = engine.stylize(content, style).image
    assert (content.picture.pixels.shape[1], content.picture.pixels.shape[0]) == picture.size
    assert abs(picture.width / picture.height - 2.5) < 0.1


def test_wrong_requests_say_what_to_do(
    engine: StyleEngine, content: Inversion, style: Inversion, painted: Image.Image
) -> None:
    other = engine.invert(painted, InversionSettings(steps=5), session="other steps")
    with pytest.raises(SettingsError, match="invert both with the same number"):
        next(engine.render(content, other))
    with pytest.raises(SettingsError, match="matches nothing"):
        next(engine.render(content, style, FusionSettings(layers=("up_blocks.7",))))
    with pytest.raises(SettingsError, match="30 render steps are asked for, 8 are stored"):
        next(engine.render(content, style, FusionSettings(render_steps=30)))
    with pytest.raises(SettingsError, match="weight above 0"):
        next(engine.render(content, [(style, 0.0)]))


def test_the_same_pixels_are_the_same_inversion_whatever_the_file(
    engine: StyleEngine, painted: Image.Image, tmp_path: Path
) -> None:
    for name in ("a.png", "b.bmp"):
        painted.save(tmp_path / name)
    settings = InversionSettings(steps=4, size=64)
    first = engine.invert(tmp_path / "a.png", settings, session="files")
    before = engine.model.unet_calls
    assert engine.invert(tmp_path / "b.bmp", settings, session="files") is first
    assert engine.model.unet_calls == before
    assert engine.invert(painted, settings.replace(steps=5), session="files").steps == 5
    assert engine.model.unet_calls == before + inversion_calls(5, engine.model.corrections)
