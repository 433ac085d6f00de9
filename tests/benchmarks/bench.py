"""What the method costs: seconds, UNet calls and bytes, all of one run on one machine.

    python -m tests.benchmarks.bench --architecture sd15 --size 256 --steps 10 --peer --json out.json

`sd15` is the architecture of Stable Diffusion 1.5 with random weights: the same cost as the real thing, no
download, but pictures that mean nothing. `mini` and folders have pictures, and so a meaningful PSNR.
Seconds are medians; what a ratio compares runs by turns. Sections, one function each:

    stages   encode, UNet step, inversion step, FFA step, decode
    results  first result, re-render, draft
    tiers    features on the device, in 8 bits, in host memory, not kept: seconds, bytes, PSNR
    growth   with steps, size and sessions
    recipe   (with --peer or --only) a first result by the plain recipe of the relatives; see peers.py
    branches (with --peer or --only) re-renders by the batch of three without a bank; see peers.py
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import skimage.data
import torch
from PIL import Image
from torch import Tensor

from magicstyle_core import FusionSettings, Inversion, InversionSettings, StyleEngine
from magicstyle_core.attention import (
    Attend,
    FusionInputs,
    Layer,
    fusing,
    probed_xformers,
    recording,
    sdpa,
)
from magicstyle_core.backbone import DTYPES, Backbone
from magicstyle_core.features import FeatureBank
from magicstyle_core.images import fit, to_image, to_tensor
from tests.benchmarks.models import ARCHITECTURES, random_backbone
from tests.benchmarks.peers import PlainRecipe, three_branches

STEP_REPEATS = 5  # at least; single UNet calls are short, and their ratio is wanted to a few percent
IDENTICAL = 99.0  # dB, for pictures without any difference


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of the report; what does not apply is None."""

    name: str
    seconds: float | None = None
    unet_calls: int | None = None
    bytes: int | None = None
    ratio: float | None = None
    against: str | None = None  # what the ratio is relative to
    psnr: float | None = None  # dB, against the same
    note: str | None = None


@dataclass(frozen=True)
class Cost:
    seconds: float
    unet_calls: int


class Bench:
    """An engine and what all sections share: the images, their inversions, the clock."""

    def __init__(self, engine: StyleEngine, size: int, steps: int, repeats: int) -> None:
        self.engine, self.backbone = engine, engine.backbone
        self.size, self.steps, self.repeats = size, steps, repeats
        blotches = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        self.images = Image.fromarray(skimage.data.astronaut()), Image.fromarray(blotches).resize((512, 512))
        self._fresh = itertools.count(1)

    def invert_pair(
        self, engine: StyleEngine, session: str, *, size: int | None = None, steps: int | None = None
    ) -> tuple[Inversion, Inversion]:
        settings = InversionSettings(size=size or self.size, steps=steps or self.steps)
        content, style = (engine.invert(image, settings, session=session) for image in self.images)
        return content, style

    @cached_property
    def pair(self) -> tuple[Inversion, Inversion]:
        return self.invert_pair(self.engine, "bench")

    @property
    def banks(self) -> tuple[FeatureBank, FeatureBank]:
        content, style = (self.engine.store.bank(source.session, source.key) for source in self.pair)
        if content is None or style is None:
            raise SystemExit("The features of two images do not fit in memory; choose a smaller size or fewer steps.")
        return content, style

    def pixels(self) -> tuple[Tensor, Tensor]:
        """Both images as the engine prepares them, (1, 3, height, width)."""
        content, style = (to_tensor(fit(image, self.size, self.backbone.multiple)) for image in self.images)
        return content, style

    def fresh_session(self) -> str:
        return f"bench {next(self._fresh)}"

    def fresh_settings(self, **changes: Any) -> FusionSettings:
        """The default settings in all layers, with a trace that no render had before: none goes on from another."""
        temperature = FusionSettings().temperature + 1e-5 * next(self._fresh)
        return FusionSettings(temperature=temperature, layers=("all",), **changes)

    def first_result(self) -> None:
        session = self.fresh_session()
        self.engine.stylize(*self.invert_pair(self.engine, session), self.fresh_settings())
        self.engine.forget(session)

    def timed(self, action: Callable[[], Any]) -> tuple[Cost, Any]:
        """What one run of the action cost, and what it returned."""
        calls_before = self.backbone.unet_calls
        self._finish_queued_work()
        start = time.perf_counter()
        result = action()
        self._finish_queued_work()
        return Cost(time.perf_counter() - start, self.backbone.unet_calls - calls_before), result

    def _finish_queued_work(self) -> None:
        if self.backbone.device.type == "cuda":
            torch.cuda.synchronize()

    def compare(self, actions: Mapping[str, Callable[[], Any]], repeats: int | None = None) -> dict[str, Cost]:
        """Runs the actions by turns; the median cost of each."""
        runs: dict[str, list[Cost]] = {name: [] for name in actions}
        for _ in range(repeats or self.repeats):
            for name, action in actions.items():
                runs[name].append(self.timed(action)[0])
        return {name: median(costs) for name, costs in runs.items()}


