"""The real Stable Diffusion classes at tiny sizes with random weights: as diffusers folders, and as a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch
from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from magicstyle_core.model import Defaults, Model, Prompt

TEXT_CHANNELS = 32


def write_tiny_sd(folder: Path, version: Literal[1, 2]) -> Path:
    """A pipeline folder in the layout of SD 1.x (epsilon, PNDM) or SD 2.x (v prediction, DDIM)."""
    torch.manual_seed(version)
    heads = 4 if version == 1 else (2, 4, 8, 8)
    UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=1,
        cross_attention_dim=TEXT_CHANNELS,
        attention_head_dim=heads,
        use_linear_projection=version == 2,
        norm_num_groups=8,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 16, 16, 16),
        norm_num_groups=4,
        latent_channels=4,
        sample_size=64,
    ).save_pretrained(folder / "vae")
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    if version == 1:
        PNDMScheduler(**betas, skip_prk_steps=True).save_pretrained(folder / "scheduler")
    else:
        DDIMScheduler(**betas, prediction_type="v_prediction").save_pretrained(folder / "scheduler")
    write_tokenizer(folder / "tokenizer")
    write_text_encoder(folder / "text_encoder", TEXT_CHANNELS)
    return folder


def write_text_encoder(folder: Path, channels: int, *, projected: bool = False, act: str = "quick_gelu") -> None:
    """For the vocabulary of `write_tokenizer`."""
    config = CLIPTextConfig(
        vocab_size=54,
        hidden_size=channels,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        bos_token_id=52,
        eos_token_id=53,
        projection_dim=channels,
        hidden_act=act,
    )
    (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).save_pretrained(folder)


def tiny_model(folder: Path, *, t_max: int = 1000, dtype: torch.dtype = torch.float32) -> Model:
    """The UNet, VAE and scheduler of such a folder under a prompt of zeros, on the CPU."""
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=dtype)
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=dtype)
    config = DDIMScheduler.load_config(folder, subfolder="scheduler")
    scheduler = DDIMScheduler.from_config(config, set_alpha_to_one=False)
    prompt = Prompt(torch.zeros(1, 77, TEXT_CHANNELS))
    defaults = Defaults(size=64, steps=4, t_max=t_max, preset="StyleID's attention")
    return Model("tiny", unet, vae, scheduler, prompt, defaults, device=torch.device("cpu"))


def write_tokenizer(folder: Path) -> None:
    """A real CLIPTokenizer with a vocabulary of single letters."""
    folder.mkdir(parents=True)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
    tokenizer.save_pretrained(folder)
