"""The training pictures, rendered once and kept on disk.

    python -m training.pool --pool POOL --blocks 500 [--worker 0 --workers 2]

A block is four pictures and two styles, each style drawn on all four. So every ordered pair of its pictures is
an example whose truth is known: content, style image, and the style drawn on the content. One file per block, so
rendering goes on where it stopped, and workers share a pool without talking to each other.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.natural import Array, natural, photograph
from training.portraits import portrait
from training.styles import sample_style

SIZE = 256
PICTURES = 4  # per block
STYLES = 2  # per block
VERSIONS = 1 + STYLES  # of a picture: plain, and drawn in each style
HELD_OUT = 4  # blocks of the pool that no step sees
PORTRAITS = 0.4  # share of portraits among the pictures; the rest are natural scenes
DEGRADED = 0.5  # share of pictures as a camera would have kept them


def render_block(seed: int, block: int) -> Array:
    """Block number `block` of a pool, uint8 (pictures, versions, 256, 256, 3)."""
    rng = np.random.default_rng([seed, block])
    seeds = rng.integers(2**31, size=PICTURES)
    styles = [sample_style(int(style_seed)) for style_seed in rng.integers(2**31, size=STYLES)]
    rows = []
    for picture_seed in seeds.tolist():
        draw = portrait if rng.random() < PORTRAITS else natural
        plain = draw(picture_seed, SIZE)
        if rng.random() < DEGRADED:
            plain = photograph(plain, picture_seed)
        rows.append([plain, *(style(plain, picture_seed) for style in styles)])
    return np.array(rows)


def block_path(folder: Path, block: int) -> Path:
    return folder / f"{block:05}.npy"


def load_pool(folder: Path) -> Array:
    """All rendered blocks, uint8 (blocks, pictures, versions, 256, 256, 3)."""
    return np.stack([np.load(path) for path in sorted(folder.glob("?????.npy"))])


def to_tensor(images: np.ndarray) -> Tensor:
    """(batch, height, width, 3) uint8 to (batch, 3, height, width) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.pool", description="Renders the training pictures.")
    parser.add_argument("--pool", type=Path, required=True, help="folder of the rendered blocks")
    parser.add_argument("--blocks", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", type=int, default=0, help="number of this worker, from 0")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    arguments.pool.mkdir(parents=True, exist_ok=True)
    for block in range(arguments.worker, arguments.blocks, arguments.workers):
        path = block_path(arguments.pool, block)
        if path.exists():
            continue
        temporary = path.with_suffix(".partial")
        with temporary.open("wb") as file:
            np.save(file, render_block(arguments.seed, block))
        temporary.replace(path)
        print(f"block {block + 1} of {arguments.blocks}", flush=True)


if __name__ == "__main__":
    main()
