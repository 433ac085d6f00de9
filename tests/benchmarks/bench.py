"""What the method costs: seconds, UNet calls and bytes, all of one run on one machine.

    python -m tests.benchmarks.bench --architecture sd15 --size 256 --steps 10 --peer --json out.json

`sd15` is the architecture of Stable Diffusion 1.5 with random weights: the same cost as the real thing, no
download, but pictures that mean nothing. `mini` and folders have pictures, and so a meaningful PSNR.
Seconds are medians; what a ratio compares runs by turns. Sections, one function each:

    stages   encode, UNet step, inversion step, FFA step, decode
    results  first result, re-render, draft
    files    opening a photograph and moving a slider, with one of 0.6 and one of 48 megapixels
    tiers    features on the device, in 8 bits, in host memory, not kept: seconds, bytes, PSNR
    growth   with steps, size and sessions
    recipe   (with --peer or --only) a first result by the plain recipe of the relatives; see peers.py
    branches (with --peer or --only) re-renders by the batch of three without a bank; see peers.py
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import skimage.data
import torch
from PIL import Image
from torch import Tensor

from magicstyle_core import FusionSettings, Inversion, InversionSettings, StyleEngine
from magicstyle_core.attention import Attend, sdpa
from magicstyle_core.bank import FeatureBank
from magicstyle_core.hooks import Fusing, fuse, record
from magicstyle_core.layers import Layer
from magicstyle_core.loading import DTYPES, probed_xformers
from magicstyle_core.pixels import to_image, to_tensor
from magicstyle_core.serving.desk import Desk
from magicstyle_core.serving.jobs import Job
from magicstyle_core.serving.places import Here
from magicstyle_core.serving.visitors import Visitors
from magicstyle_core.settings import apply_preset
from tests.benchmarks.models import ARCHITECTURES, random_model
from tests.benchmarks.peers import PlainRecipe, three_branches
from tests.benchmarks.report import HEADINGS, Cost, Row, line, machine, median, peak_memory, psnr, rows, table_line

Returned = TypeVar("Returned")

STEP_REPEATS = 5  # at least; single UNet calls are short, and their ratio is wanted to a few percent


class Bench:
    """An engine and what all sections share: the images, their inversions, the clock."""

    def __init__(self, engine: StyleEngine, size: int, steps: int, repeats: int) -> None:
        self.engine, self.model = engine, engine.model
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
        if content is None or style is None or content.missing([0], [layer.name for layer in self.model.layers]):
            raise SystemExit("The features of two images do not fit in memory; choose a smaller size or fewer steps.")
        return content, style

    def pixels(self) -> tuple[Tensor, Tensor]:
        """Both pictures as the engine prepares them, (1, 3, height, width)."""
        content, style = (to_tensor(self.engine.prepare(image, self.size).pixels) for image in self.images)
        return content, style

    def fresh_session(self) -> str:
        return f"bench {next(self._fresh)}"

    def fresh_settings(self, **changes: Any) -> FusionSettings:
        """The model's preset in all layers, with a trace that no render had before: none goes on from another."""
        preset = apply_preset(self.model.preset, FusionSettings())
        temperature = preset.temperature + 1e-5 * next(self._fresh)
        return preset.replace(temperature=temperature, layers=("all",), **changes)

    def first_result(self) -> None:
        session = self.fresh_session()
        self.engine.stylize(*self.invert_pair(self.engine, session), self.fresh_settings())
        self.engine.forget(session)

    def timed(self, action: Callable[[], Returned]) -> tuple[Cost, Returned]:
        """What one run of the action cost, and what it returned."""
        calls_before = self.model.unet_calls
        self._finish_queued_work()
        start = time.perf_counter()
        result = action()
        self._finish_queued_work()
        return Cost(time.perf_counter() - start, self.model.unet_calls - calls_before), result

    def _finish_queued_work(self) -> None:
        if self.model.device.type == "cuda":
            torch.cuda.synchronize()

    def compare(self, actions: Mapping[str, Callable[[], Any]], repeats: int | None = None) -> dict[str, Cost]:
        """Runs the actions by turns; the median cost of each."""
        runs: dict[str, list[Cost]] = {name: [] for name in actions}
        for _ in range(repeats or self.repeats):
            for name, action in actions.items():
                runs[name].append(self.timed(action)[0])
        return {name: median(costs) for name, costs in runs.items()}


