"""The command line: stylize pictures, compare settings, look into the attention, invert, serve the page."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from magicstyle_core import batch
from magicstyle_core.batch import say
from magicstyle_core.enlarge import TIMES
from magicstyle_core.errors import MagicStyleError, SettingsError
from magicstyle_core.grid import Grid, parse_values
from magicstyle_core.layers import GROUPS
from magicstyle_core.options import add_cluster_options, add_model_options, add_settings, load_engine
from magicstyle_core.serving.visitors import GRACE_SECONDS
from magicstyle_core.settings import NONE, PRESETS, TABLE, WAY_DOWN, InversionSettings, table

SHOWN = ("output", "size", "seconds", "unet_calls")  # of a picture; with --json all of its recipe


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; see {self.prog} -h")


def build_parser() -> Parser:
    model = Parser(add_help=False)
    add_model_options(model)
    order = Parser(add_help=False)
    order.add_argument(
        "contents", nargs="+", type=Path, metavar="PHOTO", help="without --style, the last one is the style"
    )
    order.add_argument(
        "--style", action="append", type=Path, default=[], metavar="FILE", help="may be given several times"
    )
    order.add_argument("--weight", nargs="+", type=float, metavar="W", help="one for each style, such as 1 3")
    order.add_argument(
        "--style-mask", nargs="+", metavar="FILE",
        help=f"one for each style, which is looked at where it is white; {NONE} = everywhere",
    )  # fmt: skip
    order.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT",
        help="a .png, which carries its settings, a .jpg or .webp, which don't; or a folder for PNGs",
    )  # fmt: skip
    order.add_argument(
        "--settings", type=Path, metavar="FILE", help="a PNG made here, or JSON; other options override it"
    )
    order.add_argument("--preset", help=f"one of {', '.join(PRESETS)}; single settings override it")
    order.add_argument("--mask", type=Path, metavar="FILE", help="the style goes where this picture is white")
    order.add_argument("--region", choices=batch.REGIONS, help="the style goes to faces, or all around them")
    add_settings(order, table())

    parser = Parser(prog="magicstyle", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)

    def add(name: str, run: Callable[[argparse.Namespace], int], parents: list[Parser], text: str) -> Parser:
        command = commands.add_parser(name, parents=parents, help=text, description=text)
        command.set_defaults(run=run)
        return command

    serve_ = add("serve", serve, [model], "serve the page")
    serve_.add_argument("--port", type=int, metavar="N", help="default: the first free one from 7860")
    serve_.add_argument("--share", action="store_true", help="also open a public link through Gradio's servers")
    serve_.add_argument(
        "--grace",
        type=float,
        metavar="SECONDS",
        default=GRACE_SECONDS,
        help="how long a closed page can be opened again",
    )
    add_cluster_options(serve_)
    add_settings(serve_, [TABLE["steps"], TABLE["size"]])
    stylize_ = add("stylize", stylize, [model, order], "draw photographs in the style of other pictures")
    stylize_.add_argument(
        "--upsample", type=int, choices=TIMES, metavar="N",
        help="1, 2 or 4 times as large, by what the result changed in the larger photograph",
    )  # fmt: skip
    stylize_.add_argument("--json", action="store_true", help="print what was done, a JSON object a line")
    grid_ = add("grid", draw_grid, [model, order], "draw one photograph with several values of one or two settings")
    for axis, direction in (("x", "across"), ("y", "down")):
        grid_.add_argument(
            f"-{axis}", nargs=2, required=axis == "x", metavar=("NAME", "VALUES"),
            help=f"a setting, and its values {direction}, such as strength '0, 0.5, 1' or strength '0–1 [5]'",
        )  # fmt: skip
    lens_ = add("lens", look, [model, order], "light up what a spot of the result looked at in the style")
    lens_.add_argument(
        "--spot", nargs=2, type=float, required=True, metavar=("X", "Y"), help="across and down, from 0 to 1"
    )
    lens_.add_argument("--group", choices=GROUPS, default="fine", help="of the layers that are asked")
    lens_.add_argument(
        "--way-down", type=float, default=WAY_DOWN, metavar="N",
        help=f"at which step, from 0 (noise) to 1 (the finished picture); default: {WAY_DOWN}",
    )  # fmt: skip
    invert_ = add("invert", invert, [model], "invert a picture and report what it costs")
    invert_.add_argument("image", type=Path, metavar="PHOTO")
    add_settings(invert_, [setting for setting in table() if setting.group == "inversion"])
    invert_.add_argument("--json", action="store_true", help="print it as JSON")
    info_ = add("info", info, [model], "layers, size and presets of a model")
    info_.add_argument("--json", action="store_true", help="print it as JSON")
    return parser


def serve(arguments: argparse.Namespace) -> int:
    from magicstyle_core import app  # with Gradio, which no other command needs

    return app.serve(arguments)


def stylize(arguments: argparse.Namespace) -> int:
    order = batch.take(arguments)

    def show(report: dict[str, Any]) -> None:
        shown = report if arguments.json else {name: report[name] for name in SHOWN}
        _print(shown, arguments.json)

    return batch.Batch(order, load_engine(arguments)).stylize(show)


def draw_grid(arguments: argparse.Namespace) -> int:
    axes = [(name, tuple(parse_values(name, text))) for name, text in filter(None, (arguments.x, arguments.y))]
    grid = Grid(*axes[0], *axes[1]) if len(axes) == 2 else Grid(*axes[0])
    order = _single(arguments)
    return batch.Batch(order, load_engine(arguments)).draw_grid(grid)


def look(arguments: argparse.Namespace) -> int:
    if not all(0 <= place <= 1 for place in arguments.spot):
        raise SettingsError(f"--spot got {arguments.spot}, expected two numbers from 0 to 1.")
    if not 0 <= arguments.way_down <= 1:
        raise SettingsError(f"--way-down got {arguments.way_down}, expected a number from 0 to 1.")
    order = _single(arguments)
    return batch.Batch(order, load_engine(arguments)).look(tuple(arguments.spot), arguments.group, arguments.way_down)


def _single(arguments: argparse.Namespace) -> batch.Order:
    """An order of one photograph whose result is a file."""
    order = batch.take(arguments)
    if list(order.outputs.values()) != [arguments.output]:
        raise SettingsError(f"-o got {arguments.output} for one photograph, expected a file.")
    return order


def invert(arguments: argparse.Namespace) -> int:
    engine = load_engine(arguments)
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
    engine = load_engine(arguments)
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


def _print(report: dict[str, Any], as_json: bool) -> None:
    """One JSON object in one line, or a line for each of its parts."""
    lines = [json.dumps(report)] if as_json else [f"{name}: {value}" for name, value in report.items()]
    tqdm.write("\n".join(lines), file=sys.stdout)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 = all done, 1 = not all of it, 130 = stopped by the keyboard."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # its advice at import is for programmers
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
