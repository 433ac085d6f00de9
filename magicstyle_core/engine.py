"""StyleEngine: the one class that the page and the command line use.

It brings the method, a model and the store together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from weakref import WeakSet

import diffusers
import torch
from PIL import Image
from torch import Tensor

import magicstyle_core
from magicstyle_core import loading, method, quick
from magicstyle_core.bank import FeatureBank, Inversion
from magicstyle_core.finish import finished, in_own_colours
from magicstyle_core.guard import Guard
from magicstyle_core.hooks import Features, Fusing, fuse, record
from magicstyle_core.images import Picture, open_picture
from magicstyle_core.layers import Layer, choose_layers
from magicstyle_core.metadata import Recipe, StyleUse, encode_mask
from magicstyle_core.model import Model
from magicstyle_core.pixels import to_image, to_tensor
from magicstyle_core.plan import Plan, Styles, plan
from magicstyle_core.reading import FeatureReader
from magicstyle_core.settings import FusionSettings, InversionSettings, apply_preset, inversion_calls
from magicstyle_core.store import FeatureStore, budgets

BANKS = 4  # a budget should hold so many banks: a photograph and three styles
NO_ROOM = "There is no room for the features of every picture; those without are computed again at each render."

Source = Picture | Image.Image | str | Path | BinaryIO


@dataclass(frozen=True)
class Progress:
    """One UNet call of an inversion is done."""

    step: int
    total: int


@dataclass(frozen=True)
class Frame:
    """One step of a render is done."""

    step: int
    total: int
    unet_calls: int  # of this render so far: fewer than steps where an earlier render is reused, more where features
    # had to be computed again
    image: Image.Image | None  # the clean picture that this step foresees, or at the last step the picture
    final: bool


@dataclass(frozen=True)
class Result:
    """A finished render."""

    image: Image.Image
    seconds: float
    unet_calls: int
    settings: FusionSettings


class StyleEngine:
    """Inverts pictures, keeps their features per session, renders from them. Safe to call from many threads."""

    def __init__(self, model: Model, *, budget_bytes: int | None = None, eight_bit: bool = False) -> None:
        self.model, self.preset = model, apply_preset(model.preset, FusionSettings())
        self.guard = Guard(model, self._free_device_memory)
        half = torch.float16 if model.dtype == torch.float32 else model.dtype
        self.bank_dtype = torch.int8 if eight_bit else half
        on_device, on_host = budgets(model.device, budget_bytes)
        self.store = FeatureStore(device=model.device, device_budget=on_device, host_budget=on_host)
        self._largest_bank = max(on_device, on_host)
        self._filling: WeakSet[FeatureBank] = WeakSet()  # not yet in the store
        self._filling_lock = threading.Lock()

    @classmethod
    def load(
        cls, name: str = "mini", *, budget_bytes: int | None = None, eight_bit: bool = False, **options: Any
    ) -> StyleEngine:
        """An engine on "mini", "sd15", a diffusers folder, a single file or a hub id.

        Args:
            budget_bytes: most bytes of stored features in each tier; None = a share of the memory.
            eight_bit: store features in 8 bits instead of 16.
            options: device, dtype, attention, preview_vae and so on, see `loading.load`.

        Raises:
            ModelError: the model cannot be found or loaded.
        """
        return cls(loading.load(name, **options), budget_bytes=budget_bytes, eight_bit=eight_bit)

    # Inversion

    def prepare(self, source: Source, size: int | None = None) -> Picture:
        """Any picture as the model takes it, with this long side or the model's own. Raises ImageError."""
        if isinstance(source, Picture):
            return source
        return open_picture(source, size or self.model.size, self.model.multiple)

    def inverting(
        self, image: Source, settings: InversionSettings | None = None, *, session: str = "default"
    ) -> Generator[Progress, None, Inversion]:
        """Inverts a picture step by step; returns at once when the session has it already. Raises ImageError."""
        settings = settings or InversionSettings()
        picture = self.prepare(image, settings.size)
        key, steps = self._key(picture, settings), settings.steps or self.model.steps
        with self.store.single_flight(session, key):
            known = self.store.get(session, key)
            if known is not None:
                return known
            latents = self.guard.encode(to_tensor(picture.pixels))  # (1, channels, height, width)
            bank, layers = self._new_bank(), self._recorded(latents, steps)
            schedule = self.model.schedule(steps)

            @contextmanager
            def recording(step: int) -> Iterator[None]:
                with self.model.lock, record(self.model.unet, layers) as features:
                    yield
                bank.write(step, features)

            run = self.model.invert(self.guard.denoise, latents, schedule, recording)
            try:
                while True:
                    yield Progress(next(run), inversion_calls(steps, self.model.corrections))
            except StopIteration as stop:
                trajectory = stop.value.to(torch.device("cpu"))
            result = Inversion(
                key=key, session=session, picture=picture, timesteps=schedule.timesteps, trajectory=trajectory
            )
            self.store.put(session, key, result)
            if bank.given_up:
                self._say(NO_ROOM)
            else:
                self.store.put_bank(session, key, bank)
            return result

    def invert(
        self, image: Source, settings: InversionSettings | None = None, *, session: str = "default"
    ) -> Inversion:
        """The inversion of a picture, from the session's store if it is there. Raises ImageError."""
        steps = self.inverting(image, settings, session=session)
        try:
            while True:
                next(steps)
        except StopIteration as stop:
            inversion: Inversion = stop.value
            return inversion

    def known(
        self, picture: Picture, settings: InversionSettings | None = None, *, session: str = "default"
    ) -> Inversion | None:
        """The inversion of a picture if it is stored; makes none."""
        return self.store.find(session, self._key(picture, settings or InversionSettings()))

    def keep(self, inversion: Inversion) -> None:
        """Files an inversion, as one made by another process, in its session; stored features of it stay."""
        self.store.put(inversion.session, inversion.key, inversion)

    def _key(self, picture: Picture, settings: InversionSettings) -> str:
        return f"{picture.digest}-{settings.steps or self.model.steps}-{self.model.name}-{self.model.dtype}"

    def _recorded(self, latents: Tensor, steps: int) -> list[Layer]:
        """The layers to record: all of them where the budget holds some banks of that size, else the preset's."""
        layers, (height, width) = self.model.layers, (latents.shape[2], latents.shape[3])
        values = 0
        for layer in layers:
            rows, columns = layer.size(height, width)
            values += rows * columns * self.model.unet.get_submodule(layer.name).to_q.in_features
        if steps * values * self.bank_dtype.itemsize * BANKS <= self._largest_bank:
            return layers
        return choose_layers(layers, self.preset.layers)

    # Render

    def render(
        self,
        content: Inversion,
        styles: Styles,
        settings: FusionSettings | None = None,
        *,
        mask: Image.Image | None = None,
        draft: bool = False,
        preview_every: int = 0,
    ) -> Generator[Frame, None, None]:
        """Renders step by step; closing the iterator stops within one UNet call.

        Args:
            styles: one inversion, or several with positive weights; those with a mask are looked at where it is white.
            settings: without them the model's preset.
            mask: white = settings.strength, black = settings.outside; resized to the content.
            draft: render over few of the steps, see `settings.draft_steps`.
            preview_every: a preview at every so many steps, all of them new; 0 = the final picture alone.

        Raises:
            SettingsError: inversions of different steps, a layer that does not exist, more steps than stored.
        """
        wish = plan(self.model, content, styles, settings or self.preset, mask, draft)
        settings, total, device = wish.settings, len(wish.steps), self.model.device
        features = self.reader(wish)
        known = [self.store.remembered(content.session, digest) for digest in wish.history]
        done = 0 if preview_every else next((n for n in range(total, 0, -1) if known[n] is not None), 0)
        begin = known[done].to(device) if done else None  # type: ignore[union-attr]
        if begin is not None:
            yield Frame(done, total, 0, self.picture(wish, begin) if done == total else None, final=done == total)
        if done == total:
            return
        trajectory, calls = content.trajectory.to(device), 0
        if self.model.exact:
            still = self.fusing(wish.without_style(), features)
            trajectory, calls = quick.with_estimates(self.guard.denoise, still, trajectory, wish, self.store)
        run = method.render(
            self.guard.denoise, trajectory, self.model.schedule(content.steps),
            wish.steps[done:], self.fusing(wish, features), strength=wish.strength, begin=begin, seed=settings.seed,
            styles=[(style.trajectory.to(device), weight) for style, weight in wish.styles],
            palette=settings.palette, colour=settings.colour, residual=settings.residual,
            window=(settings.start, settings.end),
        )  # fmt: skip
        for n, step in enumerate(run, done + 1):
            self.store.remember(content.session, wish.history[n], step.latents.cpu())
            image = None
            if n == total:
                image = self.picture(wish, step.latents)
            elif preview_every and n % preview_every == 0:
                image = to_image((self.guard.preview if self.model.preview_vae else self.guard.decode)(step.denoised))
            yield Frame(n, total, n - done + calls + features.unet_calls, image, final=n == total)

    def reader(self, wish: Plan) -> FeatureReader:
        """What gives a render its features, see reading.py."""
        names = [layer.name for layer in wish.layers]
        return FeatureReader(self.store, self.model.device, names, wish.steps, self._compute, self._new_bank)

    def fusing(self, wish: Plan, features: FeatureReader) -> method.Around:
        """What surrounds the UNet call at a stored step: FFA in the layers of the plan, and the model's lock."""
        settings, weights = wish.settings, [weight for _, weight in wish.styles]
        how = Fusing(
            wish.strength, settings.structure, settings.temperature, settings.balance, settings.neighbours,
            wish.strokes, settings.fusion, weights, self.model.attend, wish.looked_at,
        )  # fmt: skip

        @contextmanager
        def around(step: int) -> Iterator[None]:
            if not wish.layers:
                yield
                return
            content = features(wish.content, step)
            styles = [features(style, step) for style, _ in wish.styles]
            with self.model.lock, fuse(self.model.unet, wish.layers, content, styles, how):
                yield

        return around

    def picture(self, wish: Plan, latents: Tensor) -> Image.Image:
        """Finished latents as the finished picture."""
        pixels, settings = self.guard.decode(latents).cpu(), wish.settings  # (1, 3, height, width)
        if settings.colour < 1:
            own = to_tensor(wish.content.picture.pixels)
            pixels = in_own_colours(pixels, own, wish.pixel_strength, colour=settings.colour)
        if settings.detail:
            lost = self._lost(wish.content)
            pixels = finished(pixels, lost, wish.pixel_strength, detail=settings.detail, structure=settings.structure)
        return to_image(pixels)

    def stylize(
        self,
        content: Inversion,
        styles: Styles,
        settings: FusionSettings | None = None,
        *,
        mask: Image.Image | None = None,
        draft: bool = False,
    ) -> Result:
        """The finished render of `render`, with what it cost."""
        settings, start = settings or self.preset, time.perf_counter()
        *_, last = self.render(content, styles, settings, mask=mask, draft=draft)
        assert last.image is not None
        return Result(last.image, time.perf_counter() - start, last.unet_calls, settings)

    def missing_calls(
        self, content: Inversion, styles: Styles, settings: FusionSettings, *, draft: bool = False
    ) -> int:
        """UNet calls that a render would make beside its own, as some of its layers' features are not stored."""
        wish = plan(self.model, content, styles, settings, draft=draft)
        names, calls = [layer.name for layer in wish.layers], 0
        for source in (content, *(style for style, _ in wish.styles)):
            bank = self.store.bank(source.session, source.key)
            calls += len(wish.steps) if bank is None else len(bank.missing(wish.steps, names))
        return calls if names else 0

    def decode(self, content: Inversion) -> Image.Image:
        """The VAE round trip of an inverted picture: what the model itself loses."""
        return to_image(self._round_trip(content))

    def _round_trip(self, content: Inversion) -> Tensor:
        return self.guard.decode(content.trajectory.latents[0].to(self.model.device)).cpu()  # (1, 3, height, width)

    def _lost(self, content: Inversion) -> Tensor:
        """The photograph less its round trip, fp32 (1, 3, height, width); made once, remembered in fp16."""
        key = f"lost-{content.key}"
        lost = self.store.remembered(content.session, key)
        if lost is None:
            lost = (to_tensor(content.picture.pixels) - self._round_trip(content)).half()
            self.store.remember(content.session, key, lost)
        return lost.float()

    def _compute(self, source: Inversion, step: int) -> Features:
        """Every layer's input at a stored step, by the inversion's own UNet call."""
        latents = source.trajectory.latents.to(self.model.device)  # (T, 1, channels, height, width)
        z, timestep = self.model.recorded_at(latents, source.timesteps, step)
        with self.model.lock, record(self.model.unet, self.model.layers) as features:
            self.guard.denoise(z, timestep)
        return features

    def _new_bank(self) -> FeatureBank:
        bank = FeatureBank(self.bank_dtype, self.model.device, largest=self._largest_bank)
        with self._filling_lock:
            self._filling.add(bank)
        return bank

    def recipe(
        self,
        content: Inversion,
        styles: Styles,
        settings: FusionSettings,
        *,
        region: str = "everywhere",
        mask: Image.Image | None = None,
    ) -> Recipe:
        """What it takes to make a render again, for its PNG."""
        wish = plan(self.model, content, styles, settings, mask)
        bank = self.store.bank(content.session, content.key)
        return Recipe(
            version=magicstyle_core.__version__,
            model=self.model.name,
            settings=settings,
            inversion=InversionSettings(steps=content.steps, size=max(content.picture.pixels.shape[:2])),
            content=content.picture.digest,
            styles=tuple(
                StyleUse(digest=style.picture.digest, weight=weight, mask=encode_mask(style.mask))
                for style, weight in wish.styles
            ),
            region=region,
            mask=encode_mask(mask and mask.convert("L").resize(content.picture.image.size)),
            device=self.model.device.type,
            dtype=str(self.model.dtype).removeprefix("torch."),
            tier="computed" if bank is None else "host" if bank.device != self.model.device else "device",
            bank_bits=8 * self.bank_dtype.itemsize,
            threads=torch.get_num_threads(),
            torch=torch.__version__,
            diffusers=diffusers.__version__,
        )

    # Around it

    def layers(self) -> list[Layer]:
        """Every layer where FFA can apply, in the order of the forward pass."""
        return self.model.layers

    def forget(self, session: str) -> int:
        """Drops everything stored for a session; returns the bytes freed."""
        return self.store.drop(session)

    def stats(self) -> dict[str, Any]:
        """Bytes per tier and session, hits and misses, UNet calls since the start, device and dtype."""
        return {
            "model": self.model.name,
            "device": str(self.model.device),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "unet_calls": self.model.unet_calls,
            "messages": list(self.model.messages),
            **self.store.stats(),
        }

    def _say(self, message: str) -> None:
        if message not in self.model.messages:
            self.model.messages.append(message)

    def _free_device_memory(self) -> bool:
        """Steps every bank on the device down a tier after it ran out of memory."""
        self._say("The device ran out of memory; stored features moved out of it.")
        with self._filling_lock:
            filling = list(self._filling)
        for bank in filling:
            bank.give_up()
        self.store.demote_all()
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()
        return True
