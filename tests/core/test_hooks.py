from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from magicstyle_core.attention import Grid, feature_fusion_attention
from magicstyle_core.errors import ModelError, SettingsError
from magicstyle_core.hooks import (
    Features,
    Fusing,
    OneTokenAttention,
    by_heads,
    fuse,
    record,
    self_attention_layers,
)
from magicstyle_core.layers import choose_layers

LATENTS = (1, 4, 8, 8)


def features(*shape: int, count: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8, cross_attention_dim=16,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=4,
    ).eval()  # fmt: skip


@torch.no_grad()
def call(unet: UNet2DConditionModel, seed: int = 0) -> torch.Tensor:
    latents = torch.randn(LATENTS, generator=torch.Generator().manual_seed(seed))
    return unet(latents, 501, torch.zeros(1, 1, 16)).sample


def how(strength: float = 1.0, **options: Any) -> Fusing:
    return Fusing(torch.full((1, 1, 8, 8), strength), **options)


@torch.no_grad()
def test_one_token_attention_is_cross_attention_to_one_token(unet: UNet2DConditionModel) -> None:
    attn = unet.mid_block.attentions[0].transformer_blocks[0].attn2
    hidden_states, prompt = features(1, 9, 64, count=1)[0], features(1, 1, 16, count=1, seed=1)[0]
    expected = attn(hidden_states, encoder_hidden_states=prompt)  # (1, 9, 64)
    found = OneTokenAttention()(attn, hidden_states, prompt)  # (1, 1, 64)
    torch.testing.assert_close(found.expand_as(expected), expected)


def test_layers_come_in_the_order_of_the_forward_pass(unet: UNet2DConditionModel) -> None:
    layers = self_attention_layers(unet)
    with record(unet, layers) as recorded:
        call(unet)
    assert [layer.name for layer in layers] == list(recorded)
    assert [layer.label for layer in layers] == [
        "down 0.0",
        "down 1.0",
        "mid 0",
        "up 0.0",
        "up 0.1",
        "up 1.0",
        "up 1.1",
    ]
    for layer in layers:
        rows, columns = layer.size(8, 8)
        assert recorded[layer.name].shape[1] == rows * columns


def test_choose_layers_by_all_group_label_and_prefix(unet: UNet2DConditionModel) -> None:
    layers = self_attention_layers(unet)
    assert choose_layers(layers, ["all"]) == layers
    assert {layer.level for layer in choose_layers(layers, ["fine"])} == {0}
    assert [layer.label for layer in choose_layers(layers, ["up_blocks.1", "mid 0"])] == ["mid 0", "up 1.0", "up 1.1"]
    assert [layer.label for layer in choose_layers(layers, ["down", "up.coarse"])] == [
        "down 0.0",
        "down 1.0",
        "up 0.0",
        "up 0.1",
    ]
    with pytest.raises(SettingsError, match=r"'up_blocks\.9' matches nothing"):
        choose_layers(layers, ["all", "up_blocks.9"])
    with pytest.raises(SettingsError):
        choose_layers(layers, ["up_blocks.1.att"])  # a prefix, but not one that ends at a dot


def test_a_group_that_a_model_lacks_is_left_out_beside_others(unet: UNet2DConditionModel) -> None:
    layers = self_attention_layers(unet)  # two levels: fine and coarse
    assert choose_layers(layers, ["up.middle", "up.fine"]) == choose_layers(layers, ["up.fine"])
    with pytest.raises(SettingsError, match=r"'up.middle' matches nothing"):
        choose_layers(layers, ["up.middle"])


def test_recording_is_bit_identical_and_restores(unet: UNet2DConditionModel) -> None:
    before, processors = call(unet), dict(unet.attn_processors)
    with record(unet, self_attention_layers(unet)):
        assert torch.equal(call(unet), before)
    assert unet.attn_processors == processors
    assert torch.equal(call(unet), before)


def test_groups_go_by_rank_so_that_every_unet_has_a_finest_one(unet: UNet2DConditionModel) -> None:
    assert {layer.group for layer in self_attention_layers(unet)} == {"fine", "coarse"}
    torch.manual_seed(0)
    deep = UNet2DConditionModel(
        sample_size=16, block_out_channels=(32, 32, 32, 32), layers_per_block=1, norm_num_groups=8,
        cross_attention_dim=16, attention_head_dim=4,
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * 3),
        up_block_types=(*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"),
    )  # fmt: skip
    groups = {layer.level: layer.group for layer in self_attention_layers(deep)}
    assert groups == {1: "fine", 2: "middle", 3: "coarse"}  # none at the finest level, as in SDXL


