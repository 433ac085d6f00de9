"""What a person gets who installs the package, and what the lists of requirements promise."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import magicstyle_core

ROOT = Path(__file__).parent.parent
ZERO_GPU = ("2.10.0", "2.11.0")  # versions of torch that ZeroGPU offers, of those that this package may use


def requirements(name: str) -> list[Requirement]:
    lines = (line.split(" #")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def pins(name: str) -> dict[str, Version]:
    return {canonicalize_name(pin.name): Version(next(iter(pin.specifier)).version) for pin in requirements(name)}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("magicstyle_core", "assets"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(source.glob("*.whl"))) as wheel:
        wheel.extractall(target)
    return target


def run(installed: Path, folder: Path, *arguments: str) -> str:
    """Python with the wheel in another folder, without a network."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-P", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_draws_in_another_folder(installed: Path, tmp_path: Path) -> None:
    examples = installed / "magicstyle_core/assets/examples"
    pictures = [str(examples / f"{name}.webp") for name in ("portrait_astronaut", "style_waves")]
    command = ("-m", "magicstyle_core")
    run(installed, tmp_path, *command, "stylize", *pictures, "-o", "out.png", "--steps", "2", "--size", "64")
    assert (tmp_path / "out.png").stat().st_size > 1000
    assert json.loads(run(installed, tmp_path, *command, "info", "--json"))["model"] == "mini"


def test_the_wheel_serves_the_page(installed: Path, tmp_path: Path) -> None:
    code = (
        "import urllib.request; from magicstyle_core import StyleEngine, app; "
        "url = app.launch(app.build_demo(StyleEngine.load('mini'))); "
        "print(urllib.request.urlopen(url + 'healthz').read().decode()); print('slider-strength' in "
        "urllib.request.urlopen(url).read().decode())"
    )
    assert run(installed, tmp_path, "-c", code).splitlines()[-2:] == ['{"status":"ok"}', "True"]


def test_the_wheel_holds_every_module_and_asset(installed: Path) -> None:
    def files(folder: Path) -> set[Path]:
        found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        return {path for path in found if "__pycache__" not in path.parts}

    inside = files(installed / "magicstyle_core")
    assert files(ROOT / "magicstyle_core") | {"assets" / path for path in files(ROOT / "assets")} <= inside


def test_every_requirement_has_its_exact_version() -> None:
    exact = pins("constraints.txt")
    for requirement in (*requirements("requirements.txt"), *requirements("requirements-dev.txt")):
        assert requirement.specifier.contains(exact[canonicalize_name(requirement.name)]), str(requirement)


def test_the_gpu_pair_and_zero_gpu_are_within_the_requirements() -> None:
    wanted = {requirement.name: requirement for requirement in requirements("requirements.txt")}
    pair = pins("constraints-gpu.txt")
    for version in (str(pair["torch"]), *ZERO_GPU):
        assert wanted["torch"].specifier.contains(version)
    assert "spaces" not in wanted  # a Space brings its own
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["xformers"]
    assert Requirement(extra[0]).specifier.contains(pair["xformers"])


def test_a_space_gets_the_gradio_that_the_tests_had() -> None:
    front = (ROOT / "README.md").read_text().split("---")[1]
    assert f"sdk_version: {pins('constraints.txt')['gradio']}\n" in front


def test_the_version_stands_in_one_place_and_heads_the_changelog() -> None:
    latest = re.search(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert latest is not None
    assert latest[1] == magicstyle_core.__version__
