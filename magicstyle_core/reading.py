"""How a render gets at stored features: from the device, from host memory ahead of time, or computed again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from magicstyle_core.attention import Features, recording
from magicstyle_core.backbone import Backbone
from magicstyle_core.features import FeatureBank, Inversion, Row
from magicstyle_core.store import FeatureStore


class FeatureReader:
    """Gives one render the layer inputs at each of its steps, from whichever tier they are in.

    From host memory the next step is copied to the device on a stream of its own while this one runs. Without a
    bank the inversion's own UNet call is made again; when that has happened at every step, the bank is back.

    Args:
        indices: the stored steps in the order in which they will be asked for.
        new_bank: gives an empty bank.
    """

    def __init__(
        self,
        backbone: Backbone,
        store: FeatureStore,
        indices: Sequence[int],
        new_bank: Callable[[], FeatureBank],
    ) -> None:
        self.backbone, self.store = backbone, store
        self.following = dict(pairwise(indices))
        self.new_bank = new_bank
        self.recomputed: dict[str, FeatureBank] = {}
        self.unet_calls = 0  # made to compute features again
        self.ahead: dict[tuple[str, int], tuple[Row, torch.cuda.Event]] = {}
        self.stream = torch.cuda.Stream(backbone.device) if backbone.device.type == "cuda" else None

    def __call__(self, source: Inversion, step: int) -> Features:
        bank = self.store.bank(source.session, source.key)
        if bank is None:
            return self._recompute(source, step)
        if self.stream is None or bank.device.type == "cuda":
            return bank.unpack(bank.fetch(step, self.backbone.device))
        if (source.key, step) not in self.ahead:
            self.ahead[source.key, step] = self._start_copy(bank, step)
        row, copied = self.ahead.pop((source.key, step))
        torch.cuda.current_stream(self.backbone.device).wait_event(copied)
        row.apply(self._used_by_current_stream)
        if step in self.following:
            following = self.following[step]
            self.ahead[source.key, following] = self._start_copy(bank, following)
        return bank.unpack(row)

    def _start_copy(self, bank: FeatureBank, step: int) -> tuple[Row, torch.cuda.Event]:
        assert self.stream is not None
        with torch.cuda.stream(self.stream):
            return bank.fetch(step, self.backbone.device), self.stream.record_event()

    def _used_by_current_stream(self, tensor: Tensor) -> Tensor:
        tensor.record_stream(torch.cuda.current_stream(self.backbone.device))
        return tensor

    def _recompute(self, source: Inversion, step: int) -> Features:
        latents = source.trajectory[step : step + 1].to(self.backbone.device)  # (1, channels, height, width)
        with self.backbone.lock, recording(self.backbone.unet, self.backbone.layers) as features:
            self.backbone.noise_pred(latents, source.timesteps[step])
        self.unet_calls += 1
        if source.key not in self.recomputed:
            self.recomputed[source.key] = self.new_bank()
        bank = self.recomputed[source.key]
        bank.write(step, features)
        if len(bank.rows) == source.steps:
            self.store.put_bank(source.session, source.key, bank)
        return features
