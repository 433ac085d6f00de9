"""Puts what was trained into the embedded model, in half precision, and prints the card's table of files.

python -m training.ship --data FOLDER [--model assets/mini]
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import torch
from diffusers import AutoencoderDC, UNet2DConditionModel

WEIGHTS = "diffusion_pytorch_model.safetensors"


def ship(data: Path, model: Path) -> list[str]:
    """Writes the moving averages of a run into the model's folder; returns the rows of the table."""
    rows = []
    for kind, name in ((UNet2DConditionModel, "unet"), (AutoencoderDC, "vae")):
        network = kind.from_pretrained(data / name, torch_dtype=torch.float16)
        network.save_pretrained(model / name)
        path = model / name / "config.json"
        config = json.loads(path.read_text())
        config.pop("_name_or_path", None)  # where the weights were read from
        path.write_text(json.dumps(config, indent=2) + "\n")
        weights = (model / name / WEIGHTS).read_bytes()
        rows.append(f"| `{name}/{WEIGHTS}` | {len(weights)} | `{hashlib.sha256(weights).hexdigest()}` |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.ship", description="Ships trained weights.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the checkpoints")
    parser.add_argument("--model", type=Path, default=Path("assets/mini"), help="the model's folder")
    arguments = parser.parse_args()
    print(*ship(arguments.data, arguments.model), sep="\n")


if __name__ == "__main__":
    main()
