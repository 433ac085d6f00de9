"""A LoRA, added to a model's weights as it is loaded; diffusers reads it, with PEFT's help."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_diffusers, convert_state_dict_to_peft
from diffusers.utils.peft_utils import get_peft_kwargs

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
        """Adds what it holds for the text encoder of that name, if anything.

        By PEFT alone: the way through transformers asks for a newer PEFT than there is.
        """
        from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict

        state, alphas = (
            {name.removeprefix(f"{part}."): value for name, value in values.items() if name.startswith(f"{part}.")}
            for values in (self.state, self.alphas or {})
        )
        if not state:
            return
        state = convert_state_dict_to_peft(convert_state_dict_to_diffusers(state))
        if not hasattr(text_encoder, "text_model"):  # newer transformers name its modules without this
            state = {name.removeprefix("text_model."): value for name, value in state.items()}
        ranks = {name: value.shape[1] for name, value in state.items() if "lora_B" in name}
        inject_adapter_in_model(LoraConfig(**get_peft_kwargs(ranks, alphas, state, is_unet=False)), text_encoder)
        set_peft_model_state_dict(text_encoder, state)

    def digest(self) -> str:
        return digest([self.file])
