"""A model that gets over too little memory and over half precision that overflows."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from magicstyle_core.errors import ModelError
from magicstyle_core.model import Model

logger = logging.getLogger(__name__)

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")  # as CUDA and MPS, and CPUs, say it
HALF = (torch.float16, torch.bfloat16)


class Guard:
    """`denoise`, `encode`, `decode` and `preview` of a model, guarded.

    Where the device runs out of memory, `free_memory` is called, and if it returns True, all is tried once more. A
    network whose values are not finite in half precision runs in fp32 from then on; the others stay.
    """

    def __init__(self, model: Model, free_memory: Callable[[], bool]) -> None:
        self.model, self.free_memory = model, free_memory

    def denoise(self, latents: Tensor, timestep: int) -> Tensor:
        """Raises ModelError, as all of these do: out of memory in spite of all, or not finite even in fp32."""
        return self._finite(self.model.unet, "the UNet", lambda: self.model.denoise(latents, timestep))

    def encode(self, pixels: Tensor) -> Tensor:
        return self._finite(self.model.vae, "the VAE", lambda: self.model.encode(pixels))

    def decode(self, latents: Tensor) -> Tensor:
        return self._finite(self.model.vae, "the VAE", lambda: self.model.decode(latents))

    def preview(self, latents: Tensor) -> Tensor:
        assert self.model.preview_vae is not None
        return self._finite(self.model.preview_vae, "the preview VAE", lambda: self.model.preview(latents))

    def _finite(self, network: torch.nn.Module, title: str, action: Callable[[], Tensor]) -> Tensor:
        with self.model.lock:  # nobody runs a network while its precision changes
            result = self._in_memory(action)
            if not result.isfinite().all() and network.dtype in HALF:
                kind = str(network.dtype).removeprefix("torch.")
                network.float()
                self._say(f"{self.model.name}: {title} gave values that are not finite in {kind}; it now runs in fp32.")
                result = self._in_memory(action)
        if not result.isfinite().all():
            raise ModelError(
                f"{self.model.name}: {title} gave values that are not finite, even in fp32; the model is broken."
            )
        return result

    def _in_memory(self, action: Callable[[], Tensor]) -> Tensor:
        try:
            return action()
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
        # Only outside of this block are the tensors of the failed call released.
        if self.free_memory():
            try:
                return action()
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
        raise ModelError("The device is out of memory; choose a smaller size or fewer styles.")

    def _say(self, message: str) -> None:
        logger.warning(message)
        self.model.messages.append(message)


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)
