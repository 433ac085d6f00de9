"""What a finished picture can become when somebody asks: a file of another size or format, its steps, an animation.

Each is work for the desk's turns; of each the visitor keeps the newest alone.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from magicstyle_core.enlarge import enlarge, open_larger
from magicstyle_core.errors import MagicStyleError
from magicstyle_core.images import with_alpha
from magicstyle_core.metadata import write_picture
from magicstyle_core.serving.desk import GONE, Desk
from magicstyle_core.serving.jobs import Event, Pause, Record
from magicstyle_core.serving.places import Foreseen, Inverted, Rendered
from magicstyle_core.serving.visitors import Visitor

FRAMES = 13  # of an animation: 52 model calls, and no step that the eye takes for a cut
FRAME_SECONDS, HOLD_SECONDS = 0.08, 1.0  # each, and the first and last: long enough to see that they rest


@dataclass(frozen=True)
class Film:
    """The clean pictures that the steps of a render foresaw, the last one the picture itself."""

    frames: list[Path]
    calls: int


def download(
    desk: Desk, visitor: Visitor, record: Record, times: int, suffix: str
) -> Generator[Event | None, None, Path]:
    """A picture as a file whose name ends so, as many times as large. Returns its path.

    Raises:
        SettingsError: it would be too large.
    """
    yield None
    with Image.open(record.path) as file:
        image = file.copy()
    name = record.path.stem
    if times > 1:
        facts, size = desk.place.facts, record.job.inversion.size
        large = open_larger(record.job.content, times, size or facts.size, facts.multiple)
        image = enlarge(image, desk.picture(visitor, record.job.content, size), large)
        name = f"{name}-{max(image.size)}"
    path = visitor.new_file(f"{name}{suffix}")
    write_picture(image, path, None if visitor.is_private else record.recipe.model_copy(update={"upsample": times}))
    visitor.keep_files("download", [path])
    return path


def filmstrip(desk: Desk, visitor: Visitor, record: Record) -> Generator[Event | None, None, Film]:
    """Renders a picture once more, and keeps what each step foresees."""
    job, frames = record.job, list[Path]()
    task = desk.task(visitor, job, render=True, draft=False)
    assert task.rendering is not None  # or it would have to be asked for
    task = replace(task, rendering=replace(task.rendering, previews=True))
    calls = 0

    def file(image: Image.Image) -> None:
        path = visitor.new_file("step.webp")
        image.save(path, quality=90)
        frames.append(path)

    with closing(desk.answers(visitor, job, task)) as answers:
        for answer in answers:
            match answer:
                case Inverted():
                    calls += answer.calls
                case Foreseen():
                    file(answer.image)
                case Rendered():
                    calls += answer.calls
                    file(answer.image)
                case Pause():
                    frames.clear()  # its steps begin again
            yield answer if isinstance(answer, Event) else None
    visitor.keep_files("filmstrip", frames)
    return Film(frames, calls)


def animation(desk: Desk, visitor: Visitor, record: Record) -> Generator[Event | None, None, Path]:
    """An endless WebP of drafts of a picture, from the photograph to strength 1 and back. Returns its path."""
    job, made = record.job, list[Image.Image | Exception]()
    strengths = [frame / (FRAMES - 1) for frame in range(FRAMES)]
    jobs = [replace(job, settings=job.settings.replace(strength=strength)) for strength in strengths]
    yield from desk.variants(visitor, jobs, made, draft=True)
    picture = desk.picture(visitor, job.content, job.inversion.size)
    images = []
    for image in made:
        if isinstance(image, Exception):
            raise image
        images.append(with_alpha(image, picture))
    if not visitor.is_open:
        raise MagicStyleError(GONE)
    images += images[-2:0:-1]
    durations = [round(1000 * (HOLD_SECONDS if n % (FRAMES - 1) == 0 else FRAME_SECONDS)) for n in range(len(images))]
    path = visitor.new_file(f"{Path(job.content).stem}-magicstyle-animation.webp")
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0, quality=85)
    visitor.keep_files("animation", [path])
    return path
