"""A LoRA, added to a model's weights as it is loaded; diffusers reads it, with PEFT's help."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel

from magicstyle_core.errors import ModelError
from magicstyle_core.hub import first_sentence
from magicstyle_core.prompts import digest


class Lora:
    def __init__(self, file: Path, unet_config: Any, is_xl: bool) -> None:
        """Raises ModelError where it is no LoRA that can be read."""
        if importlib.util.find_spec("peft") is None:
            raise ModelError("A LoRA needs the package peft; `pip install peft`, or leave the LoRA out.")
        self.file = file
        self.pipeline = StableDiffusionXLPipeline if is_xl else StableDiffusionPipeline
        try:
            self.state, self.alphas = self.pipeline.lora_state_dict(str(file), unet_config=unet_config)
        except Exception as error:  # of many kinds, by what the file is
            raise ModelError(f"{file.name} is no LoRA that can be read ({first_sentence(error)}).") from error

    def add_to_unet(self, unet: UNet2DConditionModel) -> None:
        """Raises ModelError where it is of another model."""
        try:
            self.pipeline.load_lora_into_unet(self.state, self.alphas, unet)
        except (RuntimeError, ValueError, KeyError) as error:
            raise ModelError(f"The LoRA {self.file.name} is of another model ({first_sentence(error)}).") from error
        if not getattr(unet, "peft_config", None):
            raise ModelError(f"The LoRA {self.file.name} changes nothing in this model; it is of another one.")
        unet.fuse_lora()
        unet.unload_lora()

    def add_to_text_encoder(self, text_encoder: Any, part: str) -> None:
        """Adds what it holds for the text encoder of that name, if anything."""
        if any(name.startswith(f"{part}.") for name in self.state):
            self.pipeline.load_lora_into_text_encoder(self.state, self.alphas, text_encoder=text_encoder, prefix=part)

    def digest(self) -> str:
        return digest([self.file])
