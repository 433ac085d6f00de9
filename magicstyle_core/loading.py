"""From a name to a model: the embedded one, a diffusers folder or a hub id."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from torch import Tensor

from magicstyle_core.errors import ModelError
from magicstyle_core.method import Attend, sdpa
from magicstyle_core.model import Defaults, Model, Prompt, pixels_per_latent

ASSETS = Path(__file__).resolve().parent.parent / "assets"
NAMES = {"mini": str(ASSETS / "mini"), "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5"}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
NULL_PROMPT_FILE = "null_prompt.safetensors"
BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")  # as torch and Linux call them; ARM's were not measured
BF16_WIDTH = 640  # channels of the widest layers; measured: at 1280 (SD 1.5) bf16 is twice as fast, at 192 (mini) not


def load(
    name: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    attention: str = "sdpa",
    preview_vae: str | None = None,
) -> Model:
    """Loads "mini", "sd15", a diffusers folder or a hub id.

    Args:
        device: auto, cpu, cuda or mps.
        dtype: auto, fp32, bf16 or fp16.
        attention: sdpa, or xformers; where that does not run, a message says so and sdpa is used.
        preview_vae: folder or hub id of an AutoencoderTiny that decodes previews.

    Raises:
        ModelError: not found, not cached and no network, or not a model of this layout.
    """
    folder = _find(NAMES.get(name, name))
    where = choose_device(device)
    try:
        widths = UNet2DConditionModel.load_config(folder, subfolder="unet")["block_out_channels"]
        kind = choose_dtype(dtype, where, max(widths))
        vae_class = getattr(diffusers, json.loads((folder / "vae/config.json").read_text())["_class_name"])
        unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=kind)
        vae = vae_class.from_pretrained(folder, subfolder="vae", torch_dtype=kind)
        config = DDIMScheduler.load_config(folder, subfolder="scheduler")
        scheduler = DDIMScheduler.from_config(config, clip_sample=False, set_alpha_to_one=False)
        prompt = Prompt(_null_prompt(folder))
    except (OSError, KeyError, AttributeError, ValueError) as error:
        raise ModelError(
            f"{name} is not a Stable Diffusion 1.x or 2.x model in diffusers layout ({error}). "
            "Expected the folders unet, vae, scheduler, and tokenizer with text_encoder."
        ) from error
    if scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
        raise ModelError(
            f"The scheduler of {name} predicts {scheduler.config.prediction_type!r}; "
            "models that predict 'epsilon' or 'v_prediction' are supported."
        )
    index = folder / "model_index.json"
    wishes: dict[str, Any] = json.loads(index.read_text()) if index.is_file() else {}
    defaults = Defaults(
        size=unet.config.sample_size * pixels_per_latent(vae),
        steps=wishes.get("steps", 20),
        t_max=wishes.get("t_max", scheduler.config.num_train_timesteps),
        preset=wishes.get("preset", "StyleID's attention"),
        margin=wishes.get("margin", 0),
    )
    attend, message = _choose_attention(attention, where, kind)
    small_vae = _load_preview_vae(preview_vae, kind)
    model = Model(name, unet, vae, scheduler, prompt, defaults, device=where, preview_vae=small_vae, attend=attend)
    if message:
        model.messages.append(message)
    return model


def choose_device(device: str) -> torch.device:
    if device != "auto":
        if device not in ("cpu", "cuda", "mps"):
            raise ModelError(f"Device is {device!r}; give auto, cpu, cuda or mps.")
        if device != "cpu" and not getattr(torch, device).is_available():
            raise ModelError(f"This machine has no {device} device; give --device auto or cpu.")
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.mps.is_available() else "cpu")


def choose_dtype(dtype: str, device: torch.device, width: int) -> torch.dtype:
    """Auto: fp16 on CUDA; on a CPU bf16 where it has instructions for it and the model is large; else fp32.

    Args:
        width: channels of the UNet's widest layers.
    """
    if dtype != "auto":
        if dtype not in DTYPES:
            raise ModelError(f"dtype is {dtype!r}; give auto, fp32, bf16 or fp16.")
        return DTYPES[dtype]
    if device.type == "cuda":
        return torch.float16
    if device.type == "cpu" and width >= BF16_WIDTH and _cpu_has_bf16():
        return torch.bfloat16
    return torch.float32  # on MPS too: fp16 gives black pictures there


def _cpu_has_bf16() -> bool:
    if hasattr(torch.cpu, "get_capabilities"):  # from torch 2.13 on
        return any(torch.cpu.get_capabilities().get(name) for name in BF16_INSTRUCTIONS)
    described = Path("/proc/cpuinfo")
    words = described.read_text().split() if described.is_file() else []
    return any(name in words for name in BF16_INSTRUCTIONS)


def _choose_attention(attention: str, device: torch.device, dtype: torch.dtype) -> tuple[Attend, str | None]:
    """The kernel, and what the user should know about it."""
    if attention not in ("sdpa", "xformers"):
        raise ModelError(f"Attention is {attention!r}; give sdpa or xformers.")
    if attention == "sdpa":
        return sdpa, None
    try:
        return probed_xformers(device, dtype), None
    except (ImportError, NotImplementedError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        return sdpa, f"xformers does not run on this device ({reason}); PyTorch's attention is used."


def probed_xformers(device: torch.device, dtype: torch.dtype) -> Attend:
    """The attention kernel of xformers, after one small call has shown that it runs on this device.

    Raises:
        ImportError, NotImplementedError, RuntimeError or ValueError: it does not.
    """
    from xformers.ops import memory_efficient_attention

    def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float) -> Tensor:
        query, key, value = (tensor.transpose(1, 2) for tensor in (query, key, value))  # (batch, tokens, heads, dim)
        if bias is not None:
            bias = bias.expand(query.shape[0], query.shape[2], query.shape[1], key.shape[1])
        return memory_efficient_attention(query, key, value, attn_bias=bias, scale=scale).transpose(1, 2)

    probe = torch.ones(1, 1, 8, 8, device=device, dtype=dtype)
    attend(probe, probe, probe, None, 1.0)
    return attend


def _load_preview_vae(name: str | None, dtype: torch.dtype) -> AutoencoderTiny | None:
    if name is None:
        return None
    try:
        return AutoencoderTiny.from_pretrained(name, torch_dtype=dtype)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{name} is no AutoencoderTiny that can be loaded ({error}); leave the preview VAE out."
        ) from error


def _find(name: str) -> Path:
    """The folder of a model: a path, the cached copy of a hub id, or its download."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or name.startswith("."):
        raise ModelError(f"There is no folder {name}; give a diffusers folder, a hub id, 'sd15' or 'mini'.")
    wanted = [f"{part}/*" for part in ("unet", "vae", "scheduler", "tokenizer", "text_encoder")]
    patterns = [w + end for w in wanted for end in (".json", ".txt")] + [
        f"{part}/{stem}.safetensors"
        for part, stem in (
            ("unet", "diffusion_pytorch_model"),
            ("vae", "diffusion_pytorch_model"),
            ("text_encoder", "model"),
        )
    ]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=True))
    except HFValidationError as error:
        raise ModelError(f"{name!r} is neither a folder nor a hub id; give one, or 'sd15' or 'mini'.") from error
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except (OSError, HfHubHTTPError) as error:
        raise ModelError(
            f"{name} is not cached and cannot be downloaded (no network, or no such model). "
            "Give a folder with --model, or use mini."
        ) from error


def _null_prompt(folder: Path) -> Tensor:
    """The embedding of the empty prompt (1, tokens, channels): shipped, kept from an earlier run, or computed."""
    shipped = folder / NULL_PROMPT_FILE
    if shipped.is_file():
        return load_file(shipped)["null_prompt"].float()
    identity = hashlib.sha256((folder / "text_encoder/config.json").read_bytes())
    for weights in sorted((folder / "text_encoder").glob("*.safetensors")):
        identity.update(f"{weights.resolve()} {weights.stat().st_size} {weights.stat().st_mtime_ns}".encode())
    kept = _cache_folder() / f"null_prompt_{identity.hexdigest()[:16]}.safetensors"
    if kept.is_file():
        return load_file(kept)["null_prompt"]
    from transformers import CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")
    text_encoder = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder")
    tokens = tokenizer("", padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt")
    with torch.no_grad():
        null_prompt = text_encoder(tokens.input_ids).last_hidden_state.float().contiguous()  # (1, tokens, channels)
    kept.parent.mkdir(parents=True, exist_ok=True)
    save_file({"null_prompt": null_prompt}, kept)
    return null_prompt


def _cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "magicstyle"
