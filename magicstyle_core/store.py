"""Where inversions wait for the next move of a slider: bounded in bytes, apart by session, safe among threads."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from magicstyle_core import limits
from magicstyle_core.bank import FeatureBank, Inversion

HOST_SHARE = 4  # one part in so many of all memory is for features; the rest is for the model and other programs
DEVICE_SHARE = 2  # the same of what is free on a GPU once the model is there
SHARED = "shared"  # the session of the bundled styles, which every session may read

Address = tuple[str, str]  # session, key of the inversion


@dataclass
class _Entry:
    inversion: Inversion
    bank: FeatureBank | None = None
    tier: Literal["device", "host"] | None = None  # where the bank is


@dataclass(eq=False)
class _Flight:
    address: Address
    dropped: bool = False  # the session was dropped since this flight was asked for


class FeatureStore:
    """Keeps inversions, as many of their feature banks as fit, and small tensors that spare work later (the memo).

    A bank lives in device memory, or in host memory, or not at all; then only the trajectory of its image is left, from
    which the bank can be computed again. When a tier is full, its least recently used bank goes one tier down. Entries
    go when a session has more than `session_entries`, when all trajectories exceed `trajectory_budget`, or when the
    session is dropped. Nothing here ever fails a request: what does not fit is not kept.

    On a CPU, device and host are the same memory, so there is one tier and `host_budget` is ignored.

    Args:
        device: where banks are used.
        device_budget: bytes of banks on that device, never exceeded.
        host_budget: bytes of banks in host memory, never exceeded.
        trajectory_budget: bytes of all trajectories together, never exceeded.
        memo_budget: bytes of all of the memo, never exceeded; the least recently used goes first.
        session_entries: inversions one session may keep.
    """

    def __init__(
        self,
        *,
        device: torch.device,
        device_budget: int,
        host_budget: int,
        trajectory_budget: int = 1 << 30,
        memo_budget: int = 128 << 20,
        session_entries: int = 32,
    ) -> None:
        self.device = device
        self.device_budget = device_budget
        self.host_budget = 0 if device.type == "cpu" else host_budget
        self.trajectory_budget = trajectory_budget
        self.memo_budget = memo_budget
        self.session_entries = session_entries
        self._entries: OrderedDict[Address, _Entry] = OrderedDict()  # least recently used first
        self._memo: OrderedDict[Address, Tensor] = OrderedDict()  # least recently used first
        self._flights: list[_Flight] = []  # running and waiting
        self._running: dict[Address, _Flight] = {}
        self._hits = self._misses = 0
        self._evicted = Counter(device=0, host=0, trajectory=0)
        self._landed = threading.Condition()  # its lock guards all of the above

    @contextmanager
    def single_flight(self, session: str, key: str) -> Iterator[None]:
        """Lets one caller at a time compute this inversion; the next one waits, and then finds it in the store.

        If the session is dropped meanwhile, what the caller puts is discarded, so a closed session stays closed.
        """
        flight = _Flight((session, key))
        with self._landed:
            self._flights.append(flight)
        try:
            with self._landed:
                while flight.address in self._running:
                    self._landed.wait()
                self._running[flight.address] = flight
            yield
        finally:
            with self._landed:
                self._flights.remove(flight)
                if self._running.get(flight.address) is flight:
                    del self._running[flight.address]
                    self._landed.notify_all()

    def find(self, session: str, key: str) -> Inversion | None:
        """The inversion of this session or a shared one, which counts as a hit; its absence counts as nothing."""
        with self._landed:
            entry = self._use(session, key)
            if entry is None:
                return None
            self._hits += 1
            return entry.inversion

    def get(self, session: str, key: str) -> Inversion | None:
        """As `find`, for a caller who makes the inversion if there is none: its absence counts as a miss."""
        with self._landed:
            inversion = self.find(session, key)
            self._misses += inversion is None
            return inversion

    def put(self, session: str, key: str, inversion: Inversion) -> None:
        """Keeps an inversion; an older one of the same key gives way, its bank stays."""
        address = (session, key)
        with self._landed:
            flight = self._running.get(address)
            if inversion.nbytes > self.trajectory_budget or (flight and flight.dropped):
                return
            before = self._entries.pop(address, _Entry(inversion))
            own = [other for other in self._entries if other[0] == session]
            for oldest in own[: max(0, len(own) + 1 - self.session_entries)]:
                self._evict(oldest)
            while self._bytes("trajectory") + inversion.nbytes > self.trajectory_budget:
                self._evict(next(iter(self._entries)))
            self._entries[address] = _Entry(inversion, before.bank, before.tier)

    def bank(self, session: str, key: str) -> FeatureBank | None:
        """The feature bank, in whichever memory it is; None when it must be computed again."""
        with self._landed:
            entry = self._use(session, key)
            return entry.bank if entry else None

    def put_bank(self, session: str, key: str, bank: FeatureBank) -> None:
        """Keeps the bank of an inversion that is in the store, on the device if it fits, else in host memory."""
        with self._landed:
            entry = self._use(session, key)
            if entry is None:
                return
            entry.bank = entry.tier = None
            if not self._place_on_device(entry, bank):
                self._place_on_host(entry, bank)

    def remember(self, session: str, key: str, tensor: Tensor) -> None:
        """Keeps a tensor in the memo of a session that has inversions."""
        with self._landed:
            if tensor.nbytes > self.memo_budget or not any(owner == session for owner, _ in self._entries):
                return
            self._memo.pop((session, key), None)
            while self._bytes("memo") + tensor.nbytes > self.memo_budget:
                self._memo.popitem(last=False)
            self._memo[session, key] = tensor

    def remembered(self, session: str, key: str) -> Tensor | None:
        """What `remember` kept, if it is still there."""
        with self._landed:
            if (session, key) in self._memo:
                self._memo.move_to_end((session, key))
            return self._memo.get((session, key))

    def demote_all(self) -> None:
        """Takes every bank out of device memory, for when the device has run out of it."""
        with self._landed:
            for entry in self._entries.values():
                if entry.tier == "device":
                    self._demote(entry)

    def drop(self, session: str) -> int:
        """Forgets everything of a session, also what is being computed for it now. Returns the bytes freed."""
        with self._landed:
            for flight in self._flights:
                if flight.address[0] == session:
                    flight.dropped = True
            freed = self._bytes_by_session()[session]
            for address in [address for address in self._entries if address[0] == session]:
                del self._entries[address]
            for address in [address for address in self._memo if address[0] == session]:
                del self._memo[address]
            return freed

    def stats(self) -> dict[str, Any]:
        """Bytes by tier and by session, budgets, entries, inversions in flight, hits, misses, evictions by tier."""
        with self._landed:
            return {
                "bytes": {tier: self._bytes(tier) for tier in ("device", "host", "trajectory", "memo")},
                "budgets": {
                    "device": self.device_budget,
                    "host": self.host_budget,
                    "trajectory": self.trajectory_budget,
                    "memo": self.memo_budget,
                },
                "sessions": dict(self._bytes_by_session()),
                "entries": len(self._entries),
                "in_flight": len(self._flights),
                "hits": self._hits,
                "misses": self._misses,
                "evicted": dict(self._evicted),
            }

    # All below is called with the lock held.

    def _use(self, session: str, key: str) -> _Entry | None:
        for address in ((session, key), (SHARED, key)):
            if address in self._entries:
                self._entries.move_to_end(address)
                return self._entries[address]
        return None

    def _bytes(self, tier: str) -> int:
        if tier == "trajectory":
            return sum(entry.inversion.nbytes for entry in self._entries.values())
        if tier == "memo":
            return sum(tensor.nbytes for tensor in self._memo.values())
        return sum(entry.bank.nbytes for entry in self._entries.values() if entry.bank and entry.tier == tier)

    def _bytes_by_session(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for (session, _), entry in self._entries.items():
            total[session] += entry.inversion.nbytes + (entry.bank.nbytes if entry.bank else 0)
        for (session, _), tensor in self._memo.items():
            total[session] += tensor.nbytes
        return total

    def _evict(self, address: Address) -> None:
        del self._entries[address]
        self._evicted["trajectory"] += 1

    def _oldest(self, tier: str) -> _Entry:
        return next(entry for entry in self._entries.values() if entry.tier == tier)

    def _demote(self, entry: _Entry) -> None:
        bank, entry.bank, entry.tier = entry.bank, None, None
        assert bank is not None
        self._evicted["device"] += 1
        self._place_on_host(entry, bank)

    def _place_on_device(self, entry: _Entry, bank: FeatureBank) -> bool:
        if bank.nbytes > self.device_budget:
            return False
        while self._bytes("device") + bank.nbytes > self.device_budget:
            self._demote(self._oldest("device"))
        with suppress(RuntimeError):  # others use the device too, so it can be full before the budget is
            entry.bank, entry.tier = bank.to(self.device), "device"
        return entry.bank is not None

    def _place_on_host(self, entry: _Entry, bank: FeatureBank) -> None:
        if bank.nbytes > self.host_budget:
            return
        while self._bytes("host") + bank.nbytes > self.host_budget:
            oldest = self._oldest("host")
            oldest.bank = oldest.tier = None
            self._evicted["host"] += 1
        with suppress(RuntimeError):  # no memory left, or none that can be pinned
            entry.bank, entry.tier = bank.to(torch.device("cpu")), "host"


def budgets(device: torch.device, limit: int | None) -> tuple[int, int]:
    """Most bytes of banks on the device and in host memory: a share of what there is, at most the given limit."""
    host = limits.memory_bytes() // HOST_SHARE
    on_device = torch.cuda.mem_get_info(device)[0] // DEVICE_SHARE if device.type == "cuda" else host
    if limit is not None:
        host, on_device = min(host, limit), min(on_device, limit)
    return (on_device, host) if device.type == "cuda" else (on_device, 0)
