"""A text, mostly the empty one, as the UNet takes it.

Tokenizer and text encoder are loaded for this alone and dropped; what came out is kept on disk.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from magicstyle_core.errors import ModelError
from magicstyle_core.families import Config, Configs
from magicstyle_core.model import Prompt

SHIPPED = "null_prompt.safetensors"
TOKENIZERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"  # CLIP's, in the wheel of open-clip-torch
MERGES = 49152 - 256 - 2  # of its lines, that CLIP uses: entries less single bytes and the two marks


def load_prompt(
    folder: Path, configs: Configs, text: str, identity: Callable[[], str], load_encoder: Callable[[str], Any]
) -> Prompt:
    """The embedding of a text: shipped, zeros where the model wants them, kept from an earlier run, or computed.

    Args:
        folder: with the tokenizers in it, if there are any.
        identity: gives a digest of the text encoders' weights.
        load_encoder: gives the text encoder of a part's name.

    Raises:
        ModelError: the text is too long, or there is no vocabulary for it.
    """
    if not text and (folder / SHIPPED).is_file():
        return Prompt(load_file(folder / SHIPPED)["null_prompt"].float())
    if not text and not configs.encoders:  # Stable Diffusion XL whose model_index.json wants zeros
        pooled = configs.unet["projection_class_embeddings_input_dim"] - 6 * configs.unet["addition_time_embed_dim"]
        return Prompt(torch.zeros(1, 77, configs.unet["cross_attention_dim"]), torch.zeros(1, pooled))
    tokenizers = [file for part in configs.encoders for file in sorted((folder / TOKENIZERS[part]).glob("*"))]
    key = hashlib.sha256(repr((text, configs.encoders, identity(), digest(tokenizers))).encode()).hexdigest()
    kept = _cache_folder() / f"prompt_{key[:32]}.safetensors"
    if not kept.is_file():
        tokens = {part: _tokens(folder / TOKENIZERS[part], config, text) for part, config in configs.encoders.items()}
        with torch.no_grad():
            outputs = [load_encoder(part)(ids, output_hidden_states=True) for part, ids in tokens.items()]
        kept.parent.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_suffix(f".{os.getpid()}")
        save_file(
            {name: tensor.float().contiguous() for name, tensor in _embedded(outputs, configs).items()}, unfinished
        )
        unfinished.replace(kept)  # at once, so that no other process reads half of it
    tensors = load_file(kept)
    return Prompt(tensors["tokens"], tensors.get("pooled"))


def digest(files: Iterable[Path]) -> str:
    """Of the files' names and contents."""
    sha = hashlib.sha256()
    for file in files:
        sha.update(file.name.encode())
        with file.open("rb") as content:
            sha.update(hashlib.file_digest(content, "sha256").digest())
    return sha.hexdigest()


def _embedded(outputs: list[Any], configs: Configs) -> dict[str, Tensor]:
    if not configs.is_xl:
        return {"tokens": outputs[0].last_hidden_state}  # (1, tokens, channels)
    # Stable Diffusion XL takes the last layer but one of both, side by side, and the second one's pooled text.
    tokens = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)  # (1, tokens, channels of both)
    return {"tokens": tokens, "pooled": outputs[1].text_embeds}  # (1, pooled channels)


def _tokens(folder: Path, config: Config, text: str) -> Tensor:
    """Token ids (1, length), filled up to the text encoder's length."""
    length, vocabulary = config.get("max_position_embeddings", 77), config["vocab_size"]
    begin, end = vocabulary - 2, vocabulary - 1  # CLIP's two last entries; old configs name others
    tokenizer = _tokenizer(folder) if text or folder.is_dir() else None
    if tokenizer is not None:
        ids = tokenizer(text).input_ids
        padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    else:
        ids, padding = [begin, end], 0 if config.get("hidden_act") == "gelu" else end  # OpenCLIP fills up with "!", 0
    if len(ids) > length:
        raise ModelError(f"The prompt has {len(ids)} tokens, the text encoder takes {length}; shorten it.")
    return torch.tensor([ids + [padding] * (length - len(ids))])


def _tokenizer(folder: Path) -> Any:
    from transformers import CLIPTokenizer

    if folder.is_dir():
        return CLIPTokenizer.from_pretrained(folder)
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise ModelError(
            "This model comes without a tokenizer, so a prompt needs CLIP's vocabulary; `pip install open-clip-torch` "
            "brings it, or leave the prompt out."
        )
    with gzip.open(Path(spec.origin).parent / VOCABULARY, "rt", encoding="utf-8") as lines:
        merges = [tuple(line.split()) for line in lines.read().split("\n")[1 : MERGES + 1] if line]
    letters = list(_byte_letters())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    entries = {word: i for i, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=entries, merges=merges)


def _byte_letters() -> Iterable[str]:
    """A letter for every byte in the order of CLIP's vocabulary: printable ones as they are, then the others."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    yield from map(chr, printable)
    yield from (chr(256 + i) for i in range(256 - len(printable)))


def _cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "magicstyle"
