# SPDX-License-Identifier: Apache-2.0
"""Two checkpoints of the user become a studio: filters are found, adapters come out."""

import pytest
import torch

from filterlens.editing.adapter import Adapter
from filterlens.jobs.studio import opening
from filterlens.jobs.studio.opening import open_studio
from filterlens.models.checkpoints import save_network
from filterlens.models.one_branch import SRResNet


@pytest.fixture
def checkpoints(pair, tmp_path):
    options = {"scale": 2, "features": 8, "blocks": 2}
    paths = {role: tmp_path / f"{role}.safetensors" for role in ("baseline", "target")}
    for role, path in paths.items():
        network = pair.network(getattr(pair, role))
        assert isinstance(network, SRResNet)
        save_network(path, network, "srresnet", options, {"role": role})
    return paths


def test_filters_of_a_users_pair_are_found_first(checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "SIDE", 64)
    scratch = tmp_path / "scratch"
    studio = open_studio(**checkpoints, degradations=["noise:0.2"], scratch=scratch, device=torch.device("cpu"))
    assert studio.degradations == ("noise:0.2",)
    assert studio.percents == (0.5, 1.0, 3.0, 5.0)
    assert len(studio.found.rankings["noise:0.2"]) == len(studio.pair.space)
    adapter = Adapter.load(studio.save_adapter(tmp_path, "noise:0.2", 5.0))
    assert adapter.selection(studio.pair.space).mask.equal(studio.selections(5.0)["noise:0.2"].mask)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "baseline.safetensors", "pair-noise-0.2-5-percent.safetensors", "scratch", "target.safetensors",
    ]  # fmt: skip

    again = open_studio(run=scratch / "run", scratch=scratch, device=torch.device("cpu"))
    assert torch.equal(again.found.rankings["noise:0.2"], studio.found.rankings["noise:0.2"])
