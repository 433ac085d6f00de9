"""Where the model works: in this process, or on a ZeroGPU Space in a forked one that has the GPU for one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from functools import partial

from magicstyle_core import StyleEngine
from magicstyle_core.ui.work import Answer, Task, work

try:
    import spaces
except ImportError:  # everywhere but on a Space
    spaces = None

Work = Callable[[Task], Generator[Answer, None, None]]

START_SECONDS = 15  # weights to the GPU, decoding
SECONDS_PER_CALL = 0.1  # some times what a UNet call takes there at 512 pixels
MAX_SECONDS = 120


def place(engine: StyleEngine) -> Work:
    """`work` on this engine. On ZeroGPU it runs in another process, which gets nothing but the task and the model."""
    if spaces is None or not os.environ.get("SPACES_ZERO_GPU"):
        return partial(work, engine)

    @spaces.GPU(duration=seconds)
    def work_there(task: Task) -> Generator[Answer, None, None]:
        # An engine of its own: locks as nobody holds them, and nothing of a visitor's is left when the task is done.
        yield from work(StyleEngine(engine.model), task)

    return work_there


def seconds(task: Task) -> int:
    """How long a task may hold the GPU; the Space's visitor pays for it with quota."""
    return min(MAX_SECONDS, START_SECONDS + int(task.most_unet_calls * SECONDS_PER_CALL))
