# SPDX-License-Identifier: Apache-2.0
"""Area under the ROC curve against Mann and Whitney, the other figures against counting."""

import pytest
import torch
from scipy.stats import mannwhitneyu

from filterlens.diagnosis.classification_metrics import (
    accuracy,
    area_under_roc,
    balanced_accuracy,
    confusion,
    label_accuracy,
    roc_curve,
)


@pytest.fixture(params=[0, 1, 2])
def scored(request):
    """Overlaps with many ties, and which inputs have the degradation."""
    generator = torch.Generator().manual_seed(request.param)
    present = torch.rand(60, generator=generator) < 0.4
    scores = ((torch.rand(60, generator=generator) + 0.3 * present) * 20).round() / 26
    return scores, present


def test_the_area_is_the_statistic_of_mann_and_whitney(scored):
    scores, present = scored
    statistic = mannwhitneyu(scores[present].numpy(), scores[~present].numpy()).statistic
    assert area_under_roc(scores, present) == pytest.approx(statistic / (present.sum() * (~present).sum()).item())


def test_the_area_is_that_under_the_curve(scored):
    curve = roc_curve(*scored)
    area = torch.trapezoid(curve.true_positive_rate.double(), curve.false_positive_rate.double())
    assert float(area) == pytest.approx(area_under_roc(*scored), abs=1e-6)


def test_every_point_of_the_curve_is_what_counting_gives(scored):
    scores, present = scored
    curve = roc_curve(scores, present)
    points = zip(curve.thresholds[1:], curve.false_positive_rate[1:], curve.true_positive_rate[1:], strict=True)
    for threshold, false_rate, true_rate in points:
        said = scores.double() >= threshold
        assert float(false_rate) == pytest.approx((said & ~present).sum().item() / (~present).sum().item())
        assert float(true_rate) == pytest.approx((said & present).sum().item() / present.sum().item())


def test_accuracies_count_a_score_at_the_threshold_as_present():
    scores, present = torch.tensor([0.5, 0.5, 0.4, 0.6]), torch.tensor([True, False, True, True])
    assert accuracy(scores, present, 0.5) == 0.5
    assert balanced_accuracy(scores, present, 0.5) == pytest.approx((2 / 3 + 0) / 2)


def test_confusion_counts_truth_by_label():
    truths = ["clean", "clean", "blur:2", "blur:2+noise:0.1"]
    labels = ["clean", "blur:2", "blur:2", "noise:0.1"]
    table = confusion(truths, labels)
    assert table["clean"] == {"clean": 1, "blur:2": 1, "blur:2+noise:0.1": 0, "noise:0.1": 0}
    assert table["blur:2+noise:0.1"]["noise:0.1"] == 1
    assert sum(sum(row.values()) for row in table.values()) == 4
    assert label_accuracy(truths, labels) == 0.5