def median(costs: Sequence[Cost]) -> Cost:
    return Cost(statistics.median(cost.seconds for cost in costs), costs[-1].unet_calls)


def rows(costs: Mapping[str, Cost], against: str) -> Iterator[Row]:
    for name, cost in costs.items():
        yield Row(name=name, **asdict(cost), ratio=cost.seconds / costs[against].seconds, against=against)


def stages(bench: Bench) -> Iterator[Row]:
    """One of each kind of step at the same latents, half way down."""
    backbone, (content, _), banks = bench.backbone, bench.pair, bench.banks
    index = bench.steps // 2
    latents = content.trajectory[index : index + 1].to(backbone.device)  # (1, channels, h, w)
    scratch = FeatureBank(banks[0].dtype, backbone.device)

    def unet_step() -> None:
        backbone.noise_pred(latents, content.timesteps[index])

    def inversion_step() -> None:
        with recording(backbone.unet, backbone.layers) as features:
            unet_step()
        scratch.write(index, features)

    def ffa_step(layers: Sequence[Layer], attend: Attend) -> None:
        features_c, features_s = (bank.unpack(bank.fetch(index, backbone.device)) for bank in banks)
        inputs = FusionInputs(features_c, [features_s], [1.0], 0.7, 0.3, 1.2, "blend", attend)
        with fusing(backbone.unet, layers, inputs, (latents.shape[2], latents.shape[3])):
            unet_step()

    steps: dict[str, Callable[[], None]] = {
        "UNet step": unet_step,
        "inversion step": inversion_step,
        "FFA step, every layer": partial(ffa_step, backbone.layers, sdpa),
        "FFA step, last 6 layers": partial(ffa_step, backbone.layers[-6:], sdpa),
    }
    try:
        xformers = probed_xformers(backbone.device, backbone.dtype)
        steps["FFA step, every layer, xformers"] = partial(ffa_step, backbone.layers, xformers)
    except (ImportError, NotImplementedError, RuntimeError, ValueError) as error:
        yield Row(name="xformers", note=f"does not run here: {str(error).splitlines()[0]}")
    for step in steps.values():
        step()
    costs = bench.compare(steps, max(STEP_REPEATS, bench.repeats))
    pixels, _ = bench.pixels()
    costs |= bench.compare({"encode": lambda: backbone.encode(pixels), "decode": lambda: backbone.decode(latents)})
    yield from rows(costs, "UNet step")


def results(bench: Bench) -> Iterator[Row]:
    """What a person waits for: at first, after a move of a slider, and for a draft."""
    engine, pair = bench.engine, bench.pair
    costs = bench.compare(
        {
            "first result": bench.first_result,
            "re-render": lambda: engine.stylize(*pair, bench.fresh_settings()),
            "re-render at strength 0.5": lambda: engine.stylize(*pair, bench.fresh_settings(strength=0.5)),
            "draft": lambda: engine.stylize(*pair, bench.fresh_settings(), draft=True),
        }
    )
    early = bench.fresh_settings(end=0.5)
    engine.stylize(*pair, early)
    costs |= bench.compare({"re-render of the second half": lambda: engine.stylize(*pair, replace(early, end=1.0))}, 1)
    costs |= bench.compare({"the same settings again": lambda: engine.stylize(*pair, early)})
    yield from rows(costs, "first result")


def tiers(bench: Bench) -> Iterator[Row]:
    """Re-renders of the same settings from each tier, and the bytes that one image takes there."""
    backbone, pair = bench.backbone, bench.pair
    values = 3 * bench.steps * sum(shape.numel() for shape in bench.banks[0].shapes.values())
    stored = {
        f"Q, K and V in {str(dtype).removeprefix('torch.')}": values * dtype.itemsize
        for dtype in (backbone.dtype, torch.float32)
    }
    in_model_dtype = next(iter(stored))
    engines = {
        "on the device": (bench.engine, pair),
        "on the device, 8 bits": _other_engine(bench, eight_bit=True),
        "trajectory only": (StyleEngine(backbone, budget_bytes=0), pair),
    }
    if backbone.device.type == "cuda":
        engines["in host memory"] = _other_engine(bench)
        engines["in host memory"][0].store.demote_all()
    runs: dict[str, list[Cost]] = {name: [] for name in engines}
    pictures = {}
    for _ in range(bench.repeats):
        settings = bench.fresh_settings()
        for name, (engine, inversions) in engines.items():
            cost, pictures[name] = bench.timed(partial(engine.stylize, *inversions, settings))
            runs[name].append(cost)
    for name, (engine, (content, _)) in engines.items():
        bank = engine.store.bank(content.session, content.key)
        stored[name] = content.nbytes + (bank.nbytes if bank else 0)
    for name, size in stored.items():
        yield Row(name=f"bytes, {name}", bytes=size, ratio=size / stored[in_model_dtype], against=in_model_dtype)
    costs = {name: median(costs) for name, costs in runs.items()}
    for row in rows(costs, "on the device"):
        picture, expected = pictures[row.name].image, pictures["on the device"].image
        yield replace(row, name=f"re-render, {row.name}", psnr=psnr(picture, expected))


