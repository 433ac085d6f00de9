from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler

from magicstyle_core import limits, loading
from magicstyle_core.errors import ModelError
from magicstyle_core.loading import choose_device, choose_dtype, load


def test_sd1_layout_loads(tiny_sd1: Path) -> None:
    model = load(str(tiny_sd1), device="cpu", dtype="fp32")
    assert (model.size, model.multiple, model.margin, model.corrections, model.t_max) == (64, 8, 0, 0, 1000)
    assert (model.preset, model.prediction_type) == ("StyleID's attention", "epsilon")
    assert model.prompt.tokens.shape == (1, 77, 32)
    scheduler = DDIMScheduler.from_pretrained(tiny_sd1, subfolder="scheduler")
    assert torch.equal(model.alphas_cumprod, scheduler.alphas_cumprod)
    assert model.final_alpha == scheduler.alphas_cumprod[0]


def test_sd2_layout_loads(tiny_sd2: Path) -> None:
    assert load(str(tiny_sd2), device="cpu", dtype="fp32").prediction_type == "v_prediction"


def test_the_embedded_model_says_what_it_wants() -> None:
    model = load("mini", device="cpu")
    assert (model.steps, model.t_max, model.corrections, model.encode_again) == (5, 250, 2, 0.4)
    assert (model.size, model.margin, model.preset, model.dtype) == (384, 2, "Attention alone", torch.float32)


def test_the_null_prompt_is_kept_and_the_text_encoder_dropped(
    tiny_sd1: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = load(str(tiny_sd1), device="cpu", dtype="fp32")
    (kept,) = (tmp_path / "magicstyle").iterdir()
    written = kept.stat().st_mtime_ns
    again = load(str(tiny_sd1), device="cpu", dtype="fp32")
    assert torch.equal(first.prompt.tokens, again.prompt.tokens)
    assert kept.stat().st_mtime_ns == written
    assert not any("CLIP" in type(value).__name__ for value in vars(again).values())


def test_an_uncached_hub_id_offline_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"not all in the cache.*the hub cannot be reached.*or use mini"):
        load("sd15")


def test_wrong_names_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no .*nothing"):
        load(str(tmp_path / "nothing"))
    with pytest.raises(ModelError, match="in diffusers layout"):
        load(str(tmp_path))
    with pytest.raises(ModelError, match="no folder, no file and no hub id"):
        load("no such model!")


@pytest.mark.parametrize(("option", "value"), [("device", "tpu"), ("dtype", "int4"), ("attention", "flash")])
def test_wrong_choices_are_named(tiny_sd1: Path, option: str, value: str) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(ModelError, match=value):
        load(str(tiny_sd1), **options)


def test_a_cpu_takes_bf16_for_a_large_model_where_it_says_it_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, large, small = choose_device("cpu"), 1280, 192
    for has in (True, False):
        said = {"avx512_bf16": has, "cpu_name": "some"}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda said=said: said, raising=False)
        assert choose_dtype("auto", cpu, large) == (torch.bfloat16 if has else torch.float32)
        assert choose_dtype("auto", cpu, small) == torch.float32
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)  # as before torch 2.13
    assert choose_dtype("auto", cpu, large) in (torch.bfloat16, torch.float32)
    assert choose_dtype("fp16", cpu, large) == torch.float16


def test_xformers_that_does_not_run_is_a_message(tiny_sd1: Path) -> None:
    model = load(str(tiny_sd1), device="cpu", attention="xformers")
    assert any("xformers does not run on this device" in message for message in model.messages)


COUNT = """
import os
import subprocess
import sys
from magicstyle_core import StyleEngine
before = len(os.listdir("/proc/self/task"))
StyleEngine.load("mini")
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux lists the threads of OpenMP there")
def test_loading_leaves_no_openmp_threads_that_slow_others_down() -> None:
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_without_a_team_torch_computes_with_the_cores_there_are_again(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(limits, "cores", lambda: 1)
    with loading.no_team():
        pass
    assert torch.get_num_threads() == 1
    monkeypatch.undo()
    torch.set_num_threads(threads)
    with loading.no_team():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads


def test_two_models_that_load_at_once_leave_torch_all_its_threads() -> None:
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: load("mini", device="cpu"), range(2)))
    with ThreadPoolExecutor(1) as pool:  # a new thread takes what the last one has set
        assert pool.submit(torch.get_num_threads).result() == threads
