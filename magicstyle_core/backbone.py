"""The diffusion model: UNet, VAE, schedule and null prompt, loaded by name, folder or hub id.

Only these stay in memory. The null-prompt embedding is computed once with tokenizer and text encoder,
kept on disk, and both are dropped.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import diffusers
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, ModelMixin, UNet2DConditionModel
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from torch import Tensor

from magicstyle_core.attention import Attend, OneTokenAttention, probed_xformers, sdpa, self_attention_layers
from magicstyle_core.errors import ModelError
from magicstyle_core.margin import with_margin, without_margin
from magicstyle_core.schedule import to_noise_pred

logger = logging.getLogger(__name__)

ASSETS = Path(__file__).resolve().parent.parent / "assets"
NAMES = {"mini": str(ASSETS / "mini"), "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5"}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
NULL_PROMPT_FILE = "null_prompt.safetensors"

T = TypeVar("T")


class Backbone:
    """UNet and VAE with what is needed to run them; shared by all sessions.

    `lock` is held for the length of one UNet call, so that processors of one render never meet another's.
    `free_memory` is called when the device is out of memory; it returns whether a retry is worthwhile.
    """

    def __init__(
        self,
        name: str,
        unet: UNet2DConditionModel,
        vae: ModelMixin,
        scheduler: DDIMScheduler,
        null_prompt: Tensor,
        device: torch.device,
        preview_vae: AutoencoderTiny | None = None,
        margin: int = 0,
    ) -> None:
        self.name = name
        self.messages: list[str] = []  # what the user should know: a fallback, memory that ran out
        self.attend: Attend = sdpa
        self.preview_vae = None if preview_vae is None else preview_vae.to(device)
        self.device, self.dtype = device, unet.dtype
        self.unet = unet.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)
        self.vae = vae.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)
        self.vae.enable_tiling()  # in effect only above the VAE's own training size
        self.null_prompt = null_prompt  # (1, tokens, channels)
        if null_prompt.shape[1] == 1:
            for module_name, module in unet.named_modules():
                if module_name.endswith(".attn2"):
                    module.set_processor(OneTokenAttention())
        self.prediction_type = scheduler.config.prediction_type
        if self.prediction_type not in ("epsilon", "v_prediction"):
            raise ModelError(
                f"The scheduler of {name} predicts {self.prediction_type!r}; "
                "models that predict 'epsilon' or 'v_prediction' are supported."
            )
        self.alphas_cumprod = scheduler.alphas_cumprod.to(device)
        self.final_alpha_cumprod = scheduler.final_alpha_cumprod.to(device)
        self.num_train_timesteps = scheduler.config.num_train_timesteps
        self.layers = self_attention_layers(unet)
        channels = vae.config.get("block_out_channels") or vae.config.encoder_block_out_channels
        self.multiple = 2 ** (len(channels) - 1)  # pixels of the image side per latent
        self.size = unet.config.sample_size * self.multiple
        self.margin = margin  # of latents, in latents, see margin.py
        self.unet_calls = 0
        self.lock = threading.Lock()
        self.free_memory: Callable[[], bool] = lambda: False

    @classmethod
    def load(
        cls,
        name: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        attention: str = "sdpa",
        preview_vae: str | None = None,
    ) -> Backbone:
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
        chosen_device = _choose_device(device)
        try:
            widths = UNet2DConditionModel.load_config(folder, subfolder="unet")["block_out_channels"]
            chosen_dtype = _choose_dtype(dtype, chosen_device, max(widths))
            vae_class = getattr(diffusers, json.loads((folder / "vae/config.json").read_text())["_class_name"])
            unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=chosen_dtype)
            vae = vae_class.from_pretrained(folder, subfolder="vae", torch_dtype=chosen_dtype)
            config = DDIMScheduler.load_config(folder, subfolder="scheduler")
            scheduler = DDIMScheduler.from_config(config, clip_sample=False, set_alpha_to_one=False)
            null_prompt = _null_prompt(folder)
            margin = _margin(folder)
        except (OSError, KeyError, AttributeError, ValueError) as error:
            raise ModelError(
                f"{name} is not a Stable Diffusion 1.x or 2.x model in diffusers layout ({error}). "
                "Expected the folders unet, vae, scheduler, and tokenizer with text_encoder."
            ) from error
        small_vae = _load_preview_vae(preview_vae, chosen_dtype)
        backbone = cls(name, unet, vae, scheduler, null_prompt, chosen_device, small_vae, margin)
        if attention not in ("sdpa", "xformers"):
            raise ModelError(f"Attention is {attention!r}; give sdpa or xformers.")
        if attention == "xformers":
            try:
                backbone.attend = probed_xformers(chosen_device, chosen_dtype)
            except (ImportError, NotImplementedError, RuntimeError, ValueError) as error:
                reason = str(error).splitlines()[0]
                backbone.messages.append(
                    f"xformers does not run on this device ({reason}); PyTorch's attention is used."
                )
        return backbone

    def alpha_cumprod(self, timestep: int) -> Tensor:
        return self.alphas_cumprod[timestep]

    @torch.no_grad()
    def noise_pred(self, latents: Tensor, timestep: int) -> Tensor:
        """One UNet call under the null prompt: fp32 latents (1, channels, h, w) to the fp32 noise estimate.

        Raises:
            ModelError: out of memory even after the banks moved, or not finite even in fp32.
        """
        noise_pred = self._in_memory(lambda: self._unet(latents, timestep))
        if not noise_pred.isfinite().all() and self.dtype != torch.float32:
            message = f"{self.name} gave values that are not finite in {self.dtype}; it runs in fp32 from now on."
            logger.warning(message)
            self.messages.append(message)
            self.dtype = torch.float32
            self.unet.to(torch.float32)
            self.vae.to(torch.float32)
            noise_pred = self._in_memory(lambda: self._unet(latents, timestep))
        if not noise_pred.isfinite().all():
            raise ModelError(f"{self.name} gave values that are not finite at timestep {timestep}, even in fp32.")
        return noise_pred

    def _in_memory(self, action: Callable[[], T]) -> T:
        """What the action returns; where the device runs out of memory, once more after some has been freed."""
        try:
            return action()
        except torch.OutOfMemoryError:
            pass  # only outside of this block are the tensors of the failed call released
        if self.free_memory():
            with suppress(torch.OutOfMemoryError):
                return action()
        raise ModelError("The device is out of memory; choose a smaller size or fewer styles.")

    def _unet(self, latents: Tensor, timestep: int) -> Tensor:
        self.unet_calls += 1
        sample = latents.to(self.dtype, memory_format=torch.channels_last)
        output = self.unet(sample, timestep, self.null_prompt.to(self.device, self.dtype)).sample  # as the latents
        return to_noise_pred(output.float(), latents, self.alpha_cumprod(timestep), self.prediction_type)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """(1, 3, height, width) in [-1, 1] to fp32 latents (1, channels, h, w): the mean, never a sample.

        Height and width are h and w less the margin on both sides, times `multiple`.
        """
        wide = with_margin(pixels, self.margin * self.multiple)
        encoded = self._in_memory(lambda: self.vae.encode(wide.to(self.device, self.dtype)))
        if hasattr(encoded, "latent_dist"):
            latents = encoded.latent_dist.mode()
        else:
            latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent
        shift = self.vae.config.get("shift_factor") or 0.0
        return (latents.float() - shift) * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """fp32 latents (1, channels, h, w) to pixels (1, 3, height, width) as in `encode`, fp32, about [-1, 1]."""
        shift = self.vae.config.get("shift_factor") or 0.0
        scaled = latents / self.vae.config.scaling_factor + shift
        wide = self._in_memory(lambda: self.vae.decode(scaled.to(self.device, self.dtype)).sample.float())
        return without_margin(wide, self.margin * self.multiple)

    @torch.no_grad()
    def preview(self, latents: Tensor) -> Tensor:
        """fp32 latents to pixels by the small decoder, shapes as in `decode`."""
        assert self.preview_vae is not None
        wide = self.preview_vae.decode(latents.to(self.device, self.preview_vae.dtype)).sample.float().clamp(-1, 1)
        return without_margin(wide, self.margin * self.multiple)


def _load_preview_vae(name: str | None, dtype: torch.dtype) -> AutoencoderTiny | None:
    if name is None:
        return None
    try:
        return AutoencoderTiny.from_pretrained(name, torch_dtype=dtype).requires_grad_(False).eval()
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


def _margin(folder: Path) -> int:
    """What the embedded model's index says; Stable Diffusion needs none."""
    index = folder / "model_index.json"
    return json.loads(index.read_text()).get("margin", 0) if index.is_file() else 0


