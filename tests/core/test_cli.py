"""The command line: what it makes, what it says, and that it checks before it works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from magicstyle_core import FusionSettings, InversionSettings, StyleEngine
from magicstyle_core.__main__ import build_parser, main
from magicstyle_core.metadata import read_png
from magicstyle_core.settings import PRESETS, apply_preset, table

SMALL = ["--steps", "4", "--size", "96"]


@pytest.fixture
def pictures(tmp_path: Path, astronaut: Image.Image, painted: Image.Image) -> tuple[str, str]:
    paths = tmp_path / "portrait.jpg", tmp_path / "style.png"
    astronaut.save(paths[0])
    painted.save(paths[1])
    return str(paths[0]), str(paths[1])


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_stylize_writes_a_png_with_its_recipe(
    pictures: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.png"
    options = [*SMALL, "--preset", "Bold", "--strength", "0.7", "--layers", "up", "mid 0", "--seed", "0", "--json"]
    assert main(["stylize", *pictures, "-o", str(out), *options]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["unet_calls"] == {"invert": 10, "render": 4}
    assert report["size"] == [96, 96]
    saved = read_png(out)
    bold = apply_preset("Bold", FusionSettings())
    assert saved.settings == bold.replace(strength=0.7, layers=("up", "mid 0"), seed=0)
    assert (saved.inversion, saved.model) == (InversionSettings(steps=4, size=96), "mini")
    assert (saved.device, saved.dtype, saved.tier, saved.bank_bits) == ("cpu", "float32", "cpu", 16)
    assert saved.threads > 0
    assert all((saved.torch, saved.diffusers, saved.model_digest, saved.content, saved.styles[0].digest))
    assert pixels(out).std() > 10


def test_without_a_preset_the_models_own_is_taken(
    pictures: tuple[str, str], tmp_path: Path, engine: StyleEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stylize", *pictures, "-o", str(tmp_path / "out.png"), *SMALL]) == 0
    assert read_png(tmp_path / "out.png").settings == apply_preset(engine.model.preset, FusionSettings())
    names = [line.split(": ")[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["output", "size", "seconds", "unet_calls"]


def test_no_layer_means_no_attention(pictures: tuple[str, str], tmp_path: Path) -> None:
    outs = tmp_path / "with.png", tmp_path / "without.png"
    assert main(["stylize", *pictures, "-o", str(outs[0]), *SMALL, "--layers", "up.fine"]) == 0
    assert main(["stylize", *pictures, "-o", str(outs[1]), *SMALL, "--layers", "none"]) == 0
    assert read_png(outs[1]).settings.layers == ()
    assert not np.array_equal(pixels(outs[0]), pixels(outs[1]))


def test_the_same_command_gives_the_same_bytes(pictures: tuple[str, str], tmp_path: Path) -> None:
    outs = tmp_path / "first.png", tmp_path / "second.png"
    for out in outs:
        command = [sys.executable, "-m", "magicstyle_core", "stylize", *pictures, "-o", str(out), *SMALL, "--seed", "0"]
        subprocess.run(command, check=True, capture_output=True)
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_a_png_makes_itself_again(pictures: tuple[str, str], tmp_path: Path, painted: Image.Image) -> None:
    mask, style = tmp_path / "mask.png", tmp_path / "other.png"
    Image.fromarray(np.tile(np.linspace(0, 255, 60, dtype=np.uint8), (70, 1))).save(mask)
    painted.rotate(90).save(style)
    first, again = tmp_path / "first.png", tmp_path / "again.png"
    options = ["--style", pictures[1], "--style", str(style)]
    made = ["--weight", "1", "3", "--mask", str(mask), "--seed", "0", "--render-steps", "3", "--outside", "0.2"]
    assert main(["stylize", pictures[0], *options, *made, *SMALL, "-o", str(first)]) == 0
    saved = read_png(first)
    assert ([style.weight for style in saved.styles], saved.region) == ([1, 3], "mask")
    assert (saved.settings.render_steps, saved.settings.seed) == (3, 0)
    assert main(["stylize", pictures[0], *options, "--settings", str(first), "-o", str(again)]) == 0
    assert first.read_bytes() == again.read_bytes()


def test_many_photographs_cost_one_inversion_of_the_style_and_a_bad_one_stops_nothing(
    pictures: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "more").mkdir()
    same_name, broken = tmp_path / "more" / "portrait.jpg", tmp_path / "broken.jpg"
    Image.open(pictures[0]).rotate(180).save(same_name)
    broken.write_bytes(b"no picture")
    out = tmp_path / "new" / "folder"
    contents = [pictures[0], str(broken), str(tmp_path / "gone.jpg"), str(same_name)]
    assert main(["stylize", *contents, "--style", pictures[1], "-o", str(out), *SMALL, "--json"]) == 1
    printed = capsys.readouterr()
    reports = [json.loads(line) for line in printed.out.splitlines()]
    assert [report["unet_calls"] for report in reports] == [{"invert": 10, "render": 4}] * 2
    assert sorted(path.name for path in out.iterdir()) == ["portrait-2.png", "portrait.png"]
    assert not np.array_equal(pixels(out / "portrait.png"), pixels(out / "portrait-2.png"))
    errors = printed.err.splitlines()
    assert [error.split(": ")[:2] for error in errors] == [["error", contents[1]], ["error", contents[2]]]


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_files_hold_the_picture_and_no_settings(pictures: tuple[str, str], tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    assert main(["stylize", *pictures, "-o", str(out), *SMALL]) == 0
    assert main(["stylize", *pictures, "-o", str(tmp_path / "out.png"), *SMALL]) == 0
    assert np.abs(pixels(out).astype(int) - pixels(tmp_path / "out.png")).mean() < 5
    assert b"magicstyle" not in out.read_bytes().lower()


def test_a_region_is_found_in_each_photograph(pictures: tuple[str, str], tmp_path: Path) -> None:
    outs = {region: tmp_path / f"{region}.png" for region in ("face", "background")}
    for region, out in outs.items():
        command = ["stylize", *pictures, "-o", str(out), "--steps", "4", "--size", "256", "--region", region]
        assert main(command) == 0
        assert read_png(out).region == region
    face, background = (np.asarray(read_png(out).mask_image) for out in outs.values())
    assert np.array_equal(face, 255 - background)
    assert 0.02 < face.mean() / 255 < 0.5


def test_settings_come_from_json_and_options_override_them(pictures: tuple[str, str], tmp_path: Path) -> None:
    settings, out = tmp_path / "settings.json", tmp_path / "out.png"
    settings.write_text('{"strength": 0.5, "colour": 0.3, "steps": 4, "size": 64, "seed": 7}')
    command = ["stylize", *pictures, "-o", str(out), "--settings", str(settings), "--strength", "0.9"]
    assert main(command) == 0
    saved = read_png(out)
    assert saved.settings == FusionSettings(strength=0.9, colour=0.3, seed=7)
    assert saved.inversion == InversionSettings(steps=4, size=64)


def test_a_file_of_a_few_settings_changes_the_models_own_preset(
    pictures: tuple[str, str], tiny_sd1: Path, tmp_path: Path
) -> None:
    settings, out = tmp_path / "settings.json", tmp_path / "out.png"
    settings.write_text('{"strength": 0.5, "steps": 3, "size": 64}')
    command = ["stylize", *pictures, "-o", str(out), "--settings", str(settings), "--model", str(tiny_sd1)]
    assert main(command) == 0
    assert read_png(out).settings == apply_preset("StyleID's attention", FusionSettings()).replace(strength=0.5)
    assert main([*command, "--preset", "Painterly"]) == 0
    assert read_png(out).settings == apply_preset("Painterly", FusionSettings())


def test_a_grid_shows_every_cell_and_says_why_one_has_no_picture(
    pictures: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sheet.png"
    command = ["grid", *pictures, "-o", str(out), "--steps", "2", "--size", "64"]
    assert main([*command, "-x", "strength", "0, 1"]) == 0
    height = len(pixels(out))
    assert main([*command, "-x", "start", "0, 0.9", "-y", "end", "0.5, 1"]) == 1
    assert len(pixels(out)) > height > 64
    assert main([*command[:3], "-o", str(tmp_path), "-x", "seed", "1"]) == 1
    assert "for one photograph, expected a file" in capsys.readouterr().err
    assert main([*command, "-x", "size", "64"]) == 1
    assert "The axis of a grid got 'size', expected one of strength" in capsys.readouterr().err


def test_the_lens_lights_up_both_styles(
    pictures: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "lens.png"
    command = ["lens", pictures[0], "--style", pictures[1], "--style", pictures[0], *SMALL, "-o", str(out)]
    assert main([*command, "--spot", "0.5", "0.3", "--group", "middle", "--layers", "all"]) == 0
    assert pixels(out).shape == (96, 192, 3)
    assert pixels(out).std() > 10
    early = pixels(out)
    assert main([*command, "--spot", "0.5", "0.3", "--group", "middle", "--layers", "all", "--way-down", "1"]) == 0
    assert (pixels(out) != early).any()
    assert main([*command, "--spot", "0.5", "1.3"]) == 1
    assert "--spot got [0.5, 1.3], expected two numbers from 0 to 1." in capsys.readouterr().err
    assert main([*command, "--spot", "0.5", "0.3", "--way-down", "1.5"]) == 1
    assert "--way-down got 1.5, expected a number from 0 to 1." in capsys.readouterr().err


def test_invert_and_info_report(pictures: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["invert", pictures[0], "--steps", "3", "--size", "64", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["unet_calls"], report["size"]) == (7, [64, 64])
    assert main(["info", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert "up 1.0" in report["layers"]
    assert report["presets"] == list(PRESETS)


def test_every_setting_has_a_flag_and_its_hint_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        build_parser().parse_args(["stylize", "-h"])
    assert done.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    for setting in table():
        assert f"--{setting.name.replace('_', '-')} " in printed
        assert setting.hint in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("gone.jpg {style} -o out.png", "There is no file 'gone.jpg'; check the path."),
        ("{photo} gone.png -o out.png", "There is no file 'gone.png'; check the path."),
        ("{photo} {photo} {photo} -o out.png", "Got 3 pictures and no style, expected --style FILE"),
        ("{photo} {other} --style {style} -o out.png", "got out.png for 2 photographs, expected a folder"),
        ("{photo} {style} -o out.gif", "got out.gif, expected a name with .png, .jpg, .jpeg, .webp, or a folder"),
        ("{photo} {style} -o {photo}", "would overwrite portrait.jpg"),
        ("{photo} {style} -o {photo}/out.png", "Nothing can be written to"),
        ("{photo} {style} -o out.png --strength 9", "strength got 9.0, expected a number from 0 to 1.5"),
        ("{photo} {style} -o out.png --start 0.9 --end 0.1", "start (0.9) lies after end (0.1)"),
        ("{photo} {style} -o out.png --layers up.9", "matches nothing"),
        (
            "{photo} {style} -o out.png --steps 4 --render-steps 5",
            "expected at most the inversion's 4",
        ),
        ("{photo} {style} -o out.png --preset Loud", "no preset 'Loud'"),
        ("{photo} {style} -o out.png --weight 1 2", "--weight got 1 2, expected 1, one for each style"),
        ("{photo} {style} -o out.png --weight 0", "--weight got 0, expected 1, one for each style, each above 0"),
        ("{photo} {style} -o out.png --weight x", "invalid float value: 'x'; see magicstyle stylize -h"),
        ("{photo} {style} -o out.png --settings {photo}", "The settings in the file are damaged"),
        ("{photo} {style} -o out.png --mask {style} --region face", "Both --mask and --region are given"),
        ("{photo} {style} -o out.png --mask gone.png", "does not exist"),
        ("{photo} {style} -o out.png --steps 2 --size 64 --mask wide.png", "give a mask of the picture's shape"),
        ("{photo} {style}", "required: -o/--output; see magicstyle stylize -h"),
        ("{photo} {style} -o out.png --glitter", "unrecognized arguments: --glitter"),
        ("{photo} {style} -o out.png --model /no/such/folder", "There is no /no/such/folder"),
    ],
)
def test_a_mistake_is_one_clear_line(
    pictures: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (64, 32)).save("wide.png")
    before = sorted(tmp_path.iterdir())
    given = arguments.format(photo="portrait.jpg", other="style.png", style="style.png").split()
    assert main(["stylize", *given]) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_settings_and_output_are_checked_before_a_model_is_loaded(pictures: tuple[str, str], tmp_path: Path) -> None:
    blocked = "import sys; sys.modules['torch'] = None; from magicstyle_core.__main__ import main; sys.exit(main())"
    for wrong, message in ((["--strength", "9"], "strength got 9"), (["--preset", "Loud"], "no preset")):
        command = [sys.executable, "-c", blocked, "stylize", *pictures, "-o", str(tmp_path / "out.png"), *wrong]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert message in done.stderr


def test_a_new_process_says_an_error_of_the_model_in_one_line(pictures: tuple[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "magicstyle_core", "stylize", *pictures, "-o", str(tmp_path / "out.png")]
    done = subprocess.run([*command, "--layers", "up.9"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
