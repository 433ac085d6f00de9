"""Single files: the same model as the folder that they were made from, with no network and no other file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from magicstyle_core import ASSETS, ModelError, sources
from magicstyle_core.loading import load
from magicstyle_core.model import Model
from tests.tiny_checkpoint import clip_tensors, open_clip_tensors, unet_tensors, vae_tensors, write_checkpoint
from tests.tiny_layouts import write_sd, write_unet, write_xl
from tests.tiny_models import write_text_encoder

LATENTS = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
XL_MARK = {"conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias": torch.zeros(1)}


def write_v2(folder: Path) -> None:
    """The prompt is 1,024 wide, by which diffusers knows this family."""
    write_sd(folder)
    write_unet(folder, cross_attention_dim=1024, layers_per_block=2, use_linear_projection=True)
    write_text_encoder(folder / "text_encoder", 1024, act="gelu")
    shutil.rmtree(folder / "tokenizer")  # the tiny one does not fill up with "!", as this family's does


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sources")
    for kind, write in (("v1", write_sd), ("v2", write_v2), ("xl_base", write_xl)):
        write(root / kind)
    return {kind: root / kind for kind in ("v1", "v2", "xl_base")}


@pytest.fixture(autouse=True)
def _tiny_configs(folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configs that lie with the package, at the tiny sizes; no tokenizers there."""
    for kind, folder in folders.items():
        ignored = shutil.ignore_patterns("*.safetensors", "tokenizer*")
        shutil.copytree(folder, tmp_path / "configs" / kind, ignore=ignored)
    monkeypatch.setattr(sources, "CONFIGS", tmp_path / "configs")


def assert_same(one: Model, other: Model) -> None:
    assert torch.allclose(one.denoise(LATENTS, 501), other.denoise(LATENTS, 501), atol=1e-5)
    pixels = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(one.encode(pixels), other.encode(pixels), atol=1e-5)
    assert torch.allclose(one.decode(LATENTS), other.decode(LATENTS), atol=1e-5)
    assert (one.size, one.preset, one.prediction_type) == (other.size, other.preset, other.prediction_type)


def test_v1(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = folders["v1"]
    file = write_checkpoint(tmp_path / "a.safetensors", unet_tensors(folder), vae_tensors(folder), clip_tensors(folder))
    assert_same(load(str(file), device="cpu"), load(str(folder), device="cpu"))


@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction"])
def test_v2_of_both_kinds(folders: dict[str, Path], tmp_path: Path, predicts: str) -> None:
    folder = folders["v2"]
    spread = {sources.V_BIAS: torch.linspace(-1, 1, 8) * (0.3 if predicts == "v_prediction" else 0.1)}
    parts = (unet_tensors(folder), vae_tensors(folder), open_clip_tensors(folder), spread)
    model = load(str(write_checkpoint(tmp_path / "a.safetensors", *parts)), device="cpu")
    assert model.prediction_type == predicts
    assert model.size == 2 * (sources.V_SIZE if predicts == "v_prediction" else 8)
    other = load(str(folder), device="cpu")
    other.prediction_type, other.size = predicts, model.size
    assert_same(model, other)


def test_xl_needs_no_text_encoder_in_the_file(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = folders["xl_base"]
    parts = (unet_tensors(folder), vae_tensors(folder), XL_MARK)
    file = write_checkpoint(tmp_path / "a.safetensors", *parts)
    assert_same(load(str(file), device="cpu"), load(str(folder), device="cpu"))
    zero_snr = write_checkpoint(tmp_path / "v.safetensors", *parts, {"v_pred": torch.ones(1), "ztsnr": torch.ones(1)})
    model = load(str(zero_snr), device="cpu")
    assert (model.prediction_type, model.alphas_cumprod[-1] < 1e-7) == ("v_prediction", True)


def parts_without(folders: dict[str, Path], prefix: str) -> list[dict[str, Tensor]]:
    folder = folders["v1"]
    parts = (unet_tensors(folder), vae_tensors(folder), clip_tensors(folder))
    return [{name: t for name, t in part.items() if not name.startswith(prefix)} for part in parts]


@pytest.mark.parametrize(
    ("prefix", "sentence"),
    [
        ("model.", "holds no UNet; give a LoRA with --lora"),
        ("first_stage_model.", "holds no VAE"),
        ("cond_stage_model.", "holds no text encoder"),
        ("model.diffusion_model.out.2", "lacks tensors of its unet"),
        ("first_stage_model.decoder.conv_out", "lacks tensors of its vae"),
        ("cond_stage_model.transformer.text_model.final", "lacks tensors of its text_encoder"),
    ],
)
def test_what_a_file_lacks_is_said(folders: dict[str, Path], tmp_path: Path, prefix: str, sentence: str) -> None:
    file = write_checkpoint(tmp_path / "a.safetensors", *parts_without(folders, prefix))
    with pytest.raises(ModelError, match=sentence):
        load(str(file), device="cpu")


OTHERS = {
    "repaints masked pictures": {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(8, 9, 3, 3)},
    "edits by instruction": {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(8, 8, 3, 3)},
    "the refiner draws nothing": {
        "conditioner.embedders.0.model.transformer.resblocks.9.mlp.c_proj.bias": torch.zeros(1),
        "model.diffusion_model.x": torch.zeros(1),
    },
    "kind 'flux-schnell': no such UNet": {
        "model.diffusion_model.double_blocks.0.img_attn.norm.key_norm.scale": torch.zeros(1),
    },
}


@pytest.mark.parametrize("sentence", list(OTHERS))
def test_other_kinds_of_models_are_named(tmp_path: Path, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        load(str(write_checkpoint(tmp_path / "a.safetensors", OTHERS[sentence])), device="cpu")


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(b"pickle")
    (tmp_path / "a.safetensors").write_bytes(b"not at all")
    with pytest.raises(ModelError, match="pickled checkpoints are not opened"):
        load(str(tmp_path / "a.ckpt"), device="cpu")
    with pytest.raises(ModelError, match="no whole .safetensors file"):
        load(str(tmp_path / "a.safetensors"), device="cpu")


def test_a_prompt_needs_clips_vocabulary(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With open-clip-torch's file of merges, here a short one, the prompt is the one that a tokenizer folder gives."""
    folder = folders["v1"]
    file = write_checkpoint(tmp_path / "a.safetensors", unet_tensors(folder), vae_tensors(folder), clip_tensors(folder))
    with pytest.raises(ModelError, match="pip install open-clip-torch"):
        load(str(file), device="cpu", prompt="a face")


PARAMETERS = (("v1", 859520964, 123060480), ("v2", 865910724, 340387840), ("xl_base", 2567463684, 123060480))


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_shipped_configs_are_the_real_ones() -> None:
    """By their numbers of parameters, published or counted elsewhere."""
    with torch.device("meta"):
        for kind, unet, text in (
            ("v1", 859520964, 123060480),
            ("v2", 865910724, 340387840),
            ("xl_base", 2567463684, 123060480),
        ):
            folder = ASSETS / "configs" / kind
            assert (
                count(UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder, subfolder="unet")))
                == unet
            )
            assert count(AutoencoderKL.from_config(AutoencoderKL.load_config(folder, subfolder="vae"))) == 83653863
            assert count(CLIPTextModel(CLIPTextConfig.from_pretrained(folder, subfolder="text_encoder"))) == text
        config = CLIPTextConfig.from_pretrained(ASSETS / "configs/xl_base", subfolder="text_encoder_2")
        assert count(CLIPTextModelWithProjection(config)) == 694659840
