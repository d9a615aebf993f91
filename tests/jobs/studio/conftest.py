# SPDX-License-Identifier: Apache-2.0
"""A studio around a small random pair."""

import pytest
import torch

from filterlens.diagnosis.found_filters import FoundFilters
from filterlens.filters import ranking
from filterlens.jobs.studio.studio import Studio
from filterlens.models.one_branch import SRResNet
from filterlens.pair import ModelPair


@pytest.fixture(scope="session")
def pair():
    torch.manual_seed(0)
    baseline, target = SRResNet(features=8, blocks=2), SRResNet(features=8, blocks=2)
    with torch.no_grad():
        for old, new in zip(baseline.parameters(), target.parameters(), strict=True):
            new.copy_(old + 0.5 * new)
    return ModelPair(baseline, target)


@pytest.fixture(scope="session")
def studio(pair):
    generator = torch.Generator().manual_seed(1)
    rankings = {name: ranking(torch.rand(len(pair.space), generator=generator)) for name in ("blur:2", "noise:0.1")}
    return Studio(pair, FoundFilters(rankings))
