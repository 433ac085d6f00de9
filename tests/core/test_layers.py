from __future__ import annotations

from magicstyle_core import StyleEngine
from magicstyle_core.ui.layers import LayerChooser


def test_a_group_switches_its_layers_and_leaves_the_others(engine: StyleEngine) -> None:
    chooser = LayerChooser(engine)
    finest = chooser.expand(["up.texture"])
    assert chooser.full_groups(finest) == []  # its other half is on the way down
    more = chooser.switch_groups(finest, ["structure"])
    assert set(more) == {*finest, *chooser.expand(["structure"])}
    assert chooser.full_groups(more) == ["structure"]
    assert chooser.switch_groups(more, []) == finest
    whole = chooser.switch_groups(more, ["structure", "texture"])
    assert set(whole) == {*chooser.expand(["structure"]), *chooser.expand(["texture"])}
    assert set(chooser.switch_groups(chooser.names, [])) == set()