def test_a_layer_that_is_never_reached_is_an_error(unet: UNet2DConditionModel) -> None:
    processors = dict(unet.attn_processors)
    with pytest.raises(ModelError, match=r"never ran down_blocks\.0"), record(unet, self_attention_layers(unet)):
        pass
    assert unet.attn_processors == processors


@pytest.mark.parametrize("context", ["record", "fuse"])
def test_an_exception_inside_leaves_the_unet_as_before(unet: UNet2DConditionModel, context: str) -> None:
    layers, processors = self_attention_layers(unet), dict(unet.attn_processors)
    with record(unet, layers) as recorded:
        call(unet)
    installed = record(unet, layers) if context == "record" else fuse(unet, layers, recorded, [recorded], how())
    with pytest.raises(ZeroDivisionError), installed:
        assert unet.attn_processors != processors
        raise ZeroDivisionError
    assert unet.attn_processors == processors
    assert not any(unet.get_submodule(layer.name)._forward_pre_hooks for layer in layers)


def test_neighbours_are_asked_where_a_layer_has_its_tokens(unet: UNet2DConditionModel) -> None:
    """By `fuse` in a layer of 4 rows of 4, from a style of which 6 × 8 latents, 3 rows of 4, may be looked at."""
    layer = choose_layers(self_attention_layers(unet), ["down 1.0"])[0]
    attn, allowed = unet.get_submodule(layer.name), torch.ones(8, 8, dtype=torch.bool)
    allowed[6:] = False
    target, style = features(1, 16, 64, count=2)
    query, key, value = (
        by_heads(attn, project(x)) for project, x in ((attn.to_q, target), (attn.to_k, style), (attn.to_v, style))
    )
    expected = feature_fusion_attention(
        query, None, None, None, key[:, :, :12], value[:, :, :12], strength=torch.ones(1, 1, 16, 1), structure=0.0,
        neighbours=0.6, grids=(Grid(4, 4, torch.arange(16)), Grid(3, 4, torch.arange(12))),
    )  # fmt: skip
    expected = attn.to_out[0](expected.transpose(1, 2).flatten(2))
    fusing = how(neighbours=0.6, allowed=[allowed])
    with fuse(unet, [layer], {layer.name: target}, [{layer.name: style}], fusing):
        torch.testing.assert_close(attn(target), expected, rtol=1e-4, atol=1e-5)


def test_own_features_fused_back_change_nothing(unet: UNet2DConditionModel) -> None:
    layers = self_attention_layers(unet)
    with record(unet, layers) as recorded:
        expected = call(unet)
    with fuse(unet, layers, recorded, [recorded], how(0.7, structure=0.5)):
        torch.testing.assert_close(call(unet), expected, rtol=1e-4, atol=1e-5)


def test_after_fusing_the_unet_is_bit_identical_also_after_an_error(unet: UNet2DConditionModel) -> None:
    layers, before = self_attention_layers(unet), call(unet)
    with record(unet, layers) as content:
        call(unet)
    with record(unet, layers) as style:
        call(unet, seed=1)
    with fuse(unet, layers, content, [style], how()):
        assert not torch.equal(call(unet), before)
    assert torch.equal(call(unet), before)
    too_short = {**style, layers[-1].name: style[layers[-1].name][:, :, :5]}
    with pytest.raises(RuntimeError), fuse(unet, layers, content, [too_short], how()):
        call(unet)
    assert torch.equal(call(unet), before)


def test_style_features_change_only_with_strength(unet: UNet2DConditionModel) -> None:
    layers = self_attention_layers(unet)
    with record(unet, layers) as content:
        expected = call(unet, seed=0)
    with record(unet, layers) as style:
        call(unet, seed=1)

    def fused(strength: float) -> torch.Tensor:
        with fuse(unet, layers, content, [style], how(strength)):
            return call(unet, seed=0)

    torch.testing.assert_close(fused(0.0), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(fused(1.0), expected, atol=1e-3)
    assert not torch.allclose(fused(0.5), fused(1.0), atol=1e-3)


def test_several_styles_meet_the_single_one_as_its_weight_grows(unet: UNet2DConditionModel) -> None:
    layers, recorded = self_attention_layers(unet), []
    for seed in range(3):
        with record(unet, layers) as one:
            call(unet, seed)
        recorded.append(one)

    def fused(styles: Sequence[Features], weights: Sequence[float]) -> torch.Tensor:
        with fuse(unet, layers, recorded[0], styles, how(weights=weights)):
            return call(unet, seed=0)

    alone = fused([recorded[1]], [1.0])
    distances = [float((fused(recorded[1:], [1.0, other]) - alone).norm()) for other in (1.0, 0.1, 1e-6)]
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 1e-3 * float(alone.norm())
