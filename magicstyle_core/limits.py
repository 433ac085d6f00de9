"""How much memory and how many cores this process may use: the container's limits before the machine's."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


def memory_bytes(cgroup: Path = CGROUP) -> int:
    """Bytes of memory in all: the least of the machine's and of what cgroup v2 or v1 allows.

    psutil sees the host's memory inside of a container, and a cgroup without a limit says "max" or some 2^63.
    """
    limits = [psutil.virtual_memory().total]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        text = _read(cgroup / name)
        if text.isdigit():
            limits.append(int(text))
    return min(limits)


def cores(cgroup: Path = CGROUP) -> int:
    """Cores that may run at once, at least 1: the least of the affinity's and of what cgroup v2 or v1 allows."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if not quota:
        quota, period = _read(cgroup / "cpu/cpu.cfs_quota_us"), _read(cgroup / "cpu/cpu.cfs_period_us")
    if quota.isdigit() and period.isdigit():
        allowed = min(allowed, max(1, int(quota) // int(period)))
    return allowed


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
