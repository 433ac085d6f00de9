"""The engine as a pipeline of diffusers: `DiffusionPipeline.from_pretrained(NAME, custom_pipeline=THIS_FILE)`.

diffusers runs a local file only with `trust_remote_code=True`. See docs/models.md for an example.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler, DiffusionPipeline, ImagePipelineOutput, ModelMixin, UNet2DConditionModel

from magicstyle_core.engine import Source, StyleEngine
from magicstyle_core.hub import find
from magicstyle_core.loading import assemble
from magicstyle_core.settings import InversionSettings
from magicstyle_core.sources import FolderSource


class _LoadedSource(FolderSource):
    """A folder whose networks a pipeline has loaded already."""

    def __init__(self, pipeline: DiffusionPipeline) -> None:
        name = pipeline.config._name_or_path
        super().__init__(find(name, revision=None, variant=None, half=False, prompt=""), None, False)
        self.pipeline = pipeline

    def network(self, kind: Any, part: str, dtype: torch.dtype) -> Any:
        return getattr(self.pipeline, part)


class MagicStylePipeline(DiffusionPipeline):
    """UNet and VAE as diffusers loads and moves them; everything else is the engine's."""

    def __init__(self, unet: UNet2DConditionModel, vae: ModelMixin, scheduler: DDIMScheduler) -> None:
        super().__init__()
        self.register_modules(unet=unet, vae=vae, scheduler=scheduler)
        self._engines: dict[tuple[torch.device, torch.dtype], StyleEngine] = {}

    @property
    def engine(self) -> StyleEngine:
        """The engine on the networks as they are now; it keeps what it has inverted."""
        place = (self.unet.device, self.unet.dtype)
        if place not in self._engines:
            name = self.config._name_or_path
            model = assemble(name, _LoadedSource(self), self.unet.device, "auto", "sdpa", None, None, "")
            self._engines = {place: StyleEngine(model)}
        return self._engines[place]

    def __call__(
        self, content: Source, style: Source, steps: int | None = None, size: int | None = None, **settings: Any
    ) -> ImagePipelineOutput:
        """Draws the content in the style.

        Args:
            content, style: a PIL image or a file.
            steps, size: of the inversion; None = the model's own.
            settings: of the fusion, over the model's own preset.

        Raises:
            ImageError, SettingsError or ModelError.
        """
        engine = self.engine
        inversion = InversionSettings(steps=steps, size=size)
        fusion = engine.preset.replace(**settings)
        result = engine.stylize(engine.invert(content, inversion), engine.invert(style, inversion), fusion)
        return ImagePipelineOutput(images=[result.image])
