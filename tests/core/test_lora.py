"""LoRA files, as people train them with PEFT, and prompts."""

from __future__ import annotations

import gzip
import importlib
import shutil
import sys
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import save_file
from transformers import CLIPTextModel

from magicstyle_core import ModelError, prompts
from magicstyle_core.loading import load
from tests.tiny_layouts import write_sd, write_xl

LATENTS = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lora") / "base"
    write_sd(folder)
    return folder


def adapted(network: torch.nn.Module, targets: list[str]) -> torch.nn.Module:
    """With a LoRA of rank 2 whose weights are random, both halves."""
    torch.manual_seed(3)
    inject_adapter_in_model(LoraConfig(r=2, lora_alpha=2, target_modules=targets), network)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    return network.eval()


def write_lora(base: Path, target: Path, *, text: bool = False) -> Path:
    unet = adapted(UNet2DConditionModel.from_pretrained(base / "unet"), TARGETS)
    layers = {"unet_lora_layers": get_peft_model_state_dict(unet)}
    if text:
        encoder = adapted(CLIPTextModel.from_pretrained(base / "text_encoder"), ["q_proj", "v_proj"])
        layers["text_encoder_lora_layers"] = convert_state_dict_to_diffusers(get_peft_model_state_dict(encoder))
    StableDiffusionPipeline.save_lora_weights(target, **layers)
    return target / "pytorch_lora_weights.safetensors"


def test_a_lora_is_in_the_weights_and_leaves_no_hooks(folder: Path, tmp_path: Path) -> None:
    file = write_lora(folder, tmp_path / "lora")
    plain, changed = load(str(folder), device="cpu"), load(str(folder), device="cpu", lora=str(file))
    assert not torch.allclose(plain.denoise(LATENTS, 501), changed.denoise(LATENTS, 501), atol=1e-3)
    live = adapted(UNet2DConditionModel.from_pretrained(folder / "unet"), TARGETS)
    tokens = plain.prompt.tokens.expand(2, -1, -1)
    with torch.no_grad():
        assert torch.allclose(changed.denoise(LATENTS, 501), live(LATENTS, 501, tokens).sample, atol=1e-5)
    assert [layer.name for layer in changed.layers] == [layer.name for layer in plain.layers]
    assert {type(module) for module in changed.unet.modules()} == {type(module) for module in plain.unet.modules()}
    assert changed.options == {"lora": str(file)}
    assert torch.equal(plain.prompt.tokens, changed.prompt.tokens)
    assert not changed.consistency


def test_a_lora_of_the_text_encoder_changes_the_prompt(folder: Path, tmp_path: Path) -> None:
    file = write_lora(folder, tmp_path / "lora", text=True)
    plain, changed = load(str(folder), device="cpu"), load(str(folder), device="cpu", lora=str(file))
    assert not torch.allclose(plain.prompt.tokens, changed.prompt.tokens, atol=1e-3)


def test_a_lora_for_few_steps_is_known_by_its_name(folder: Path, tmp_path: Path) -> None:
    file = write_lora(folder, tmp_path / "lcm-lora-sdv1-5")
    assert load(str(folder), device="cpu", lora=str(file)).consistency


def test_files_that_are_no_lora_of_this_model(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "xl"
    write_xl(other)
    unet = adapted(UNet2DConditionModel.from_pretrained(other / "unet"), TARGETS)
    StableDiffusionXLPipeline.save_lora_weights(tmp_path / "a", unet_lora_layers=get_peft_model_state_dict(unet))
    save_file({"some.weight": torch.zeros(1)}, tmp_path / "b.safetensors")
    (tmp_path / "c.safetensors").write_bytes(b"no tensors")
    for file, sentence in (
        ("a/pytorch_lora_weights.safetensors", "is of another model"),
        ("b.safetensors", "no LoRA that can be read|changes nothing"),
        ("c.safetensors", "no LoRA that can be read"),
        ("missing.safetensors", "There is no .*missing.safetensors"),
    ):
        with pytest.raises(ModelError, match=sentence) as refused:
            load(str(folder), device="cpu", lora=str(tmp_path / file))
        assert "\n" not in str(refused.value)


def test_a_prompt_is_embedded_and_kept_with_the_model(folder: Path) -> None:
    plain, prompted = load(str(folder), device="cpu"), load(str(folder), device="cpu", prompt="a face")
    assert plain.prompt.tokens.shape == prompted.prompt.tokens.shape
    assert not torch.equal(plain.prompt.tokens, prompted.prompt.tokens)
    assert prompted.options == {"prompt": "a face"}
    with pytest.raises(ModelError, match="The prompt has 92 tokens, the text encoder takes 77; shorten it"):
        load(str(folder), device="cpu", prompt="a" * 90)


def test_a_model_without_a_text_encoder_takes_no_prompt() -> None:
    with pytest.raises(ModelError, match="mini: This model has no text encoder and takes no prompt"):
        load("mini", device="cpu", prompt="a face")


def test_the_kept_embedding_goes_by_what_is_in_the_files(folder: Path, tmp_path: Path) -> None:
    """The same bytes elsewhere are the same; other weights or another tokenizer, at the same place, are not."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    first = load(str(folder), device="cpu").prompt.tokens
    kept = sorted(prompts._cache_folder().iterdir())
    assert torch.equal(load(str(copy), device="cpu").prompt.tokens, first)
    assert sorted(prompts._cache_folder().iterdir()) == kept
    encoder = CLIPTextModel.from_pretrained(copy / "text_encoder")
    with torch.no_grad():
        encoder.get_input_embeddings().weight.add_(1)
    encoder.save_pretrained(copy / "text_encoder")
    assert not torch.equal(load(str(copy), device="cpu").prompt.tokens, first)
    merges = copy / "tokenizer/merges.txt"
    merges.write_text(merges.read_text() + "a b\n")
    number = len(list(prompts._cache_folder().iterdir()))
    load(str(copy), device="cpu")
    assert len(list(prompts._cache_folder().iterdir())) == number + 1


def test_xl_embeds_a_prompt_by_both_encoders(tmp_path: Path) -> None:
    write_xl(tmp_path / "xl")
    plain = load(str(tmp_path / "xl"), device="cpu").prompt
    prompted = load(str(tmp_path / "xl"), device="cpu", prompt="a face").prompt
    assert plain.pooled is not None
    assert prompted.pooled is not None
    assert not plain.tokens.any()
    assert not plain.pooled.any()
    assert (prompted.tokens.shape, prompted.pooled.shape) == (plain.tokens.shape, plain.pooled.shape)
    assert prompted.tokens[..., :8].any()
    assert prompted.tokens[..., 8:].any()


def test_without_a_tokenizer_the_vocabulary_of_open_clip_is_taken(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package of that name with a short list of merges stands for the real one, whose wheel is large."""
    package = tmp_path / "packages/open_clip"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    with gzip.open(package / "bpe_simple_vocab_16e6.txt.gz", "wt", encoding="utf-8") as file:
        file.write('"version: 0.2"\nf a\nc e</w>\nfa ce</w>\n')
    monkeypatch.syspath_prepend(str(package.parent))
    importlib.invalidate_caches()
    tokenizer = prompts._tokenizer(tmp_path / "none")
    sys.modules.pop("open_clip", None)
    words = tokenizer.convert_ids_to_tokens(tokenizer("Face e").input_ids)
    assert words == ["<|startoftext|>", "face</w>", "e</w>", "<|endoftext|>"]
