"""The command line: stylize a picture, invert one, or show what a model offers."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from magicstyle_core.engine import StyleEngine
from magicstyle_core.errors import MagicStyleError, SettingsError
from magicstyle_core.metadata import write_png
from magicstyle_core.settings import PRESETS, FusionSettings, InversionSettings, apply_preset, default_preset

FUSION_OPTIONS = (
    "strength", "structure", "colour", "texture", "detail", "temperature", "fusion", "layers", "start", "end", "seed",
)  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    model = argparse.ArgumentParser(add_help=False)
    model.add_argument("--model", default="mini", help="mini, sd15, a diffusers folder or a hub id")
    model.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    model.add_argument("--dtype", default="auto", help="auto, fp32, bf16 or fp16")
    model.add_argument("--json", action="store_true", help="print what was done as JSON")
    inversion = argparse.ArgumentParser(add_help=False)
    inversion.add_argument("--steps", type=int, default=InversionSettings.steps, help="inversion steps")
    inversion.add_argument("--size", type=int, help="long side in pixels; default: the model's own")

    parser = argparse.ArgumentParser(prog="python -m magicstyle_core", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    stylize = commands.add_parser("stylize", parents=[model, inversion], help="draw CONTENT in the style of STYLE")
    stylize.add_argument("content", type=Path, metavar="CONTENT")
    stylize.add_argument("style", type=Path, metavar="STYLE")
    stylize.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.png")
    stylize.add_argument("--preset", help=f"one of {', '.join(PRESETS)}; the options below override it")
    stylize.add_argument("--strength", type=float, help="0 to 1.5; higher: more of the style")
    stylize.add_argument("--structure", type=float, help="0 to 1; higher: more of the content's own layout")
    stylize.add_argument("--colour", type=float, help="0 to 1; higher: more of the style's colours")
    stylize.add_argument("--texture", type=float, help="0 to 1; higher: more of the style's grain in flat places")
    stylize.add_argument("--detail", type=float, help="0 to 1; higher: more of fine lines and of the outlines")
    stylize.add_argument("--temperature", type=float, help="0.1 to 5; higher: crisper strokes")
    stylize.add_argument("--fusion", choices=("blend", "joint"))
    stylize.add_argument("--layers", nargs="+", metavar="NAME", help="layers where FFA applies; see 'info'")
    stylize.add_argument("--start", type=float, help="0 to 1; FFA begins here on the way down")
    stylize.add_argument("--end", type=float, help="0 to 1; FFA ends here on the way down")
    stylize.add_argument("--seed", type=int, help="draws a variation")
    invert = commands.add_parser("invert", parents=[model, inversion], help="invert IMAGE and report what it costs")
    invert.add_argument("image", type=Path, metavar="IMAGE")
    commands.add_parser("info", parents=[model], help="layers, size and presets of a model")
    return parser


def stylize(engine: StyleEngine, arguments: argparse.Namespace) -> dict[str, Any]:
    settings = apply_preset(arguments.preset or default_preset(arguments.model), FusionSettings())
    given = {name: getattr(arguments, name) for name in FUSION_OPTIONS if getattr(arguments, name) is not None}
    settings = replace(settings, **given)
    if arguments.output.suffix.lower() != ".png":
        raise SettingsError(f"The output is {arguments.output.name}; name it with .png, it carries the settings.")
    inversion = InversionSettings(steps=arguments.steps, size=arguments.size)
    start = time.perf_counter()
    content = engine.invert(arguments.content, inversion)
    style = engine.invert(arguments.style, inversion)
    inverted = time.perf_counter() - start
    calls = engine.backbone.unet_calls
    picture = engine.stylize(content, style, settings)
    write_png(picture.image, arguments.output, settings=settings, inversion=inversion, model=arguments.model)
    return {
        "output": str(arguments.output),
        "size": list(picture.image.size),
        "seconds": {"invert": round(inverted, 3), "render": round(picture.seconds, 3)},
        "unet_calls": {"invert": calls, "render": picture.unet_calls},
        "bytes": engine.stats()["bytes"],
        "settings": asdict(settings),
        "inversion": asdict(inversion),
    }


def invert(engine: StyleEngine, arguments: argparse.Namespace) -> dict[str, Any]:
    start = time.perf_counter()
    inversion = engine.invert(arguments.image, InversionSettings(steps=arguments.steps, size=arguments.size))
    return {
        "size": [inversion.width, inversion.height],
        "seconds": round(time.perf_counter() - start, 3),
        "unet_calls": engine.backbone.unet_calls,
        "bytes": engine.stats()["bytes"],
    }


def info(engine: StyleEngine, arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "model": arguments.model,
        "device": str(engine.backbone.device),
        "dtype": engine.stats()["dtype"],
        "size": engine.backbone.size,
        "layers": {layer.label: f"{layer.name} ({layer.group})" for layer in engine.layers()},
        "presets": list(PRESETS),
    }


def main(argv: Sequence[str] | None = None) -> int:
    arguments = build_parser().parse_args(argv)
    command = {"stylize": stylize, "invert": invert, "info": info}[arguments.command]
    try:
        engine = StyleEngine.load(arguments.model, device=arguments.device, dtype=arguments.dtype)
        report = command(engine, arguments)
    except MagicStyleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(report, indent=2))
    else:
        for name, value in report.items():
            print(f"{name}: {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
