# SPDX-License-Identifier: Apache-2.0
"""Results as people look at them: a frame, the best filters, a plot, and a line instead of thousands of numbers."""

import csv
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
import torch
from torch import nn

from filterlens import FAIG, Adapter, Attribution, FilterSpace, ModelPair, Selection, UsageError
from filterlens.attribution.layer_plot import MANY
from filterlens.diagnosis.distribution import distribution
from filterlens.run.rows import write_rows
from filterlens.run.tables import RankedFilter
from tests.attribution.small_networks import make_pair, photographs

DEGRADATIONS = ["blur:1", "noise:0.1"]


@pytest.fixture(scope="module")
def attribution():
    _, _, pair = make_pair()
    return FAIG(pair).attribute(photographs(), DEGRADATIONS)


def test_the_frame_is_the_table_in_filters_csv(attribution, tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    attribution.to_csv(tmp_path / "filters.csv")
    written, frame = pandas.read_csv(tmp_path / "filters.csv"), attribution.to_pandas()
    pandas.testing.assert_frame_equal(frame, written, rtol=1e-8)
    for row in frame.itertuples(index=False):  # and the scores are not rounded
        index = attribution.space.index(f"{row.layer}.weight[{row.out}, {row[3]}]")
        assert row.score == float(attribution.of(row.degradation)[index])


def test_the_frame_writes_whole_rows_as_the_file_does(tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    space = FilterSpace(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Linear(5, 3)))
    found = Attribution("faig", space, {"blur:1": torch.arange(9.0)})
    found.to_csv(tmp_path / "filters.csv")
    written = pandas.read_csv(tmp_path / "filters.csv")
    assert found.to_pandas()["in"].astype(str).tolist() == written["in"].tolist()


def test_the_frame_of_nothing_has_the_columns(attribution):
    pytest.importorskip("pandas", reason="pandas is not installed")
    frame = Attribution("faig", attribution.space, {}).to_pandas()
    assert list(frame) == ["degradation", "layer", "out", "in", "score", "rank"] and not len(frame)


def test_without_pandas_one_line_says_how_to_get_it(attribution, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)  # as if it were not installed
    with pytest.raises(UsageError, match=r"pip install pandas$") as caught:
        attribution.to_pandas()
    assert "\n" not in str(caught.value)


def test_the_top_filters_are_the_first_lines_of_the_table(attribution, tmp_path):
    write_rows(tmp_path / "filters.csv", RankedFilter, attribution._ranked())
    with (tmp_path / "filters.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if int(row["rank"]) <= 3]
    top = attribution.top(3)
    assert [(each.degradation, str(each.address), each.rank) for each in top] == [
        (row["degradation"], f"{row['layer']}.weight[{row['out']}, {row['in']}]", int(row["rank"])) for row in rows
    ]
    assert [each.score for each in top] == pytest.approx([float(row["score"]) for row in rows], rel=1e-8)
    assert attribution.top(3, "noise:0.1") == top[3:]
    lines = repr(top).splitlines()
    assert lines[0].split() == ["degradation", "filter", "score", "rank"] and len(lines) == 7
    assert str(top[0].address) in lines[1] and str(top[0].address) in top._repr_html_()


def test_scores_of_a_degradation_that_has_a_name_alone_are_found_by_it(attribution):
    found = Attribution("own", attribution.space, {"my rain": torch.arange(72.0), "blur:2": torch.zeros(72)})
    assert found.top(1, "my rain")[0].score == 71
    assert found.select("my rain", 2).name == "my rain" and found.select("blur:2.0", 2).name == "blur:2"
    with pytest.raises(UsageError, match=r"'my rian'\. Did you mean 'my rain'\? Legal: blur:2, my rain"):
        found.top(1, "my rian")


def test_no_more_than_all_filters_are_the_best(attribution):
    assert len(attribution.top(10_000, "blur:1")) == len(attribution.space)


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "3"])
def test_what_is_no_number_of_filters_is_quoted(attribution, count):
    with pytest.raises(UsageError, match="number of filters"):
        attribution.top(count)


def test_the_bars_of_the_plot_are_the_distribution(attribution):
    axes = attribution.plot(percent=25)
    layers, drawn = len(attribution.space.layers), axes.containers
    assert [bars.get_label() for bars in drawn] == ["blur:1 (18)", "noise:0.1 (18)"]
    for name, bars in zip(DEGRADATIONS, drawn, strict=True):
        expected = [100 * row.share for row in distribution(attribution.select(name, 25))]
        assert len(expected) == layers
        assert [bar.get_height() for bar in bars] == pytest.approx(expected)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["first", "second"]


def test_the_plot_goes_into_given_axes(attribution):
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    assert attribution.plot(axes, percent=25) is axes
    assert attribution.plot(ax=axes, percent=25) is axes


def test_of_many_layers_lines_are_drawn(tmp_path):
    space = FilterSpace(nn.Sequential(*(nn.Conv2d(1, 1, 1) for _ in range(MANY + 1))))
    found = Attribution("faig", space, {"blur:1": torch.arange(float(MANY + 1))})
    axes = found.plot(percent=100)
    assert not axes.containers and len(axes.get_xticks()) <= 24
    steps = axes.lines[0].get_ydata()
    assert steps.tolist() == pytest.approx([100 / (MANY + 1)] * (MANY + 1))
    axes.figure.savefig(tmp_path / "plot.png")


