from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from magicstyle_core import FusionSettings, InversionSettings, StyleEngine
from magicstyle_core.errors import ModelError
from magicstyle_core.guard import Guard
from magicstyle_core.model import Model
from tests.tiny_models import tiny_model


@pytest.fixture
def half(tiny_sd1: Path) -> Model:
    return tiny_model(tiny_sd1, dtype=torch.float16)


def make_overflow(layer: torch.nn.Conv2d) -> None:
    """Its weights fit fp16, what comes out of it does not."""
    with torch.no_grad():
        layer.weight.copy_(layer.weight.float() * 5e4 / layer.weight.abs().max())


LATENTS = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
PIXELS = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def nothing_to_free() -> bool:
    return False


def test_a_unet_that_overflows_half_precision_goes_on_in_fp32_alone(
    half: Model, caplog: pytest.LogCaptureFixture
) -> None:
    make_overflow(half.unet.conv_in)
    with caplog.at_level(logging.WARNING):
        noise_pred = Guard(half, nothing_to_free).denoise(LATENTS, 501)
    assert noise_pred.isfinite().all()
    assert (half.dtype, half.vae.dtype) == (torch.float32, torch.float16)
    assert half.messages == ["tiny: the UNet gave values that are not finite in float16; it now runs in fp32."]
    assert half.messages[0] in caplog.text


@pytest.mark.parametrize("part", ["encode", "decode"])
def test_a_vae_that_overflows_half_precision_goes_on_in_fp32_alone(half: Model, tiny_sd1: Path, part: str) -> None:
    exact = tiny_model(tiny_sd1, dtype=torch.float16)
    for model in (half, exact):
        make_overflow((model.vae.encoder if part == "encode" else model.vae.decoder).conv_in)
    exact.vae.float()
    given = PIXELS if part == "encode" else LATENTS
    assert not getattr(half, part)(given).isfinite().all()
    assert torch.equal(getattr(Guard(half, nothing_to_free), part)(given), getattr(exact, part)(given))
    assert (half.dtype, half.vae.dtype) == (torch.float16, torch.float32)
    assert "the VAE gave values that are not finite" in half.messages[0]


def test_a_picture_through_a_vae_that_overflows_is_the_one_of_fp32(half: Model, tiny_sd1: Path) -> None:
    exact = tiny_model(tiny_sd1, dtype=torch.float16)
    for model in (half, exact):
        for coder in (model.vae.encoder, model.vae.decoder):
            make_overflow(coder.conv_in)
    exact.vae.float()
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    pictures = []
    for model in (half, exact):
        engine = StyleEngine(model)
        content, style = (engine.invert(Image.fromarray(pixels), InversionSettings(steps=3)) for pixels in noise)
        pictures.append(engine.stylize(content, style, FusionSettings()).image.tobytes())
    assert pictures[0] == pictures[1]
    assert (half.dtype, half.vae.dtype) == (torch.float16, torch.float32)
    assert len(half.messages) == 1


def test_values_not_finite_in_fp32_are_an_error(tiny_sd1: Path) -> None:
    model = tiny_model(tiny_sd1)
    with torch.no_grad():
        model.unet.conv_out.weight.fill_(torch.nan)
    with pytest.raises(ModelError, match="the UNet gave values that are not finite, even in fp32"):
        Guard(model, nothing_to_free).denoise(LATENTS, 501)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")]
)
@pytest.mark.parametrize("freed", [True, False])
def test_out_of_memory_is_tried_once_more_if_some_was_freed(tiny_sd1: Path, error: Exception, freed: bool) -> None:
    model = tiny_model(tiny_sd1)
    full, asked = [True], []

    def fail(*_: object) -> None:
        if full[0]:
            raise error

    def free_memory() -> bool:
        asked.append(True)
        full[0] = not freed
        return freed

    model.unet.register_forward_pre_hook(fail)
    guard = Guard(model, free_memory)
    if freed:
        assert guard.denoise(LATENTS, 501).isfinite().all()
    else:
        with pytest.raises(ModelError, match="out of memory; choose a smaller size"):
            guard.denoise(LATENTS, 501)
    assert asked == [True]


def test_other_errors_pass_as_they_are(tiny_sd1: Path) -> None:
    guard = Guard(tiny_model(tiny_sd1), nothing_to_free)
    with pytest.raises(RuntimeError, match="channels"):
        guard.denoise(torch.zeros(1, 5, 8, 8), 501)
