# SPDX-License-Identifier: Apache-2.0
"""A laboratory that answers in seconds: tiny SRResNets as pairs, small crops of photographs as images."""

import pytest
import torch

from filterlens.data.images import write_image
from filterlens.data.photographs import photograph, square
from filterlens.models.one_branch import SRResNet
from filterlens.pair import ModelPair
from filterlens.paper.laboratory import Laboratory
from filterlens.paper.settings import Common, ImageChoice


def tiny_pair(seed=0, change=0.05):
    """A small SRResNet and a target that is a step away from it, in another direction for every seed."""
    torch.manual_seed(3)
    baseline = SRResNet(scale=2, features=8, blocks=2)
    torch.manual_seed(100 + seed)
    target = SRResNet(scale=2, features=8, blocks=2)
    with torch.no_grad():
        for new, old in zip(target.parameters(), baseline.parameters(), strict=True):
            new.copy_(old + change * torch.randn_like(old))
    return ModelPair(baseline, target, name="tiny" if not seed else f"tiny, seed {seed}")


class TinyLaboratory(Laboratory):
    """A laboratory whose pairs are all tiny; target models differ by their seed."""

    def target(self, name):
        return self._model(name, 0, tiny_pair())

    def _targets(self, name):
        return [self._model(name, seed, tiny_pair(seed)) for seed in range(self.common.targets)]


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Two folders with two small photographs each: to find filters on, and to judge them on."""
    root = tmp_path_factory.mktemp("images")
    for folder, names in {"find": ("astronaut", "coffee"), "judge": ("chelsea", "rocket")}.items():
        for name in names:
            write_image(root / folder / f"{name}.png", square(photograph(name), 48, 100, 120))
    return root / "find", root / "judge"


@pytest.fixture(scope="session")
def common(folders):
    """Common settings for tiny pairs."""
    find, judge = (ImageChoice(set=str(folder)) for folder in folders)
    return Common(
        pairs=("tiny",), targets=2, train=(find,), find=find, judge={"*": judge}, degradations=("blur:1", "noise:0.1"),
        precision="fp32", resamples=200,
    )  # fmt: skip


@pytest.fixture(scope="session")
def make_laboratory(common):
    """Return a function: folder and changed common settings → laboratory."""

    def make(folder, **changes):
        return TinyLaboratory(folder, common.model_copy(update=changes))

    return make


@pytest.fixture(scope="session")
def laboratory(make_laboratory, tmp_path_factory):
    """One laboratory for all tests that only read it; what was computed is shared."""
    return make_laboratory(tmp_path_factory.mktemp("laboratory"))
