"""FFA: attention of the picture that is being made over its content's and its styles' features; it needs torch and
`transport` alone.

    FFA        `feature_fusion_attention`
    balance    `style_shares`     all of a style is looked at alike
    neighbours `agree`            what lies side by side looks at what lies side by side
    strokes    `mixture`          the share of what is looked at; the rest is the content's, in the style's contrast

The abstract of MagicStyle (arXiv 2409.08156) names Feature Fusion Attention; its equation is not public to us: this one
is ours, and StyleID, PortraitDiffusion and ZePo are settings of it (docs/method.md). Tensors are (batch, heads, tokens,
dim).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from magicstyle_core.transport import moments, transported

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None, float], Tensor]  # query, key, value, bias, scale
Fusion = Literal["blend", "joint"]

JOINT_LIMIT = 30.0  # |log-odds| at strength 0 and from 1 up; exp(-30) is below the rounding of fp32
ROUNDS = 5  # with ten a flat dark wall takes the mean of a whole painting, without its strokes (docs/method.md)
LEAST_ASKED = 1e-30  # by a query where strength is 0, near the least number of fp32: the logarithm stays finite
# Below the greatest exponent of a sum. A thousand times exp(-30) is below the rounding of fp32, and exp takes fifty
# times as long on a CPU where it underflows.
LEAST_EXPONENT = -30.0
LEAST_SHARE = 1e-30  # near the least number of fp32: shares and what is divided by stay above 0
# Of `agree`, from far to near: rows down and columns to the right, one agreement each; the opposite counts, too. Twice
# right and down alone are .711 in texture and .410 in content (mini, held-out paintings, 256 pixels), with diagonals
# .716 and .404 and no square corners in flat styles. With those two away it is .710 and .459, with their diagonals .707
# and .508.
DIRECTIONS = (((0, 4), (4, 0)), ((0, 2), (2, 0)), ((0, 1), (1, 0), (1, 1), (1, -1)))
ALONE = 0.1  # of `agree`: what counts without any neighbour; with .05 it is .714 and .413
NUMBERS_AT_ONCE = 450_000  # of `agree`, so that they stay in the cache: 29 ms for 2704 tokens, 45 ms line by line
KEYS_AT_ONCE = 256  # so that a copy of their logits stays in the cache: 9 ms for 2704 tokens, 13 ms with 512


def sdpa(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """softmax(scale Q K' + bias) V by PyTorch's fused kernel, which wants one width; (batch, heads, tokens, dim)."""
    wide = F.pad(value, (0, query.shape[-1] - value.shape[-1]))
    return F.scaled_dot_product_attention(query, key, wide, attn_mask=bias, scale=scale)[..., : value.shape[-1]]


def feature_fusion_attention(
    query: Tensor,
    query_c: Tensor | None,
    key_c: Tensor | None,
    value_c: Tensor | None,
    key_s: Tensor,
    value_s: Tensor,
    *,
    strength: Tensor,
    structure: float,
    temperature: float = 1.0,
    balance: float = 0.0,
    neighbours: float = 0.0,
    strokes: Tensor | None = None,
    grids: Sequence[Grid] = (),
    fusion: Fusion = "blend",
    style_bias: Tensor | None = None,
    attend: Attend = sdpa,
    watch: Callable[[Tensor], object] | None = None,
) -> Tensor:
    """Attention of the target over content and style features.

        Q   = (1 - structure) query + structure query_c
        L_s = temperature Q K_s' / sqrt d + style_bias + balance log g,   g as `style_shares` has it
        A_s = softmax(L_s), agreed upon with the neighbours (`agree`)
        O_c = softmax(Q K_c' / sqrt d) V_c
        O_s = A_s V_s, with strokes its `mixture` with V_c
        blend:  O_c + strength (O_s - O_c)
        joint:  one softmax over both key sets, the log-odds of strength added to the style's logits

    Args:
        query: (batch, heads, tokens, dim).
        query_c: the same; None if structure is 0.
        key_c, value_c: (batch, heads, content_tokens, dim). A blend takes None for key_c where strength is 1
            everywhere, as O_c cancels out, and for value_c, too, without strokes.
        key_s, value_s: (batch, heads, style_tokens, dim); several styles lie side by side.
        strength: (batch or 1, 1, tokens, 1), per query.
        balance: 0 = every query looks where it likes; 1 = all style tokens are looked at alike, so that rare colours
            and strokes arrive, too.
        neighbours: 0 = every query decides by itself; 1 = what its neighbours look at counts as much as its own logits;
            up to 3: what those two and four places away look at, too.
        strokes: share of what is looked at, per query as strength; the rest is the content. None = nothing of the
            content. Nothing to `joint`.
        grids: where tokens lie, for `neighbours`: the target's, then each style's.
        style_bias: (style_tokens,), logarithms of weights; -inf, without balance, where nothing may be looked at.
        attend: the attention kernel; a blend with balance or neighbours has its own.
        watch: is given what a blend with balance or neighbours has for A_s, (batch, heads, tokens, style_tokens),
            detached.

    Returns:
        (batch, heads, tokens, dim).
    """
    if query_c is not None:
        query = query + structure * (query_c - query)  # (batch, heads, tokens, dim)
    if fusion == "joint":
        assert key_c is not None
        assert value_c is not None
        return _joint(
            query, key_c, value_c, key_s, value_s, strength, temperature, balance, neighbours, grids, style_bias, attend
        )
    scale = 1 / math.sqrt(query.shape[-1])
    if balance or neighbours:
        outs, seen = list[Tensor](), list[Tensor]()
        by_head = style_shares(query, key_s, style_bias, temperature * scale, strength=strength, balance=balance)
        for (shares, _), v in zip(by_head, value_s.unbind(1), strict=True):
            agreed = agree(shares, grids, neighbours)
            outs.append((agreed @ v.float()).to(query))
            if watch is not None:
                seen.append(agreed.detach())
        if watch is not None:
            watch(torch.stack(seen, 1))
        out_s = torch.stack(outs, 1)
    else:
        mask = None
        if style_bias is not None:
            mask = style_bias.to(query).expand(*query.shape[:3], -1)  # (batch, heads, tokens, style_tokens)
        out_s = attend(query, key_s, value_s, mask, temperature * scale)
    if strokes is not None:
        assert value_c is not None
        out_s = mixture(out_s, value_c, value_s, strokes, strength, style_bias)
    if key_c is None or value_c is None:
        return out_s
    mixed = (strength != 1).any(0).flatten().nonzero()[:, 0]  # queries; a face may be all there is
    out_c = attend(query[:, :, mixed], key_c, value_c, None, scale)
    return out_s.index_copy(2, mixed, out_c + strength[:, :, mixed].to(query) * (out_s[:, :, mixed] - out_c))


def mixture(
    looked_at: Tensor,
    value_c: Tensor,
    value_s: Tensor,
    strokes: Tensor,
    strength: Tensor,
    style_bias: Tensor | None = None,
) -> Tensor:
    """What is looked at and the content's drawing, in the style's colours and contrast.

        M(strokes looked_at + (1 - strokes) M(V_c))

    M gives the channels of a head the means and covariances of V_s (transport.py), as whitening and colouring does (Li
    et al., arXiv 1705.08086). A mixture of two pictures that do not go together has less contrast than either, and
    strokes are contrast. A token counts by its strength, so that a mask's part is all that is compared.

    Args:
        looked_at: A_s V_s, (batch, heads, tokens, dim).
        value_c, value_s, strokes, strength, style_bias: as `feature_fusion_attention` has them.
    """
    counts = strength.clamp(LEAST_ASKED, 1)  # (batch or 1, 1, tokens, 1)
    wanted = moments(value_s, None if style_bias is None else style_bias.exp()[:, None])
    drawn = transported(value_c, moments(value_c, counts), wanted)  # (batch, heads, tokens, dim)
    mixed = torch.lerp(drawn, looked_at, strokes.to(looked_at))
    return transported(mixed, moments(mixed, counts), wanted)


def _joint(
    query: Tensor,
    key_c: Tensor,
    value_c: Tensor,
    key_s: Tensor,
    value_s: Tensor,
    strength: Tensor,
    temperature: float,
    balance: float,
    neighbours: float,
    grids: Sequence[Grid],
    style_bias: Tensor | None,
    attend: Attend,
) -> Tensor:
    """One softmax over content and styles. Neighbours decide between the style's keys, not how much the style gets."""
    scale, mask = 1 / math.sqrt(query.shape[-1]), None
    bias = query.new_zeros(key_s.shape[:3])  # (batch, heads, style_tokens)
    if style_bias is not None:
        bias = bias + style_bias
    if balance or neighbours:
        rarities, leanings = list[Tensor](), list[Tensor]()
        for shares, rarity in style_shares(
            query, key_s, style_bias, temperature * scale, strength=strength, balance=balance
        ):
            rarities.append(rarity)
            if neighbours:
                agreed = agree(shares.clone(), grids, neighbours)
                leanings.append((agreed.clamp(min=LEAST_SHARE) / shares.clamp(min=LEAST_SHARE)).log())
        bias = bias + torch.stack(rarities, 1)
        if neighbours:
            mask = F.pad(torch.stack(leanings, 1), (key_c.shape[2], 0)).to(query)  # (batch, heads, tokens, all tokens)
    # Log-odds per query and bias per style key ride in two more channels, so it stays one fused call.
    log_odds = torch.logit(strength.float().clamp(0, 1)).clamp(-JOINT_LIMIT, JOINT_LIMIT)
    per_query = log_odds.to(query).expand_as(query[..., :1])  # (batch, heads, tokens, 1)
    per_key = bias.to(key_s).clamp(min=-1e4)[..., None]  # (batch, heads, style_tokens, 1)
    query = torch.cat([query * scale, per_query, torch.ones_like(per_query)], -1)  # (batch, heads, tokens, dim + 2)
    key_s = torch.cat([key_s * temperature, torch.ones_like(per_key), per_key], -1)
    key = torch.cat([F.pad(key_c, (0, 2)), key_s], 2)  # (batch, heads, all tokens, dim + 2)
    return attend(query, key, torch.cat([value_c, value_s], 2), mask, 1.0)


def style_shares(
    query: Tensor, key: Tensor, bias: Tensor | None, scale: float, *, strength: Tensor, balance: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """How much each query looks at each key, head by head, as all heads may be gigabytes.

        softmax(scale Q K' + bias + balance log g)

    g is such that all keys are looked at alike, by Sinkhorn's algorithm (Sander et al., Sinkformers, 2021), rounds of

        u = strength / A (w g),   g = 1 / A' u,   A = exp(scale Q K'),   w = exp(bias)

    the first with the strength for u. A query asks by its strength, so that where a mask keeps the photograph nothing
    is used up.

    Args:
        query, key, bias, strength, balance: as `feature_fusion_attention` has them.

    Yields:
        Shares, (batch, tokens, style_tokens), the caller's to write into; and balance log g but for a number added to
        all, (batch, style_tokens).
    """
    asking = strength.float()[:, 0].clamp(LEAST_ASKED, 1)  # (batch or 1, tokens, 1)
    asking = asking / asking.amax(1, keepdim=True)
    weights = 1.0 if bias is None else bias.float().exp()[:, None]  # (style_tokens, 1)
    for q, k in zip(query.unbind(1), key.unbind(1), strict=True):
        log_g = q.new_zeros(len(q), 1, k.shape[1])  # (batch, 1, style_tokens)
        if balance:
            logits = (scale * q @ k.mT).float()  # (batch, tokens, style_tokens)
            parts = []  # of the first round, in logarithms, as its numbers have no bounds
            for part in logits.split(KEYS_AT_ONCE, 2):
                asked = part + asking.log()
                greatest = asked.detach().amax(1, keepdim=True)
                parts.append((asked - greatest).clamp(min=LEAST_EXPONENT).exp().sum(1, keepdim=True).log() + greatest)
            first = torch.cat(parts, 2)  # (batch, 1, style_tokens)
            # In place: a copy takes as long as the product that made the logits.
            kernel = logits.sub_(first)
            kernel = kernel.sub_(kernel.detach().amax(2, keepdim=True)).clamp_(min=LEAST_EXPONENT).exp_()
            gain = kernel.new_ones(len(kernel), kernel.shape[2], 1)  # g over that of the first round
            for _ in range(ROUNDS - 1):
                gain = 1 / (kernel.mT @ (asking / (kernel @ (weights * gain))))  # (batch, style_tokens, 1)
            log_g = gain.log().mT - first
            log_g = balance * (log_g - log_g.mean(2, keepdim=True))
        if balance == 1:
            gain = weights * gain
            total, out = kernel @ gain, None if kernel.requires_grad else kernel
            yield torch.div(torch.mul(kernel, gain.mT, out=out), total, out=out), log_g[:, 0]
        else:
            biased = log_g if bias is None else log_g + bias
            yield ((scale * q @ k.mT).float() + biased).softmax(2), log_g[:, 0]


class Grid(NamedTuple):
    """Where tokens lie in their picture."""

    rows: int
    columns: int
    tokens: Tensor  # which of the places there are, row by row, int (tokens,)


def agree(shares: Tensor, grids: Sequence[Grid], neighbours: float) -> Tensor:
    """What lies side by side looks at what lies side by side, in each style for itself.

        A(q, k) <- A(q, k) (c(q, k) + ALONE)^p / ...,   c(q, k) = mean of A(q + d, k + d)

    once for each direction, with d and -d; what a query pays to a style stays as it is, and c is 1 where that is spread
    evenly. Up to 1 `neighbours` is p of the places right beside, from 1 to 2 it less 1 that of those two away, from 2
    to 3 it less 2 that of those four away, which come first. Neighbourhood consensus (Rocco et al., arXiv 1810.10510)
    on attention, without training.

    Args:
        shares: (batch, tokens, style_tokens), written into unless they have a gradient.
        grids, neighbours: as `feature_fusion_attention` has them.
    """
    if not neighbours:
        return shares
    if shares.requires_grad:
        shares = shares.clone()
    (rows, columns, _), *styles = grids
    first = 0
    for style in styles:
        part = shares[:, :, first : (first := first + len(style.tokens))]  # (batch, tokens, style's tokens)
        holes = len(style.tokens) < style.rows * style.columns
        whole = part  # (batch, tokens, style_rows * style_columns)
        if holes:
            whole = part.new_zeros(*part.shape[:2], style.rows * style.columns)
            whole[..., style.tokens] = part
        lines = whole.view(-1, rows, columns, style.rows, style.columns)
        paid = part.sum(2).view(-1, rows, columns, 1, 1)
        least = lines.new_full((), LEAST_SHARE)  # keeps small shares from underflowing
        for down, right, power in _directions(neighbours):
            at_once = max(1, down, NUMBERS_AT_ONCE // (columns * style.rows * style.columns))
            here_y, there_y = _shifted(down)
            here_x, there_x = _shifted(right)
            above = lines.new_zeros(len(lines), down, *lines.shape[2:])
            for row in range(0, rows, at_once):
                here = lines[:, row : row + at_once]  # (batch, lines, columns, style_rows, style_columns)
                if shares.requires_grad:
                    here = here.clone()
                even = paid[:, row : row + at_once] / len(style.tokens)
                around = (2 * ALONE * even).expand(here.shape).contiguous()
                if down:
                    below = lines[:, row + down : row + down + at_once]
                    over = above[:, : here.shape[1]]
                    around[:, :down, there_x, there_y, there_x] += over[:, :, here_x, here_y, here_x]
                    around[:, down:, there_x, there_y, there_x] += here[:, :-down, here_x, here_y, here_x]
                    around[:, : below.shape[1], here_x, here_y, here_x] += below[:, :, there_x, there_y, there_x]
                    above = here[:, -down:].clone()
                else:
                    around[:, :, there_x, :, there_x] += here[:, :, here_x, :, here_x]
                    around[:, :, here_x, :, here_x] += here[:, :, there_x, :, there_x]
                if power != 1:
                    around = (power * around.log()).exp()  # a power takes four times as long on a CPU
                agreed = torch.addcmul(least, around, here)
                agreed *= paid[:, row : row + at_once] / agreed.sum((3, 4), keepdim=True).clamp(min=LEAST_SHARE)
                lines[:, row : row + at_once] = agreed
        if holes:
            part.copy_(whole[..., style.tokens])
    return shares


def _directions(neighbours: float) -> Iterator[tuple[int, int, float]]:
    """Rows down, columns to the right and the power of each agreement, in their order."""
    for begin, directions in zip((2, 1, 0), DIRECTIONS, strict=True):
        power = min(neighbours - begin, 1.0)
        if power > 0:
            yield from ((down, right, power) for down, right in directions)


def _shifted(by: int) -> tuple[slice, slice]:
    """Places that have another one this far on, and those others."""
    return slice(max(0, -by), min(0, -by) or None), slice(max(0, by), min(0, by) or None)