def _other_engine(bench: Bench, *, eight_bit: bool = False) -> tuple[StyleEngine, tuple[Inversion, Inversion]]:
    engine = StyleEngine(bench.backbone, eight_bit=eight_bit)
    return engine, bench.invert_pair(engine, "bench")


def growth(bench: Bench) -> Iterator[Row]:
    """Half the steps and half the size against the whole; then several sessions that render at once."""
    engine = bench.engine
    fewer_steps, smaller = max(2, bench.steps // 2), max(64, bench.size // 2)
    inverting, rendering, sizes = {}, {}, {}
    for steps, size in ((bench.steps, bench.size), (fewer_steps, bench.size), (bench.steps, smaller)):
        name = f"{steps} steps, {size} pixels"
        session = bench.fresh_session()
        inverting[name], pair = bench.timed(partial(bench.invert_pair, engine, session, size=size, steps=steps))
        rendering[name] = median(
            [bench.timed(partial(engine.stylize, *pair, bench.fresh_settings()))[0] for _ in range(bench.repeats)]
        )
        sizes[name] = engine.stats()["sessions"][session]
        engine.forget(session)
    first = next(iter(sizes))
    for name, size in sizes.items():
        yield Row(name=f"bytes of both images, {name}", bytes=size, ratio=size / sizes[first], against=first)
    for action, costs in (("invert both", inverting), ("re-render", rendering)):
        for row in rows(costs, first):
            yield replace(row, name=f"{action}, {row.name}")
    yield from _growth_with_sessions(bench)


def _growth_with_sessions(bench: Bench) -> Iterator[Row]:
    """Few steps, because only the growth matters here."""
    engine = StyleEngine(bench.backbone)
    pairs: list[tuple[Inversion, Inversion]] = []
    costs, sizes = {}, {}
    for sessions in (1, 2, 4):
        pairs += [bench.invert_pair(engine, bench.fresh_session(), steps=2) for _ in range(sessions - len(pairs))]
        name = f"{sessions} at once"
        costs[name], _ = bench.timed(partial(_render_at_once, engine, pairs, bench.fresh_settings()))
        sizes[name] = sum(engine.stats()["sessions"].values())
    for row in rows(costs, "1 at once"):
        yield replace(row, name=f"2-step re-renders, {row.name}", bytes=sizes[row.name])


def _render_at_once(
    engine: StyleEngine, pairs: Sequence[tuple[Inversion, Inversion]], settings: FusionSettings
) -> None:
    with ThreadPoolExecutor(len(pairs)) as threads:
        list(threads.map(lambda pair: engine.stylize(*pair, settings), pairs))


def recipe(bench: Bench) -> Iterator[Row]:
    """A first result against the plain recipe of the relatives."""
    backbone, pair = bench.backbone, bench.pair
    pixels = bench.pixels()
    plain = PlainRecipe(backbone, bench.steps, FusionSettings())
    if backbone.device.type == "cuda":  # explicit probabilities are kernels not used so far
        PlainRecipe(backbone, 2, FusionSettings())(*pixels)
    costs = bench.compare(
        {
            "first result, ours": bench.first_result,
            "first result, plain recipe": lambda: to_image(plain(*pixels)),
            "decode": lambda: backbone.decode(pair[0].trajectory[:1].to(backbone.device)),
        }
    )
    decode = costs.pop("decode").seconds
    whole = costs["first result, plain recipe"]
    lean = Cost(whole.seconds - (3 * bench.steps - 1) * decode, whole.unet_calls)
    costs["first result, plain recipe less all decodes but the last"] = lean
    yield from rows(costs, "first result, ours")
    ours = bench.banks[0].nbytes + pair[0].nbytes
    yield Row(name="bytes of one image, ours", bytes=ours)
    yield Row(name="bytes of one image, plain recipe", bytes=plain.nbytes, ratio=plain.nbytes / ours, against="ours")


def branches(bench: Bench) -> Iterator[Row]:
    """A re-render from the bank against the batch of three that needs none."""
    backbone, pair = bench.backbone, bench.pair
    peers = {"three branches": False, "three branches as published": True}
    if backbone.device.type == "cuda":  # batches of three are kernels not used so far
        for as_published in peers.values():
            three_branches(backbone, *pair, FusionSettings(), as_published=as_published)
    runs: dict[str, list[Cost]] = {"re-render, ours": [], **{f"re-render, {name}": [] for name in peers}}
    for _ in range(bench.repeats):
        settings = bench.fresh_settings()
        cost, picture = bench.timed(partial(bench.engine.stylize, *pair, settings))
        runs["re-render, ours"].append(cost)
        same = {}
        for name, as_published in peers.items():
            action = partial(three_branches, backbone, *pair, settings, as_published=as_published)
            cost, pixels = bench.timed(action)
            runs[f"re-render, {name}"].append(cost)
            same[f"re-render, {name}"] = psnr(picture.image, to_image(pixels))
    for row in rows({name: median(costs) for name, costs in runs.items()}, "re-render, ours"):
        yield replace(row, psnr=same.get(row.name))


def psnr(picture: Image.Image, expected: Image.Image) -> float:
    difference = np.asarray(picture, float) - np.asarray(expected, float)
    return min(IDENTICAL, float(10 * np.log10(255**2 / max(np.mean(difference**2), 1e-9))))


SECTIONS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "stages": stages,
    "results": results,
    "tiers": tiers,
    "growth": growth,
    "recipe": recipe,
    "branches": branches,
}
PEERS = ("recipe", "branches")


