"""The flags that say which model to load and how, the same for the page and the command line."""

from __future__ import annotations

import argparse
import os

from magicstyle_core.engine import StyleEngine


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Adds them. Where a flag is not given, its environment variable counts, where it has one."""
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model",
        default=os.environ.get("MAGICSTYLE_MODEL", "mini"),
        help="mini, sd15, a diffusers folder, a .safetensors file, a hub id, or OWNER/NAME/FILE on the hub",
    )
    model.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    model.add_argument("--dtype", default="auto", help="auto, fp32, bf16 or fp16")
    model.add_argument("--attention", default="sdpa", help="sdpa, or xformers where it runs")
    model.add_argument("--preview-vae", metavar="NAME", help="folder or hub id of an AutoencoderTiny for previews")
    model.add_argument("--revision", metavar="NAME", help="branch, tag or commit of the model on the hub")
    model.add_argument("--variant", metavar="NAME", help="of the weights, as fp16; default: what there is")
    model.add_argument("--lora", metavar="FILE", help="a LoRA to add (needs the package peft)")
    model.add_argument("--prompt", metavar="TEXT", default="", help="what the picture shows; the method needs none")
    model.add_argument(
        "--budget",
        type=float,
        metavar="GB",
        default=os.environ.get("MAGICSTYLE_BUDGET"),
        help="most gigabytes of stored features; default: a share of the memory",
    )
    model.add_argument("--size", type=int, metavar="PIXELS", help="long side of pictures; default: the model's own")


def load_engine(arguments: argparse.Namespace) -> StyleEngine:
    """The engine that the flags ask for.

    Raises:
        ModelError: the model cannot be found, loaded or run.
    """
    names = ("device", "dtype", "attention", "preview_vae", "revision", "variant", "lora", "prompt")
    options = {name: getattr(arguments, name) for name in names}
    budget_bytes = None if arguments.budget is None else int(arguments.budget * 1e9)
    return StyleEngine.load(arguments.model, budget_bytes=budget_bytes, **options)
