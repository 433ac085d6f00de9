import math

import pytest
import torch
from diffusers import UNet2DConditionModel

from magicstyle_core.attention import (
    FusionInputs,
    OneTokenAttention,
    choose_layers,
    feature_fusion_attention,
    fusing,
    recording,
    self_attention_layers,
)
from magicstyle_core.errors import SettingsError

LATENTS = (1, 4, 8, 8)


def features(*shape: int, count: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def explicit_attention(query, key, value, bias=0.0, temperature=1.0):
    logits = temperature * query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + bias
    return logits.softmax(-1) @ value


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


def fusion_inputs(content, styles, **changes) -> FusionInputs:
    values = {
        "weights": [1.0] * len(styles), "strength": 1.0, "structure": 0.0, "temperature": 1.0, "fusion": "blend",
    }  # fmt: skip
    return FusionInputs(content=content, styles=styles, **{**values, **changes})


def test_blend_is_the_formula() -> None:
    query, query_c, key_c, value_c = features(1, 2, 12, 8, count=4)
    key_s, value_s = features(1, 2, 20, 8, count=2, seed=1)
    mixed = 0.7 * query + 0.3 * query_c
    out_c = explicit_attention(mixed, key_c, value_c)
    out_s = explicit_attention(mixed, key_s, value_s, temperature=1.5)
    out = feature_fusion_attention(
        query, query_c, key_c, value_c, key_s, value_s, strength=1.2, structure=0.3, temperature=1.5
    )
    torch.testing.assert_close(out, out_c + 1.2 * (out_s - out_c))


def test_what_cancels_out_may_be_left_out() -> None:
    query, query_c, key_c, value_c = features(1, 2, 12, 8, count=4)
    key_s, value_s = features(1, 2, 20, 8, count=2, seed=1)
    whole = feature_fusion_attention(query, query_c, key_c, value_c, key_s, value_s, strength=1.0, structure=0.0)
    short = feature_fusion_attention(query, None, None, None, key_s, value_s, strength=1.0, structure=0.0)
    torch.testing.assert_close(short, whole)


@torch.no_grad()
def test_one_token_attention_is_cross_attention_to_one_token(unet: UNet2DConditionModel) -> None:
    attn = unet.mid_block.attentions[0].transformer_blocks[0].attn2
    hidden_states, prompt = features(1, 9, 64, count=1)[0], features(1, 1, 16, count=1, seed=1)[0]
    expected = attn(hidden_states, encoder_hidden_states=prompt)  # (1, 9, 64)
    found = OneTokenAttention()(attn, hidden_states, prompt)  # (1, 1, 64)
    torch.testing.assert_close(found.expand_as(expected), expected)


def test_style_bias_weighs_the_style_tokens() -> None:
    query, query_c, key_c, value_c = features(1, 2, 12, 8, count=4)
    key_s, value_s = features(1, 2, 20, 8, count=2, seed=1)
    bias = torch.linspace(-2, 2, 20)
    out = feature_fusion_attention(
        query, query_c, key_c, value_c, key_s, value_s, strength=1.0, structure=0.0, style_bias=bias
    )
    torch.testing.assert_close(out, explicit_attention(query, key_s, value_s, bias=bias))


@pytest.mark.parametrize(("strength", "side"), [(0.0, "content"), (1.0, "style"), (1.5, "style")])
def test_joint_meets_blend_at_the_ends(strength: float, side: str) -> None:
    query, query_c, key_c, value_c = features(1, 2, 12, 8, count=4)
    key_s, value_s = features(1, 2, 20, 8, count=2, seed=1)
    out = feature_fusion_attention(
        query,
        query_c,
        key_c,
        value_c,
        key_s,
        value_s,
        strength=strength,
        structure=0.0,
        temperature=1.3,
        fusion="joint",
    )
    ends = {
        "content": explicit_attention(query, key_c, value_c),
        "style": explicit_attention(query, key_s, value_s, temperature=1.3),
    }
    torch.testing.assert_close(out, ends[side], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fusion", ["blend", "joint"])
def test_more_strength_moves_further_from_content(fusion: str) -> None:
    query, query_c, key_c, value_c = features(1, 2, 12, 8, count=4)
    key_s, value_s = features(1, 2, 20, 8, count=2, seed=1)
    outs = [
        feature_fusion_attention(
            query, query_c, key_c, value_c, key_s, value_s, strength=strength, structure=0.0, fusion=fusion
        )
        for strength in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    distances = [float((out - outs[0]).norm()) for out in outs]
    assert distances == sorted(distances)
    assert len(set(distances)) == 5


@pytest.mark.parametrize("fusion", ["blend", "joint"])
def test_strength_per_query_equals_the_number_there(fusion: str) -> None:
    query, query_c, key_c, value_c = features(1, 2, 12, 8, count=4)
    key_s, value_s = features(1, 2, 20, 8, count=2, seed=1)

    def fuse(strength):
        return feature_fusion_attention(
            query, query_c, key_c, value_c, key_s, value_s, strength=strength, structure=0.0, fusion=fusion
        )

    per_query = torch.tensor([0.2] * 6 + [0.9] * 6).view(1, 1, 12, 1)
    torch.testing.assert_close(fuse(per_query)[:, :, :6], fuse(0.2)[:, :, :6])
    torch.testing.assert_close(fuse(per_query)[:, :, 6:], fuse(0.9)[:, :, 6:])


def test_layers_come_in_the_order_of_the_forward_pass(unet: UNet2DConditionModel) -> None:
    layers = self_attention_layers(unet)
    with recording(unet, layers) as recorded:
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
    assert {layer.level for layer in choose_layers(layers, ["texture"])} == {0}
    assert [layer.label for layer in choose_layers(layers, ["up_blocks.1", "mid 0"])] == ["mid 0", "up 1.0", "up 1.1"]
    assert [layer.label for layer in choose_layers(layers, ["down", "up.colour"])] == [
        "down 0.0",
        "down 1.0",
        "up 0.0",
        "up 0.1",
    ]
    with pytest.raises(SettingsError, match=r"'up_blocks\.9' matches nothing"):
        choose_layers(layers, ["all", "up_blocks.9"])
    with pytest.raises(SettingsError):
        choose_layers(layers, ["up_blocks.1.att"])  # a prefix, but not one that ends at a dot


def test_recording_is_bit_identical_and_restores(unet: UNet2DConditionModel) -> None:
    before, processors = call(unet), dict(unet.attn_processors)
    with recording(unet, self_attention_layers(unet)):
        assert torch.equal(call(unet), before)
    assert unet.attn_processors == processors
    assert torch.equal(call(unet), before)


@pytest.mark.parametrize("context", ["recording", "fusing"])
def test_an_exception_inside_leaves_the_unet_as_before(unet: UNet2DConditionModel, context: str) -> None:
    layers, processors = self_attention_layers(unet), dict(unet.attn_processors)
    with recording(unet, layers) as recorded:
        call(unet)
    installed = (
        recording(unet, layers)
        if context == "recording"
        else fusing(unet, layers, fusion_inputs(recorded, [recorded]), (8, 8))
    )
    with pytest.raises(ZeroDivisionError), installed:
        assert unet.attn_processors != processors
        raise ZeroDivisionError
    assert unet.attn_processors == processors


def test_own_features_fused_back_change_nothing(unet: UNet2DConditionModel) -> None:
    layers = self_attention_layers(unet)
    with recording(unet, layers) as recorded:
        expected = call(unet)
    inputs = fusion_inputs(recorded, [recorded], strength=0.7, structure=0.5)
    with fusing(unet, layers, inputs, (8, 8)):
        torch.testing.assert_close(call(unet), expected, rtol=1e-4, atol=1e-5)


def test_style_features_change_only_with_strength_and_a_map_equals_a_number(unet: UNet2DConditionModel) -> None:
    layers = self_attention_layers(unet)
    with recording(unet, layers) as content:
        expected = call(unet, seed=0)
    with recording(unet, layers) as style:
        call(unet, seed=1)

    def fused(**changes) -> torch.Tensor:
        with fusing(unet, layers, fusion_inputs(content, [style], **changes), (8, 8)):
            return call(unet, seed=0)

    torch.testing.assert_close(fused(strength=0.0), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(fused(strength=1.0), expected, atol=1e-3)
    torch.testing.assert_close(fused(strength=torch.full((1, 1, 8, 8), 0.6)), fused(strength=0.6))


def test_several_styles_meet_the_single_one_as_its_weight_grows(unet: UNet2DConditionModel) -> None:
    layers = self_attention_layers(unet)
    recorded = []
    for seed in range(3):
        with recording(unet, layers) as one:
            call(unet, seed)
        recorded.append(one)

    def fused(styles, weights) -> torch.Tensor:
        with fusing(unet, layers, fusion_inputs(recorded[0], styles, weights=weights), (8, 8)):
            return call(unet, seed=0)

    alone = fused([recorded[1]], [1.0])
    distances = [float((fused(recorded[1:], [1.0, other]) - alone).norm()) for other in (1.0, 0.1, 1e-6)]
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 1e-3 * float(alone.norm())
