import torch

from magicstyle_core.rendering import palette_shift, smoothed


def latents(seed: int, *size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(4, 4, generator=generator)
    white = torch.randn(1, 4, *size, generator=generator)
    return torch.einsum("dc,bchw->bdhw", mixing, white) + mixing[0].view(1, 4, 1, 1)


def statistics(smooth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return smooth[0].flatten(1).mean(1), torch.cov(smooth[0].flatten(1))


def test_the_palette_arrives_in_the_smoothed_latents_and_detail_stays() -> None:
    content, style = latents(0, 40, 40), latents(1, 30, 50)
    shift = palette_shift(content, [(style, 1.0)])
    mean, covariance = statistics(smoothed(style))
    mean_before, covariance_before = statistics(smoothed(content))
    mean_after, covariance_after = statistics(smoothed(content) + shift)
    torch.testing.assert_close(mean_after, mean, atol=1e-3, rtol=1e-3)
    assert (covariance_after - covariance).norm() < 0.25 * (covariance_before - covariance).norm()
    assert (mean_before - mean).norm() > 0.1
    checkers = torch.ones(40, 40)
    checkers[::2, ::2] = checkers[1::2, 1::2] = -1  # nearly gone in the smoothed latents
    finer = palette_shift(content + 0.01 * checkers, [(style, 1.0)])
    torch.testing.assert_close(finer, shift, atol=0.02, rtol=0)


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
