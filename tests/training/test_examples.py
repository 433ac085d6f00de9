from __future__ import annotations

from training.examples import PORTRAITS, STYLES, draw_style


def test_the_examples_are_eight_portraits_and_sixteen_styles() -> None:
    assert len(set(PORTRAITS.values())) == len(PORTRAITS) == 8
    assert len(STYLES) == 16
    drawn = [draw_style(name, 64) for name in STYLES]
    assert all(picture.shape == (64, 64, 3) and picture.std() > 20 for picture in drawn)
