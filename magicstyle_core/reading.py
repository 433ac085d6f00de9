"""How a render gets at stored features: from the device, from host memory ahead of time, or computed again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from magicstyle_core.bank import FeatureBank, Inversion, Row
from magicstyle_core.hooks import Features
from magicstyle_core.store import FeatureStore


class FeatureReader:
    """Gives one render the inputs of its layers at each of its steps, from whichever tier they are in.

    From host memory the next step is copied to the device on a stream of its own while this one runs. What no bank
    holds is computed by the inversion's own UNet call; when that has happened at every step, it is banked.

    Args:
        layers: names of the layers that will be asked for.
        indices: the stored steps in the order in which they will be asked for.
        compute: the layer inputs of an inversion at a stored step, by one UNet call.
        new_bank: gives an empty bank.
    """

    def __init__(
        self,
        store: FeatureStore,
        device: torch.device,
        layers: Sequence[str],
        indices: Sequence[int],
        compute: Callable[[Inversion, int], Features],
        new_bank: Callable[[], FeatureBank],
    ) -> None:
        self.store, self.device, self.layers = store, device, layers
        self.following = dict(pairwise(indices))
        self.compute, self.new_bank = compute, new_bank
        self.computed: dict[str, FeatureBank] = {}
        self.unet_calls = 0  # made to compute features again
        self.ahead: dict[tuple[str, int], tuple[dict[str, Row], torch.cuda.Event]] = {}
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, source: Inversion, step: int) -> Features:
        bank = self.store.bank(source.session, source.key)
        if bank is None or bank.missing([step], self.layers):
            return self._compute(source, step, bank)
        if self.stream is None or bank.device.type == "cuda":
            return _features(bank.fetch(step, self.layers, self.device))
        if (source.key, step) not in self.ahead:
            self.ahead[source.key, step] = self._start_copy(bank, step)
        rows, copied = self.ahead.pop((source.key, step))
        torch.cuda.current_stream(self.device).wait_event(copied)
        for row in rows.values():
            row.apply(self._used_by_current_stream)
        following = self.following.get(step)
        if following is not None and not bank.missing([following], self.layers):
            self.ahead[source.key, following] = self._start_copy(bank, following)
        return _features(rows)

    def _start_copy(self, bank: FeatureBank, step: int) -> tuple[dict[str, Row], torch.cuda.Event]:
        assert self.stream is not None
        with torch.cuda.stream(self.stream):
            return bank.fetch(step, self.layers, self.device), self.stream.record_event()

    def _used_by_current_stream(self, tensor: Tensor) -> Tensor:
        tensor.record_stream(torch.cuda.current_stream(self.device))
        return tensor

    def _compute(self, source: Inversion, step: int, known: FeatureBank | None) -> Features:
        features = self.compute(source, step)
        self.unet_calls += 1
        bank = self.computed.setdefault(source.key, self.new_bank())
        bank.write(step, features)
        if bank.given_up:
            return {name: features[name] for name in self.layers}
        rows = bank.fetch(step, self.layers, self.device)  # as a bank gives them, to the bit
        if not bank.missing(range(source.steps), self.layers):
            together = {**(known.rows if known else {}), **bank.rows}
            self.store.put_bank(source.session, source.key, FeatureBank(bank.dtype, bank.device, together))
        return _features(rows)


def _features(rows: dict[str, Row]) -> dict[str, Tensor]:
    return {name: row.features for name, row in rows.items()}
