"""The flags that the page and the command line share: which model to load and how, and those of the settings table."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from magicstyle_core.settings import Setting

if TYPE_CHECKING:
    from magicstyle_core.engine import StyleEngine

LOADED_WITH = ("device", "dtype", "attention", "preview_vae", "revision", "variant", "lora", "prompt", "exact")
HEADINGS = {"main": "the picture", "advanced": "advanced", "region": "region", "inversion": "inversion"}


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
    model.add_argument(
        "--exact",
        action="store_true",
        help="models of few steps: 4 calls more keep little strength near the photograph",
    )
    model.add_argument("--lora", metavar="FILE", help="a LoRA to add (needs the package peft)")
    model.add_argument("--prompt", metavar="TEXT", default="", help="what the picture shows; the method needs none")
    model.add_argument(
        "--budget",
        type=float,
        metavar="GB",
        default=os.environ.get("MAGICSTYLE_BUDGET"),
        help="most gigabytes of stored features; default: a share of the memory",
    )


def add_cluster_options(parser: argparse.ArgumentParser) -> None:
    """Where the page's work runs, if not in its own process."""
    cluster = parser.add_argument_group("many machines")
    cluster.add_argument(
        "--ray", nargs="?", const="local", metavar="ADDRESS", default=os.environ.get("MAGICSTYLE_RAY"),
        help="work on a Ray cluster: the address of its head, auto for the one that this machine is in; alone, a "
        "cluster of this machine's (needs the package ray)",
    )  # fmt: skip
    cluster.add_argument(
        "--replicas",
        type=int,
        nargs="+",
        metavar="N",
        default=[1],
        help="of the model: how many, or the fewest and the most",
    )


def load_engine(arguments: argparse.Namespace) -> StyleEngine:
    """The engine that the flags ask for.

    Raises:
        ModelError: the model cannot be found, loaded or run.
    """
    from magicstyle_core.engine import StyleEngine  # with torch, which flags are checked without

    options = {name: getattr(arguments, name) for name in LOADED_WITH}
    budget_bytes = None if arguments.budget is None else int(arguments.budget * 1e9)
    return StyleEngine.load(arguments.model, budget_bytes=budget_bytes, **options)


def add_settings(parser: argparse.ArgumentParser, settings: Sequence[Setting]) -> None:
    """A flag for each of the settings, from the table."""
    for group in dict.fromkeys(setting.group for setting in settings):
        section = parser.add_argument_group(HEADINGS[group])
        for setting in settings:
            if setting.group == group:
                several = {"nargs": "+"} if setting.kind == "layers" else {}
                metavar = f"{{{','.join(setting.choices)}}}" if setting.choices else "NAME" if several else "N"
                section.add_argument(
                    f"--{setting.name.replace('_', '-')}", type=setting.parse, metavar=metavar, help=_help(setting),
                    **several,  # type: ignore[arg-type]
                )  # fmt: skip


def _help(setting: Setting) -> str:
    if setting.low is None or setting.default is None:
        return setting.hint
    return f"{setting.low:g} to {setting.high:g}. {setting.hint}"