def stages(bench: Bench) -> Iterator[Row]:
    """One of each kind of step at the same latents, half way down."""
    model, (content, _), banks = bench.model, bench.pair, bench.banks
    index = bench.steps // 2
    latents = content.trajectory.latents[index].to(model.device)  # (1, channels, h, w)
    scratch = FeatureBank(banks[0].dtype, model.device)
    strength = torch.full((1, 1, *latents.shape[2:]), 0.7, device=model.device)

    def unet_step() -> None:
        model.denoise(latents, content.timesteps[index])

    def inversion_step() -> None:
        with record(model.unet, model.layers) as features:
            unet_step()
        scratch.write(index, features)

    def ffa_step(layers: Sequence[Layer], attend: Attend) -> None:
        names = [layer.name for layer in layers]
        content_features, style_features = (
            {name: row.features for name, row in bank.fetch(index, names, model.device).items()} for bank in banks
        )
        how = Fusing(strength, structure=0.3, temperature=1.2, attend=attend)
        with fuse(model.unet, layers, content_features, [style_features], how):
            unet_step()

    steps: dict[str, Callable[[], None]] = {
        "UNet step": unet_step,
        "inversion step": inversion_step,
        "FFA step, every layer": partial(ffa_step, model.layers, sdpa),
        "FFA step, last 6 layers": partial(ffa_step, model.layers[-6:], sdpa),
    }
    try:
        xformers = probed_xformers(model.device, model.dtype)
        steps["FFA step, every layer, xformers"] = partial(ffa_step, model.layers, xformers)
    except (ImportError, NotImplementedError, RuntimeError, ValueError) as error:
        yield Row(name="xformers", note=f"does not run here: {str(error).splitlines()[0]}")
    for step in steps.values():
        step()
    costs = bench.compare(steps, max(STEP_REPEATS, bench.repeats))
    pixels, _ = bench.pixels()
    costs |= bench.compare({"encode": lambda: model.encode(pixels), "decode": lambda: model.decode(latents)})
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
    costs |= bench.compare({"re-render of the second half": lambda: engine.stylize(*pair, early.replace(end=1.0))}, 1)
    costs |= bench.compare({"the same settings again": lambda: engine.stylize(*pair, early)})
    yield from rows(costs, "first result")


def files(bench: Bench) -> Iterator[Row]:
    """What the size of a photograph's file costs: once, when it is opened, and never for a slider of the page."""
    engine, settings = bench.engine, InversionSettings(size=bench.size, steps=bench.steps)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        desk = Desk(Here(engine), Visitors(folder / "files", forget=engine.forget), folder / "bundled")
        visitor, style = desk.visitors.get(bench.fresh_session()), folder / "style.png"
        bench.images[1].save(style)

        def move(photograph: Path) -> None:
            job = Job(str(photograph), ((str(style), 1.0),), bench.fresh_settings(), settings)
            for _ in desk.make(visitor, job):
                pass

        opening: dict[str, Callable[[], Any]] = {}
        moving: dict[str, Callable[[], Any]] = {}
        for side, megapixels in ((775, "0.6 megapixels"), (6928, "48 megapixels")):
            photograph = folder / f"{side}.jpg"
            bench.images[0].resize((side, side)).save(photograph, quality=95)
            move(photograph)
            opening[f"open, {megapixels}"] = partial(engine.prepare, photograph, bench.size)
            moving[f"slider, {megapixels}"] = partial(move, photograph)
        yield from rows(bench.compare(opening), "open, 0.6 megapixels")
        yield from rows(bench.compare(moving, max(STEP_REPEATS, bench.repeats)), "slider, 0.6 megapixels")
        desk.visitors.drop(visitor)