def test_a_plot_of_no_filter_names_the_least_percentage(attribution):
    with pytest.raises(UsageError, match=r"0\.1 % of 72 filters is no filter: take at least 1\.3889 %"):
        attribution.plot(percent=0.1)


@pytest.mark.parametrize("filters", [1, 3, 72, 81, 90, 999, 151_936, 1_000_003])
def test_the_least_percentage_is_enough(filters):
    found = Attribution("own", FilterSpace(nn.Linear(1, filters)), {"blur:1": torch.rand(filters)})
    with pytest.raises(UsageError, match="take at least") as caught:
        found.plot(percent=0)
    assert len(found.select("blur:1", float(str(caught.value).split()[-2]))) == 1


def test_plotting_opens_no_window_and_imports_no_pyplot():
    code = (
        "import sys, torch\nfrom torch import nn\nfrom filterlens import Attribution, FilterSpace\n"
        "space = FilterSpace(nn.Conv2d(3, 8, 3))\n"
        "axes = Attribution('faig', space, {'blur:1': torch.rand(24)}).plot(percent=25)\n"
        "assert 'matplotlib.pyplot' not in sys.modules and axes.figure.axes == [axes]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_where_pyplot_is_in_use_it_knows_the_figure(attribution):
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    try:
        axes = attribution.plot(percent=25)
        assert pyplot.gcf() is axes.figure
    finally:
        pyplot.close("all")


def test_values_print_in_a_line_and_not_in_thousands_of_numbers(attribution):
    _, _, pair = make_pair()
    selection = attribution.select("blur:1", 25)
    adapter = Adapter.of(pair, [selection], {"degradations": ["blur:1"]})
    text = repr(attribution)
    assert text.startswith("Attribution(faig; 72 filters in 2 layers; blur:1, noise:0.1; 2 images; completeness gap ")
    assert float(text.rpartition("gap ")[2].split()[0]) == pytest.approx(100 * attribution.completeness_gap, rel=1e-2)
    layers = sum(row.selected > 0 for row in distribution(selection))
    assert repr(selection) == f"Selection('blur:1': 18 of 72 filters, 25 %, in {layers} of 2 layers)"
    assert repr(attribution.space) == "FilterSpace(72 filters in 2 layers)"
    assert repr(adapter) == f"Adapter(blur:1: 18 filters in {len(adapter.pieces)} weights)"
    assert repr(pair) == "ModelPair(Curved, ×2, 72 filters in 2 layers, 1,436 parameters, float64, cpu)"
    assert repr(FAIG(pair, nodes=2)) == f"FAIG({pair!r}, nodes=2)"
    for value in (attribution, selection, adapter, pair, *attribution.completeness, FAIG(pair).settings):
        assert len(repr(value)) < 300 and "\n" not in repr(value) and "tensor(" not in repr(value)


def test_a_pair_tells_its_name_and_architecture():
    pair = ModelPair(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), name="mine", facts={"architecture": "srresnet"})
    assert repr(pair) == "ModelPair('mine', srresnet, ×1, 9 filters in 1 layer, 12 parameters, cpu)"
    assert "12 parameters" in pair._repr_html_()


@pytest.mark.parametrize(("channels", "words"), [((1, 1), "1 channel"), ((4, 3), "4 → 3 channels"), ((3, 3), None)])
def test_a_pair_tells_its_channels_where_they_are_not_those_of_pictures(channels, words):
    pair = ModelPair(nn.Conv2d(*channels, 1), nn.Conv2d(*channels, 1))
    assert repr(pair).count("channel") == (words is not None) and (words or "") in repr(pair)


def test_many_degradations_and_long_lists_stay_short(attribution):
    scores = {f"noise:{number}": torch.rand(72) for number in range(1, 200)}
    many = Attribution("own", attribution.space, scores)
    assert len(repr(many)) < 200 and "and 193 more" in repr(many)
    assert len(repr(many.top(72)).splitlines()) < 40
    assert len(many._repr_html_()) < 50_000


def test_a_notebook_gets_a_table_with_the_bars_of_the_layers(attribution):
    html = ElementTree.fromstring(f"<html>{attribution._repr_html_()}</html>")
    strips = html.findall(".//svg")
    assert len(strips) == 2
    shares = [row.share for row in distribution(attribution.select("blur:1", 1.4))]
    highest = max(shares)
    heights = [float(bar.get("height")) for bar in strips[0].iter("rect")]
    assert heights == pytest.approx([36 * share / highest for share in shares if share], abs=0.1)
    assert "<script" not in attribution._repr_html_()


def test_nothing_found_is_also_shown(attribution):
    assert repr(Attribution("own", attribution.space, {})) == "Attribution(own; 72 filters in 2 layers; no degradation)"
    assert "<table" in Attribution("own", attribution.space, {})._repr_html_()
    empty = Selection(attribution.space, torch.zeros(0, dtype=torch.int64))
    assert repr(empty) == "Selection(0 of 72 filters, 0 %, in 0 of 2 layers)"
