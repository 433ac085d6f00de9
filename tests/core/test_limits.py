"""How much of the machine this process may use, on folders laid out as cgroups are."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from magicstyle_core import limits

GIB = 1 << 30


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": f"{GIB}\n"}, GIB),
        ({"memory/memory.limit_in_bytes": f"{GIB}\n"}, GIB),
        ({"memory.max": "max\n"}, None),
        ({"memory/memory.limit_in_bytes": f"{2**63 - 4096}\n"}, None),
        ({}, None),
    ],
    ids=["v2", "v1", "v2 without a limit", "v1 without a limit", "no cgroup"],
)
def test_memory_is_the_containers_or_else_the_machines(
    tmp_path: Path, files: dict[str, str], expected: int | None
) -> None:
    assert limits.memory_bytes(write(tmp_path, files)) == (expected or psutil.virtual_memory().total)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
    ids=["v2", "half a core", "v1", "v2 without a limit", "v1 without a limit", "no cgroup"],
)
def test_cores_are_the_containers_or_else_the_processs(
    tmp_path: Path, files: dict[str, str], expected: int | None
) -> None:
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert limits.cores(write(tmp_path, files)) == (expected or own)
