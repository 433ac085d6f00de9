"""How a page hears of its visitor's board: it follows, and the newest follower is the one that counts.

What serves the page may end a follower at any time, and an ended one learns of it only when it next has something to
say. So a newer follower takes over at once, and begins with what no follower before it has handed to the page.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

from magicstyle_core.serving.desk import Desk
from magicstyle_core.serving.jobs import Waiting
from magicstyle_core.serving.visitors import Board, Visitor

POLL_SECONDS = 0.03  # between two looks at the board: a screen shows no more than that
DEAD_SECONDS = 1.0  # a follower that takes so long to hand a board over has lost its page


async def boards(desk: Desk, visitor: Visitor) -> AsyncGenerator[tuple[Board, Waiting | None], None]:
    """The board and the place in the line whenever they change, until there is nothing to wait for.

    Who asks for the next one says that this one is on its way to the page.
    """
    me = visitor.follower = object()
    while time.monotonic() - visitor.handing < DEAD_SECONDS:  # or an older board would come after a newer one
        await asyncio.sleep(POLL_SECONDS)
    while visitor.follower is me:
        is_idle = visitor.idle_run is None or visitor.idle_run.is_over  # before the board, which has all it did then
        board, version, run = visitor.board, visitor.version, visitor.run
        waiting = desk.turns.place(run) if run is not None and board.progress is None else None
        look = (version, waiting and waiting.place)
        if look != visitor.told:
            visitor.handing = time.monotonic()
            try:
                yield board, waiting
                visitor.told = look
            finally:
                visitor.handing = 0.0
        elif not board.is_working and is_idle:
            return
        else:
            await asyncio.sleep(POLL_SECONDS)
