"""The attention lens in the desk's turns: where a spot of a picture looked in its styles."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace

from magicstyle_core.errors import MagicStyleError
from magicstyle_core.serving.desk import GONE, Desk
from magicstyle_core.serving.jobs import Aim, Event, Job
from magicstyle_core.serving.places import Inverted, Looked
from magicstyle_core.serving.visitors import Visitor


def looking(desk: Desk, visitor: Visitor, job: Job, aim: Aim) -> Generator[Event | None, None, Looked]:
    """One model call, where the picture of this job is still remembered; else it is made again first.

    Raises:
        MagicStyleError: the picture has no FFA, or its visitor is gone.
    """
    task = replace(desk.task(visitor, job, render=True, draft=False), aim=aim)
    calls = 0
    with closing(desk.answers(visitor, job, task)) as answers:
        for answer in answers:
            match answer:
                case Inverted():
                    calls += answer.calls
                case Looked():
                    return replace(answer, calls=answer.calls + calls)
            yield answer if isinstance(answer, Event) else None
    raise MagicStyleError(GONE)  # what works has ended without an answer
