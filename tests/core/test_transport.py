from __future__ import annotations

import torch
from torch import Tensor

from magicstyle_core.transport import FLOOR, moments, power, transported


def vectors(seed: int, *shape: int) -> Tensor:
    torch.manual_seed(seed)
    channels = shape[-1]
    return torch.randn(*shape) @ torch.randn(channels, channels) + 3 * torch.randn(channels)


def covariance(of: Tensor) -> Tensor:
    """With the floor, (channels, channels)."""
    found = torch.cov(of.double().mT, correction=0)
    return found + (FLOOR * found.diagonal().mean() + 1e-6) * torch.eye(len(found))


def test_the_map_is_the_symmetric_one_that_takes_covariance_to_covariance() -> None:
    x, y = vectors(0, 200, 4), vectors(1, 90, 4)
    out = transported(x, moments(x), moments(y)).double()
    torch.testing.assert_close(out.mean(0), y.double().mean(0), rtol=1e-4, atol=1e-4)
    by = torch.linalg.lstsq(x.double() - x.double().mean(0), out - out.mean(0)).solution  # (4, 4)
    torch.testing.assert_close(by, by.mT, rtol=1e-3, atol=1e-4)
    assert (torch.linalg.eigvalsh(by) > 0).all()  # of all that do, the one that moves least
    torch.testing.assert_close(by @ covariance(x) @ by, covariance(y), rtol=1e-3, atol=1e-3)


def test_vectors_that_have_the_moments_stay() -> None:
    x = vectors(0, 200, 4)
    torch.testing.assert_close(transported(x, moments(x), moments(x)), x, rtol=1e-4, atol=1e-4)


def test_what_does_not_count_has_no_say_but_goes_the_same_way() -> None:
    x, others, y = vectors(0, 60, 3), vectors(1, 30, 3), vectors(2, 50, 3)
    counts = torch.cat([torch.full((60, 1), 0.3), torch.zeros(30, 1)])
    both = torch.cat([x, others])
    out = transported(both, moments(both, counts), moments(y))
    torch.testing.assert_close(out[:60], transported(x, moments(x), moments(y)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(out[60:], transported(others, moments(x), moments(y)), rtol=1e-4, atol=1e-4)


def test_rows_of_a_batch_are_alone() -> None:
    x, y = vectors(0, 3, 2, 40, 4), vectors(1, 3, 2, 30, 4)
    out = transported(x, moments(x), moments(y))
    alone = transported(x[1:2], moments(x[1:2]), moments(y[1:2]))
    torch.testing.assert_close(out[1:2], alone, rtol=1e-4, atol=1e-4)


def test_flat_vectors_take_the_mean_without_blowing_up_and_gradients_are_finite() -> None:
    x, y = torch.full((40, 4), 2.0, requires_grad=True), vectors(1, 30, 4)
    out = transported(x, moments(x), moments(y))
    torch.testing.assert_close(out, y.mean(0).expand_as(out), rtol=1e-3, atol=1e-3)
    out.square().mean().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_gradients_of_a_power_hold_where_eigenvalues_meet_and_where_they_do_not() -> None:
    torch.manual_seed(0)
    turn = torch.linalg.qr(torch.randn(2, 4, 4, dtype=torch.float64)).Q
    values = torch.tensor([[1.0, 2.0, 3.0, 0.5], [1.0, 1.0, 1.0, 0.5]], dtype=torch.float64)
    symmetric = ((turn * values[:, None]) @ turn.mT).requires_grad_()
    for exponent in (0.5, -0.5):
        assert torch.autograd.gradcheck(lambda x, by=exponent: power((x + x.mT) / 2, by), (symmetric,))


def test_gradients_of_the_whole_map_are_right() -> None:
    x, y = (vectors(seed, 12, 3).double().requires_grad_() for seed in (0, 1))
    assert torch.autograd.gradcheck(lambda x, y: transported(x, moments(x), moments(y)), (x, y))


def test_half_precision_comes_back_as_such() -> None:
    x, y = vectors(0, 200, 4), vectors(1, 90, 4)
    out = transported(x.half(), moments(x.half()), moments(y.half()))
    assert out.dtype == torch.float16
    torch.testing.assert_close(out.float(), transported(x, moments(x), moments(y)), rtol=2e-2, atol=5e-2)
