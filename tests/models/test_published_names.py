# SPDX-License-Identifier: Apache-2.0
"""Published checkpoints of DAN and DASR load, compute what their own networks compute, and are checked."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from filterlens.errors import FilterlensError
from filterlens.models.architectures import build
from filterlens.models.checkpoints import load_network
from filterlens.models.identify import recognise
from tests.models.published import PublishedDAN, PublishedDASR
from tests.models.two_branches import SMALL

Weights = dict[str, Tensor]
REDUCED: dict[str, dict[str, Any]] = {
    "dan": {"features": 32, "blocks": 3, "estimator_blocks": 2},
    "dasr": {"features": 16, "groups": 2, "blocks": 3},
}
SKELETONS: dict[str, Any] = {"dan": PublishedDAN, "dasr": PublishedDASR}
BOTH = pytest.mark.parametrize("architecture", ["dan", "dasr"])


def published(architecture: str, scale: int = 2, **options: int) -> nn.Module:
    """A network under the published names, with random weights and running statistics as on 0 to 255."""
    torch.manual_seed(0)
    network = SKELETONS[architecture](scale, **options).eval()
    if architecture == "dasr":
        network.train()
        with torch.no_grad():
            network(255 * torch.rand(2, 3, 12, 12))
    return network.eval()


def weights_of(network: nn.Module) -> Weights:
    return {name: value.clone() for name, value in network.state_dict().items()}


@BOTH
@pytest.mark.parametrize("scale", [2, 4])
def test_a_published_file_is_recognised_and_loads_strictly(tmp_path: Path, architecture: str, scale: int) -> None:
    torch.save(published(architecture, scale).state_dict(), tmp_path / f"{architecture}_x{scale}.pth")
    loaded = load_network(tmp_path / f"{architecture}_x{scale}.pth")
    full = {
        "dan": {"features": 64, "blocks": 40, "estimator_blocks": 5, "code": 10, "kernel": 21},
        "dasr": {"features": 64, "groups": 5, "blocks": 5},
    }
    assert (loaded.architecture, loaded.options) == (architecture, {"scale": scale} | full[architecture])
    own = build(architecture, scale=scale)
    assert {name: value.shape for name, value in own.state_dict().items()} == {
        name: value.shape for name, value in loaded.network.state_dict().items()
    }


@BOTH
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_it_computes_what_the_published_network_computes(tmp_path: Path, architecture: str, scale: int) -> None:
    network = published(architecture, scale, **REDUCED[architecture])
    torch.save({"state_dict": network.state_dict()}, tmp_path / "net.pt")
    loaded = load_network(tmp_path / "net.pt")
    assert loaded.options.items() >= ({"scale": scale} | REDUCED[architecture]).items()
    unit = 255 if architecture == "dasr" else 1
    x = torch.rand(2, 3, 12, 9)
    with torch.no_grad():
        torch.testing.assert_close(loaded.network(x), network(unit * x) / unit, rtol=1e-4, atol=1e-5)


def test_a_dasr_without_momentum_encoder_queue_head_and_step_counters_loads(tmp_path: Path) -> None:
    network = published("dasr", **REDUCED["dasr"])
    training = ("E.encoder_k", "E.queue", "E.encoder_q.mlp")
    weights = {
        f"module.{name}": value
        for name, value in weights_of(network).items()
        if not name.startswith(training) and "num_batches" not in name
    }
    torch.save(weights, tmp_path / "net.pt")
    x = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(load_network(tmp_path / "net.pt").network(x), network(255 * x) / 255)


@pytest.mark.parametrize(
    ("architecture", "name", "change", "message"),
    [
        ("dan", "init_ker_map", lambda value: value + 0.1, "init_ker_map is not the code of init_kernel"),
        ("dan", "encoder", lambda value: -value, "init_ker_map is not the code of init_kernel"),
        ("dan", "init_kernel", lambda value: value / 2, "init_kernel is not the delta kernel"),
        ("dan", "encoder", lambda value: value[:, :400], r"encoder is \(1, 400, 10\) and init_kernel \(1, 21, 21\)"),
        ("dan", "encoder", lambda value: value[0], r"encoder is \(441, 10\)"),
        ("dan", "Restorer.fusion.weight", lambda value: value[:5], r"of another shape: restorer\.fusion\.weight"),
        ("dan", "Estimator.out.bias", lambda value: value * float("nan"), r"NaN .* in 'estimator\.out\.bias'"),
        ("dasr", "G.sub_mean.bias", lambda value: value / 255, r"G\.sub_mean\.bias is \[-0\.44"),
        ("dasr", "G.add_mean.bias", lambda value: -value, r"G\.add_mean\.bias is \[-114"),
        ("dasr", "G.sub_mean.weight", lambda value: 2 * value, r"G\.sub_mean\.weight is \[2\.0, 0\.0"),
        ("dasr", "G.body.1.body.3.weight", lambda value: value[:5], r"of another shape: restorer\.groups\.1\.conv"),
        ("dasr", "G.sub_mean.bias", lambda value: value * float("nan"), r"G\.sub_mean\.bias is \[nan"),
    ],
)
def test_a_constant_or_weight_that_is_not_as_published_is_named(
    tmp_path: Path, architecture: str, name: str, change: Any, message: str
) -> None:
    weights = weights_of(published(architecture, **REDUCED[architecture]))
    weights[name] = change(weights[name])
    torch.save(weights, tmp_path / "net.pth")
    with pytest.raises(FilterlensError, match=message):
        load_network(tmp_path / "net.pth")


@pytest.mark.parametrize(
    ("architecture", "name", "message"),
    [
        ("dan", "init_ker_map", "missing: init_ker_map"),
        ("dan", "Restorer.body.1.body.3.body.2.bias", r"missing: restorer\.body\.1\.attention\.expand\.bias"),
        ("dasr", "G.add_mean.bias", r"missing: G\.add_mean\.bias"),
        ("dasr", "E.encoder_q.E.4.running_var", r"missing: encoder\.layers\.1\.norm\.running_var"),
    ],
)
def test_a_missing_tensor_is_named(tmp_path: Path, architecture: str, name: str, message: str) -> None:
    weights = weights_of(published(architecture, **REDUCED[architecture]))
    del weights[name]
    torch.save(weights, tmp_path / "net.pth")
    with pytest.raises(FilterlensError, match=message):
        load_network(tmp_path / "net.pth")


@pytest.mark.parametrize(
    ("architecture", "name", "message"),
    [
        ("dan", "Restorer.extra", r"unexpected: restorer\.extra"),
        ("dasr", "G.extra", r"unexpected: G\.extra"),
        ("dasr", "G.body.0.body.7.weight", r"'G\.body\.0\.body\.7\.weight' is one tensor too many"),
    ],
)
def test_a_tensor_that_no_network_has_is_named(tmp_path: Path, architecture: str, name: str, message: str) -> None:
    weights = weights_of(published(architecture, **REDUCED[architecture]))
    torch.save(weights | {name: torch.zeros(1)}, tmp_path / "net.pth")
    with pytest.raises(FilterlensError, match=message):
        load_network(tmp_path / "net.pth")


@BOTH
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_own_weights_are_recognised_by_their_shapes(architecture: str, scale: int) -> None:
    wanted = SMALL[architecture] | {"scale": scale}
    name, options = recognise(build(architecture, **wanted).state_dict(), "net.pth")
    wanted.pop("loops", None)  # leaves no trace in shapes
    assert (name, options) == (architecture, wanted)
