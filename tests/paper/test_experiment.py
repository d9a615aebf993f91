# SPDX-License-Identifier: Apache-2.0
"""The frame of the experiments: how claims are judged, what every page says of its images, what is measured once."""

import numpy as np
import pytest

from filterlens.evaluation.statistics import Estimate
from filterlens.paper.experiment import Verdict, above, common_rows, is_above, is_below
from filterlens.paper.settings import ImageChoice

ABOVE, BELOW, AROUND = Estimate(1, 0.1, 2), Estimate(-1, -2, -0.1), Estimate(1, -0.1, 2)


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        ([True, True], Verdict.HOLDS),
        ([True, None], Verdict.PARTLY),  # what is not decided keeps a claim from holding as a whole
        ([True, False], Verdict.PARTLY),
        ([False, None], Verdict.FAILS),
        ([None, None], Verdict.OPEN),
        ([], Verdict.OPEN),
    ],
)
def test_a_claim_is_judged_by_those_of_its_checks_that_are_decided(answers, verdict):
    assert Verdict.of(answers) is verdict
    assert Verdict.of(iter(answers[::-1])) is verdict


def test_a_comparison_has_three_answers():
    assert [above(each) for each in (ABOVE, BELOW, AROUND)] == [True, False, None]
    assert [is_above(each) for each in (ABOVE, BELOW, AROUND)] == [True, False, False]
    assert [is_below(each) for each in (ABOVE, BELOW, AROUND)] == [False, True, False]
    assert above(Estimate(1)) is True and above(Estimate(1), 2) is False  # without an interval the number decides
    assert above(Estimate(0.3 - 0.1, 0.3 - 0.1, 0.3 - 0.1), 0.2) is None  # equal, up to the order of the sum


def test_a_specification_begins_with_the_common_rows_and_a_page_may_replace_one(common):
    rows = common_rows(common.model_copy(update={"pairs": ("a", "b")}), of_each=" (few)", of_all="!")
    assert list(rows) == ["target models", "found on", "judged on"]
    assert rows["target models"] == "2 per pair: the shipped one and 1 fine-tuned from the shipped baseline"
    assert rows["judged on"] == f"a: {common.judge['*'].set} (few); b: {common.judge['*'].set} (few)!"
    assert list(rows | {"found on": "these", "more": ""}) == ["target models", "found on", "judged on", "more"]


def test_whole_images_are_those_of_the_choice_without_its_squares():
    choice = ImageChoice(set="set14", images=3, crop=64, squares=2)
    assert choice.whole == ImageChoice(set="set14", images=3)


def test_every_subject_is_measured_on_every_image_and_never_twice(make_laboratory, tmp_path):
    laboratory, asked = make_laboratory(tmp_path), []

    def measure(subject, sample):
        asked.append((subject, sample.name))
        return {"length": len(subject), "pixels": [[sample.read().shape[-1], 0.0]] * 3}

    def measured():
        return laboratory.measured("size", ["a", "bb", "cc"], laboratory.finding, str, measure, title=str)

    found, again = measured(), measured()
    assert found["length"].tolist() == [[1, 1], [2, 2], [2, 2]]
    assert found["pixels"].shape == (3, 2, 3, 2) and (found["pixels"][..., 0] == 48).all()
    assert len(asked) == 6
    assert all(np.array_equal(found[quantity], again[quantity]) for quantity in found)
