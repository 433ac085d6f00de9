"""StyleEngine: the one class that the app and the command line use."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from weakref import WeakSet

import psutil
import torch
from cachetools import LRUCache
from PIL import Image
from torch import Tensor

from magicstyle_core import images, inversion, rendering
from magicstyle_core.attention import Layer, choose_layers
from magicstyle_core.backbone import Backbone
from magicstyle_core.detail import detailed, grain_levels
from magicstyle_core.errors import SettingsError
from magicstyle_core.features import FeatureBank, Inversion
from magicstyle_core.margin import with_margin, without_margin
from magicstyle_core.preview import fit_rgb_map, linear_preview
from magicstyle_core.reading import FeatureReader
from magicstyle_core.schedule import ddim_timesteps, subset
from magicstyle_core.settings import DRAFT_STEPS, FusionSettings, InversionSettings
from magicstyle_core.store import FeatureStore

KNOWN_BYTES = 128 << 20  # latents of earlier renders, by session and history
NO_ROOM = "There is no room for the features of every picture; those without are computed again at each render."

Styles = Inversion | Sequence[tuple[Inversion, float]]
ImageSource = Image.Image | str | Path | BinaryIO


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
    image: Image.Image | None  # a preview, or at the last step the picture
    final: bool


@dataclass(frozen=True)
class Picture:
    """A finished render."""

    image: Image.Image
    seconds: float
    unet_calls: int
    settings: FusionSettings


class StyleEngine:
    """Inverts images, keeps their features per session, renders from them. Safe to call from many threads."""

    def __init__(self, backbone: Backbone, *, budget_bytes: int | None = None, eight_bit: bool = False) -> None:
        self.backbone = backbone
        self._eight_bit = eight_bit
        device_budget, host_budget = _budgets(backbone.device, budget_bytes)
        self.store = FeatureStore(device=backbone.device, device_budget=device_budget, host_budget=host_budget)
        self._largest_bank = max(device_budget, host_budget)
        self._filling: WeakSet[FeatureBank] = WeakSet()  # not yet in the store
        self._known: LRUCache[tuple[str, str], Tensor] = LRUCache(KNOWN_BYTES, getsizeof=lambda z: z.nbytes)
        self._known_lock = threading.Lock()
        backbone.free_memory = self._free_device_memory

    @classmethod
    def load(
        cls,
        name: str = "mini",
        *,
        device: str = "auto",
        dtype: str = "auto",
        attention: str = "sdpa",
        preview_vae: str | None = None,
        budget_bytes: int | None = None,
        eight_bit: bool = False,
    ) -> StyleEngine:
        """An engine on "mini", "sd15", a diffusers folder or a hub id.

        Args:
            device: auto, cpu, cuda or mps.
            dtype: auto, fp32, bf16 or fp16.
            attention: sdpa, or xformers where it runs.
            preview_vae: folder or hub id of an AutoencoderTiny for previews; None = a linear map, no download.
            budget_bytes: most bytes of stored features in each tier; None = a share of the free memory.
            eight_bit: store features in 8 bits instead of 16.

        Raises:
            ModelError: the model cannot be found or loaded.
        """
        backbone = Backbone.load(name, device=device, dtype=dtype, attention=attention, preview_vae=preview_vae)
        return cls(backbone, budget_bytes=budget_bytes, eight_bit=eight_bit)

    def inverting(
        self, image: ImageSource, settings: InversionSettings | None = None, *, session: str = "default"
    ) -> Generator[Progress, None, Inversion]:
        """Inverts an image step by step; returns at once when the session has it already.

        Raises:
            ImageError: the picture cannot be used.
        """
        settings = settings or InversionSettings()
        backbone = self.backbone
        prepared, key = self._prepare(image, settings)
        with self.store.single_flight(session, key):
            known = self.store.get(session, key)
            if known is not None:
                return known
            pixels = images.to_tensor(prepared)  # (1, 3, height, width)
            latents = backbone.encode(pixels)  # (1, channels, latent_height, latent_width)
            timesteps = ddim_timesteps(settings.steps, backbone.num_train_timesteps)
            bank = self._new_bank()
            steps = inversion.invert(backbone, latents, timesteps, bank.write)
            try:
                while True:
                    yield Progress(next(steps), settings.steps)
            except StopIteration as stop:
                trajectory, noise = stop.value
            lost = pixels - backbone.decode(latents).cpu()  # (1, 3, height, width)
            clean = without_margin(trajectory[:1], backbone.margin).clone()  # sent alone, a view takes all along
            result = Inversion(
                key=key,
                session=session,
                width=prepared.width,
                height=prepared.height,
                timesteps=tuple(timesteps),
                trajectory=trajectory,
                noise=noise,
                latents=clean,
                rgb_map=fit_rgb_map(clean, pixels),
                grain=grain_levels(pixels),
                pixels=((pixels + 1) * 127.5).round().to(torch.uint8),
                detail=lost.half(),
            )
            self.store.put(session, key, result)
            if bank.given_up:
                self._say(NO_ROOM)
            else:
                self.store.put_bank(session, key, bank)
            return result

    def invert(
        self, image: ImageSource, settings: InversionSettings | None = None, *, session: str = "default"
    ) -> Inversion:
        """The inversion of an image, from the session's store if it is there."""
        steps = self.inverting(image, settings, session=session)
        try:
            while True:
                next(steps)
        except StopIteration as stop:
            return stop.value

    def known(
        self, image: ImageSource, settings: InversionSettings | None = None, *, session: str = "default"
    ) -> Inversion | None:
        """The inversion of an image if it is stored; makes none.

        Raises:
            ImageError: the picture cannot be used.
        """
        _, key = self._prepare(image, settings or InversionSettings())
        return self.store.find(session, key)

    def keep(self, inversion: Inversion) -> None:
        """Files an inversion, as one made by another process, in its session; stored features of it stay."""
        self.store.put(inversion.session, inversion.key, inversion)

    def render(
        self,
        content: Inversion,
        styles: Styles,
        settings: FusionSettings | None = None,
        *,
        mask: Image.Image | None = None,
        draft: bool = False,
        preview_every: int = 0,
    ) -> Iterator[Frame]:
        """Renders step by step; closing the iterator stops within one UNet call.

        Args:
            styles: one inversion, or several with positive weights.
            mask: white = settings.strength, black = settings.outside; resized to the content.
            draft: render over at most DRAFT_STEPS of the stored steps.
            preview_every: a preview at every so many steps; 0 = the final picture alone.

        Raises:
            SettingsError: inversions of different steps, a layer that does not exist, more steps than stored.
        """
        settings = settings or FusionSettings()
        weighted = [(styles, 1.0)] if isinstance(styles, Inversion) else list(styles)
        self._check(content, weighted, settings)
        layers = choose_layers(self.backbone.layers, settings.layers)
        steps = min(DRAFT_STEPS if draft else content.steps, settings.steps or content.steps)
        indices = subset(content.steps, steps)
        features = FeatureReader(self.backbone, self.store, indices, self._new_bank)
        strength, wide_strength = self._strength(content, settings, mask)
        with self._known_lock:
            known = {history: z for (session, history), z in self._known.items() if session == content.session}
        run = rendering.render(
            self.backbone, content, weighted, settings, layers, indices, features, wide_strength, known
        )
        calls = 0
        for step in run:
            calls += not step.reused
            done = calls + features.unet_calls
            with self._known_lock:
                self._known[content.session, step.history] = step.latents.cpu()
            if step.step == step.total:
                pixels = self.backbone.decode(step.latents)  # (1, 3, height, width)
                latents = without_margin(step.latents, self.backbone.margin)
                picture = images.to_image(detailed(pixels, latents, content, weighted, settings, strength).cpu())
                yield Frame(step.step, step.total, done, picture, final=True)
            elif preview_every and step.step % preview_every == 0 and not step.reused:
                yield Frame(step.step, step.total, done, self._preview(step.foreseen(), content), final=False)
            else:
                yield Frame(step.step, step.total, done, None, final=False)

    def stylize(
        self,
        content: Inversion,
        styles: Styles,
        settings: FusionSettings | None = None,
        *,
        mask: Image.Image | None = None,
        draft: bool = False,
    ) -> Picture:
        """The finished render of `render`, with what it cost."""
        settings = settings or FusionSettings()
        start = time.perf_counter()
        *_, last = self.render(content, styles, settings, mask=mask, draft=draft)
        assert last.image is not None
        return Picture(last.image, time.perf_counter() - start, last.unet_calls, settings)

    def decode(self, content: Inversion) -> Image.Image:
        """The VAE round trip of an inverted image: what the model itself loses."""
        return images.to_image(self.backbone.decode(content.trajectory[:1].to(self.backbone.device)))

    def layers(self) -> list[Layer]:
        """Every layer where FFA can apply, in the order of the forward pass."""
        return self.backbone.layers

    def forget(self, session: str) -> int:
        """Drops everything stored for a session; returns the bytes of inversions and features freed."""
        with self._known_lock:
            for address in [address for address in self._known if address[0] == session]:
                del self._known[address]
        return self.store.drop(session)

    def stats(self) -> dict[str, Any]:
        """Bytes per tier and session, hits and misses, UNet calls since the start, device and dtype."""
        return {
            "model": self.backbone.name,
            "device": str(self.backbone.device),
            "dtype": str(self.backbone.dtype).removeprefix("torch."),
            "unet_calls": self.backbone.unet_calls,
            "messages": list(self.backbone.messages),
            **self.store.stats(),
        }

    def _prepare(self, image: ImageSource, settings: InversionSettings) -> tuple[Image.Image, str]:
        """The picture as the model takes it, and the key of its inversion."""
        backbone = self.backbone
        prepared = images.fit(images.open_image(image), settings.size or backbone.size, backbone.multiple)
        return prepared, f"{images.digest(prepared)}-{settings.steps}-{backbone.name}-{backbone.dtype}"

    def _preview(self, x0: Tensor, content: Inversion) -> Image.Image:
        if self.backbone.preview_vae is not None:
            return images.to_image(self.backbone.preview(x0))
        return images.to_image(linear_preview(without_margin(x0, self.backbone.margin).cpu(), content.rgb_map))

    def _new_bank(self) -> FeatureBank:
        half = torch.float16 if self.backbone.dtype == torch.float32 else self.backbone.dtype
        dtype = torch.int8 if self._eight_bit else half
        bank = FeatureBank(dtype, self.backbone.device, largest=self._largest_bank)
        with self._known_lock:
            self._filling.add(bank)
        return bank

    def _say(self, message: str) -> None:
        if message not in self.backbone.messages:
            self.backbone.messages.append(message)

    def _check(self, content: Inversion, styles: list[tuple[Inversion, float]], settings: FusionSettings) -> None:
        if not styles or any(weight <= 0 for _, weight in styles):
            raise SettingsError("Every style needs a weight above 0; take styles of weight 0 out, keep at least one.")
        for style, _ in styles:
            if style.timesteps != content.timesteps:
                raise SettingsError(
                    f"Content was inverted with {content.steps} steps, a style with {style.steps}; "
                    "invert both with the same number."
                )
        if settings.steps is not None and settings.steps > content.steps:
            raise SettingsError(
                f"{settings.steps} steps are asked for, {content.steps} are stored; "
                "invert again with more, or ask for fewer."
            )

    def _strength(
        self, content: Inversion, settings: FusionSettings, mask: Image.Image | None
    ) -> tuple[float | Tensor, float | Tensor]:
        """The strength, by a mask a map of latents, without and with their margin."""
        if mask is None:
            return settings.strength, settings.strength
        rows, columns = content.latents.shape[2:]
        inside = images.mask_to_tensor(mask, rows, columns).to(self.backbone.device)  # (1, 1, rows, columns)
        strength = settings.outside + inside * (settings.strength - settings.outside)
        return strength, with_margin(strength, self.backbone.margin)

    def _free_device_memory(self) -> bool:
        """Steps every bank on the device down a tier after it ran out of memory."""
        self._say("The device ran out of memory; stored features moved out of it.")
        with self._known_lock:
            filling = list(self._filling)
        for bank in filling:
            bank.give_up()
        self.store.demote_all()
        if self.backbone.device.type == "cuda":
            torch.cuda.empty_cache()
        return True


def _budgets(device: torch.device, limit: int | None) -> tuple[int, int]:
    """Most bytes of banks on the device and in host memory: a share of what is free, at most the given limit."""
    host = psutil.virtual_memory().available // 4
    on_device = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else host
    if limit is not None:
        host, on_device = min(host, limit), min(on_device, limit)
    return (on_device, host) if device.type == "cuda" else (on_device, 0)
