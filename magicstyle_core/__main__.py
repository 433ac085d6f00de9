"""The command line: stylize pictures, invert one, show what a model offers, serve the page."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tqdm import tqdm

from magicstyle_core import batch
from magicstyle_core.batch import say
from magicstyle_core.errors import MagicStyleError, SettingsError
from magicstyle_core.settings import PRESETS, InversionSettings, Setting, table

if TYPE_CHECKING:
    from magicstyle_core.engine import StyleEngine

HEADINGS = {"main": "the picture", "advanced": "advanced", "region": "region", "inversion": "inversion"}


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; see {self.prog} -h")


def build_parser() -> Parser:
    model = Parser(add_help=False)
    model.add_argument("--model", default="mini", help="mini, sd15, a diffusers folder or a hub id")
    model.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    model.add_argument("--dtype", default="auto", help="auto, fp32, bf16 or fp16")

    parser = Parser(prog="magicstyle", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)
    add = commands.add_parser("stylize", parents=[model], help="draw photographs in the style of other pictures")
    add.add_argument(
        "contents", nargs="+", type=Path, metavar="PHOTO", help="without --style, the last one is the style"
    )
    add.add_argument(
        "--style", action="append", type=Path, default=[], metavar="FILE", help="may be given several times"
    )
    add.add_argument("--weight", nargs="+", type=float, metavar="W", help="one for each style, such as 1 3")
    add.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT",
        help="a .png, which carries its settings, a .jpg or .webp, which don't; or a folder for PNGs",
    )  # fmt: skip
    add.add_argument(
        "--settings", type=Path, metavar="FILE", help="a PNG made here, or JSON; other options override it"
    )
    add.add_argument("--preset", help=f"one of {', '.join(PRESETS)}; single settings override it")
    add.add_argument("--mask", type=Path, metavar="FILE", help="the style goes where this picture is white")
    add.add_argument("--region", choices=batch.REGIONS, help="the style goes to faces, or all around them")
    _add_settings(add, table())
    add.add_argument("--json", action="store_true", help="print what was done, a JSON object a line")
    invert_ = commands.add_parser("invert", parents=[model], help="invert a picture and report what it costs")
    invert_.add_argument("image", type=Path, metavar="PHOTO")
    _add_settings(invert_, [setting for setting in table() if setting.group == "inversion"])
    invert_.add_argument("--json", action="store_true", help="print it as JSON")
    info_ = commands.add_parser("info", parents=[model], help="layers, size and presets of a model")
    info_.add_argument("--json", action="store_true", help="print it as JSON")
    for command, run in ((add, stylize), (invert_, invert), (info_, info)):
        command.set_defaults(run=run)
    return parser


def _add_settings(parser: Parser, settings: Sequence[Setting]) -> None:
    """A flag for each of the settings, from the table."""
    groups = {setting.group: None for setting in settings}
    for group in groups:
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


def stylize(arguments: argparse.Namespace) -> int:
    order = batch.take(arguments)
    return batch.run(order, _load(arguments), lambda report: _print(report, arguments.json))


def invert(arguments: argparse.Namespace) -> int:
    engine = _load(arguments)
    start = time.perf_counter()
    inversion = engine.invert(arguments.image, InversionSettings(steps=arguments.steps, size=arguments.size))
    height, width = inversion.picture.pixels.shape[:2]
    report = {
        "size": [width, height],
        "seconds": round(time.perf_counter() - start, 3),
        "unet_calls": engine.model.unet_calls,
        "bytes": engine.stats()["bytes"],
    }
    _print(report, arguments.json)
    return 0


def info(arguments: argparse.Namespace) -> int:
    engine = _load(arguments)
    report = {
        "model": engine.model.name,
        "device": str(engine.model.device),
        "dtype": engine.stats()["dtype"],
        "size": engine.model.size,
        "steps": engine.model.steps,
        "preset": engine.model.preset,
        "layers": {layer.label: f"{layer.name} ({layer.group})" for layer in engine.layers()},
        "presets": list(PRESETS),
    }
    _print(report, arguments.json)
    return 0


def _load(arguments: argparse.Namespace) -> StyleEngine:
    from magicstyle_core.engine import StyleEngine

    return StyleEngine.load(arguments.model, device=arguments.device, dtype=arguments.dtype)


def _print(report: dict[str, Any], as_json: bool) -> None:
    """One JSON object in one line, or a line for each of its parts."""
    lines = [json.dumps(report)] if as_json else [f"{name}: {value}" for name, value in report.items() if value != ""]
    tqdm.write("\n".join(lines), file=sys.stdout)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 = all done, 1 = not all of it, 130 = stopped by the keyboard."""
    try:
        arguments = build_parser().parse_args(argv)
        failed: int = arguments.run(arguments)
        return 1 if failed else 0
    except MagicStyleError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("Stopped.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
