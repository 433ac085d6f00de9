"""A first picture that nobody sees: what is slow once is done before the first visitor comes."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing

from magicstyle_core.serving.desk import Desk
from magicstyle_core.serving.places import SHARED, Inverted, Rendered, Rendering, Source, Task
from magicstyle_core.settings import FusionSettings, InversionSettings, apply_preset

MOST_SECONDS = 10.0  # the embedded model takes 4 s on two cores; who is slower than this would only burn electricity


def warm_up(desk: Desk) -> Generator[None, None, None]:
    """Inverts two bundled pictures, which everybody may use, and drafts one in the manner of the other."""
    started, place = time.monotonic(), desk.place
    content, style = (place.open(min(desk.bundled.glob(f"{kind}_*.webp")), None) for kind in ("portrait", "style"))
    task = Task(
        (Source(content, SHARED, "photograph", None), Source(style, SHARED, "style", None)),
        InversionSettings(steps=place.facts.steps),
        rendering=Rendering((1.0,), apply_preset(place.facts.preset, FusionSettings()), None, draft=True, full=False),
    )
    with closing(place.run(task)) as answers:
        for answer in answers:
            if isinstance(answer, Inverted):
                place.keep(answer.inversion)
            if isinstance(answer, Inverted | Rendered):
                desk.idle_calls += answer.calls
            yield None
            if time.monotonic() - started > MOST_SECONDS:
                return
