"""Models from a server that answers as the hub does, on this machine."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from magicstyle_core.errors import ModelError
from magicstyle_core.hub import choose_weights, find
from magicstyle_core.loading import load
from tests.tiny_layouts import saved_as, write_sd, write_xl

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "someone/portraits"
UNET = "unet/diffusion_pytorch_model.safetensors"


class Hub(ThreadingHTTPServer):
    """Serves a folder as the model someone/portraits, at its only commit and as `main`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.folder = folder
        self.refusal: tuple[int, str] | None = None  # status and error code for every request
        self.cuts = 0  # so often, the UNet's weights break off in the middle
        self.fetched: list[str] = []  # the file of every GET

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def files(self) -> list[str]:
        return sorted(file.relative_to(self.folder).as_posix() for file in self.folder.rglob("*") if file.is_file())


class _Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, body: bool) -> None:
        path = self.path.split("?")[0]
        files, folder = self.server.files(), self.server.folder
        if self.server.refusal is not None:
            status, code = self.server.refusal
            self._send(status, b"{}", body, {"X-Error-Code": code})
        elif path.startswith(f"/api/models/{NAME}/tree/"):
            tree = [
                {"type": "file", "path": f, "size": (folder / f).stat().st_size, "oid": _etag(folder / f)}
                for f in files
            ]
            self._send(200, json.dumps(tree).encode(), body)
        elif path.startswith(f"/api/models/{NAME}"):
            revision = path.removeprefix(f"/api/models/{NAME}").removeprefix("/revision/")
            if revision not in ("", "main", COMMIT):
                self._send(404, b"{}", body, {"X-Error-Code": "RevisionNotFound"})
                return
            info = {"id": NAME, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]}
            self._send(200, json.dumps(info).encode(), body)
        elif path.startswith(f"/{NAME}/resolve/"):
            self._send_file(path.split("/resolve/")[1].split("/", 1)[1], body)
        else:
            self._send(404, b"{}", body, {"X-Error-Code": "RepoNotFound"})

    def _send_file(self, name: str, body: bool) -> None:
        file = self.server.folder / name
        if not file.is_file():
            self._send(404, b"", body, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        content = file.read_bytes()
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{_etag(file)}"'}
        if body:
            self.server.fetched.append(name)
        if body and self.server.cuts and name == UNET:
            self.server.cuts -= 1
            self._send(200, content[: len(content) // 2], True, headers, len(content))
            self.close_connection = True
        else:
            self._send(200, content, body, headers)

    def _send(
        self, status: int, content: bytes, body: bool, headers: dict[str, str] | None = None, length: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        if body:
            self.wfile.write(content)


def _etag(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()[:40]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "base"
    write_sd(folder)
    return folder


@pytest.fixture
def hub(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    shutil.copytree(base, tmp_path / "served")
    server = Hub(tmp_path / "served")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between attempts
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def weights_fetched(hub: Hub) -> set[str]:
    return {file for file in hub.fetched if file.endswith((".safetensors", ".bin"))}


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def test_a_full_model_is_fetched_once_then_runs_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(NAME, device="cpu")
    assert weights_fetched(hub) == {
        UNET, "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
    }  # fmt: skip
    hub.fetched.clear()
    go_offline(monkeypatch)
    again = load(NAME, device="cpu")
    assert hub.fetched == []
    latents = torch.randn(1, 4, 8, 8)
    assert torch.equal(first.denoise(latents, 501), again.denoise(latents, 501))


@pytest.mark.parametrize("shards", [False, True])
def test_fp16_alone_whole_and_sharded(hub: Hub, shards: bool) -> None:
    saved_as(variant="fp16", half=True, shards=shards)(hub.folder)
    assert load(NAME, device="cpu").denoise(torch.zeros(1, 4, 8, 8), 1).isfinite().all()
    assert all("fp16" in file for file in weights_fetched(hub))
    assert (len(weights_fetched(hub)) > 3) == shards


def test_bin_alone(hub: Hub) -> None:
    saved_as(safe=False)(hub.folder)
    load(NAME, device="cpu")
    assert all(file.endswith(".bin") for file in weights_fetched(hub))


def test_a_gpu_fetches_the_smaller_half_alone(hub: Hub) -> None:
    for part in ("unet", "vae"):
        file = hub.folder / part / "diffusion_pytorch_model.safetensors"
        shutil.copy(file, file.with_name("diffusion_pytorch_model.fp16.safetensors"))
    shutil.copy(hub.folder / "text_encoder/model.safetensors", hub.folder / "text_encoder/model.fp16.safetensors")
    find(NAME, revision=None, variant=None, half=True, prompt="")
    assert len(weights_fetched(hub)) == 3
    assert all("fp16" in file for file in weights_fetched(hub))


def test_xl_fetches_no_text_encoder_it_does_not_need(hub: Hub) -> None:
    shutil.rmtree(hub.folder)
    write_xl(hub.folder)
    load(NAME, device="cpu")
    assert {file.split("/")[0] for file in weights_fetched(hub)} == {"unet", "vae"}


def test_a_cache_filled_in_part_is_completed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    find(NAME, revision=None, variant=None, half=False, prompt="")
    snapshot = Path(constants.HF_HUB_CACHE) / "models--someone--portraits/snapshots" / COMMIT
    lost = snapshot / UNET
    lost.resolve().unlink()
    lost.unlink()
    with monkeypatch.context() as offline:
        go_offline(offline)
        with pytest.raises(
            ModelError, match=r"missing: unet/diffusion_pytorch_model.safetensors\), and the hub cannot"
        ):
            load(NAME, device="cpu")
    hub.fetched.clear()
    load(NAME, device="cpu")
    assert weights_fetched(hub) == {UNET}


def test_a_connection_cut_once_is_tried_again(hub: Hub) -> None:
    hub.cuts = 1
    load(NAME, device="cpu")
    assert hub.fetched.count(UNET) == 2


def test_a_connection_cut_for_good_is_said_and_whole_files_are_kept(hub: Hub) -> None:
    hub.cuts = 100
    with pytest.raises(ModelError, match="broke off .*start again, whole files are kept"):
        load(NAME, device="cpu")
    hub.cuts = 0
    hub.fetched.clear()
    load(NAME, device="cpu")
    assert weights_fetched(hub) == {UNET}


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        ((403, "GatedRepo"), r"is gated: accept its terms at .*HF_TOKEN"),
        ((401, "RepoNotFound"), "The hub has no model someone/portraits, or it is private"),
        ((500, "ServerError"), "broke off"),
    ],
)
def test_a_refusal_says_what_to_do(hub: Hub, refusal: tuple[int, str], sentence: str) -> None:
    hub.refusal = refusal
    with pytest.raises(ModelError, match=sentence) as refused:
        load(NAME, device="cpu")
    assert "\n" not in str(refused.value)


def test_an_unknown_revision_is_named(hub: Hub) -> None:
    with pytest.raises(ModelError, match="no revision 'v9'"):
        load(NAME, device="cpu", revision="v9")


def test_no_network_and_nothing_cached(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    with pytest.raises(ModelError, match="not all in the cache .*the hub cannot be reached"):
        load(NAME, device="cpu")


def test_what_is_no_pipeline_is_said(hub: Hub) -> None:
    (hub.folder / "model_index.json").unlink()
    with pytest.raises(ModelError, match="holds no diffusers pipeline"):
        load(NAME, device="cpu")


def test_a_file_on_the_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    (hub.folder / "all.safetensors").write_bytes(b"some")
    for name in (f"{NAME}/all.safetensors", f"https://huggingface.co/{NAME}/blob/main/all.safetensors"):
        path = find(name, revision=None, variant=None, half=False, prompt="")
        assert path.read_bytes() == b"some"
    with pytest.raises(ModelError, match="holds no file other.safetensors"):
        find(f"{NAME}/other.safetensors", revision=None, variant=None, half=False, prompt="")
    go_offline(monkeypatch)
    with pytest.raises(ModelError, match="not in the cache, and the hub cannot be reached"):
        find(f"{NAME}/other.safetensors", revision=None, variant=None, half=False, prompt="")


def test_weights_are_chosen_in_order() -> None:
    stem = "unet/diffusion_pytorch_model"
    files = [f"{stem}.bin", f"{stem}.fp16.safetensors", f"{stem}.safetensors", f"{stem}.non_ema.safetensors"]
    assert choose_weights(files, "unet", None, half=False).files == (f"{stem}.safetensors",)
    assert choose_weights(files, "unet", None, half=True).files == (f"{stem}.fp16.safetensors",)
    assert choose_weights(files, "unet", "non_ema", half=True).files == (f"{stem}.non_ema.safetensors",)
    assert choose_weights(files[:1], "unet", None, half=True).files == (f"{stem}.bin",)
    with pytest.raises(ModelError, match=r"no weights of the variant 'bf16'; there are: fp16, non_ema, none"):
        choose_weights(files, "unet", "bf16", half=False)
    old = [f"{stem}-0000{n}-of-00002.fp16.safetensors" for n in (1, 2)]
    index = f"{stem}.safetensors.index.fp16.json"
    assert choose_weights([*old, index], "unet", None, half=False).files == (*old, index)
    with pytest.raises(ModelError, match="no complete ones"):
        choose_weights([old[0], index], "unet", None, half=False)
