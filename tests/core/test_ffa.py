"""Feature Fusion Attention against explicit formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from magicstyle_core import attention
from magicstyle_core.attention import Grid, agree, feature_fusion_attention
from magicstyle_core.transport import moments, transported
from tests.randoms import randoms


def everywhere(strength: float, tokens: int = 12) -> Tensor:
    return torch.full((1, 1, tokens, 1), strength)


def softmax_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | float = 0.0, temperature: float = 1.0
) -> Tensor:
    logits = temperature * query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + bias
    return logits.softmax(-1) @ value


@pytest.mark.parametrize("structure", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [0.7, 1.5])
def test_blend_is_the_formula(structure: float, temperature: float) -> None:
    query, query_c, key_c, value_c = randoms(2, 2, 12, 8, count=4)
    key_s, value_s = randoms(2, 2, 20, 8, count=2, seed=1)
    mixed = (1 - structure) * query + structure * query_c
    out_c = softmax_attention(mixed, key_c, value_c)
    out_s = softmax_attention(mixed, key_s, value_s, temperature=temperature)
    out = feature_fusion_attention(
        query, query_c, key_c, value_c, key_s, value_s,
        strength=everywhere(1.2), structure=structure, temperature=temperature,
    )  # fmt: skip
    torch.testing.assert_close(out, out_c + 1.2 * (out_s - out_c))


def test_joint_at_one_half_is_one_attention_over_both_key_sets() -> None:
    query, key_c, value_c = randoms(1, 2, 12, 8, count=3)
    key_s, value_s = randoms(1, 2, 20, 8, count=2, seed=1)
    expected = softmax_attention(query, torch.cat([key_c, 1.3 * key_s], 2), torch.cat([value_c, value_s], 2))
    out = feature_fusion_attention(
        query, None, key_c, value_c, key_s, value_s,
        strength=everywhere(0.5), structure=0.0, temperature=1.3, fusion="joint",
    )  # fmt: skip
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("strength", "side"), [(0.0, "content"), (1.0, "style"), (1.5, "style")])
def test_joint_meets_blend_at_the_ends(strength: float, side: str) -> None:
    query, key_c, value_c = randoms(1, 2, 12, 8, count=3)
    key_s, value_s = randoms(1, 2, 20, 8, count=2, seed=1)
    out = feature_fusion_attention(
        query, None, key_c, value_c, key_s, value_s,
        strength=everywhere(strength), structure=0.0, temperature=1.3, fusion="joint",
    )  # fmt: skip
    ends = {
        "content": softmax_attention(query, key_c, value_c),
        "style": softmax_attention(query, key_s, value_s, temperature=1.3),
    }
    torch.testing.assert_close(out, ends[side], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fusion", ["blend", "joint"])
def test_style_bias_weighs_and_hides_style_tokens(fusion: attention.Fusion) -> None:
    query, key_c, value_c = randoms(1, 2, 12, 8, count=3)
    key_s, value_s = randoms(1, 2, 20, 8, count=2, seed=1)
    bias = torch.linspace(-2, 2, 20)
    bias[5:8] = -math.inf
    out = feature_fusion_attention(
        query, None, key_c, value_c, key_s, value_s,
        strength=everywhere(1.0), structure=0.0, style_bias=bias, fusion=fusion,
    )  # fmt: skip
    torch.testing.assert_close(out, softmax_attention(query, key_s, value_s, bias), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fusion", ["blend", "joint"])
def test_strength_per_query_equals_the_number_there(fusion: attention.Fusion) -> None:
    query, key_c, value_c = randoms(1, 2, 12, 8, count=3)
    key_s, value_s = randoms(1, 2, 20, 8, count=2, seed=1)

    def fuse(strength: Tensor) -> Tensor:
        return feature_fusion_attention(
            query, None, key_c, value_c, key_s, value_s, strength=strength, structure=0.0, fusion=fusion
        )

    per_query = torch.cat([everywhere(0.2, 6), everywhere(0.9, 6)], 2)
    torch.testing.assert_close(fuse(per_query)[:, :, :6], fuse(everywhere(0.2))[:, :, :6])
    torch.testing.assert_close(fuse(per_query)[:, :, 6:], fuse(everywhere(0.9))[:, :, 6:])


def test_what_cancels_out_may_be_left_out() -> None:
    query, key_c, value_c = randoms(1, 2, 12, 8, count=3)
    key_s, value_s = randoms(1, 2, 20, 8, count=2, seed=1)
    one = everywhere(1.0)
    whole = feature_fusion_attention(query, None, key_c, value_c, key_s, value_s, strength=one, structure=0.0)
    short = feature_fusion_attention(query, None, None, None, key_s, value_s, strength=one, structure=0.0)
    torch.testing.assert_close(short, whole)


def balanced_log_gain(logits: Tensor, strength: Tensor, weights: Tensor) -> Tensor:
    """g as `style_shares` has it, by its formula in fp64: (batch, heads, style_tokens, 1)."""
    kernel, strength, weights = logits.double().exp(), strength.double(), weights.double()[:, None]
    gain = 1 / (kernel.mT @ strength)
    for _ in range(attention.ROUNDS - 1):
        gain = 1 / (kernel.mT @ (strength / (kernel @ (weights * gain))))
    return gain.log()


@pytest.mark.parametrize("balance", [0.7, 1.0])
@pytest.mark.parametrize("fusion", ["blend", "joint"])
def test_balance_is_sinkhorns_algorithm(
    fusion: attention.Fusion, balance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "KEYS_AT_ONCE", 7)
    query, key_c, value_c = randoms(2, 2, 12, 8, count=3)
    key_s, value_s = randoms(2, 2, 20, 8, count=2, seed=1)
    strength = torch.linspace(0.3, 1, 12).view(1, 1, 12, 1)
    bias = torch.linspace(-2, 2, 20)
    logits = 1.3 * query @ key_s.mT / math.sqrt(8)
    log_gain = balanced_log_gain(logits, strength, bias.exp()).to(logits)
    logits = logits + balance * (log_gain - log_gain.mean(2, keepdim=True)).mT + bias
    logits_c = query @ key_c.mT / math.sqrt(8)
    if fusion == "blend":
        out_c = logits_c.softmax(3) @ value_c
        expected = out_c + strength * (logits.softmax(3) @ value_s - out_c)
    else:
        odds = torch.logit(strength).clamp(-30, 30)
        expected = torch.cat([logits_c, logits + odds], 3).softmax(3) @ torch.cat([value_c, value_s], 2)
    out = feature_fusion_attention(
        query, None, key_c, value_c, key_s, value_s,
        strength=strength, structure=0.0, temperature=1.3, balance=balance, fusion=fusion, style_bias=bias,
    )  # fmt: skip
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("balance", [0.3, 0.7, 1.0])
def test_balance_bears_logits_of_a_thousand(balance: float) -> None:
    query, value_s = randoms(1, 1, 12, 8, count=2)
    far = query * torch.linspace(1, 150, 12).view(12, 1)
    assert (far @ far.mT / math.sqrt(8)).abs().max() > 1000
    out = feature_fusion_attention(
        far, None, None, None, far, value_s, strength=everywhere(1.0), structure=0.0, balance=balance
    )
    assert out.isfinite().all()
    assert (out.abs().amax((2, 3)) <= value_s.abs().amax((2, 3)) + 1e-5).all()


def test_styles_are_looked_at_by_their_weights() -> None:
    query, key_s = randoms(1, 2, 40, 8, count=1)[0], randoms(1, 2, 30, 8, count=1, seed=1)[0]
    bias = torch.cat([torch.full((10,), 0.75 / 10), torch.full((20,), 0.25 / 20)]).log()
    seen: list[Tensor] = []
    feature_fusion_attention(
        query, None, None, None, key_s, key_s,
        strength=everywhere(1.0, 40), structure=0.0, balance=1.0, style_bias=bias, watch=seen.append,
    )  # fmt: skip
    torch.testing.assert_close(seen[0].sum(3), torch.ones(1, 2, 40))
    torch.testing.assert_close(seen[0][..., :10].sum((2, 3)) / 40, torch.full((1, 2), 0.75), rtol=0.02, atol=0)


def test_balanced_attention_looks_at_all_of_the_style() -> None:
    query, key_s = 7 * randoms(1, 1, 40, 40, count=1)[0], randoms(1, 1, 40, 40, count=1, seed=1)[0]
    query[..., 8:] = 0  # few channels count, so that keys are alike
    query[..., 0] += 9  # all queries like the same few keys best

    def looked_at(balance: float) -> Tensor:
        """How often each key is."""
        return feature_fusion_attention(
            query, None, None, None, key_s, torch.eye(40)[None, None],
            strength=everywhere(1.0, 40), structure=0.0, balance=balance,
        ).sum(2).flatten()  # fmt: skip

    plain, balanced = looked_at(0.0), looked_at(1.0)
    assert plain.max() > 5
    assert balanced.std() < plain.std() / 10
    assert balanced.min() > 0.5


@pytest.mark.parametrize("balance", [0.5, 1.0])
def test_queries_without_strength_ask_for_nothing(balance: float) -> None:
    query, key_c, value_c = randoms(1, 2, 12, 8, count=3)
    key_s, value_s = randoms(1, 2, 20, 8, count=2, seed=1)
    half = torch.cat([everywhere(1.0, 6), everywhere(0.0, 6)], 2)
    whole, part = (
        feature_fusion_attention(
            q, None, key_c, value_c, key_s, value_s, strength=strength, structure=0.0, balance=balance
        )
        for q, strength in ((query, half), (query[:, :, :6], everywhere(1.0, 6)))
    )
    torch.testing.assert_close(whole[:, :, :6], part, rtol=1e-4, atol=1e-5)


def test_balance_where_no_query_has_strength_is_the_content() -> None:
    query, key_c, value_c = randoms(1, 2, 12, 8, count=3)
    key_s, value_s = randoms(1, 2, 20, 8, count=2, seed=1)
    out = feature_fusion_attention(
        query, None, key_c, value_c, key_s, value_s, strength=everywhere(0.0), structure=0.0, balance=1.0
    )
    torch.testing.assert_close(out, (query @ key_c.mT / math.sqrt(8)).softmax(3) @ value_c)


def grid(rows: int, columns: int, tokens: list[int] | None = None) -> Grid:
    return Grid(rows, columns, torch.arange(rows * columns) if tokens is None else torch.tensor(tokens))


def agreed_by_the_formula(shares: Tensor, target: Grid, style: Grid, neighbours: float) -> Tensor:
    """`agree` for one whole style in fp64, token by token."""
    shares = shares.double().clone()
    far = [(way, min(neighbours - n, 1)) for n in (2, 1) if neighbours > n for way in ((0, 2**n), (2**n, 0))]
    near = [(way, min(neighbours, 1)) for way in ((0, 1), (1, 0), (1, 1), (1, -1))]
    for (down, across), power in far + near:
        common = torch.zeros_like(shares)
        for side in (-1, 1):
            for q in range(target.rows * target.columns):
                for k in range(style.rows * style.columns):
                    row, column = q // target.columns + side * down, q % target.columns + side * across
                    row_s, column_s = k // style.columns + side * down, k % style.columns + side * across
                    if row in range(target.rows) and column in range(target.columns):  # noqa: SIM102
                        if row_s in range(style.rows) and column_s in range(style.columns):
                            beside = shares[:, row * target.columns + column, row_s * style.columns + column_s]
                            common[:, q, k] += len(style.tokens) * beside / 2
        shares = shares * (common + attention.ALONE) ** power
        shares = shares / shares.sum(2, keepdim=True)
    return shares


@pytest.mark.parametrize("neighbours", [0.4, 1.0, 1.7, 3.0])
@pytest.mark.parametrize("numbers_at_once", [1, 50, 10_000])
def test_neighbours_agree_by_the_formula(
    neighbours: float, numbers_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "NUMBERS_AT_ONCE", numbers_at_once)
    target, style = grid(7, 3), grid(5, 6)
    shares = randoms(2, 21, 30, count=1)[0].softmax(2)
    expected = agreed_by_the_formula(shares, target, style, neighbours)
    with_gradient = agree(shares.clone().requires_grad_(), (target, style), neighbours)
    found = agree(shares, (target, style), neighbours)
    torch.testing.assert_close(found, expected.to(found))
    torch.testing.assert_close(with_gradient.detach(), found)
    assert found.data_ptr() == shares.data_ptr()


def test_no_share_underflows_while_neighbours_agree() -> None:
    """Numbers below the least normal one take a CPU many times as long."""
    shares = (30 * torch.eye(144)[None]).softmax(2)
    assert agree(shares, (grid(12, 12),) * 2, 3.0).min() >= torch.finfo(torch.float32).tiny


def test_gradients_flow_through_the_agreement() -> None:
    grids, shares = (grid(3, 3), grid(3, 2)), randoms(1, 9, 6, count=1)[0].double().softmax(2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: agree(x, grids, 1.7), (shares,))


def test_what_lies_side_by_side_in_the_style_is_found_side_by_side() -> None:
    """A style is looked for through noise: alone a query seldom finds its place, with neighbours often."""
    side = 12
    (style,) = randoms(1, 1, side**2, 4, count=1)
    query = style + 2 * randoms(1, 1, side**2, 4, count=1, seed=1)[0]
    seen: list[Tensor] = []
    for neighbours in (0.0, 0.5, 1.0, 2.0):
        feature_fusion_attention(
            query, None, None, None, style, style, strength=everywhere(1.0, side**2), structure=0.0, temperature=2.0,
            balance=1.0, neighbours=neighbours, grids=(grid(side, side),) * 2, watch=seen.append,
        )  # fmt: skip
    right = [(shares[0, 0].argmax(1) == torch.arange(side**2)).float().mean().item() for shares in seen]
    assert right[0] < right[1] - 0.1
    assert right[1] < right[2] < right[3]


def test_what_may_not_be_looked_at_tells_nothing() -> None:
    """A style of which the left half counts is that half."""
    left = [0, 1, 4, 5, 8, 9]
    shares = randoms(1, 12, 6, count=1)[0].softmax(2)
    whole = agree(shares.clone(), (grid(3, 4), grid(3, 2)), 1.0)
    torch.testing.assert_close(agree(shares, (grid(3, 4), grid(3, 4, left)), 1.0), whole)


def test_each_style_agrees_for_itself_and_keeps_what_is_paid_to_it() -> None:
    shares = randoms(1, 12, 12 + 6, count=1)[0].softmax(2)
    target, first, second = grid(3, 4), grid(3, 4), grid(3, 2)
    found = agree(shares.clone(), (target, first, second), 1.0)
    torch.testing.assert_close(found[..., :12].sum(2), shares[..., :12].sum(2))
    torch.testing.assert_close(found.sum(2), torch.ones(1, 12))
    alone = agree(shares[..., :12].clone(), (target, first), 1.0)
    torch.testing.assert_close(found[..., :12], alone)
    rarely = agree(0.01 * shares, (target, first, second), 1.0)
    torch.testing.assert_close(rarely, 0.01 * found)


def test_what_is_looked_at_is_mixed_with_the_content_at_the_moments_of_the_style() -> None:
    query, key_c, value_c = randoms(2, 2, 12, 8, count=3)
    key_s, value_s = randoms(2, 2, 20, 8, count=2, seed=1)
    strength, strokes = torch.linspace(0, 1.3, 12).view(1, 1, 12, 1), torch.linspace(0, 1, 12).view(1, 1, 12, 1)
    bias = torch.linspace(-2, 2, 20)
    bias[5:8] = -math.inf

    def in_moments(values: Tensor) -> Tensor:
        now, wanted = moments(values, strength.clamp(0, 1)), moments(value_s.double(), bias.double().exp()[:, None])
        return transported(values, now, wanted)

    looked_at = softmax_attention(query, key_s, value_s, bias)
    out_s = in_moments(strokes * looked_at + (1 - strokes) * in_moments(value_c.double()))
    out_c = softmax_attention(query, key_c, value_c)
    out = feature_fusion_attention(
        query, None, key_c, value_c, key_s, value_s,
        strength=strength, structure=0.0, strokes=strokes, style_bias=bias,
    )  # fmt: skip
    torch.testing.assert_close(out.double(), out_c + strength * (out_s - out_c), rtol=1e-4, atol=1e-5)


def test_a_flat_style_makes_a_flat_mixture() -> None:
    query, key_c, value_c, key_s = randoms(1, 1, 12, 8, count=4)
    value_s = torch.full((1, 1, 12, 8), 0.3)
    out = feature_fusion_attention(
        query,
        None,
        key_c,
        value_c,
        key_s,
        value_s,
        strength=everywhere(1.0),
        structure=0.0,
        strokes=everywhere(0.5),
    )
    torch.testing.assert_close(out, value_s, rtol=0, atol=1e-3)


@pytest.mark.parametrize("balance", [0.0, 0.7])
def test_neighbours_in_one_softmax_leave_the_style_its_part(balance: float) -> None:
    query, key_c, value_c, key_s, value_s = randoms(1, 2, 12, 8, count=5)
    grids, strength, log_g = (grid(3, 4),) * 2, torch.linspace(0.3, 0.9, 12).view(1, 1, 12, 1), torch.zeros(1, 2, 12, 1)
    logits_c, logits = (1.3 * query @ k.mT / math.sqrt(8) for k in (key_c / 1.3, key_s))
    if balance:
        log_g = balanced_log_gain(logits, strength, torch.ones(12)).to(logits)
    logits = logits + balance * (log_g - log_g.mean(2, keepdim=True)).mT
    both = torch.cat([logits_c, logits + torch.logit(strength)], 3).softmax(3)
    paid = both[..., 12:].sum(3, keepdim=True)
    agreed = torch.stack([agree(shares.clone(), grids, 1.0) for shares in logits.softmax(3).unbind(1)], 1)
    expected = both[..., :12] @ value_c + paid * agreed @ value_s
    out = feature_fusion_attention(
        query, None, key_c, value_c, key_s, value_s, strength=strength, structure=0.0, temperature=1.3,
        balance=balance, neighbours=1.0, grids=grids, fusion="joint",
    )  # fmt: skip
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    assert (expected - both @ torch.cat([value_c, value_s], 2)).abs().max() > 0.1
