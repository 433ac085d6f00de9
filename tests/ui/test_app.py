"""The app as programs use it: a real server, real clients, the API endpoints."""

from __future__ import annotations

import gc
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from gradio_client import Client, handle_file
from gradio_client.client import Job
from PIL import Image

import app
from magicstyle_core import StyleEngine
from magicstyle_core.metadata import read_png
from magicstyle_core.settings import inversion_calls

# Gradio leaves sockets and event loops to the garbage collector, and asks pandas for what it is about to drop.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::pandas.errors.Pandas4Warning",
)

ROOT = Path(__file__).parent.parent.parent
STEPS = 4
INVERTING = inversion_calls(STEPS, 2)  # with mini's corrections


@pytest.fixture
def url(engine: StyleEngine) -> Iterator[str]:
    demo = app.build_demo(engine)
    yield app.launch(demo)
    demo.close()
    gc.collect()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def connect(url: str) -> Iterator[Callable[[], Client]]:
    clients: list[Client] = []

    def connect() -> Client:
        clients.append(Client(url, verbose=False, analytics_enabled=False))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def pair(tmp_path: Path, astronaut: Image.Image, painted: Image.Image) -> dict[str, Any]:
    astronaut.save(tmp_path / "astronaut.png")
    painted.save(tmp_path / "painted.png")
    return {"content": handle_file(tmp_path / "astronaut.png"), "style": handle_file(tmp_path / "painted.png")}


def stylize(client: Client, pair: dict[str, Any], **options: Any) -> tuple[str, dict[str, Any]]:
    return client.predict(**pair, **{"steps": STEPS, "size": 64, **options}, api_name="/stylize")


def test_another_strength_needs_no_inversion(connect: Callable[[], Client], pair: dict[str, Any]) -> None:
    client = connect()
    first_path, first = stylize(client, pair, strength=1.0)
    second_path, second = stylize(client, pair, strength=0.2)
    assert (first["inversion_calls"], first["unet_calls"]) == (2 * INVERTING, STEPS)
    assert (second["inversion_calls"], second["unet_calls"]) == (0, STEPS)
    difference = np.abs(np.asarray(Image.open(first_path), int) - np.asarray(Image.open(second_path), int))
    assert difference.mean() > 1


def test_fewer_steps_reuse_the_inversion_and_more_do_not(connect: Callable[[], Client], pair: dict[str, Any]) -> None:
    client = connect()
    stylize(client, pair, steps=6)
    assert stylize(client, pair, steps=3)[1]["inversion_calls"] == 0
    assert stylize(client, pair, steps=7)[1]["inversion_calls"] == 2 * inversion_calls(7, 2)


def test_two_clients_are_two_sessions(connect: Callable[[], Client], pair: dict[str, Any]) -> None:
    one, other = connect(), connect()
    stylize(one, pair)
    assert one.predict(api_name="/stats")["my_bytes"] > 0
    assert other.predict(api_name="/stats")["my_bytes"] == 0
    assert stylize(other, pair)[1]["inversion_calls"] == 2 * INVERTING


def test_leaving_frees_the_bytes_and_the_files(
    connect: Callable[[], Client], pair: dict[str, Any], engine: StyleEngine, tmp_path: Path
) -> None:
    before = engine.stats()["sessions"].keys()  # maybe of clients of other tests, which leave in their own time
    client = connect()
    stylize(client, pair)
    assert list(tmp_path.glob("visitor-*"))
    own = engine.stats()["sessions"].keys() - before
    assert len(own) == 1
    client.close()
    deadline = time.monotonic() + 30
    while (own & engine.stats()["sessions"].keys() or list(tmp_path.glob("visitor-*"))) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not own & engine.stats()["sessions"].keys()
    assert not list(tmp_path.glob("visitor-*"))


@pytest.mark.parametrize(
    "leave", [lambda client, work: work.cancel(), lambda client, work: client.predict(api_name="/forget")]
)
def test_work_that_nobody_waits_for_makes_room_for_the_next(
    connect: Callable[[], Client], pair: dict[str, Any], engine: StyleEngine, leave: Callable[[Client, Job], Any]
) -> None:
    calls = engine.stats()["unet_calls"]
    client = connect()
    work = client.submit(**pair, steps=100, size=64, api_name="/stylize")
    deadline = time.monotonic() + 30
    while engine.stats()["unet_calls"] == calls and time.monotonic() < deadline:
        time.sleep(0.01)
    leave(client, work)
    assert stylize(connect(), pair)[1]["unet_calls"] == STEPS
    assert engine.stats()["unet_calls"] - calls < 100


def test_forget_frees_at_once_and_the_client_goes_on(connect: Callable[[], Client], pair: dict[str, Any]) -> None:
    client = connect()
    stylize(client, pair)
    assert client.predict(api_name="/forget")["bytes_freed"] > 0
    assert client.predict(api_name="/stats")["my_bytes"] == 0
    assert stylize(client, pair)[1]["inversion_calls"] == 2 * INVERTING


def test_invert_ahead_of_time(connect: Callable[[], Client], pair: dict[str, Any]) -> None:
    client = connect()
    for image in pair.values():
        facts = client.predict(image, steps=STEPS, size=64, api_name="/invert")
        assert (facts["steps"], facts["unet_calls"]) == (STEPS, INVERTING)
    assert stylize(client, pair)[1]["inversion_calls"] == 0


