"""The store stays under its budgets, keeps sessions apart, computes once, and forgets when told to."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from magicstyle_core.bank import FeatureBank, Inversion
from magicstyle_core.images import Picture
from magicstyle_core.method import Trajectory
from magicstyle_core.store import SHARED, FeatureStore

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Bank(FeatureBank):
    """A feature bank that only says which device it is on, so that tiers can be tested on a machine without a GPU."""

    def to(self, device: torch.device) -> FeatureBank:
        return Bank(self.dtype, device, self.rows)


class FullDevice(Bank):
    """A bank for which the memory it is moved to is always full."""

    def to(self, device: torch.device) -> FeatureBank:
        raise torch.OutOfMemoryError(f"{device} is full")


def make_bank(nbytes: int, device: torch.device = GPU, kind: type[FeatureBank] = Bank) -> FeatureBank:
    bank = FeatureBank(torch.uint8, CPU)
    bank.write(0, {"layer": torch.zeros(1, nbytes, 1)})
    return kind(bank.dtype, device, bank.rows)


def inversion(session: str, key: str, nbytes: int = 40) -> Inversion:
    none = Picture(np.zeros((0, 0, 3), np.uint8), key)
    trajectory = Trajectory(torch.zeros(nbytes, dtype=torch.uint8), torch.zeros(0))
    return Inversion(key=key, session=session, picture=none, timesteps=(1,), trajectory=trajectory)


def store(device: int = 100, host: int = 100, trajectory: int = 10_000, entries: int = 32) -> FeatureStore:
    return FeatureStore(
        device=GPU, device_budget=device, host_budget=host, trajectory_budget=trajectory, session_entries=entries,
        memo_budget=90,
    )  # fmt: skip


def fill(filled: FeatureStore, session: str, key: str, nbytes: int) -> None:
    filled.put(session, key, inversion(session, key))
    filled.put_bank(session, key, make_bank(nbytes))


def places(of: FeatureStore, session: str, keys: str) -> list[str | None]:
    banks = [of.bank(session, key) for key in keys]
    return [bank.device.type if bank else None for bank in banks]


def test_what_is_put_is_found_again() -> None:
    kept = store()
    assert kept.get("a", "k") is None
    first = inversion("a", "k")
    kept.put("a", "k", first)
    assert kept.get("a", "k") is first
    assert kept.bank("a", "k") is None
    kept.put_bank("a", "k", make_bank(60))
    bank = kept.bank("a", "k")
    assert bank is not None
    assert bank.nbytes == 60
    assert kept.stats() == {
        "bytes": {"device": 60, "host": 0, "trajectory": 40, "memo": 0},
        "budgets": {"device": 100, "host": 100, "trajectory": 10_000, "memo": 90},
        "sessions": {"a": 100},
        "entries": 1,
        "in_flight": 0,
        "hits": 1,
        "misses": 1,
        "evicted": {"device": 0, "host": 0, "trajectory": 0},
    }


def test_putting_again_replaces_without_counting_twice() -> None:
    kept = store()
    fill(kept, "a", "k", 60)
    newer = inversion("a", "k", 50)
    kept.put("a", "k", newer)
    assert kept.get("a", "k") is newer
    assert places(kept, "a", "k") == ["cuda"]
    kept.put_bank("a", "k", make_bank(90))
    assert kept.stats()["bytes"] == {"device": 90, "host": 0, "trajectory": 50, "memo": 0}


def test_least_recently_used_banks_go_down_tier_by_tier() -> None:
    kept = store(device=100, host=50)
    for key in "pqrs":
        fill(kept, "a", key, 50)
    assert places(kept, "a", "pqrs") == [None, "cpu", "cuda", "cuda"]
    assert kept.stats()["evicted"] == {"device": 2, "host": 1, "trajectory": 0}
    kept.bank("a", "r")
    fill(kept, "a", "t", 50)
    assert places(kept, "a", "pqrst") == [None, None, "cuda", "cpu", "cuda"]
    assert all(kept.get("a", key) for key in "pqrst")


def test_putting_a_bank_again_brings_it_back_to_the_device() -> None:
    kept = store(device=50, host=50)
    fill(kept, "a", "p", 50)
    fill(kept, "a", "q", 50)
    assert places(kept, "a", "pq") == ["cpu", "cuda"]
    kept.put_bank("a", "p", make_bank(50, CPU))
    assert places(kept, "a", "pq") == ["cuda", "cpu"]


def test_a_bank_larger_than_a_budget_is_not_kept_there() -> None:
    kept = store(device=50, host=80)
    fill(kept, "a", "p", 60)
    fill(kept, "a", "q", 90)
    assert places(kept, "a", "pq") == ["cpu", None]
    nothing = store(device=0, host=0)
    fill(nothing, "a", "p", 1)
    assert places(nothing, "a", "p") == [None]
    assert nothing.get("a", "p") is not None


def test_a_large_bank_pushes_out_several() -> None:
    kept = store(device=100, host=60)
    for key in "pqrs":
        fill(kept, "a", key, 25)
    fill(kept, "a", "x", 90)
    assert places(kept, "a", "pqrsx") == [None, None, "cpu", "cpu", "cuda"]


def test_demote_all_frees_the_device_and_keeps_the_latest() -> None:
    kept = store(device=150, host=100)
    for session in "abc":
        fill(kept, session, "p", 50)
    kept.demote_all()
    assert [places(kept, session, "p") for session in "abc"] == [[None], ["cpu"], ["cpu"]]
    kept.demote_all()
    assert kept.stats()["bytes"] == {"device": 0, "host": 100, "trajectory": 120, "memo": 0}
    assert kept.stats()["evicted"] == {"device": 3, "host": 1, "trajectory": 0}


def test_full_memory_is_no_error() -> None:
    kept = store()
    kept.put("a", "p", inversion("a", "p"))
    kept.put_bank("a", "p", make_bank(60, kind=FullDevice))
    assert kept.bank("a", "p") is None
    assert kept.stats()["bytes"] == {"device": 0, "host": 0, "trajectory": 40, "memo": 0}


def test_on_a_cpu_there_is_one_tier() -> None:
    kept = FeatureStore(device=CPU, device_budget=100, host_budget=100)
    for key in "pqr":
        kept.put("a", key, inversion("a", key))
        kept.put_bank("a", key, make_bank(50, CPU, FeatureBank))
    assert [kept.bank("a", key) is not None for key in "pqr"] == [False, True, True]
    assert kept.stats()["budgets"]["host"] == kept.stats()["bytes"]["host"] == 0
    kept.demote_all()
    assert kept.bank("a", "q") is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_real_banks_move_between_device_and_pinned_memory() -> None:
    kept = FeatureStore(device=GPU, device_budget=64, host_budget=64)
    features = {"layer": torch.arange(64.0)[None, :, None]}  # (1, tokens, channels)
    for key in "pq":
        kept.put("a", key, inversion("a", key))
        bank = FeatureBank(torch.uint8, CPU)
        bank.write(0, features)
        kept.put_bank("a", key, bank)
    low, high = kept.bank("a", "p"), kept.bank("a", "q")
    assert low is not None
    assert high is not None
    assert (low.device.type, high.device.type) == ("cpu", "cuda")
    (stored,), (copied,) = low.rows.values(), high.fetch(0, ["layer"], CPU).values()
    assert stored.values.is_pinned()
    assert torch.equal(stored.features.float(), features["layer"])
    assert torch.equal(copied.features, stored.features)


def test_sessions_do_not_see_each_other_but_all_see_the_shared() -> None:
    kept = store()
    fill(kept, "a", "k", 10)
    fill(kept, SHARED, "style", 20)
    assert kept.get("b", "k") is None
    assert kept.bank("b", "k") is None
    kept.put_bank("b", "k", make_bank(30))
    assert places(kept, "a", "k") == ["cuda"]
    style = kept.get("b", "style")
    assert style is not None
    assert style.session == SHARED
    assert kept.bank("b", "style") is kept.bank(SHARED, "style") is not None
    own = inversion("b", "style")
    kept.put("b", "style", own)
    assert kept.get("b", "style") is own
    assert kept.get("a", "style") is style
    assert kept.stats()["sessions"] == {"a": 50, SHARED: 60, "b": 40}


def test_drop_frees_one_session() -> None:
    kept = store()
    fill(kept, "a", "p", 60)
    fill(kept, "a", "q", 60)
    fill(kept, "b", "p", 10)
    assert kept.drop("a") == 60 + 60 + 40 + 40
    assert kept.drop("a") == 0
    assert kept.get("a", "p") is None
    assert kept.get("b", "p") is not None
    assert kept.stats()["sessions"] == {"b": 50}


def test_a_bank_that_arrives_after_its_session_went_is_discarded() -> None:
    kept = store()
    fill(kept, "a", "p", 10)
    kept.drop("a")
    kept.put_bank("a", "p", make_bank(10))
    assert kept.stats()["bytes"] == {"device": 0, "host": 0, "trajectory": 0, "memo": 0}


def test_entries_of_a_session_are_bounded() -> None:
    kept = store(entries=2)
    fill(kept, "b", "p", 10)
    for key in "pqr":
        fill(kept, "a", key, 10)
    assert [kept.get("a", key) is not None for key in "pqr"] == [False, True, True]
    assert kept.get("b", "p") is not None
    assert kept.stats()["evicted"]["trajectory"] == 1


def test_trajectories_are_bounded_in_bytes() -> None:
    kept = store(trajectory=100)
    for session in "abc":
        fill(kept, session, "p", 10)
    assert [kept.get(session, "p") is not None for session in "abc"] == [False, True, True]
    assert kept.stats()["bytes"]["device"] == 20
    kept.put("a", "huge", inversion("a", "huge", 101))
    assert kept.get("a", "huge") is None
    assert kept.stats()["entries"] == 2


def test_single_flight_computes_once() -> None:
    kept = store()
    computed = []

    def invert(key: str) -> Inversion | None:
        with kept.single_flight("a", key):
            if kept.get("a", key) is None:
                computed.append(key)
                time.sleep(0.02)
                kept.put("a", key, inversion("a", key))
            return kept.get("a", key)

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(invert, "pq" * 8))
    assert sorted(computed) == ["p", "q"]
    assert len({id(one) for one in found}) == 2
    assert kept.stats()["in_flight"] == 0


def test_single_flight_ends_with_an_error() -> None:
    kept = store()
    with pytest.raises(KeyError), kept.single_flight("a", "p"):
        raise KeyError
    with kept.single_flight("a", "p"):
        assert kept.stats()["in_flight"] == 1


def test_a_closed_session_is_not_resurrected() -> None:
    kept = store()
    running, dropped = threading.Event(), threading.Event()

    def invert() -> None:
        with kept.single_flight("a", "p"):
            running.set()
            assert dropped.wait(10)
            kept.put("a", "p", inversion("a", "p"))
            kept.put_bank("a", "p", make_bank(10))

    def wait_until_in_flight(number: int) -> None:
        while kept.stats()["in_flight"] < number:
            time.sleep(0.001)

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(invert)
        assert running.wait(10)
        second = pool.submit(invert)
        wait_until_in_flight(2)
        kept.drop("a")
        third = pool.submit(invert)  # asked for after the drop: the session is in use again
        wait_until_in_flight(3)
        dropped.set()
        first.result()
        second.result()
        third.result()
    assert kept.stats()["entries"] == 1
    kept.drop("a")
    assert kept.stats()["sessions"] == {}


def test_a_drop_leaves_flights_of_other_sessions_alone() -> None:
    kept = store()
    with kept.single_flight("b", "p"):
        kept.drop("a")
        kept.put("b", "p", inversion("b", "p"))
    assert kept.get("b", "p") is not None


def test_the_memo_stays_under_its_budget_and_goes_with_its_session() -> None:
    kept = store()
    kept.remember("a", "before", torch.zeros(10, dtype=torch.uint8))
    assert kept.remembered("a", "before") is None, "a session without inversions keeps nothing"
    for session in ("a", "b"):
        kept.put(session, "k", inversion(session, "k"))
    for number in range(4):
        kept.remember("a", str(number), torch.zeros(30, dtype=torch.uint8))
        kept.remembered("a", "1")
    assert kept.stats()["bytes"]["memo"] == 90
    assert [kept.remembered("a", str(number)) is not None for number in range(4)] == [False, True, True, True]
    kept.remember("a", "large", torch.zeros(91, dtype=torch.uint8))
    assert kept.remembered("a", "large") is None
    assert kept.remembered("b", "1") is None
    assert kept.drop("a") == 40 + 90
    assert kept.stats()["bytes"]["memo"] == 0


def operate(kept: FeatureStore, choice: random.Random) -> None:
    """One random operation, then everything that must hold after any operation."""
    session, key = choice.choice(["a", "b", "c", SHARED]), choice.choice("pqrst")
    action = choice.choices(["invert", "bank", "remember", "demote", "drop"], [12, 12, 12, 1, 2])[0]
    if action == "invert":
        with kept.single_flight(session, key):
            if kept.get(session, key) is None:
                kept.put(session, key, inversion(session, key, choice.randint(1, 120)))
                kept.put_bank(session, key, make_bank(choice.randint(1, 120)))
    elif action == "bank":
        bank = kept.bank(session, key)
        if bank is None:
            kept.put_bank(session, key, make_bank(choice.randint(1, 120), choice.choice([CPU, GPU])))
    elif action == "remember":
        kept.remember(session, key, torch.zeros(choice.randint(1, 100), dtype=torch.uint8))
    elif action == "demote":
        kept.demote_all()
    else:
        kept.drop(session)
    stats = kept.stats()
    for tier, used in stats["bytes"].items():
        assert 0 <= used <= stats["budgets"][tier]
    assert sum(stats["bytes"].values()) == sum(stats["sessions"].values())
    found = kept.get(session, key)
    assert found is None or found.session in (session, SHARED)


@pytest.mark.parametrize("seed", range(8))
def test_account_is_exact_after_any_sequence(seed: int) -> None:
    choice = random.Random(seed)
    kept = store(device=300, host=200, trajectory=600, entries=4)
    for _ in range(300):
        operate(kept, choice)
        held = {(session, key): kept.bank(session, key) for session in ("a", "b", "c", SHARED) for key in "pqrst"}
        banks = {id(bank): bank for bank in held.values() if bank}.values()
        for tier, device in (("device", "cuda"), ("host", "cpu")):
            assert kept.stats()["bytes"][tier] == sum(bank.nbytes for bank in banks if bank.device.type == device)
    assert min(kept.stats()["evicted"].values()) > 0


@pytest.mark.parametrize("seed", range(4))
def test_budgets_hold_under_any_interleaving_of_threads(seed: int) -> None:
    kept = store(device=300, host=200, trajectory=600, entries=4)

    def work(worker: int) -> None:
        choice = random.Random(100 * seed + worker)
        for _ in range(200):
            operate(kept, choice)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    for session in ("a", "b", "c", SHARED):
        kept.drop(session)
    assert sum(kept.stats()["bytes"].values()) == kept.stats()["entries"] == kept.stats()["in_flight"] == 0
