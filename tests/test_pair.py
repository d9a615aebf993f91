# SPDX-License-Identifier: Apache-2.0
"""A pair: two points of one parameter space."""

import pytest
import torch
from torch import nn

from filterlens import FilterlensError, ModelPair, UsageError
from filterlens.models.architectures import build
from filterlens.models.checkpoints import save_network
from filterlens.models.dan import DAN
from tests.attribution.small_networks import Curved, make_pair, photographs


def test_the_ends_of_the_path_are_the_networks_bit_by_bit():
    baseline, target, pair = make_pair()
    x = photographs(1)
    for alpha, network in ((1, target), (0, baseline)):
        ends = zip(pair.network(pair.at(alpha)).parameters(), network.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in ends)
        with torch.no_grad():
            torch.testing.assert_close(pair.run(pair.at(alpha), x), network(x), rtol=1e-12, atol=1e-12)


def test_the_middle_of_the_path_is_the_mean_of_all_parameters():
    baseline, target, pair = make_pair()
    middle = pair.network(pair.at(0.5)).state_dict()
    for name, value in middle.items():
        torch.testing.assert_close(value, (baseline.state_dict()[name] + target.state_dict()[name]) / 2)


def test_a_new_network_shares_nothing_with_the_pair():
    _, _, pair = make_pair()
    before = pair.target.clone()
    network = pair.network(pair.target)
    with torch.no_grad():
        network.first.weight.add_(1)
    assert torch.equal(pair.target, before)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_different_architectures_are_named():
    with pytest.raises(FilterlensError, match=r"'2\.weight' exists in the target only"):
        ModelPair(
            nn.Sequential(nn.Conv2d(3, 3, 1)), nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1)), scale=1
        )
    with pytest.raises(FilterlensError, match=r"\(3, 3, 1, 1\) in the baseline and \(3, 3, 3, 3\)"):
        ModelPair(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3), scale=1)


def test_identical_networks_and_nan_are_refused():
    network = Curved()
    with pytest.raises(FilterlensError, match="identical weights"):
        ModelPair(network, network)
    broken = Curved()
    with torch.no_grad():
        broken.first.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(FilterlensError, match="The target holds NaN"):
        ModelPair(network, broken)
    with pytest.raises(FilterlensError, match="The baseline holds NaN"):
        ModelPair(broken, network)


def test_two_checkpoints_of_different_architecture_are_refused(tmp_path):
    for architecture in ("srresnet", "srcnn-style"):
        save_network(tmp_path / f"{architecture}.safetensors", build(architecture), architecture, {"scale": 2}, {})
    with pytest.raises(FilterlensError, match=r"srresnet.*srcnn-style.*one architecture"):
        ModelPair.load(tmp_path / "srresnet.safetensors", tmp_path / "srcnn-style.safetensors")


def test_unknown_pretrained_pairs_list_the_known():
    with pytest.raises(UsageError, match="Did you mean 'srresnet-x2'"):
        ModelPair.pretrained("srresnet-x8")


def test_the_identity_of_a_pair_knows_buffers_and_options_that_no_parameter_shows() -> None:
    def pair(loops: int = 1, shift: float = 0.0) -> ModelPair:
        torch.manual_seed(0)
        size = {"features": 4, "blocks": 1, "estimator_blocks": 1, "code": 2, "kernel": 3}
        baseline, target = (DAN(loops=loops, **size) for _ in range(2))
        target.set_basis(target.basis + shift)
        return ModelPair(baseline, target, facts={"options": {"loops": loops}})

    assert pair().identity == pair().identity
    assert len({each.identity for each in (pair(), pair(loops=2), pair(shift=0.5))}) == 3
