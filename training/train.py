"""The recipe of the embedded model, start to end.

    python -m training.pool  --pool POOL                                            render the pictures
    python -m training.train autoencoder --pool POOL --checkpoints RUN --minutes 40
    python -m training.train unet        --pool POOL --checkpoints RUN --minutes 90 --export assets/mini
    python -m training.train rollout     --pool POOL --checkpoints RUN --minutes 80 --export assets/mini

A stage stops after its minutes, writes a checkpoint every few minutes and goes on from it when started again. A fourth
one, `refine`, lets the autoencoder learn on where a UNet already knows its latents. The exported model is as new as the
last checkpoint; `training.evaluate --model MODEL --sheet SHEET` shows what it can do.

The UNet is trained on the method itself. A batch has three kinds of rows at the same timestep: content pictures,
pictures in some style, and as targets the content pictures drawn in that very style (the less so the more `structure`
is asked for: at 1 they only take its colours). Content and style rows attend to themselves, as during an inversion;
the target rows attend by FFA to content and style rows, as during a render. All rows are asked to denoise, so the
target rows can do well only by taking palette and texture through FFA. Stage `rollout` goes on with that and adds whole
renders, see `training.rollout`.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from safetensors.torch import save_file
from torch import Tensor

from magicstyle_core.attention import OneTokenAttention, feature_fusion_attention
from magicstyle_core.rendering import palette_shift
from training.autoencoder import LATENT_CHANNELS, PATCH
from training.pool import HELD_OUT, PICTURES, VERSIONS, load_pool, to_tensor
from training.rollout import Pairs, Rollout
from training.run import Run
from training.train_autoencoder import train_autoencoder

WIDTHS = (64, 128, 192)
PROMPT_DIM = 32
MARGIN = 1  # latents around a picture when the model is used; it learns on crops
REFERENCE_WEIGHT = 0.3  # of the content and style rows' loss; the target rows' is 1
DENOISING_WEIGHT = 0.5  # of the loss of all rows beside that of a rollout
UNFINISHED = (0.5, 0.8)  # of the noise schedule: below, a target's input is the target; above, maybe all content
CROPS = ((16, 5, 4), (24, 3, 2))  # latents per side, examples, renders in a batch: small crops first, then larger ones
LARGE_CROPS_FROM = 0.85  # fraction of the time


@torch.no_grad()
def encode_pool(pool_folder: Path, vae: AutoencoderDC, path: Path, device: str) -> Tensor:
    """Scaled latents of the whole pool, fp16 (blocks, pictures, versions, 16, 32, 32), kept at `path`."""
    if path.exists():
        return torch.load(path, weights_only=True, mmap=True)
    vae = vae.to(device, memory_format=torch.channels_last)
    latents = []
    for block in load_pool(pool_folder):
        pixels = to_tensor(block.reshape(-1, *block.shape[2:])).to(device, memory_format=torch.channels_last)
        encoded = vae.encode(pixels).latent * vae.config.scaling_factor  # (pictures * versions, 16, 32, 32)
        latents.append(encoded.contiguous().half().cpu().unflatten(0, block.shape[:2]))
    torch.save(torch.stack(latents), path)
    return torch.stack(latents)


def build_unet() -> UNet2DConditionModel:
    """SD's blocks at small size, head dimension 64 (fused attention is slow below 32)."""
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=PROMPT_DIM,
        attention_head_dim=tuple(width // 64 for width in WIDTHS),  # diffusers reads this as the number of heads
        norm_num_groups=16,
    )


