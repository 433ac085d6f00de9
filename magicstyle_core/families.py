"""Which models can be used, by their configs alone: Stable Diffusion 1.x, 2.x and XL, and small ones of that build.

What does not fit is said in one sentence before any weights are read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from magicstyle_core import quick
from magicstyle_core.errors import ModelError
from magicstyle_core.hub import ENCODERS, list_files, needed_parts, read_json
from magicstyle_core.model import Defaults
from magicstyle_core.settings import PRESETS

Config = dict[str, Any]

KNOWN = "Stable Diffusion 1.x, 2.x and XL can be used"
OLD_SIZE = 64  # latents; configs from before diffusers 0.9 say 32 and mean this (diffusers' own rule)
XL_SIZE = 128
STEPS = (
    20  # timesteps of an inversion; more brings the round trip of the bare inversion nearer, which the residual mends
)
PRESET = "StyleID's attention"  # published for Stable Diffusion, six layers of its decoder
COUNTS = ("steps", "t_max", "margin", "corrections")  # that a model may ask for in its model_index.json
EXTRA_CHANNELS = {
    9: "it repaints masked pictures (inpainting)",
    8: "it edits by instruction (pix2pix)",
    7: "it enlarges pictures",
    5: "it takes a depth map",
}


class Configs(NamedTuple):
    pipeline: Config  # model_index.json
    unet: Config
    vae: Config
    scheduler: Config
    encoders: dict[str, Config]  # of the text encoders that are needed

    @property
    def is_xl(self) -> bool:
        return self.unet.get("addition_embed_type") == "text_time"


def read_configs(folder: Path, prompt: str) -> Configs:
    """The configs of a diffusers folder.

    Raises:
        ModelError: it is no pipeline with a UNet and a VAE, or a config is missing or broken.
    """
    files = list_files(folder)
    pipeline = read_json(folder / "model_index.json") if "model_index.json" in files else {}
    if "unet/config.json" not in files:
        if "transformer" in pipeline or any(file.startswith("transformer") for file in files):
            kind = pipeline.get("_class_name", "it").removesuffix("Pipeline")
            raise ModelError(f"{kind} is a transformer and has no UNet; {KNOWN}.")
        if "config.json" in files:
            kind = read_json(folder / "config.json").get("_class_name", "network")
            raise ModelError(f"This is a single {kind}; give the folder above, with unet, vae and scheduler in it.")
        raise ModelError("This is no model in diffusers layout; give a folder with unet, vae and scheduler in it.")
    wanted = [("vae", "vae/config.json"), ("scheduler", "scheduler/scheduler_config.json")]
    encoders = [part for part in needed_parts(folder, prompt) if part in ENCODERS]
    if prompt and "null_prompt.safetensors" in files and "text_encoder/config.json" not in files:
        raise ModelError("This model has no text encoder and takes no prompt; leave the prompt out.")
    for part, file in [*wanted, *((part, f"{part}/config.json") for part in encoders)]:
        if file not in files:
            raise ModelError(f"The model's {part} is missing ({file}); fetch it anew, or give another model.")
    return Configs(
        pipeline,
        read_json(folder / "unet/config.json"),
        read_json(folder / "vae/config.json"),
        read_json(folder / "scheduler/scheduler_config.json"),
        {part: read_json(folder / part / "config.json") for part in encoders},
    )


def check(configs: Configs) -> None:
    """Raises ModelError with the first thing that does not fit."""
    for finding in (_check_unet, _check_text, _check_vae, _check_scheduler):
        if (sentence := finding(configs)) is not None:
            raise ModelError(sentence)


def find_defaults(configs: Configs, multiple: int, training_timesteps: int) -> Defaults:
    """What the model wants, by its model_index.json, else by its family."""
    size = configs.unet.get("sample_size")
    size = max(size) if isinstance(size, list) else size
    if not size:
        size = XL_SIZE if configs.is_xl else OLD_SIZE
    elif size < OLD_SIZE and _version(configs.unet) < (0, 9):
        size = OLD_SIZE
    wishes = configs.pipeline
    for name in (*COUNTS, "encode_again"):
        value = wishes.get(name, 0)
        if type(value) not in ((int,) if name in COUNTS else (int, float)) or value < 0:
            kind = "whole number" if name in COUNTS else "number"
            raise ModelError(f"model_index.json has {name} {value!r}, expected a {kind} from 0.")
    preset = wishes.get("preset", PRESET)
    if preset not in PRESETS:
        raise ModelError(f"model_index.json has the preset {preset!r}, expected one of {', '.join(PRESETS)}.")
    consistency = bool(configs.unet.get("time_cond_proj_dim")) or "LCM" in configs.scheduler.get("_class_name", "")
    wanted = Defaults(
        size=size * multiple,
        steps=wishes.get("steps", quick.STEPS if consistency else STEPS),
        t_max=wishes.get("t_max", training_timesteps),
        preset=preset,
        margin=wishes.get("margin", 0),
        corrections=0 if consistency else wishes.get("corrections", 0),
        encode_again=wishes.get("encode_again", 0.0),
        consistency=consistency,
    )
    if not 2 <= wanted.steps <= wanted.t_max <= training_timesteps:
        raise ModelError(
            f"model_index.json asks for {wanted.steps} steps below timestep {wanted.t_max}; "
            f"the model was trained on {training_timesteps} timesteps."
        )
    return wanted


def _check_unet(configs: Configs) -> str | None:
    unet = configs.unet
    kind = unet.get("_class_name", "UNet2DConditionModel")
    if kind != "UNet2DConditionModel":
        return f"This model's UNet is a {kind}, which takes no text or works on video; {KNOWN}."
    inputs, outputs = unet.get("in_channels", 4), unet.get("out_channels", 4)
    if inputs != outputs:
        what = EXTRA_CHANNELS.get(inputs, f"it gives {outputs} back")
        return f"This model's UNet takes {inputs} channels: {what}; give the plain model that it was made from."
    if unet.get("class_embed_type") or unet.get("num_class_embeds"):
        return f"This model's UNet wants a class or a picture beside the text (class embedding); {KNOWN}."
    if unet.get("encoder_hid_dim") or unet.get("encoder_hid_dim_type"):
        return f"This model's UNet projects its prompt first (encoder_hid_dim), as Kandinsky and DeepFloyd do; {KNOWN}."
    if unet.get("addition_embed_type") not in (None, "text_time"):
        return f"This model's UNet wants an additional {unet['addition_embed_type']!r} embedding; {KNOWN}."
    if unet.get("dual_cross_attention"):
        return f"This model's UNet attends to two prompts at once (dual cross-attention); {KNOWN}."
    if _any(unet.get("only_cross_attention")) or unet.get("mid_block_only_cross_attention"):
        return f"This model's UNet has cross-attention alone, the method needs self-attention; {KNOWN}."
    return None


def _check_text(configs: Configs) -> str | None:
    unet, encoders = configs.unet, configs.encoders
    if configs.is_xl:
        pooled = unet.get("projection_class_embeddings_input_dim", 0) - 6 * unet.get("addition_time_embed_dim", 0)
        own = encoders.get("text_encoder_2", {}).get("projection_dim", pooled)
        if pooled != own or configs.pipeline.get("requires_aesthetics_score"):
            return "This is the refiner of Stable Diffusion XL, which draws nothing by itself; give the base model."
        if encoders and set(encoders) != set(ENCODERS):
            return f"This Stable Diffusion XL model lacks its {(set(ENCODERS) - set(encoders)).pop()}; fetch it anew."
    for part, config in encoders.items():
        if config.get("model_type", "clip_text_model") not in ("clip_text_model", "clip"):
            return f"This model's {part} is a {config['model_type']}; {KNOWN}, whose text encoder is CLIP's."
    width = unet.get("cross_attention_dim", 1280)
    if isinstance(width, list):
        return f"This model's UNet takes prompts of several widths, {width}; {KNOWN}."
    given = sum(config["hidden_size"] for config in encoders.values())
    if encoders and width != given:
        return f"The UNet takes prompts of {width} channels, the text encoder gives {given}; take both from one model."
    return None


def _check_vae(configs: Configs) -> str | None:
    channels, given = configs.unet.get("in_channels", 4), configs.vae.get("latent_channels", 4)
    if channels != given:
        return f"The UNet takes latents of {channels} channels, the VAE gives {given}; take both from one model."
    return None


def _check_scheduler(configs: Configs) -> str | None:
    scheduler = configs.scheduler
    kind = scheduler.get("_class_name", "")
    predicts = scheduler.get("prediction_type", "epsilon")
    if "FlowMatch" in kind or scheduler.get("use_flow_sigmas") or predicts == "flow_prediction":
        return f"This model was trained by flow matching ({kind}), which has no noise to invert; {KNOWN}."
    if "EDM" in kind:
        return f"This model's noise goes by EDM ({kind}), not by alphas; {KNOWN}."
    if predicts not in ("epsilon", "v_prediction"):
        return f"This model predicts {predicts!r}; models that predict 'epsilon' or 'v_prediction' can be used."
    return None


def _any(value: object) -> bool:
    return any(value) if isinstance(value, list | tuple) else bool(value)


def _version(config: Config) -> tuple[int, ...]:
    """Of the diffusers that wrote it; very old ones did not say."""
    return tuple(int(part) for part in config.get("_diffusers_version", "0.0").split(".")[:2] if part.isdigit())