def tiers(bench: Bench) -> Iterator[Row]:
    """Re-renders of the same settings from each tier, and the bytes that one image takes there."""
    model, pair = bench.model, bench.pair
    values = 3 * sum(row.values.numel() for row in bench.banks[0].rows.values())
    stored = {
        f"Q, K and V in {str(dtype).removeprefix('torch.')}": values * dtype.itemsize
        for dtype in (model.dtype, torch.float32)
    }
    in_model_dtype = next(iter(stored))
    engines = {
        "on the device": (bench.engine, pair),
        "on the device, 8 bits": _other_engine(bench, eight_bit=True),
        "trajectory only": (StyleEngine(model, budget_bytes=0), pair),
    }
    if model.device.type == "cuda":
        engines["in host memory"] = _other_engine(bench)
        engines["in host memory"][0].store.demote_all()
    runs: dict[str, list[Cost]] = {name: [] for name in engines}
    pictures = {}
    for _ in range(bench.repeats):
        settings = bench.fresh_settings(detail=0)  # an engine without a store would decode twice
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
    engine = StyleEngine(bench.model, eight_bit=eight_bit)
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
    engine = StyleEngine(bench.model)
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
        for render in [threads.submit(engine.stylize, content, style, settings) for content, style in pairs]:
            render.result()


def recipe(bench: Bench) -> Iterator[Row]:
    """A first result against the plain recipe of the relatives."""
    model, pair = bench.model, bench.pair
    pixels = bench.pixels()
    plain = PlainRecipe(model, bench.steps, FusionSettings())
    if model.device.type == "cuda":  # explicit probabilities are kernels not used so far
        PlainRecipe(model, 2, FusionSettings())(*pixels)
    costs = bench.compare(
        {
            "first result, ours": bench.first_result,
            "first result, plain recipe": lambda: to_image(plain(*pixels)),
            "decode": lambda: model.decode(pair[0].trajectory.latents[0].to(model.device)),
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
    model, pair = bench.model, bench.pair
    peers = {"three branches": False, "three branches as published": True}
    if model.device.type == "cuda":  # batches of three are kernels not used so far
        for as_published in peers.values():
            three_branches(model, *pair, FusionSettings(), as_published=as_published)
    runs: dict[str, list[Cost]] = {"re-render, ours": [], **{f"re-render, {name}": [] for name in peers}}
    for _ in range(bench.repeats):
        settings = bench.fresh_settings(detail=0)
        cost, picture = bench.timed(partial(bench.engine.stylize, *pair, settings))
        runs["re-render, ours"].append(cost)
        same = {}
        for name, as_published in peers.items():
            action = partial(three_branches, model, *pair, settings, as_published=as_published)
            cost, pixels = bench.timed(action)
            runs[f"re-render, {name}"].append(cost)
            same[f"re-render, {name}"] = psnr(picture.image, to_image(pixels))
    for row in rows({name: median(costs) for name, costs in runs.items()}, "re-render, ours"):
        yield replace(row, psnr=same.get(row.name))


SECTIONS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "stages": stages,
    "results": results,
    "files": files,
    "tiers": tiers,
    "growth": growth,
    "recipe": recipe,
    "branches": branches,
}
PEERS = ("recipe", "branches")


def load(architecture: str, device: str, dtype: str) -> StyleEngine:
    if architecture in ARCHITECTURES:
        return StyleEngine(random_model(architecture, torch.device(device), DTYPES[dtype]))
    return StyleEngine.load(architecture, device=device, dtype=dtype)


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
        "machine": machine(bench.model),
        "sections": {},
    }
    print(json.dumps({name: report[name] for name in ("arguments", "machine")}, indent=1), flush=True)
    bench.engine.stylize(*bench.invert_pair(bench.engine, "warm-up", steps=2), FusionSettings())
    bench.engine.forget("warm-up")
    for name in options.only or [name for name in SECTIONS if options.peer or name not in PEERS]:
        print("\n" + line((name, *HEADINGS[1:])))
        section = report["sections"][name] = []
        for row in itertools.chain(SECTIONS[name](bench), [peak_memory(bench.model.device)]):
            section.append({key: value for key, value in asdict(row).items() if value is not None})
            print(table_line(row), flush=True)
        if options.json:
            options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
