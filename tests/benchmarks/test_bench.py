"""The benchmark runs; its figures need a quiet machine and mean nothing here."""

from __future__ import annotations

import json
from pathlib import Path

from tests.benchmarks.bench import SECTIONS, main


def test_every_section_runs(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    main(["--architecture", "tiny", "--size", "64", "--steps", "2", "--repeats", "1", "--device", "cpu", "--peer",
          "--json", str(path)])  # fmt: skip
    sections = json.loads(path.read_text())["sections"]
    assert list(sections) == list(SECTIONS)
    figures = {row["name"]: row for rows in sections.values() for row in rows}
    assert figures["re-render"]["unet_calls"] == figures["slider, 48 megapixels"]["unet_calls"] == 2
    assert figures["re-render, three branches"]["psnr"] > 50  # the same picture, so the same method
    assert figures["re-render, trajectory only"]["psnr"] > 50
