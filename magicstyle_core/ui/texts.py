"""The sentences and small pieces of HTML that the page shows."""

from __future__ import annotations

from html import escape
from typing import Any

from magicstyle_core.grid import Cell, Grid
from magicstyle_core.ui.job import Result
from magicstyle_core.ui.work import Update

STOPPED = "Stopped. The last picture stays; any change goes on from here."
NO_FACE = '<p class="ms-note">No face was found in this photograph: the style goes everywhere.</p>'


def megabytes(count: float) -> str:
    """A number of bytes for people: `38 MB`."""
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def message(text: str) -> str:
    """A plain sentence in the status line, read out by screen readers."""
    return f'<p class="ms-message" role="status">{escape(text)}</p>'


def progress(update: Update) -> str:
    """A bar with the step counter and the time left."""
    left = f" · about {update.seconds_left:.0f} s left" if update.seconds_left >= 1 else ""
    label = escape(update.phase)
    return (
        f'<p class="ms-message">{label} · step {update.step} of {update.total}{left}</p>'
        f'<progress aria-label="{label}" max="{update.total}" value="{update.step}"></progress>'
    )


def cost(result: Result, cached: int) -> str:
    """What a result reused and what it took, such as `inversion reused · 20 UNet calls · 1.4 s · 38 MB cached`."""
    inversion = f"inverted with {result.inversion_calls} UNet calls" if result.inversion_calls else "inversion reused"
    draft = f" (and {result.draft_calls} for the draft)" if result.draft_calls else ""
    return (
        f"{inversion} · {result.render_calls} UNet calls{draft} · {result.seconds:.1f} s · {megabytes(cached)} cached"
    )


def steps_note(steps: int, depths: list[int]) -> str:
    """Says beforehand whether so many steps need a new inversion. `depths`: those at which every image is stored."""
    if not depths:
        text = "Every other slider renders from what is stored: no new inversion."
    elif max(depths) >= steps:
        text = f"Stored: {max(depths)} steps. Up to there, and for every other slider, no new inversion is needed."
    else:
        text = f"Stored: {max(depths)} steps. More need a new inversion of every picture, {steps} UNet calls each."
    return f'<p class="ms-note">{text}</p>'


def grid_plan(pictures: int, calls: int, seconds_per_call: float | None) -> str:
    """What a grid will take, before it starts."""
    time = f", about {calls * seconds_per_call:.0f} s" if seconds_per_call is not None else ""
    return message(f"{pictures} pictures: {calls} UNet calls{time}.")


def cell_name(grid: Grid, cell: Cell) -> str:
    """The values of a cell, such as `strength 0.5, structure 0.2`."""
    column = f"{grid.x_name} {grid.x_values[cell.column]}"
    return column if grid.y_name is None else f"{column}, {grid.y_name} {grid.y_values[cell.row]}"


def region_note(region: str) -> str:
    """What the chosen region means."""
    notes = {
        "Everywhere": "The style goes everywhere.",
        "Face": "The style goes on faces and their hair.",
        "Background": "The style goes everywhere but on faces and their hair.",
        "Brush": "The style goes where you paint. Nothing painted: everywhere.",
    }
    return f'<p class="ms-note">{notes[region]}</p>'


def memory(stats: dict[str, Any], session: str) -> str:
    """The memory panel: bytes of this session and of all, hits, and what was evicted."""
    tiers = stats["bytes"]
    evicted = ", ".join(f"{count} from {tier}" for tier, count in stats["evicted"].items() if count) or "nothing"
    rows = [
        ("Your pictures", megabytes(stats["sessions"].get(session, 0))),
        ("All visitors and examples", megabytes(sum(tiers.values()))),
        ("of it on the device", f"{megabytes(tiers['device'])} of {megabytes(stats['budgets']['device'])}"),
        ("of it in host memory", f"{megabytes(tiers['host'])} of {megabytes(stats['budgets']['host'])}"),
        ("Inversions reused", f"{stats['hits']} times, {stats['misses']} made anew"),
        ("Evicted to stay within the budget", evicted),
        ("UNet calls since the start", str(stats["unet_calls"])),
        ("Model", f"{stats['model']} on {stats['device']}, {stats['dtype']}"),
    ]
    cells = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in rows)
    return f'<table class="ms-memory"><caption>What is stored now</caption><tbody>{cells}</tbody></table>'
