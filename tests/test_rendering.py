import torch

from magicstyle_core.rendering import adain


def test_adain_takes_mean_and_deviation_per_channel() -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 8, 8, generator=generator)
    reference = torch.randn(1, 4, 6, 10, generator=generator) * 3 + 2
    moved = adain(latents, reference)
    torch.testing.assert_close(moved.mean((2, 3)), reference.mean((2, 3)))
    torch.testing.assert_close(moved.std((2, 3)), reference.std((2, 3)))
    correlation = torch.corrcoef(torch.stack([moved[0, 0].flatten(), latents[0, 0].flatten()]))[0, 1]
    assert correlation > 0.999


def test_adain_to_itself_is_the_identity() -> None:
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(adain(latents, latents), latents)
