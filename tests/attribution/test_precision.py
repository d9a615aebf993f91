# SPDX-License-Identifier: Apache-2.0
"""bfloat16 is used where it is fast and where one image shows that it ranks as float32 does."""

import pytest
import torch

from filterlens import FAIG, ModelPair, Taylor, UsageError
from filterlens.models.srresnet import SRResNet
from filterlens.progress import Silent


class Notes(Silent):
    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)


@pytest.fixture(autouse=True)
def _machine_with_fast_bf16(monkeypatch):
    monkeypatch.setattr("filterlens.hardware.has_fast_bf16", lambda device: True)


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
    monkeypatch.setattr("filterlens.attribution.path_method.LEAST_OVERLAP", 0.8)  # random networks have no clear top
    notes = Notes()
    found = FAIG(pair_with(0.5)).attribute(IMAGES, DEGRADATIONS, progress=notes)
    assert found.settings["precision"] == "bf16" and found.settings["overlap_with_fp32"] >= 0.8
    assert notes.lines == []


def test_where_bf16_ranks_otherwise_float32_takes_over_with_a_warning(monkeypatch):
    monkeypatch.setattr("filterlens.attribution.path_method.LEAST_OVERLAP", 1.01)
    notes, pair = Notes(), pair_with(0.5)
    method = FAIG(pair)
    found = method.attribute(IMAGES, DEGRADATIONS, progress=notes)
    assert found.settings["precision"] == "fp32"
    assert len(notes.lines) == 1 and "warning: on '0' the top 1% in bf16 overlaps" in notes.lines[0]
    plain = FAIG(pair, precision="fp32").attribute(IMAGES, DEGRADATIONS)
    assert torch.equal(found.of("blur:2"), plain.of("blur:2"))
    again = method.attribute(IMAGES, DEGRADATIONS, progress=notes)
    assert torch.equal(again.of("blur:2"), plain.of("blur:2")) and len(notes.lines) == 1


def test_the_overlap_is_small_where_the_change_drowns_in_rounding():
    """A target that is 1e-6 from its baseline: in bf16 the output's own rounding hides what each filter does."""

    def overlap(change):
        method = Taylor(pair_with(change), objective="baseline")
        return method.attribute(IMAGES, DEGRADATIONS).settings["overlap_with_fp32"]

    assert overlap(1e-6) < 0.9 < overlap(0.5)


def test_what_the_user_asked_for_is_kept():
    found = Taylor(pair_with(1e-6), objective="baseline", precision="bf16").attribute(IMAGES, DEGRADATIONS)
    assert found.settings["precision"] == "bf16" and "overlap_with_fp32" not in found.settings


@pytest.mark.parametrize("memory", [0, -1, float("nan")])
def test_memory_must_be_a_size(memory):
    with pytest.raises(UsageError, match="not legal"):
        FAIG(pair_with(0.5), memory=memory)
