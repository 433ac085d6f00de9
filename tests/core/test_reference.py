"""StyleID (Chung, Hyun & Heo, arXiv 2312.09008) written anew from its formulas, as what the engine is held against.

    Q   = gamma Q_content + (1 - gamma) Q_target
    out = softmax(tau Q K_style' / sqrt d) V_style
    z_T = std(z_T style) (z_T content - mean) / std + mean(z_T style)

Every difference between its two published programs and ours is a switch. docs/method.md argues each of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from PIL import Image
from torch import Tensor

from magicstyle_core import FusionSettings, InversionSettings, StyleEngine
from magicstyle_core.palette import palette_shift
from magicstyle_core.plan import plan
from magicstyle_core.settings import apply_preset
from tests.tiny_models import TEXT_CHANNELS, tiny_model

STEPS = 5
UP = ("up_blocks.2.attentions.0", "up_blocks.2.attentions.1", "up_blocks.3.attentions.0", "up_blocks.3.attentions.1")

Stored = dict[tuple[int, str], tuple[Tensor, Tensor, Tensor]]  # query, key, value by step and layer


@dataclass(frozen=True)
class Switches:
    """Where the published programs and ours differ; the defaults are those at which the engine can meet StyleID."""

    start: Literal["adain", "palette"] = "adain"
    end_palette: bool = False
    residual: bool = False
    inversion: Literal["A", "B"] = "A"  # B: the estimate for t is made at the latents of the step below
    last: Literal["final_alpha", "x0"] = "final_alpha"
    layers: tuple[str, ...] = UP
    temperature: float = 1.5
    query_share: float = 0.75


class Reference:
    """StyleID on the networks of a diffusers folder, in fp64, with explicit attention and the moves written out."""

    def __init__(self, folder: Path, switches: Switches) -> None:
        self.unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet").double().eval()
        self.vae = AutoencoderKL.from_pretrained(folder, subfolder="vae").double().eval()
        self.switches = switches
        scheduler = DDIMScheduler.from_config(
            DDIMScheduler.load_config(folder, subfolder="scheduler"), set_alpha_to_one=False
        )
        scheduler.set_timesteps(STEPS)
        self.timesteps: list[int] = scheduler.timesteps.tolist()[::-1]
        self.alphas = list(scheduler.alphas_cumprod[self.timesteps].double())
        self.final_alpha = scheduler.final_alpha_cumprod.double()

    def __call__(self, content: Image.Image, style: Image.Image) -> Tensor:
        """The finished latents."""
        z_c, eps_c, features_c = self.invert(content)
        z_s, _, features_s = self.invert(style)
        if self.switches.start == "adain":
            z = (z_c[-1] - mean(z_c[-1])) / std(z_c[-1]) * std(z_s[-1]) + mean(z_s[-1])
        else:
            z = z_c[-1] + self.alphas[-1].sqrt() * palette_shift(z_c[0], z_s[0])
        for i in reversed(range(STEPS)):
            with self.processors(partial(self.fused, i=i, content=features_c, style=features_s)):
                eps = self.eps(z, i)
            below = self.below(i)
            z = shift(z, eps, self.alphas[i], below)
            if self.switches.residual:
                z = z + z_c[max(i - 1, 0)] - shift(z_c[i], eps_c[i], self.alphas[i], below)
        return z + palette_shift(z, z_s[0]) if self.switches.end_palette else z

    def below(self, i: int) -> Tensor:
        if i > 0:
            return self.alphas[i - 1]
        return self.final_alpha if self.switches.last == "final_alpha" else torch.ones(()).double()

    @torch.no_grad()
    def invert(self, image: Image.Image) -> tuple[list[Tensor], list[Tensor], Stored]:
        pixels = torch.tensor(np.asarray(image), dtype=torch.float64).permute(2, 0, 1)[None] / 127.5 - 1
        z = self.vae.encode(pixels).latent_dist.mean * self.vae.config.scaling_factor
        trajectory, estimates, stored = [], [], Stored()
        for i in range(STEPS):
            with self.processors(partial(self.keep, i=i, stored=stored)):
                eps = self.eps(z, i)
            if self.switches.inversion == "A":
                trajectory.append(z)
                if i + 1 < STEPS:
                    z = shift(z, eps, self.alphas[i], self.alphas[i + 1])
            else:
                z = shift(z, eps, self.below(i), self.alphas[i])
                trajectory.append(z)
            estimates.append(eps)
        return trajectory, estimates, stored

    @torch.no_grad()
    def eps(self, z: Tensor, i: int) -> Tensor:
        return self.unet(z, self.timesteps[i], torch.zeros(1, 77, TEXT_CHANNELS).double()).sample

    def keep(self, attn: Attention, name: str, hidden: Tensor, i: int, stored: Stored) -> Tensor:
        query, key, value = stored[i, name] = project(attn, hidden)
        return joined(attn, softmax_attention(query, key, value, 1.0))

    def fused(self, attn: Attention, name: str, hidden: Tensor, i: int, content: Stored, style: Stored) -> Tensor:
        share = self.switches.query_share
        query = share * content[i, name][0] + (1 - share) * project(attn, hidden)[0]
        _, key, value = style[i, name]
        return joined(attn, softmax_attention(query, key, value, self.switches.temperature))

    @contextmanager
    def processors(self, attention: Callable[[Attention, str, Tensor], Tensor]) -> Iterator[None]:
        before = self.unet.attn_processors

        def processor(name: str) -> Callable[..., Tensor]:
            return lambda attn, hidden, *_, **__: attention(attn, name, hidden)

        ours = {f"{name}.transformer_blocks.0.attn1.processor": processor(name) for name in self.switches.layers}
        self.unet.set_attn_processor({**before, **ours})
        yield
        self.unet.set_attn_processor(before)


def mean(z: Tensor) -> Tensor:
    return z.mean((2, 3), keepdim=True)


def std(z: Tensor) -> Tensor:
    return z.std((2, 3), keepdim=True)


def shift(z: Tensor, eps: Tensor, alpha: Tensor, alpha_to: Tensor) -> Tensor:
    """Equation 12 of DDIM (arXiv 2010.02502) at eta 0."""
    return (alpha_to / alpha).sqrt() * z + ((1 - alpha_to).sqrt() - (alpha_to * (1 - alpha) / alpha).sqrt()) * eps


def project(attn: Attention, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value, (heads, tokens, dim) each."""
    query, key, value = (
        torch.stack(projection(hidden)[0].chunk(attn.heads, -1)) for projection in (attn.to_q, attn.to_k, attn.to_v)
    )
    return query, key, value


