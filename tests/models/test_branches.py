# SPDX-License-Identifier: Apache-2.0
"""Which branch holds which filter, counted by hand and felt on the network itself."""

from collections import Counter

import pytest
import torch

from filterlens.errors import FilterlensError, UsageError
from filterlens.filters import FilterSpace
from filterlens.models.architectures import build
from filterlens.models.branches import branch_names, filter_branches, parameter_branch
from tests.models.two_branches import SMALL, random_network


def test_two_branch_networks_have_three_branches_and_plain_ones_one() -> None:
    assert branch_names("dan") == branch_names("dasr") == ("degradation", "conditioning", "restoration")
    assert branch_names("srresnet") == branch_names("srcnn-style") == ("restoration",)
    with pytest.raises(UsageError, match=r"'dann'\. Did you mean 'dan'"):
        branch_names("dann")


def counted(architecture: str, **options: int) -> dict[str, int]:
    space = FilterSpace(build(architecture, **options), linear="none")
    names, places = filter_branches(space, architecture, options)
    return {name: int((places == place).sum()) for place, name in enumerate(names)}


def test_the_filters_of_dan_are_counted_by_branch() -> None:
    estimator = 3 * 32 + 3 * 32 + 5 * (64 * 64 + 64 * 32 + 2 * 32 * 2) + 32 * 10
    codes = 40 * 74 * 10
    restorer = 3 * 64 + 40 * (74 * 64 + 74 * 64 + 2 * 64 * 4) + 64 * 64 + 64 * 256 + 64 * 3
    assert counted("dan") == {"degradation": estimator, "conditioning": codes, "restoration": restorer}


def test_the_filters_of_dasr_are_counted_by_branch() -> None:
    encoder = 3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 256 * 256
    weights = 50 * 2 * 64 * 8
    restorer = 3 * 64 + 50 * 64 * 64 + 50 * 64 * 64 + 6 * 64 * 64 + 64 * 256 + 64 * 3
    assert counted("dasr") == {"degradation": encoder, "conditioning": weights, "restoration": restorer}


def test_a_plain_network_restores_only() -> None:
    assert counted("srresnet", features=8, blocks=1) == {"restoration": 2 * 3 * 8 + 8 * 32 + 3 * 8 * 8}


def test_dans_conditioning_filters_are_those_through_which_the_code_reaches_the_first_image() -> None:
    network = random_network("dan")
    space = FilterSpace(network)
    names, places = filter_branches(space, "dan")
    network.initial_code.zero_()
    network.loops = 1  # one image from a code of zeros: what reads the code gets no gradient
    network(torch.rand(1, 3, 8, 8, dtype=torch.float64)).square().sum().backward()
    gradients = {
        name: torch.zeros_like(value) if value.grad is None else value.grad.abs()
        for name, value in network.named_parameters()
    }
    silent = space.pool(gradients) == 0
    assert torch.equal(silent, places != names.index("restoration"))


def test_the_features_that_the_options_name_say_where_the_code_begins() -> None:
    space = FilterSpace(build("dan", **SMALL["dan"]))
    assert torch.equal(filter_branches(space, "dan")[1], filter_branches(space, "dan", SMALL["dan"])[1])


@pytest.mark.parametrize(
    ("architecture", "name", "branch"),
    [
        ("dan", "estimator.head_hr.weight", "degradation"),
        ("dan", "restorer.body.1.conv1.weight", "restoration"),
        ("dan", "restorer.body.1.attention.reduce.bias", "restoration"),
        ("dasr", "encoder.layers.3.norm.weight", "degradation"),
        ("dasr", "restorer.compress.weight", "conditioning"),
        ("dasr", "restorer.groups.1.blocks.0.da_conv2.kernel.2.weight", "conditioning"),
        ("dasr", "restorer.groups.1.blocks.0.da_conv1.ca.0.weight", "conditioning"),
        ("dasr", "restorer.groups.1.blocks.0.da_conv1.conv.weight", "restoration"),
        ("dasr", "restorer.groups.1.blocks.0.conv1.bias", "restoration"),
        ("dasr", "restorer.groups.1.conv.bias", "restoration"),
        ("srresnet", "body.0.conv1.weight", "restoration"),
    ],
)
def test_a_parameter_belongs_to_its_modules_branch(architecture: str, name: str, branch: str) -> None:
    assert parameter_branch(name, architecture) == branch


@pytest.mark.parametrize("architecture", ["dan", "dasr"])
def test_every_parameter_has_a_branch(architecture: str) -> None:
    network = build(architecture, **SMALL[architecture])
    branches = Counter(parameter_branch(name, architecture) for name, _ in network.named_parameters())
    assert set(branches) == set(branch_names(architecture)) - ({"conditioning"} if architecture == "dan" else set())


def test_dasrs_conditioning_is_what_a_representation_of_zeros_silences() -> None:
    network = random_network("dasr")
    x, nothing = torch.rand(1, 3, 8, 8, dtype=torch.float64), torch.zeros(1, 32, dtype=torch.float64)
    network.restorer(x, nothing).square().sum().backward()
    silent = {name for name, parameter in network.named_parameters(remove_duplicate=False) if parameter.grad is None}
    assert {parameter_branch(name, "dasr") for name in silent} == {"degradation"}
    silent = {name for name, each in network.named_parameters() if each.grad is not None and not each.grad.any()}
    reads_kernels = {f"restorer.groups.{i}.blocks.0.da_conv{j}.conv.weight" for i in (0, 1) for j in (1, 2)}
    assert {parameter_branch(name, "dasr") for name in silent - reads_kernels} == {"conditioning"}


def test_a_parameter_that_no_branch_has_is_refused() -> None:
    with pytest.raises(FilterlensError, match=r"'conv_first\.weight' is no parameter of dan"):
        parameter_branch("conv_first.weight", "dan")
