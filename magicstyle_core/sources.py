"""What a model is read from, behind one interface: a diffusers folder, or a single file that holds all of it.

A single file is read by diffusers' own loader with configs that lie in assets/configs, a folder without weights for
each kind; so nothing has to be fetched for it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm, infer_diffusers_model_type
from safetensors import SafetensorError
from safetensors.torch import load_file

from magicstyle_core import ASSETS
from magicstyle_core.errors import ModelError
from magicstyle_core.families import KNOWN, Configs, read_configs
from magicstyle_core.hub import choose_weights, first_sentence, list_files
from magicstyle_core.prompts import digest

CONFIGS = ASSETS / "configs"
LFS_POINTER = b"version https://git-lfs"
UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", ("cond_stage_model.", "conditioner.embedders.")
OTHER_KINDS = {
    "inpainting": "it repaints masked pictures",
    "inpainting_v2": "it repaints masked pictures",
    "xl_inpaint": "it repaints masked pictures",
    "instruct-pix2pix": "it edits by instruction",
    "xl_refiner": "the refiner draws nothing by itself",
    "upscale": "it enlarges pictures",
    "playground-v2-5": "its noise goes by EDM",
}
# ComfyUI's test for Stable Diffusion 2.x: this bias spreads widely in the models that predict v.
V_BIAS, V_SPREAD = UNET + "output_blocks.11.1.transformer_blocks.0.norm1.bias", 0.09
V_SIZE = 96  # latents, of those models
LACKING = "This file lacks tensors of its {}; fetch it anew, or take one with the whole model in it."


class Source(Protocol):
    """Configs and weights of one model; every method raises ModelError, or what the library behind it raises."""

    folder: Path  # with configs and, if there are any, tokenizers

    def configs(self, prompt: str) -> Configs: ...

    def network(self, kind: Any, part: str, dtype: torch.dtype) -> Any:
        """UNet or VAE of that class."""

    def text_encoder(self, kind: Any, part: str) -> Any:
        """In fp32."""

    def text_identity(self, configs: Configs) -> str:
        """A digest of the text encoders' weights."""


class FolderSource:
    def __init__(self, folder: Path, variant: str | None, half: bool) -> None:
        self.folder, self.variant, self.half = folder, variant, half

    def configs(self, prompt: str) -> Configs:
        return read_configs(self.folder, prompt)

    def network(self, kind: Any, part: str, dtype: torch.dtype) -> Any:
        return self._read(kind, part, torch_dtype=dtype)

    def text_encoder(self, kind: Any, part: str) -> Any:
        return self._read(kind, part, dtype=torch.float32).eval()

    def text_identity(self, configs: Configs) -> str:
        return digest(file for part in configs.encoders for file in self._weights(part))

    def _weights(self, part: str) -> list[Path]:
        return [
            self.folder / file for file in choose_weights(list_files(self.folder), part, self.variant, self.half).files
        ]

    def _read(self, kind: Any, part: str, **dtype: torch.dtype) -> Any:
        weights = choose_weights(list_files(self.folder), part, self.variant, self.half)
        for file in weights.files:
            with (self.folder / file).open("rb") as content:
                if content.read(len(LFS_POINTER)) == LFS_POINTER:
                    raise ModelError(f"{file} is a pointer of Git LFS; run `git lfs pull` in that folder.")
        network, report = kind.from_pretrained(
            self.folder,
            subfolder=part,
            variant=weights.variant,
            use_safetensors=weights.safetensors,
            output_loading_info=True,
            **dtype,
        )
        if lacking := sorted(report["missing_keys"]):  # the library would fill them with random numbers
            raise ModelError(
                f"The {part}'s weights do not fit its config: {len(lacking)} tensors are missing, as {lacking[0]}."
            )
        return network


class FileSource:
    def __init__(self, file: Path) -> None:
        if file.suffix != ".safetensors":
            raise ModelError("This is no .safetensors file; convert it, as pickled checkpoints are not opened.")
        try:
            self.tensors = load_file(file)
        except SafetensorError as error:
            raise ModelError(f"This is no whole .safetensors file ({first_sentence(error)}); fetch it anew.") from error
        if not any(name.startswith(UNET) for name in self.tensors):
            raise ModelError("This file holds no UNet; give a LoRA with --lora, and here a whole model.")
        kind = infer_diffusers_model_type(self.tensors)
        if kind not in ("v1", "v2", "xl_base"):
            raise ModelError(f"This file is of the kind {kind!r}: {OTHER_KINDS.get(kind, 'no such UNet')}; {KNOWN}.")
        for part, prefix in [("VAE", VAE), *([] if kind == "xl_base" else [("text encoder", TEXT[0])])]:
            if not any(name.startswith(prefix) for name in self.tensors):
                raise ModelError(f"This file holds no {part}; take one with the whole model in it.")
        self.folder = CONFIGS / kind

    def configs(self, prompt: str) -> Configs:
        configs = read_configs(self.folder, prompt)
        unet, scheduler = dict(configs.unet), dict(configs.scheduler)
        bias = self.tensors.get(V_BIAS) if self.folder.name == "v2" else None
        if "v_pred" in self.tensors or (bias is not None and bias.float().std(correction=0).item() > V_SPREAD):
            scheduler["prediction_type"] = "v_prediction"
            if bias is not None:
                unet["sample_size"] = V_SIZE
        if "ztsnr" in self.tensors:
            scheduler["rescale_betas_zero_snr"] = True
        return configs._replace(unet=unet, scheduler=scheduler)

    def network(self, kind: Any, part: str, dtype: torch.dtype) -> Any:
        try:
            return kind.from_single_file(
                dict(self.tensors), config=str(self.folder), subfolder=part, torch_dtype=dtype, local_files_only=True
            )
        except NotImplementedError as error:  # what it does not find has no data, and cannot be moved
            raise ModelError(LACKING.format(part)) from error

    def text_encoder(self, kind: Any, part: str) -> Any:
        encoder = create_diffusers_clip_model_from_ldm(
            kind,
            dict(self.tensors),
            subfolder=part,
            config=str(self.folder),
            torch_dtype=torch.float32,
            local_files_only=True,
        )
        if any(parameter.is_meta for parameter in encoder.parameters()):
            raise ModelError(LACKING.format(part))
        return encoder

    def text_identity(self, configs: Configs) -> str:
        sha = hashlib.sha256()
        for name in sorted(name for name in self.tensors if name.startswith(TEXT)):
            sha.update(name.encode())
            sha.update(self.tensors[name].contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return sha.hexdigest()