def test_the_png_carries_its_settings_unless_private(connect: Callable[[], Client], pair: dict[str, Any]) -> None:
    client = connect()
    path, _ = stylize(client, pair, strength=0.7, settings={"structure": 0.45})
    restored = client.predict(handle_file(path), api_name="/restore")
    assert (restored["settings"]["strength"], restored["settings"]["structure"]) == (0.7, 0.45)
    recipe = read_png(path)
    assert recipe.inversion.steps == STEPS
    assert all((recipe.model_digest, recipe.dtype, recipe.tier, recipe.bank_bits, recipe.threads, recipe.torch))
    private_path, _ = stylize(client, pair, strength=0.7, private=True)
    assert Image.open(private_path).info == {}
    with pytest.raises(Exception, match="no MagicStyle settings|settings"):
        client.predict(handle_file(private_path), api_name="/restore")


def test_two_styles_with_weights(connect: Callable[[], Client], pair: dict[str, Any], tmp_path: Path) -> None:
    Image.new("RGB", (128, 128), "navy").save(tmp_path / "navy.png")
    client = connect()
    alone, _ = stylize(client, pair, preset="Painterly")
    navy = [handle_file(tmp_path / "navy.png")]
    mixed, _ = stylize(client, pair, preset="Painterly", more_styles=navy, weights=[1.0, 3.0])
    assert np.asarray(Image.open(mixed)).mean() < np.asarray(Image.open(alone)).mean() - 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 9}, "strength got 9"),
        ({"preset": "Loud"}, "no preset 'Loud'"),
        ({"settings": {"size": 1}}, "size"),
    ],
)
def test_mistakes_are_explained(
    connect: Callable[[], Client], pair: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(Exception, match=message):
        stylize(connect(), pair, **options)


def test_a_broken_file_is_explained(connect: Callable[[], Client], pair: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(Exception, match="is text, not a picture"):
        stylize(connect(), {**pair, "content": handle_file(tmp_path / "broken.png")})


def test_the_example_in_the_readme_runs_as_written(url: str, engine: StyleEngine) -> None:
    example = re.search(r"```python\n(from gradio_client.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert example
    code = example[1].replace("http://127.0.0.1:7860", url)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    path, status = done.stdout.splitlines()[-1].split(" ", 1)
    steps = engine.model.steps
    calls = inversion_calls(steps, engine.model.corrections)
    inverted = rf"inverted with ({calls}|{2 * calls}) UNet calls"  # warming.py may have stored the photograph
    assert re.match(rf"{inverted} · {steps} UNet calls · ", status)
    assert read_png(path).settings.strength == 0.8


def read(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return answer.read()


@pytest.mark.parametrize("root_path", ["", "/magic", "https://example.com/magic"])
def test_healthz_whether_a_proxy_strips_its_path_or_not(
    engine: StyleEngine, monkeypatch: pytest.MonkeyPatch, root_path: str
) -> None:
    monkeypatch.setenv("GRADIO_ROOT_PATH", root_path)
    demo = app.build_demo(engine)
    url = app.launch(demo)
    try:
        assert read(f"{url}healthz") == b'{"status":"ok"}'
        if root_path == "/magic":
            assert read(f"{url}magic/healthz") == b'{"status":"ok"}'
    finally:
        demo.close()
        gc.collect()


def test_healthz_is_there_from_the_first_request_on(engine: StyleEngine, free_port: int) -> None:
    answers: list[int | bytes] = []
    is_up = threading.Event()

    def ask() -> None:
        while not is_up.is_set():
            try:
                answers.append(read(f"http://127.0.0.1:{free_port}/healthz"))
            except urllib.error.HTTPError as error:
                answers.append(error.code)
            except OSError:
                continue  # nobody listens yet

    asking = threading.Thread(target=ask)
    asking.start()
    demo = app.build_demo(engine)
    try:
        app.launch(demo, port=free_port)
    finally:
        is_up.set()
        asking.join()
        demo.close()
        gc.collect()
    assert set(answers) == {b'{"status":"ok"}'}


def test_healthz_of_a_page_mounted_in_another_server(engine: StyleEngine, free_port: int) -> None:
    mounted = gr.mount_gradio_app(FastAPI(), app.build_demo(engine), "/magic", app_kwargs=app.APP_KWARGS)
    server = uvicorn.Server(uvicorn.Config(mounted, port=free_port, log_level="warning"))
    serving = threading.Thread(target=server.run)
    serving.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.05)
        assert read(f"http://127.0.0.1:{free_port}/magic/healthz") == b'{"status":"ok"}'
    finally:
        server.should_exit = True
        serving.join()
        gc.collect()


def test_a_grid_of_four_takes_one_inversion(connect: Callable[[], Client], pair: dict[str, Any]) -> None:
    client = connect()
    axes = {"x_name": "strength", "x_values": "0, 1", "y_name": "structure", "y_values": "0.2, 0.8"}
    path, facts = client.predict(**pair, **axes, steps=STEPS, size=64, api_name="/grid")
    # Two inversions and three pictures: at strength 0 the structure makes no difference.
    assert facts == {"cells": 4, "failed": [], "unet_calls": 2 * INVERTING + 3 * STEPS}
    picture = Image.open(path)
    assert min(picture.size) > 2 * 64


def test_a_grid_shows_a_failed_cell_and_fills_the_others(connect: Callable[[], Client], pair: dict[str, Any]) -> None:
    axes = {"x_name": "start", "x_values": "0.2, 0.8", "settings": {"end": 0.5}}
    _, facts = connect().predict(**pair, **axes, steps=STEPS, size=64, api_name="/grid")
    assert (facts["cells"], facts["failed"]) == (2, [[0, 1]])