def _choose_device(device: str) -> torch.device:
    if device != "auto":
        if device not in ("cpu", "cuda", "mps"):
            raise ModelError(f"Device is {device!r}; give auto, cpu, cuda or mps.")
        if device != "cpu" and not getattr(torch, device).is_available():
            raise ModelError(f"This machine has no {device} device; give --device auto or cpu.")
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.mps.is_available() else "cpu")


def _choose_dtype(dtype: str, device: torch.device, width: int) -> torch.dtype:
    """`width` is the UNet's in its widest layers. A CPU takes bf16 where that makes a layer twice as fast."""
    if dtype != "auto":
        if dtype not in DTYPES:
            raise ModelError(f"dtype is {dtype!r}; give auto, fp32, bf16 or fp16.")
        return DTYPES[dtype]
    if device.type == "cuda":
        return torch.float16
    if device.type == "mps":
        return torch.float32  # fp16 gives black pictures there
    fp32, bf16 = (_convolution_seconds(kind, width) for kind in (torch.float32, torch.bfloat16))
    logger.info("a convolution takes %.1f ms in fp32 and %.1f ms in bf16", fp32 * 1e3, bf16 * 1e3)
    return torch.bfloat16 if bf16 < 0.5 * fp32 else torch.float32


def _convolution_seconds(dtype: torch.dtype, width: int) -> float:
    """Best of five: some CPUs have bf16 instructions, on others bf16 is emulated and slower."""
    sample, weight = torch.randn(1, width, 16, 16).to(dtype), torch.randn(width, width, 3, 3).to(dtype)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        torch.nn.functional.conv2d(sample, weight, padding=1)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


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
