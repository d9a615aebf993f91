# SPDX-License-Identifier: Apache-2.0
"""The figures of a network with 170 layers of long names, as DAN has them."""

import pytest
from matplotlib.figure import Figure

from filterlens.report import diagrams
from filterlens.report.figures import LIGHT, png
from filterlens.report.labels import architecture_label, shortened
from filterlens.run.reading import read_run


def drawn(panel):
    axes = Figure(figsize=panel.size).add_subplot()
    panel.draw(axes, LIGHT)
    return axes


def deep(blocks=42):
    parts = ("conv1", "conv2", "attention.reduce", "attention.expand")
    names = [f"restorer.body.{block}.{part}" for block in range(blocks) for part in parts]
    return [{"name": name, "out": 4, "in": 3, "filters": 12} for name in ("restorer.head", *names, "estimator.out")]


def test_long_names_are_cut_in_the_middle_between_parts_and_short_ones_kept():
    assert shortened("body.15.conv2") == "body.15.conv2"
    assert shortened("restorer.groups.3.blocks.1.da_conv2.ca.2") == "restorer.groups…ca.2"
    assert shortened("layers.0.residual_group.blocks.1.attn.qkv") == "layers.0…1.attn.qkv"
    assert shortened("a" * 30) == "a" * 19 + "…"


def test_the_new_architectures_have_names():
    assert (architecture_label("dan"), architecture_label("dasr")) == ("DAN", "DASR")


@pytest.mark.parametrize(("blocks", "dashed"), [(2, True), (42, False)])
def test_every_layer_has_its_bar_and_chance_is_a_line_or_many_bars(make_run, blocks, dashed):
    run = read_run(make_run(layers=deep(blocks), judged=False))
    panel = diagrams.bars(run)[0]
    axes = drawn(panel)
    count = 4 * blocks + 2
    found, *chance = (container for container in reversed(axes.containers))
    assert len(found) == count and bool(chance) is not dashed and bool(axes.lines or len(axes.patches) > count)
    assert sum(bar.get_height() for bar in found) == pytest.approx(1)
    if chance:
        assert [bar.get_height() for bar in chance[0]] == pytest.approx([1 / count] * count)
    shown = [label.get_text() for label in axes.get_xticklabels()]
    assert len(shown) <= 10 and max(map(len, shown)) <= 20 and shown[0] == "restorer.head"
    assert png(panel, LIGHT).startswith(b"\x89PNG")


def test_the_map_of_many_layers_is_taller_and_has_a_tick_per_filter(make_run):
    panels = [diagrams.maps(read_run(make_run(layers=deep(blocks), judged=False)))[0] for blocks in (42,)]
    assert panels[0].size[1] > 6
    axes = drawn(panels[0])
    strips, ticks = axes.collections
    assert len(strips.get_segments()) == 170 and len(ticks.get_segments()) == 20  # 1 % of 2,040 filters
    assert png(panels[0], LIGHT).startswith(b"\x89PNG")