def peak_memory(device: torch.device) -> Row:
    """On CUDA since the last call; on a CPU the most that the process ever held, so it never falls."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Row(name="peak memory", bytes=peak)


def load(architecture: str, device: str, dtype: str) -> StyleEngine:
    if architecture in ARCHITECTURES:
        return StyleEngine(random_backbone(architecture, torch.device(device), DTYPES[dtype]))
    return StyleEngine.load(architecture, device=device, dtype=dtype)


def machine(backbone: Backbone) -> dict[str, Any]:
    on_cuda = backbone.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if on_cuda else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "unet_parameters": sum(parameter.numel() for parameter in backbone.unet.parameters()),
        "layers": len(backbone.layers),
    }


HEADINGS = ("", "seconds", "calls", "MiB", "ratio", "against", "dB")


def table_line(row: Row) -> str:
    cells = (
        None if row.seconds is None else f"{row.seconds:.4f}",
        None if row.unet_calls is None else str(row.unet_calls),
        None if row.bytes is None else f"{row.bytes / 2**20:.2f}",
        None if row.ratio is None else f"{row.ratio:.3f}",
        row.against,
        None if row.psnr is None else f"{row.psnr:.1f}",
    )
    return _line((row.name, *cells)) + (f" {row.note}" if row.note else "")


def _line(cells: Sequence[str | None]) -> str:
    name, seconds, calls, size, ratio, against, decibels = (cell or "" for cell in cells)
    return f"{name:58}{seconds:>10}{calls:>7}{size:>11}{ratio:>8} {against:22}{decibels:>6}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure what the method costs; see the top of this file.")
    parser.add_argument("--architecture", default="tiny", help=f"{', '.join(ARCHITECTURES)}, mini, a folder or hub id")
    parser.add_argument("--size", type=int, default=256, help="long side in pixels")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=tuple(DTYPES), help="default: fp16 on cuda, fp32 on cpu")
    parser.add_argument("--peer", action="store_true", help="measure the relatives too")
    parser.add_argument("--only", nargs="+", choices=tuple(SECTIONS), help="these sections alone")
    parser.add_argument("--json", type=Path, help="write the figures here, after every section")
    options = parser.parse_args(arguments)
    dtype = options.dtype or ("fp16" if options.device == "cuda" else "fp32")
    bench = Bench(load(options.architecture, options.device, dtype), options.size, options.steps, options.repeats)
    report: dict[str, Any] = {
        "arguments": {**vars(options), "dtype": dtype, "json": None},
        "machine": machine(bench.backbone),
        "sections": {},
    }
    print(json.dumps({name: report[name] for name in ("arguments", "machine")}, indent=1), flush=True)
    bench.engine.stylize(*bench.invert_pair(bench.engine, "warm-up", steps=2), FusionSettings())
    bench.engine.forget("warm-up")
    for name in options.only or [name for name in SECTIONS if options.peer or name not in PEERS]:
        print("\n" + _line((name, *HEADINGS[1:])))
        section = report["sections"][name] = []
        for row in itertools.chain(SECTIONS[name](bench), [peak_memory(bench.backbone.device)]):
            section.append({key: value for key, value in asdict(row).items() if value is not None})
            print(table_line(row), flush=True)
        if options.json:
            options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
