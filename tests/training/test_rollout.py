from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from magicstyle_core import FusionSettings, StyleEngine
from magicstyle_core.images import to_image
from training import metrics
from training.colour import lab
from training.rollout import Judge, Pairs, Rollout


def pictures(size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    content, style = skimage.data.astronaut(), skimage.data.coffee()
    return tuple(np.asarray(Image.fromarray(picture).resize((size, size))) for picture in (content, style))


def as_lab(picture: np.ndarray) -> torch.Tensor:
    return lab(torch.tensor(picture).permute(2, 0, 1)[None] / 127.5 - 1)


def test_the_judge_finds_what_the_metrics_find() -> None:
    torch.manual_seed(0)
    content, style = pictures()
    between = (0.5 * content + 0.5 * style).astype(np.uint8)
    judge = Judge(as_lab(content), as_lab(style))
    texture, palette, outlines = judge(as_lab(between)).tolist()
    assert texture == pytest.approx(
        metrics.texture_distance(between, style) / metrics.texture_distance(content, style), abs=0.15
    )
    assert palette == pytest.approx(
        metrics.colour_distance(between, style) / metrics.colour_distance(content, style), abs=0.15
    )
    assert outlines == pytest.approx(1 - metrics.edge_correlation(between, content), abs=0.02)
    assert judge(as_lab(content)).tolist() == pytest.approx([1, 1, 0], abs=1e-3)
    assert judge(as_lab(style))[:2].tolist() == pytest.approx([0, 0], abs=1e-3)


def test_what_training_rolls_out_is_what_the_engine_renders(engine: StyleEngine) -> None:
    content, style = (engine.invert(Image.fromarray(picture), session="rollout") for picture in pictures(256))
    settings, plain = FusionSettings(strength=1.2, detail=0), FusionSettings(strength=0, detail=0)
    rollout = Rollout(engine.backbone.unet, engine.backbone.vae, engine.backbone.alphas_cumprod)
    clean = content.trajectory[:1], style.trajectory[:1]
    ((step, x0),) = rollout.render(*clean, list(content.timesteps), settings, {0})
    assert step == 0
    rolled_out = np.asarray(to_image(engine.backbone.decode(x0.detach())))
    served = np.asarray(engine.stylize(content, style, settings).image)
    assert metrics.psnr(rolled_out, served) >= 35
    assert metrics.psnr(np.asarray(engine.stylize(content, style, plain).image), served) < 25
    engine.forget("rollout")


def test_gradients_of_a_rollout_reach_every_attention_layer(engine: StyleEngine) -> None:
    unet = engine.backbone.unet
    queries = [p for name, p in unet.named_parameters() if name.endswith("attn1.to_q.weight")]
    for parameter in queries:
        parameter.requires_grad_(True)
    rollout = Rollout(unet, engine.backbone.vae, engine.backbone.alphas_cumprod)
    try:
        pairs = Pairs(*torch.randn(2, 2, 16, 8, 8), *torch.rand(2, 2, 3, 64, 64))
        loss, judgement = rollout.loss(pairs, np.random.default_rng(0))
        gradients = torch.autograd.grad(loss, queries)
    finally:
        for parameter in queries:
            parameter.requires_grad_(False)
    assert judgement.shape == (3,)
    assert all(gradient.abs().max() > 0 for gradient in gradients)
