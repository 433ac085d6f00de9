import torch

from magicstyle_core.rendering import palette_shift, smoothed


def latents(seed: int, *size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(4, 4, generator=generator)
    white = torch.randn(1, 4, *size, generator=generator)
    return torch.einsum("dc,bchw->bdhw", mixing, white) + mixing[0].view(1, 4, 1, 1)


def statistics(smooth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return smooth[0].flatten(1).mean(1), torch.cov(smooth[0].flatten(1))


def test_the_palette_arrives_in_the_smoothed_latents() -> None:
    content, style = latents(0, 40, 40), latents(1, 30, 50)
    shift = palette_shift(content, [(style, 1.0)])
    mean, covariance = statistics(smoothed(style))
    mean_before, covariance_before = statistics(smoothed(content))
    mean_after, covariance_after = statistics(smoothed(content) + shift)
    torch.testing.assert_close(mean_after, mean, atol=1e-3, rtol=1e-3)
    assert (covariance_after - covariance).norm() < 0.25 * (covariance_before - covariance).norm()
    assert (mean_before - mean).norm() > 0.1


def test_faint_detail_stays_and_an_edge_gets_no_halo() -> None:
    content = latents(0, 1, 2).repeat_interleave(20, 2).repeat_interleave(10, 3)  # (1, 4, 20, 20), two flat halves
    style = [(0.3 * latents(1, 20, 20), 1.0)]
    shift = palette_shift(content, style)
    jump = (shift[..., 0] - shift[..., -1]).abs().max()
    assert jump > 0.5
    across = (shift - shift[..., :1]).abs()[..., :10].max(), (shift - shift[..., -1:]).abs()[..., 10:].max()
    assert max(across) < 0.2 * jump  # a plain mean over 3 x 3 leaves a third of the jump
    checkers = torch.ones(20, 20)
    checkers[::2, ::2] = checkers[1::2, 1::2] = -1
    finer = palette_shift(content + 0.1 * checkers, style)
    torch.testing.assert_close(finer, shift, atol=0.02 * jump.item(), rtol=0)


def test_a_picture_has_its_own_palette_already() -> None:
    content = latents(0, 16, 16)
    assert palette_shift(content, [(content, 1.0)]).abs().max() < 1e-5


def test_several_palettes_weigh_in() -> None:
    content, first, second = (latents(seed, 16, 16) for seed in range(3))
    both = palette_shift(content, [(first, 0.25), (second, 0.75)])
    expected = 0.25 * palette_shift(content, [(first, 1.0)]) + 0.75 * palette_shift(content, [(second, 1.0)])
    torch.testing.assert_close(both, expected)


def test_a_flat_picture_takes_the_mean_without_blowing_up() -> None:
    style = latents(1, 16, 16)
    moved = palette_shift(torch.zeros(1, 4, 16, 16), [(style, 1.0)])
    torch.testing.assert_close(moved.mean((2, 3)), smoothed(style).mean((2, 3)), atol=1e-4, rtol=1e-4)
    assert moved.std() < 10