def build_scheduler() -> DDIMScheduler:
    """SD's noise schedule, with v prediction."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


@dataclass
class FusionState:
    """What the attention layers of one training step share."""

    strength: Tensor  # (examples, 1, 1, 1)
    structure: Tensor  # (examples, 1, 1, 1)
    temperature: float


class TrainingAttention:
    """Self-attention over rows [contents, styles, targets]: the targets attend by FFA, the others to themselves.

    Without a state, all rows attend to themselves.
    """

    def __init__(self) -> None:
        self.state: FusionState | None = None

    def __call__(self, attn: Attention, hidden_states: Tensor, **kwargs: object) -> Tensor:
        def heads(projected: Tensor) -> Tensor:
            return projected.unflatten(-1, (attn.heads, -1)).transpose(1, 2)  # (rows, heads, tokens, dim)

        query, key, value = (heads(project(hidden_states)) for project in (attn.to_q, attn.to_k, attn.to_v))
        if self.state is None:
            out = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
            return attn.to_out[1](attn.to_out[0](out))
        query_c, _style_query, query_t = query.chunk(3)
        key_c, key_s = key.chunk(3)[:2]
        value_c, value_s = value.chunk(3)[:2]
        references = 2 * len(query_c)
        plain = F.scaled_dot_product_attention(query[:references], key[:references], value[:references])
        fused = feature_fusion_attention(
            query_t,
            query_c,
            key_c,
            value_c,
            key_s,
            value_s,
            strength=self.state.strength,
            structure=self.state.structure,
            temperature=self.state.temperature,
        )  # (examples, heads, tokens, dim)
        out = torch.cat([plain, fused]).transpose(1, 2).flatten(2)  # (rows, tokens, channels)
        return attn.to_out[1](attn.to_out[0](out))


@dataclass
class Examples:
    """Clean latents, each (examples, 16, size, size), and the sliders that lead from content to target."""

    content: Tensor
    style: Tensor
    target: Tensor
    recoloured: Tensor  # the content in the style picture's palette, as a render begins
    strength: Tensor  # (examples, 1, 1, 1)
    structure: Tensor  # (examples, 1, 1, 1)


def draw_examples(latents: Tensor, rng: np.random.Generator, count: int, size: int) -> Examples:
    """Crops of a content picture, of another picture in a style, and of what FFA should make of the two.

    At structure 0 that is the style drawn on the content, at 1 the content in the style's palette.

    One example in seven shows two crops of one picture, and its target is the content: a picture is its own style.
    """
    drawn = []
    for _ in range(count):
        block = latents[rng.integers(len(latents))].float()  # (pictures, versions, 16, 32, 32)
        picture, other = rng.choice(PICTURES, 2, replace=False)
        strength, structure = draw_strength(rng), rng.random()
        if rng.random() < 1 / 7:
            content = target = style = recoloured = block[picture, rng.integers(VERSIONS)]
        else:
            number = rng.integers(1, VERSIONS)
            content, style, painted = block[picture, 0], block[other, number], block[picture, number]
            in_palette = content + palette_shift(content[None], [(style[None], 1.0)])[0]
            recoloured = content + min(strength, 1) * (in_palette - content)
            target = content + strength * (painted + structure * (in_palette - painted) - content)
        row, column, style_row, style_column = rng.integers(0, block.shape[-1] - size + 1, 4)
        window = (slice(None), slice(row, row + size), slice(column, column + size))
        style_window = (slice(None), slice(style_row, style_row + size), slice(style_column, style_column + size))
        drawn.append((content[window], style[style_window], target[window], recoloured[window], strength, structure))
    *pictures, strengths, structures = zip(*drawn, strict=True)
    sliders = (torch.tensor(values).float().view(-1, 1, 1, 1) for values in (strengths, structures))
    return Examples(*(torch.stack(latents) for latents in pictures), *sliders)


def draw_pairs(latents: Tensor, pool: np.ndarray, rng: np.random.Generator, count: int, size: int) -> Pairs:
    """Crops of plain pictures and of other pictures in a style."""
    drawn = []
    for _ in range(count):
        block = rng.integers(len(latents))
        picture, other = rng.choice(PICTURES, 2, replace=False)
        for index in ((block, picture, 0), (block, other, rng.integers(1, VERSIONS))):
            whole, pixels = latents[index].float(), pool[index]  # (16, 32, 32), (256, 256, 3)
            row, column = rng.integers(0, whole.shape[-1] - size + 1, 2)
            crop = pixels[row * PATCH : (row + size) * PATCH, column * PATCH : (column + size) * PATCH]
            drawn.append((whole[:, row : row + size, column : column + size], crop))
    (content, content_pixels), (style, style_pixels) = (zip(*drawn[side::2], strict=True) for side in (0, 1))
    return Pairs(
        torch.stack(content), torch.stack(style), to_tensor(np.stack(content_pixels)), to_tensor(np.stack(style_pixels))
    )


def draw_strength(rng: np.random.Generator) -> float:
    """Mostly 1, sometimes 0, sometimes between, sometimes beyond."""
    kind = rng.random()
    if kind < 0.6:
        return 1.0
    if kind < 0.68:
        return 0.0
    return rng.uniform(0, 1) if kind < 0.84 else rng.uniform(1, 1.5)


def fusion_loss(
    unet: UNet2DConditionModel,
    attention: TrainingAttention,
    alphas_cumprod: Tensor,
    examples: Examples,
    rng: np.random.Generator,
    bf16: bool,
) -> tuple[Tensor, Tensor]:
    """Loss of the target rows and of the reference rows, mean square errors of v.

    A render begins at the content's own noise, with the content in the style's palette still in it. So five in six
    targets share the content's noise, and at noisy timesteps the clean latents that are noised lie between target and
    recoloured content. At clearer ones they are the target: there this is plain diffusion of the target, given content
    and style, and texture can grow out of the noise.
    """
    count, device = len(examples.content), examples.content.device
    timesteps = torch.randint(0, len(alphas_cumprod), (count,), device=device)
    alpha = alphas_cumprod[timesteps].sqrt().view(-1, 1, 1, 1)
    sigma = (1 - alphas_cumprod[timesteps]).sqrt().view(-1, 1, 1, 1)
    noise_c, noise_s, noise_t = torch.randn(3, *examples.content.shape, device=device)
    shared = torch.from_numpy(rng.random((count, 1, 1, 1)) < 5 / 6).to(device)
    noise_t = torch.where(shared, noise_c, noise_t)
    low, high = UNFINISHED
    unfinished = ((timesteps / len(alphas_cumprod) - low) / (high - low)).clamp(0, 1).view(-1, 1, 1, 1)
    unfinished = unfinished * torch.from_numpy(rng.random((count, 1, 1, 1))).float().sqrt().to(device)
    begun = examples.target + unfinished * (examples.recoloured - examples.target)

    clean = torch.cat([examples.content, examples.style, examples.target])  # (rows, 16, size, size)
    noisy = torch.cat(
        [
            alpha * examples.content + sigma * noise_c,
            alpha * examples.style + sigma * noise_s,
            alpha * begun + sigma * noise_t,
        ]
    )
    alpha, sigma = alpha.repeat(3, 1, 1, 1), sigma.repeat(3, 1, 1, 1)
    velocity = (alpha * noisy - clean) / sigma  # v whose noise leads from the clean latents to the noisy ones
    attention.state = FusionState(
        strength=examples.strength,
        structure=examples.structure,
        temperature=rng.uniform(1.0, 1.6),
    )
    null_prompt = torch.zeros(3 * count, 1, PROMPT_DIM, device=device)
    noisy = noisy.contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        output = unet(noisy, timesteps.repeat(3), null_prompt).sample
    attention.state = None
    errors = (output.float() - velocity).square().mean((1, 2, 3))  # (rows,)
    return errors[2 * count :].mean(), errors[: 2 * count].mean()


def train_unet(
    pool_folder: Path,
    folder: Path,
    *,
    rollouts: bool,
    minutes: float,
    device: str,
    bf16: bool,
    seed: int,
    export_to: Path | None,
) -> None:
    """The diffusion model, on the latents of the finished autoencoder; with `rollouts` the one of stage `unet`."""
    torch.manual_seed(seed)
    vae = AutoencoderDC.from_pretrained(folder / "vae").eval().requires_grad_(False)
    latents = encode_pool(pool_folder, vae, folder / "latents.pt", device)
    alphas_cumprod = build_scheduler().alphas_cumprod.to(device)
    unet = build_unet()
    if rollouts:
        pool = load_pool(pool_folder)
        unet.load_state_dict(torch.load(folder / "unet.pt", weights_only=True)["average"])
    unet = unet.to(device, memory_format=torch.channels_last)
    path = folder / ("rollout.pt" if rollouts else "unet.pt")
    run = Run(unet, [(list(unet.parameters()), 4e-4 if rollouts else 6e-4)], path, minutes)
    rng = run.generator(seed)
    attention = TrainingAttention()
    for name, module in unet.named_modules():
        if name.endswith(".attn1"):
            module.set_processor(attention)
        elif name.endswith(".attn2"):
            module.set_processor(OneTokenAttention())
    rollout = Rollout(unet, vae.to(device), alphas_cumprod)
    losses, seen, start = torch.zeros(5), 0, time.monotonic()
    while run.fraction < 1:
        size, count, rolled_out = CROPS[run.fraction > LARGE_CROPS_FROM]
        examples = draw_examples(latents[:-HELD_OUT], rng, count, size)
        examples = Examples(**{name: value.to(device) for name, value in vars(examples).items()})
        target_loss, reference_loss = fusion_loss(unet, attention, alphas_cumprod, examples, rng, bf16)
        loss, judgement = target_loss + REFERENCE_WEIGHT * reference_loss, torch.zeros(3)
        if rollouts:
            pairs = draw_pairs(latents[:-HELD_OUT], pool, rng, rolled_out, size).to(device)
            rollout_loss, judgement = rollout.loss(pairs, rng)
            loss = rollout_loss + DENOISING_WEIGHT * (target_loss + reference_loss)
        run.update(loss)
        figures = torch.cat([torch.stack([target_loss, reference_loss]).detach().cpu(), judgement.cpu()])
        losses = losses.lerp(figures, 0.01 if seen else 1.0)
        seen += 3 * count
        if run.step % (20 if rollouts else 100) == 0:
            print(
                f"{path.stem}: step {run.step}, {run.seconds / 60:.1f} min, "
                f"{seen / (time.monotonic() - start):.0f} images/s, loss {losses[0]:.4f}, references {losses[1]:.4f}, "
                f"judged on texture {losses[2]:.3f}, palette {losses[3]:.3f}, outlines {losses[4]:.3f}",
                flush=True,
            )
        if run.save_is_due:
            run.save()
            if export_to is not None:
                export(run.average, vae, export_to)
    run.save()
    if export_to is not None:
        export(run.average, vae, export_to)


def export(unet: UNet2DConditionModel, vae: AutoencoderDC, folder: Path) -> None:
    """Writes the model in diffusers' layout, weights as fp16 safetensors."""
    copy.deepcopy(unet).half().save_pretrained(folder / "unet")
    copy.deepcopy(vae).half().save_pretrained(folder / "vae")
    for part in ("unet", "vae"):
        path = folder / part / "config.json"
        config = json.loads(path.read_text())
        config.pop("_name_or_path", None)  # the folder of the checkpoint
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    build_scheduler().save_pretrained(folder / "scheduler")
    save_file({"null_prompt": torch.zeros(1, 1, PROMPT_DIM)}, folder / "null_prompt.safetensors")
    index = {
        "_class_name": "MagicStyleMini",
        "margin": MARGIN,
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderDC"],
        "scheduler": ["diffusers", "DDIMScheduler"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.train", description="Trains the embedded model.")
    parser.add_argument("stage", choices=("autoencoder", "refine", "unet", "rollout"))
    parser.add_argument("--pool", type=Path, required=True, help="folder of rendered blocks")
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder to keep the state of the training in")
    parser.add_argument("--minutes", type=float, required=True, help="time budget of the stage, all runs together")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--bf16", action="store_true", help="multiply in bf16, but for whole renders")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--export", type=Path, help="folder to write the finished model to (stages unet, rollout)")
    arguments = parser.parse_args()
    arguments.checkpoints.mkdir(parents=True, exist_ok=True)
    common = dict(minutes=arguments.minutes, device=arguments.device, bf16=arguments.bf16, seed=arguments.seed)
    if arguments.stage in ("unet", "rollout"):
        rollouts = arguments.stage == "rollout"
        train_unet(arguments.pool, arguments.checkpoints, rollouts=rollouts, export_to=arguments.export, **common)
    else:
        refine = arguments.stage == "refine"
        train_autoencoder(arguments.pool, arguments.checkpoints, refine=refine, **common)


if __name__ == "__main__":
    main()
