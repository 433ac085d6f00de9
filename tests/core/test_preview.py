import torch

from magicstyle_core.preview import fit_rgb_map, linear_preview


def test_a_linear_decoder_is_found_exactly() -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 12, 16, generator=generator)
    decoder = torch.nn.ConvTranspose2d(4, 3, kernel_size=8, stride=8)  # any linear map to patches of 8 × 8
    with torch.no_grad():
        pixels = decoder(latents)
        other = torch.randn(1, 4, 5, 7, generator=generator) * 0.1
        rgb_map = fit_rgb_map(latents, pixels)
        torch.testing.assert_close(linear_preview(other, rgb_map), decoder(other), rtol=1e-3, atol=1e-4)


def test_previews_stay_in_range_and_have_full_size() -> None:
    latents = torch.randn(1, 4, 10, 6, generator=torch.Generator().manual_seed(0))
    pixels = torch.rand(1, 3, 80, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    preview = linear_preview(latents * 9, fit_rgb_map(latents, pixels))
    assert preview.shape == (1, 3, 80, 48)
    assert preview.abs().max() <= 1
