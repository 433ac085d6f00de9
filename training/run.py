"""One stage of the training: it stops after its minutes and goes on from its checkpoint when started again."""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from diffusers import ModelMixin
from torch import Tensor, nn

SAVE_EVERY = 180.0  # seconds between checkpoints
REPORT_EVERY = 20  # steps
WARM_UP = 20  # steps
KEEP = 0.995  # of the moving average, a step


class Stage(Protocol):
    """Trains from the model in folder `start`; checkpoints and log go to `data`."""

    def __call__(self, data: Path, start: Path, *, minutes: float, device: str) -> None: ...


def from_command_line(name: str, stage: Stage) -> None:
    """Runs the stage `python -m training.name` as its arguments say."""
    parser = argparse.ArgumentParser(prog=f"python -m training.{name}", description="One stage of the training.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the packed pictures and of checkpoints")
    parser.add_argument("--start", type=Path, default=Path("assets/mini"), help="the model to start from")
    parser.add_argument("--minutes", type=float, required=True, help="in all, with those of earlier runs")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    stage(arguments.data, arguments.start, minutes=arguments.minutes, device=arguments.device)


class Run:
    """What the stages share: optimiser, moving average of the weights, clock, checkpoint and log."""

    def __init__(self, models: dict[str, ModelMixin], rates: dict[str, float], path: Path, minutes: float) -> None:
        """Trains the parts of models that are named by paths such as "vae.decoder", each at its own rate."""
        self.model, self.path, self.minutes = nn.ModuleDict(models), path, minutes
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        groups = [list(self.model.get_submodule(name).parameters()) for name in rates]
        self.rates, self.parameters = list(rates.values()), [parameter for group in groups for parameter in group]
        self.optimiser = torch.optim.AdamW(
            [{"params": group} for group in groups], weight_decay=1e-4, betas=(0.9, 0.99)
        )
        self.step, self.seconds = 0, 0.0
        self.sums: dict[str, float] = {}  # of the losses since the last report
        if path.exists():
            state = torch.load(path, weights_only=True, map_location=self.parameters[0].device)
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.seconds = state["step"], state["seconds"]
        self._clock = time.monotonic()
        self._saved = self.seconds

    def generator(self, seed: int = 0) -> np.random.Generator:
        """Randomness from here on, here and in torch; a run that goes on does not draw the same examples again."""
        torch.manual_seed(seed + self.step)
        return np.random.default_rng([seed, self.step])

    @property
    def fraction(self) -> float:
        """How much of the time budget is spent, from 0 up to 1."""
        now = time.monotonic()
        self.seconds, self._clock = self.seconds + now - self._clock, now
        return min(self.seconds / (60 * self.minutes), 1.0)

    def update(self, loss: Tensor) -> None:
        """One optimiser step. The rate warms up, stays, and falls over the last half of the time."""
        decay = max(0.02, min(1.0, 2 * (1 - self.fraction)))
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * min(1.0, (self.step + 1) / WARM_UP) * decay
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.step += 1
        keep = min(KEEP, self.step / (self.step + 9))
        with torch.no_grad():
            for slow, fast in zip(self.average.parameters(), self.model.parameters(), strict=True):
                slow.lerp_(fast, 1 - keep)

    def report(self, losses: Mapping[str, Tensor]) -> None:
        """Prints the losses every few steps, their means over these steps."""
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + loss.item()
        if self.step % REPORT_EVERY == 0:
            means = ", ".join(f"{name} {total / REPORT_EVERY:.3f}" for name, total in self.sums.items())
            print(f"{self.path.stem}: step {self.step}, {self.seconds / 60:.1f} min, {means}", flush=True)
            self.sums.clear()

    @property
    def save_is_due(self) -> bool:
        return self.seconds - self._saved >= SAVE_EVERY

    def save(self) -> None:
        """Writes the checkpoint, and the averages as folders beside it; a stop in the middle leaves the one before."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        temporary = self.path.with_suffix(".partial")
        torch.save(state, temporary)
        temporary.replace(self.path)
        for name, model in self.average.named_children():
            assert isinstance(model, ModelMixin)
            model.save_pretrained(self.path.parent / name)
        self._saved = self.seconds
