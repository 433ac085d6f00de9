"""Model folders as people have them, by the real classes at the smallest sizes: a base, and what is changed in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import (
    AsymmetricAutoencoderKL,
    AutoencoderKL,
    AutoencoderTiny,
    ControlNetModel,
    DDIMScheduler,
    UNet2DConditionModel,
    VQModel,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from tests.tiny_models import write_text_encoder, write_tokenizer

TEXT_CHANNELS = 8
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
UNET: dict[str, Any] = dict(
    sample_size=8,
    block_out_channels=(8, 16),
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    layers_per_block=1,
    cross_attention_dim=TEXT_CHANNELS,
    attention_head_dim=2,
    norm_num_groups=4,
)
XL: dict[str, Any] = dict(
    cross_attention_dim=2 * TEXT_CHANNELS,
    addition_embed_type="text_time",
    addition_time_embed_dim=4,
    projection_class_embeddings_input_dim=6 * 4 + TEXT_CHANNELS,
    transformer_layers_per_block=(1, 2),
)
VAE: dict[str, Any] = dict(
    down_block_types=("DownEncoderBlock2D",) * 2,
    up_block_types=("UpDecoderBlock2D",) * 2,
    block_out_channels=(8, 8),
    norm_num_groups=4,
    sample_size=16,
)
Change = Callable[[Path], None]


def write_sd(folder: Path) -> None:
    torch.manual_seed(0)
    write_unet(folder)
    AutoencoderKL(**VAE).save_pretrained(folder / "vae")
    DDIMScheduler(**BETAS).save_pretrained(folder / "scheduler")
    write_tokenizer(folder / "tokenizer")
    write_text_encoder(folder / "text_encoder", TEXT_CHANNELS)
    index = {"_class_name": "StableDiffusionPipeline", "safety_checker": [None, None]}
    index |= {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
    index |= {"scheduler": ["diffusers", "DDIMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))


def write_xl(folder: Path) -> None:
    write_sd(folder)
    write_unet(folder, **XL)
    write_tokenizer(folder / "tokenizer_2")
    write_text_encoder(folder / "text_encoder_2", TEXT_CHANNELS, projected=True)
    change_json("model_index.json", force_zeros_for_empty_prompt=True, text_encoder_2=["transformers", "x"])(folder)


def write_unet(folder: Path, **changes: Any) -> None:
    shutil.rmtree(folder / "unet", ignore_errors=True)
    UNet2DConditionModel(**(UNET | changes)).save_pretrained(folder / "unet")


def write_vae(folder: Path, kind: Any, **config: Any) -> None:
    shutil.rmtree(folder / "vae")
    kind(**config).save_pretrained(folder / "vae")


def change_json(file: str, **changes: Any) -> Change:
    def change(folder: Path) -> None:
        content = json.loads((folder / file).read_text()) | changes
        (folder / file).write_text(json.dumps(content))

    return change


def drop_keys(file: str, *names: str) -> Change:
    def change(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({key: value for key, value in content.items() if key not in names}))

    return change


unet, vae, scheduler, index = (
    partial(change_json, file)
    for file in ("unet/config.json", "vae/config.json", "scheduler/scheduler_config.json", "model_index.json")
)


def remove(name: str) -> Change:
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def saved_as(*, variant: str | None = None, safe: bool = True, shards: bool = False, half: bool = False) -> Change:
    """Every network's weights in that form alone."""

    def change(folder: Path) -> None:
        for part, kind in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL), ("text_encoder", CLIPTextModel)):
            network = kind.from_pretrained(folder / part)
            for file in [*(folder / part).glob("*.safetensors")]:
                file.unlink()
            size: dict[str, Any] = {"max_shard_size": "8KB"} if shards else {}
            if not safe and kind is CLIPTextModel:  # transformers writes none any more
                torch.save(network.state_dict(), folder / part / "pytorch_model.bin")
                continue
            (network.half() if half else network).save_pretrained(
                folder / part,
                variant=variant,
                **size,
                **({} if kind is CLIPTextModel else {"safe_serialization": safe}),
            )

    return change


def lose_a_tensor(folder: Path) -> None:
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    del tensors["conv_in.weight"]
    save_file(tensors, file, {"format": "pt"})


def truncate(folder: Path) -> None:
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def lose_a_shard(folder: Path) -> None:
    saved_as(shards=True)(folder)
    sorted((folder / "unet").glob("*-of-*.safetensors"))[0].unlink()


def lfs_pointer(folder: Path) -> None:
    (folder / "vae/diffusion_pytorch_model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid 1\n"
    )


def all_of(*changes: Change) -> Change:
    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


class Layout(NamedTuple):
    name: str
    base: str  # "sd" or "xl"
    change: Change
    refusal: str | None = None  # None = it works; else what the sentence says