def softmax_attention(query: Tensor, key: Tensor, value: Tensor, temperature: float) -> Tensor:
    return torch.softmax(temperature * query @ key.mT / math.sqrt(query.shape[-1]), -1) @ value


def joined(attn: Attention, heads: Tensor) -> Tensor:
    return attn.to_out[0](torch.cat(list(heads), -1))[None]


@pytest.fixture(scope="module")
def pair(astronaut: Image.Image, painted: Image.Image) -> tuple[Image.Image, Image.Image]:
    return astronaut.resize((64, 64)), painted.resize((64, 64))


@pytest.fixture(scope="module")
def by_engine(tiny_sd1: Path, pair: tuple[Image.Image, Image.Image]) -> Callable[..., Tensor]:
    """The finished latents of the engine: preset "StyleID's attention", AdaIN, no residual, and the given changes."""
    engine = StyleEngine(tiny_model(tiny_sd1), budget_bytes=0)  # no bank, so nothing is rounded to 16 bits
    content, style = (engine.invert(image, InversionSettings(steps=STEPS)) for image in pair)
    as_published = apply_preset("StyleID's attention", FusionSettings()).replace(palette="adain", residual=0.0)

    def render(**changes: Any) -> Tensor:
        settings = as_published.replace(**changes)
        engine.stylize(content, style, settings)
        latents = engine.store.remembered(content.session, plan(engine.model, content, style, settings).history[-1])
        assert latents is not None
        return latents

    return render


def difference(a: Tensor, b: Tensor) -> float:
    """Relative, over all latents."""
    return float((a - b).norm() / b.norm())


# What one switch is for the reference, and for the engine; None where the engine has no such setting.
DIFFERENCES: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {
    "start and end palette": ({"start": "palette", "end_palette": True}, {"palette": "both"}),
    "end palette": ({"end_palette": True}, None),
    "start palette": ({"start": "palette"}, None),
    "residual": ({"residual": True}, {"residual": 1.0}),
    "inversion": ({"inversion": "B"}, None),
    "last step": ({"last": "x0"}, None),
    "layers": ({"layers": UP[1:]}, {"layers": ("up 2.1", "up 3.0", "up 3.1")}),
    "temperature": ({"temperature": 1.0}, {"temperature": 1.0}),
    "query share": ({"query_share": 0.3}, {"structure": 0.3}),
}


def test_the_preset_is_styleid_once_the_switches_are_set_alike(
    tiny_sd1: Path, pair: tuple[Image.Image, Image.Image], by_engine: Callable[..., Tensor]
) -> None:
    assert difference(by_engine(), Reference(tiny_sd1, Switches())(*pair)) < 1e-5


@pytest.mark.parametrize("name", DIFFERENCES)
def test_each_switch_matters_and_the_engine_follows_it(
    name: str, tiny_sd1: Path, pair: tuple[Image.Image, Image.Image], by_engine: Callable[..., Tensor]
) -> None:
    switch, changes = DIFFERENCES[name]
    switched = Reference(tiny_sd1, replace(Switches(), **switch))(*pair)
    assert difference(switched, by_engine()) > 1e-2
    if changes is not None:
        # fp32 against fp64, through an inversion: up to 1.1e-5 on one thread; every switch moves 1.6e-2 or more
        assert difference(by_engine(**changes), switched) < 2e-5
