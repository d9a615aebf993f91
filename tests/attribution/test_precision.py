# SPDX-License-Identifier: Apache-2.0
"""bfloat16 is used where it is fast and where one image shows that it ranks as float32 does."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from filterlens import FAIG, ModelPair, Taylor, UsageError
from filterlens.attribution.path import rounding_on_path
from filterlens.attribution.quadrature import Quadrature
from filterlens.models.one_branch import SRResNet
from tests.noting import Noting


class Plain(nn.Module):
    """No skip: the image itself passes through the convolutions, which begin near the identity."""

    def __init__(self):
        super().__init__()
        self.scale = 2
        self.first, self.last = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 12, 3, padding=1)
        with torch.no_grad():
            for layer in (self.first, self.last):
                layer.weight.mul_(0.05)
                layer.weight[range(12), [row % 3 if layer is self.first else row // 4 for row in range(12)], 1, 1] += 1

    def forward(self, x):
        return F.pixel_shuffle(self.last(F.leaky_relu(self.first(x), 0.1)), 2)


@pytest.fixture(autouse=True)
def _machine_with_fast_bf16(monkeypatch):
    monkeypatch.setattr("filterlens.execution.hardware.has_fast_bf16", lambda device: True)


def pair_with(change):
    """A pair whose target is a step of relative size ``change`` from its baseline."""
    torch.manual_seed(0)
    baseline, target = SRResNet(2, 16, 2), SRResNet(2, 16, 2)
    with torch.no_grad():
        for old, new in zip(baseline.parameters(), target.parameters(), strict=True):
            new.copy_(old + change * old.abs() * new.sign())
    return ModelPair(baseline, target)


IMAGES = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
DEGRADATIONS = ["blur:2", "noise:0.1"]


def test_the_reached_overlap_is_recorded_where_bf16_ranks_alike(monkeypatch):
    monkeypatch.setattr("filterlens.attribution.method.LEAST_OVERLAP", 0.8)  # random networks have no clear top
    notes = Noting()
    found = FAIG(pair_with(0.5)).attribute(IMAGES, DEGRADATIONS, progress=notes)
    assert found.settings["precision"] == "bf16" and found.settings["overlap_with_fp32"] >= 0.8
    assert notes.notes == []


def test_where_bf16_ranks_otherwise_float32_takes_over_with_a_warning(monkeypatch):
    monkeypatch.setattr("filterlens.attribution.method.LEAST_OVERLAP", 1.01)
    notes, pair = Noting(), pair_with(0.5)
    method = FAIG(pair)
    found = method.attribute(IMAGES, DEGRADATIONS, progress=notes)
    assert found.settings["precision"] == "fp32"
    assert len(notes.notes) == 1 and "warning: on '0' the top 1% in bf16 overlaps" in notes.notes[0]
    plain = FAIG(pair, precision="fp32").attribute(IMAGES, DEGRADATIONS)
    assert torch.equal(found.of("blur:2"), plain.of("blur:2"))
    again = method.attribute(IMAGES, DEGRADATIONS, progress=notes)
    assert torch.equal(again.of("blur:2"), plain.of("blur:2")) and len(notes.notes) == 1


def test_the_overlap_is_small_where_the_change_drowns_in_rounding():
    """A target that is 1e-6 from its baseline: in bf16 the output's own rounding hides what each filter does."""

    def overlap(change):
        method = Taylor(pair_with(change), objective="baseline")
        return method.attribute(IMAGES, DEGRADATIONS).settings["overlap_with_fp32"]

    assert overlap(1e-6) < 0.9 < overlap(0.5)


def test_float32_takes_over_where_rounding_alone_exceeds_the_tolerance(monkeypatch):
    """A network through which the image passes rounds it away; one with a skip does not, so bf16 stays."""
    monkeypatch.setattr("filterlens.attribution.method.LEAST_OVERLAP", 0.0)
    torch.manual_seed(0)
    baseline, target = Plain(), Plain()
    with torch.no_grad():
        for old, new in zip(baseline.parameters(), target.parameters(), strict=True):
            new.copy_(old + 0.03 * new)
    pair, notes = ModelPair(baseline, target), Noting()
    found = FAIG(pair).attribute(IMAGES, DEGRADATIONS, progress=notes)
    assert found.settings["precision"] == "fp32" and found.settings["rounding_of_bf16"] > 0.02
    assert len(notes.notes) == 1 and "warning: on '0' bf16 rounds the loss by" in notes.notes[0]
    assert torch.equal(found.of("blur:2"), FAIG(pair, precision="fp32").attribute(IMAGES, DEGRADATIONS).of("blur:2"))
    assert max(entry.nodes for entry in found.completeness) < 16
    fixed = FAIG(pair, quadrature=Quadrature("midpoint", 4)).attribute(IMAGES, DEGRADATIONS)
    assert fixed.settings["precision"] == "bf16", "fixed nodes chase no rounding"
    kept = FAIG(pair_with(0.5)).attribute(IMAGES, DEGRADATIONS)
    assert kept.settings["precision"] == "bf16" and "rounding_of_bf16" not in kept.settings


def test_rounding_on_the_path_is_what_differs_from_place_to_place(monkeypatch):
    """The same error everywhere is none for the rule; errors that alternate add up, each counted from its neighbour."""
    exact = [10.0, 9.0, 8.0, 6.0, 4.0, 2.0, 0.0]

    def engine(losses):
        remaining = iter(losses)
        return SimpleNamespace(pair=SimpleNamespace(at=lambda alpha: alpha), loss=lambda *_: next(remaining))

    def rounding(errors):
        shown = [loss + error for loss, error in zip(exact, errors, strict=True)]
        return rounding_on_path(engine(shown), engine(exact), None, None, None)

    assert rounding([0.5] * 7) == 0
    assert rounding([0, 0.1, 0, 0.1, 0, 0.1, 0]) == pytest.approx(6 * 0.1 / 10)


def test_what_the_user_asked_for_is_kept():
    found = Taylor(pair_with(1e-6), objective="baseline", precision="bf16").attribute(IMAGES, DEGRADATIONS)
    assert found.settings["precision"] == "bf16" and "overlap_with_fp32" not in found.settings


@pytest.mark.parametrize("memory", [0, -1, float("nan")])
def test_memory_must_be_a_size(memory):
    with pytest.raises(UsageError, match="not legal"):
        FAIG(pair_with(0.5), memory=memory)