def works(name: str, change: Change, base: str = "sd") -> Layout:
    return Layout(name, base, change)


def write(name: str, text: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).write_text(text)

    return change


def refused(name: str, change: Change, sentence: str, base: str = "sd") -> Layout:
    return Layout(name, base, change, sentence)


def same(folder: Path) -> None:
    pass


ASYMMETRIC = dict(
    down_block_types=("DownEncoderBlock2D",) * 2,
    up_block_types=("UpDecoderBlock2D",) * 2,
    down_block_out_channels=(8, 8),
    up_block_out_channels=(8, 8),
    layers_per_down_block=1,
    layers_per_up_block=1,
    norm_num_groups=4,
    sample_size=16,
)
TINY = dict(encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1))
TINY |= dict(num_decoder_blocks=(1, 1))
VQ = dict(VAE, latent_channels=4, num_vq_embeddings=16)
SCHEDULERS = ("PNDM", "EulerDiscrete", "EulerAncestralDiscrete", "DPMSolverMultistep", "UniPCMultistep", "DDPM", "LCM")
TWO_LEVELS = dict(
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D")
)

LAYOUTS = [
    works("full", same),
    works("v prediction", scheduler(prediction_type="v_prediction")),
    works("fp16 alone", saved_as(variant="fp16", half=True)),
    works(".bin alone", saved_as(safe=False)),
    works("sharded", saved_as(shards=True)),
    works("sharded fp16", saved_as(shards=True, variant="fp16", half=True)),
    works("sharded .bin", saved_as(shards=True, safe=False)),
    works("no model_index.json", remove("model_index.json")),
    works("no tokenizer", remove("tokenizer")),
    works("tokenizer without its length", drop_keys("tokenizer/tokenizer_config.json", "model_max_length")),
    works("sample_size null", unet(sample_size=None)),
    works("sample_size of an old repository", unet(sample_size=32, _diffusers_version="0.6.0")),
    works("sample_size of two sides", unet(sample_size=[8, 12])),
    works("VAE trained at a smaller size", vae(sample_size=8)),
    works("VAE without scaling_factor", drop_keys("vae/config.json", "scaling_factor")),
    works("VAE with a shift", vae(shift_factor=0.1)),
    works("VAE without tiling", lambda folder: write_vae(folder, AsymmetricAutoencoderKL, **ASYMMETRIC)),
    works("small VAE", lambda folder: write_vae(folder, AutoencoderTiny, **TINY)),
    works("VQ autoencoder", lambda folder: write_vae(folder, VQModel, **VQ)),
    *(works(f"scheduler {kind}", scheduler(_class_name=f"{kind}Scheduler")) for kind in SCHEDULERS),
    works("linear betas", scheduler(beta_schedule="linear")),
    works("zero terminal SNR", scheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")),
    works("no attention at the finest level", lambda folder: write_unet(folder, **TWO_LEVELS)),
    works("linear projections", lambda folder: write_unet(folder, use_linear_projection=True)),
    works("guidance embedding", lambda folder: write_unet(folder, time_cond_proj_dim=8)),
    works("safety checker and feature extractor", index(safety_checker=["x", "y"], feature_extractor=["x", "y"])),
    works("XL, zeros for the empty prompt", same, "xl"),
    works("XL, zeros and no text encoders", all_of(remove("text_encoder"), remove("text_encoder_2")), "xl"),
    works("XL, both text encoders", index(force_zeros_for_empty_prompt=False), "xl"),
    works("XL that predicts v", scheduler(prediction_type="v_prediction"), "xl"),
    works("XL of few steps", lambda folder: write_unet(folder, **XL, time_cond_proj_dim=8), "xl"),
    works("XL, sample_size null", unet(sample_size=None), "xl"),
    refused("inpainting", unet(in_channels=9), "9 channels: it repaints masked pictures"),
    refused("pix2pix", unet(in_channels=8), "8 channels: it edits by instruction"),
    refused("depth", unet(in_channels=5), "5 channels: it takes a depth map"),
    refused("upscaler", unet(in_channels=7), "7 channels: it enlarges pictures"),
    refused("learned variance", unet(out_channels=8), "gives 8 back"),
    refused("class-conditional", unet(num_class_embeds=10), "class embedding"),
    refused("unCLIP", unet(class_embed_type="projection"), "class embedding"),
    refused("encoder_hid_dim", unet(encoder_hid_dim=16), "encoder_hid_dim"),
    refused("image embeddings", unet(addition_embed_type="image"), "additional 'image' embedding"),
    refused("dual cross-attention", unet(dual_cross_attention=True), "two prompts at once"),
    refused("only cross-attention", unet(only_cross_attention=[True, False]), "cross-attention alone"),
    refused("widths of several prompts", unet(cross_attention_dim=[8, 16]), "several widths"),
    refused("text encoder of another width", unet(cross_attention_dim=16), "16 channels, the text encoder gives 8"),
    refused("VAE of other channels", vae(latent_channels=16), "4 channels, the VAE gives 16"),
    refused("video VAE", vae(_class_name="AutoencoderKLCogVideoX"), "VAE cannot be loaded|does not run"),
    refused("VAE nobody knows", vae(_class_name="AutoencoderOfTomorrow"), "diffusers does not have"),
    refused("UNet without text", unet(_class_name="UNet2DModel"), "UNet2DModel"),
    refused("video UNet", unet(_class_name="UNet3DConditionModel"), "UNet3DConditionModel"),
    refused("refiner", all_of(index(text_encoder=[None, None], force_zeros_for_empty_prompt=False),
                              unet(projection_class_embeddings_input_dim=28)), "refiner", "xl"),
    refused("refiner by its index", index(requires_aesthetics_score=True), "refiner", "xl"),
    refused("XL without its second encoder",
            all_of(index(force_zeros_for_empty_prompt=False), remove("text_encoder_2")), "text_encoder_2", "xl"),
    refused("other text encoder", change_json("text_encoder/config.json", model_type="t5"), "text_encoder is a t5"),
    refused("transformer", all_of(remove("unet"), index(_class_name="FluxPipeline", transformer=["d", "t"])),
            "Flux is a transformer"),
    refused("flow matching", scheduler(_class_name="FlowMatchEulerDiscreteScheduler"), "flow matching"),
    refused("flow prediction", scheduler(prediction_type="flow_prediction"), "flow matching"),
    refused("flow sigmas", scheduler(use_flow_sigmas=True), "flow matching"),
    refused("EDM", scheduler(_class_name="EDMEulerScheduler"), "EDM"),
    refused("predicts samples", scheduler(prediction_type="sample"), "predicts 'sample'"),
    refused("unknown betas", scheduler(beta_schedule="cosine of tomorrow"), "scheduler cannot be loaded"),
    refused("no scheduler", remove("scheduler"), "scheduler is missing"),
    refused("no VAE", remove("vae"), "vae is missing"),
    refused("no text encoder", remove("text_encoder"), "text_encoder is missing"),
    refused("no UNet weights", remove("unet/diffusion_pytorch_model.safetensors"), "unet has no weights"),
    refused("a shard lost", lose_a_shard, "unet has no weights"),
    refused("weights cut short", truncate, "UNet cannot be loaded"),
    refused("pointer of Git LFS", lfs_pointer, "git lfs pull"),
    refused("config that is no JSON", write("unet/config.json", "{"), "cannot be read"),
    refused("config that is a list", write("vae/config.json", "[]"), "no JSON object"),
    refused("weights of a smaller model", lose_a_tensor, "1 tensors are missing"),
    refused("weights of other shapes", unet(block_out_channels=[16, 16]), "UNet cannot be loaded"),
    refused("text encoder without weights", remove("text_encoder/model.safetensors"), "text_encoder has no weights"),
    refused("no self-attention",
            lambda folder: write_unet(folder, down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
                                      mid_block_type="UNetMidBlock2D"), "no self-attention"),
    refused("steps it does not have", index(steps=20, t_max=10), "20 steps below timestep 10"),
    refused("steps in words", index(steps="8"), "has steps '8', expected a whole number from 0"),
    refused("a margin below 0", index(margin=-1), "has margin -1, expected a whole number from 0"),
    refused("half a correction", index(corrections=0.5), "has corrections 0.5, expected a whole number from 0"),
    refused("a share in a list", index(encode_again=[0.4]), "has encode_again .0.4., expected a number from 0"),
    refused("a preset of its own", index(preset="Loud"), "has the preset 'Loud', expected one of Gentle, Painterly"),
    refused("a folder of nothing", all_of(remove("unet"), remove("model_index.json")), "no model in diffusers layout"),
    refused("a single network", lambda folder: _only(folder, "unet"), "give the folder above"),
    refused("a ControlNet", lambda folder: _control_net(folder), "single ControlNetModel"),
]  # fmt: skip


def _only(folder: Path, part: str) -> None:
    for other in folder.iterdir():
        if other.name != part:
            remove(other.name)(folder)
    for file in (folder / part).iterdir():
        file.rename(folder / file.name)


def _control_net(folder: Path) -> None:
    for part in folder.iterdir():
        remove(part.name)(folder)
    ControlNetModel(
        block_out_channels=(8, 16), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), layers_per_block=1,
        cross_attention_dim=8, attention_head_dim=2, norm_num_groups=4, conditioning_embedding_out_channels=(8, 8),
    ).save_pretrained(folder)  # fmt: skip
