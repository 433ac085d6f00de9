"""From a name to a model that was seen to run: the embedded one, a folder, a single file, or one on the hub."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from safetensors import SafetensorError
from torch import Tensor

from magicstyle_core import ASSETS, limits, quick
from magicstyle_core.attention import Attend, sdpa
from magicstyle_core.errors import ModelError
from magicstyle_core.families import check, find_defaults
from magicstyle_core.hub import find, first_sentence
from magicstyle_core.lora import Lora
from magicstyle_core.model import Model, Prompt, pixels_per_latent
from magicstyle_core.prompts import load_prompt
from magicstyle_core.sources import FileSource, FolderSource, Source

NAMES = {"mini": str(ASSETS / "mini"), "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5"}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")  # as torch and Linux call them; ARM's were not measured
BF16_WIDTH = 640  # channels of the widest layers; measured: at 1280 (SD 1.5) bf16 is twice as fast, at 192 (mini) not
BROKEN = (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, SafetensorError, UnpicklingError)

_one_at_once = threading.Lock()  # or a second model's loading would take the first's one thread for all there are


@contextmanager
def no_team() -> Iterator[None]:
    """What runs here leaves no OpenMP threads behind; afterwards torch uses as many as there are cores.

    Every thread that computes keeps a team of its own, and where all teams together are more than the cores, libgomp
    lets a thread without work sleep at once: work in another thread then takes half as long again (mini at 384 pixels
    on two cores 2.3 s instead of 1.5). Pages and replicas load in one thread and work in another.
    """
    with _one_at_once:
        threads = min(limits.cores(), torch.get_num_threads())  # torch counts the host's cores inside of a container
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


@no_team()
def load(
    name: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    attention: str = "sdpa",
    preview_vae: str | None = None,
    revision: str | None = None,
    variant: str | None = None,
    lora: str | None = None,
    prompt: str = "",
    exact: bool = False,
) -> Model:
    """Loads "mini", "sd15", a diffusers folder, a .safetensors file, a hub id, or a file on the hub (OWNER/NAME/FILE).

    Args:
        device: auto, cpu, cuda or mps.
        dtype: auto, fp32, bf16 or fp16.
        attention: sdpa, or xformers; where that does not run, a message says so and sdpa is used.
        preview_vae: folder or hub id of an AutoencoderTiny that decodes previews.
        revision: branch, tag or commit on the hub.
        variant: of the weights, as "fp16" in diffusion_pytorch_model.fp16.safetensors; None = what there is, on CUDA
            fp16 first.
        lora: a LoRA's .safetensors file, here or on the hub, added to UNet and text encoder.
        prompt: the text for the embedding; the method is made for the empty one.
        exact: quick mode, with four calls more for a photograph: a little strength stays near to it.

    Raises:
        ModelError: it cannot be found, fetched or used, in one sentence.
    """
    where = choose_device(device)
    half = where.type == "cuda" and dtype in ("auto", "fp16")
    path = find(NAMES.get(name, name), revision=revision, variant=variant, half=half, prompt=prompt)
    lora_file = None if lora is None else find(lora, revision=None, variant=None, half=False, prompt="")
    small_vae = None if preview_vae is None else _load_preview_vae(preview_vae)
    try:
        source = FileSource(path) if path.is_file() else FolderSource(path, variant, half)
        model = assemble(name, source, where, dtype, attention, small_vae, lora_file, prompt)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error
    model.exact = exact and model.consistency
    given = {"revision": revision, "variant": variant, "lora": lora, "prompt": prompt, "exact": "yes" * model.exact}
    model.options = {option: value for option, value in given.items() if value}
    return model


def assemble(
    name: str,
    source: Source,
    device: torch.device,
    dtype: str,
    attention: str,
    preview_vae: AutoencoderTiny | None,
    lora_file: Path | None,
    prompt: str,
) -> Model:
    """A model from its source, checked and tried out; arguments as in `load`. Raises ModelError."""
    configs = source.configs(prompt)
    check(configs)
    kind = choose_dtype(dtype, device, max(configs.unet.get("block_out_channels", [0])))
    attend, message = _choose_attention(attention, device, kind)
    vae_class = getattr(diffusers, configs.vae.get("_class_name", "AutoencoderKL"), None)
    if vae_class is None:
        raise ModelError(f"This model's VAE is a {configs.vae['_class_name']}, which diffusers does not have.")
    # The VAE of Stable Diffusion XL overflows fp16; its config says so.
    vae_kind = torch.float32 if kind == torch.float16 and configs.is_xl and configs.vae.get("force_upcast") else kind
    unet = _read("UNet", lambda: source.network(UNet2DConditionModel, "unet", kind))
    vae = _read("VAE", lambda: source.network(vae_class, "vae", vae_kind))
    scheduler = _read(
        "scheduler",
        lambda: DDIMScheduler.from_config(configs.scheduler, clip_sample=False, set_alpha_to_one=False),
    )
    lora = None if lora_file is None else Lora(lora_file, unet.config, configs.is_xl)
    if lora is not None:
        lora.add_to_unet(unet)

    def load_encoder(part: str) -> Any:
        from transformers import CLIPTextModel, CLIPTextModelWithProjection

        encoder = source.text_encoder(CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel, part)
        if lora is not None:
            lora.add_to_text_encoder(encoder, part)
        return encoder

    def identity() -> str:
        return source.text_identity(configs) + (lora.digest() if lora else "")

    embedded: Prompt = _read(
        "text encoder", lambda: load_prompt(source.folder, configs, prompt, identity, load_encoder)
    )
    wanted = find_defaults(configs, pixels_per_latent(vae), scheduler.config.num_train_timesteps)
    if lora_file is not None and "lcm" in str(lora_file).lower():
        wanted = replace(wanted, consistency=True, steps=quick.STEPS)
    model = Model(name, unet, vae, scheduler, embedded, wanted, device=device, preview_vae=preview_vae, attend=attend)
    if message:
        model.messages.append(message)
    _try_out(model)
    return model


def _read(part: str, action: Callable[[], Any]) -> Any:
    """What the action reads; where a library cannot, in a sentence."""
    try:
        return action()
    except BROKEN as error:
        raise ModelError(f"The model's {part} cannot be loaded: {first_sentence(error)}") from error


def _try_out(model: Model) -> None:
    """One call of every network at the smallest size.

    Raises:
        ModelError: they do not run, or not with one another.
    """
    if not model.layers:
        raise ModelError("This model's UNet has no self-attention layers, so there is nothing to fuse.")
    side = model.multiple * 2 ** (len(model.unet.config.block_out_channels) - 1)
    pixels = torch.zeros(1, 3, side, side)
    try:
        latents = model.encode(pixels)
        noise_pred = model.denoise(latents, 1)
        decoded = model.decode(latents)
    except BROKEN as error:
        raise ModelError(f"This model does not run: {first_sentence(error)}") from error
    if noise_pred.shape != latents.shape or decoded.shape != pixels.shape:
        raise ModelError(
            f"This model's UNet makes {tuple(noise_pred.shape)} of latents {tuple(latents.shape)}, its VAE "
            f"{tuple(decoded.shape)} of pixels {tuple(pixels.shape)}; both have to keep the shape."
        )
    model.unet_calls = 0


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


def _load_preview_vae(name: str) -> AutoencoderTiny:
    try:
        return AutoencoderTiny.from_pretrained(name)
    except BROKEN as error:
        raise ModelError(
            f"{name} is no AutoencoderTiny that can be loaded ({first_sentence(error)}); leave the preview VAE out."
        ) from error
