# SPDX-License-Identifier: Apache-2.0
"""The lens on two-branch networks: weights shared over loops, predicted kernels, batch norm, images without tiles."""

import csv
import json

import pytest
import torch
from torch import nn

from filterlens import FAIG, InputIG, ModelPair
from filterlens.attribution.engine import Engine
from filterlens.attribution.faig import SquaredDistance
from filterlens.attribution.quadrature import Adaptive
from filterlens.cli.main import main
from filterlens.data.images import write_image
from filterlens.execution.rematerialise import containers_of, rematerialised
from tests.two_branch_networks import TINY, make_networks, make_pair, save_pair

LOSS = SquaredDistance().loss
BOTH = pytest.mark.parametrize("architecture", ["dan", "dasr"])
GENERATOR = torch.Generator().manual_seed(4)
IMAGE = torch.rand(1, 3, 40, 48, generator=GENERATOR, dtype=torch.float64)
KINDS = ["blur:1", "noise:0.1"]


def loss_at(pair, vector, inputs, truth):
    with torch.no_grad():
        return float(LOSS(pair.network(vector)(inputs), truth))


@BOTH
def test_the_gradient_is_the_slope_of_the_loss_through_both_branches_and_all_loops(architecture):
    pair = make_pair(architecture)
    inputs, truth = IMAGE[..., ::2, ::2].contiguous(), IMAGE
    vector = pair.at(0.4)
    _, gradient = Engine(pair, "fp32").loss_and_gradient(vector, inputs, truth, LOSS)
    for seed in range(3):
        step = 1e-7 * torch.randn(len(vector), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        slope = loss_at(pair, vector + step, inputs, truth) - loss_at(pair, vector - step, inputs, truth)
        assert slope / 2 == pytest.approx(float(gradient @ step), rel=1e-6)


@BOTH
def test_the_contributions_of_all_parameters_add_up_to_the_change_of_the_loss(architecture):
    found = FAIG(make_pair(architecture), quadrature=Adaptive(1e-4)).attribute(IMAGE, [*KINDS, "clean"])
    assert len(found.completeness) == 3 and found.completeness_gap < 5e-4  # activations have kinks
    assert all(abs(entry.loss_target - entry.loss_baseline) > 1e-3 for entry in found.completeness)


def test_weights_that_all_loops_share_are_one_set_of_filters():
    spaces = [make_pair("dan", loops=loops).space for loops in (1, 3)]
    features, code, half = 6, 3, 3
    wide = features + code
    by_hand = 3 * features + 4 * (wide * wide + wide * features + 2 * features) + features**2 + 4 * features**2
    by_hand += 3 * features + 2 * 3 * half + (6 * 6 + 6 * half + 2 * half) + half * code
    assert len(spaces[0]) == len(spaces[1]) == by_hand
    scores = [FAIG(make_pair("dan", loops=loops)).attribute(IMAGE, KINDS).of("blur:1") for loops in (1, 3)]
    assert not torch.allclose(*scores, rtol=0.1), "every loop contributes to the scores of the weights that it shares"


def test_predicted_kernels_are_no_filters_but_what_predicts_them_is():
    pair, features = make_pair("dasr"), 6
    encoder = 3 * 6 + 6 * 6 + 6 * 12 + 12 * 12 + 12 * 24 + 24 * 24
    block = 2 * (features**2 + 2 * features) + 2 * features**2
    restorer = 3 * features + 4 * block + 2 * features**2 + 4 * features**2 + 3 * features
    predictors = features + 4 * 2 * (features + 9 * features)  # rows of linear layers
    assert len(pair.space) == encoder + restorer + predictors
    parameters = dict(pair.network(pair.target).named_parameters())
    assert all(layer.parameter in parameters for layer in pair.space.layers)
    assert set(pair.space.left_out) == {f"encoder.layers.{number}.norm.weight" for number in range(6)}


@BOTH
@pytest.mark.parametrize("method", [FAIG, InputIG])
def test_the_users_networks_stay_bit_identical_running_statistics_and_mode_included(architecture, method):
    networks = make_networks(architecture)
    before = [{name: value.clone() for name, value in network.state_dict().items()} for network in networks]
    method(ModelPair(*networks), memory=1e-6).attribute(IMAGE, KINDS)
    for network, known in zip(networks, before, strict=True):
        assert all(torch.equal(value, known[name]) for name, value in network.state_dict().items())
        assert network.training and all("forward" not in vars(module) for module in network.modules())


def test_running_statistics_are_the_targets_on_the_whole_path():
    baseline, target = make_networks("dasr")
    pair = ModelPair(baseline, target)
    inputs = IMAGE[..., ::2, ::2].contiguous()
    mixed = make_networks("dasr")[1]
    with torch.no_grad():
        for old, new in zip(baseline.parameters(), mixed.parameters(), strict=True):
            new.copy_(old)
    expected, own = mixed.eval()(inputs).detach(), baseline.eval()(inputs).detach()
    torch.testing.assert_close(pair.run(pair.baseline, inputs), expected, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(expected, own), "the two running statistics differ, so the choice matters"


@BOTH
def test_scores_of_an_image_too_large_for_memory_are_those_of_the_whole_image(architecture, monkeypatch):
    pair = make_pair(architecture)
    assert pair.tiling is None, "an output sees the whole image, so no tiles are exact"
    whole = FAIG(pair).attribute(IMAGE, KINDS)
    again = []
    enter = rematerialised

    def spy(containers, *, enabled):
        again.append(enabled)
        return enter(containers, enabled=enabled)

    monkeypatch.setattr("filterlens.attribution.engine.rematerialised", spy)
    bounded = FAIG(pair, memory=1e-6).attribute(IMAGE, KINDS)
    assert again and all(again), "nothing was computed twice, so nothing is proven"
    for kind in KINDS:
        torch.testing.assert_close(bounded.of(kind), whole.of(kind), rtol=1e-9, atol=1e-15)


@BOTH
def test_computing_twice_keeps_less_of_both_branches(architecture):
    _, network = make_networks(architecture)
    network.eval()
    kept = {}

    def count(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    sizes = []
    for enabled in (False, True):
        kept.clear()
        with rematerialised(containers_of(network), enabled=enabled), \
                torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):  # fmt: skip
            output = network(torch.rand(1, 3, 32, 32, dtype=torch.float64)).sum()
        sizes.append(sum(kept.values()))
        del output
    assert sizes[1] < 0.6 * sizes[0]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number in range(2):
        image = torch.rand(3, 48, 56, generator=torch.Generator().manual_seed(number))
        write_image(folder / f"{number}.png", (nn.functional.avg_pool2d(image, 3, 1, 1) * 255).round().to(torch.uint8))
    return folder


@BOTH
def test_attribute_mask_and_report_on_a_pair_from_the_command_line(architecture, images, tmp_path, capsys):
    baseline, target = save_pair(tmp_path, architecture)
    run = tmp_path / "run"
    given = ["--baseline", baseline, "--target", target, "--images", images, "--nodes", 2, "--precision", "fp32"]
    kinds = [word for kind in KINDS for word in ("--degradation", kind)]
    for command in (
        ["attribute", *given, *kinds, "-o", run],
        ["mask", run, "--images", images, "--percent", 5],
        ["report", run],
    ):
        assert main([str(word) for word in command]) == 0, capsys.readouterr().err
    about = json.loads((run / "run.json").read_text())
    filters = about["pair"]["filters"]
    assert about["pair"]["architecture"] == architecture and about["pair"]["options"] == TINY[architecture]
    assert filters == len(make_pair(architecture).space)
    with (run / "filters.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 2 * filters
    with (run / "damage.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["method"] == "faig"]
    assert len(rows) == 2 * 3 and all(float(row["distance"]) >= 0 for row in rows)
    assert f"{architecture.upper()} ×2" in (run / "report.html").read_text()
