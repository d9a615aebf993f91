# SPDX-License-Identifier: Apache-2.0
"""DnCNN keeps sizes, is what the formula says, and its files are recognised."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from filterlens import FilterSpace, UsageError, load_network
from filterlens.models.architectures import build


def by_hand(x: Tensor, weights: dict[str, Tensor], layers: int) -> Tensor:
    y = x
    for layer in range(layers):
        y = F.conv2d(y, weights[f"model.{2 * layer}.weight"], weights[f"model.{2 * layer}.bias"], padding=1)
        y = torch.where(y > 0, y, 0) if layer < layers - 1 else y
    return x - y


def test_it_takes_what_a_plain_chain_predicts_off_the_image() -> None:
    torch.manual_seed(0)
    network, x = build("dncnn", features=6, layers=4), torch.rand(2, 3, 9, 13)
    with torch.no_grad():
        torch.testing.assert_close(network(x), by_hand(x, network.state_dict(), 4))


def test_counts_are_those_of_the_published_depth() -> None:
    network = build("dncnn")
    assert (
        sum(parameter.numel() for parameter in network.parameters())
        == 3 * 64 * 9 + 64 + 15 * (64 * 64 * 9 + 64) + 64 * 3 * 9 + 3
        == 557_443
    )
    assert (len(FilterSpace(network).layers), len(FilterSpace(network))) == (17, 61_824)


def test_it_begins_near_the_image_itself() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert (build("dncnn")(x) - x).abs().mean() < 0.3


def test_a_bare_state_dict_is_recognised_with_its_sizes(tmp_path: Path) -> None:
    save_file(build("dncnn", features=6, layers=5).state_dict(), tmp_path / "net.safetensors")
    loaded = load_network(tmp_path / "net.safetensors")
    assert (loaded.architecture, loaded.options) == ("dncnn", {"scale": 1, "features": 6, "layers": 5})


@pytest.mark.parametrize(("options", "message"), [({"scale": 2}, "its scale is 1"), ({"layers": 2}, "at least 3")])
def test_what_it_cannot_be_is_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build("dncnn", **options)
