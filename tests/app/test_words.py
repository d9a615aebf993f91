# SPDX-License-Identifier: Apache-2.0
"""What the page says, whatever the functions of the pair are."""

import re

import pytest
import torch

from filterlens.app import words
from filterlens.app.look import colours
from filterlens.app.studio import Explanation
from filterlens.app.words import verdict_html
from filterlens.diagnosis.classify import Verdict


def test_sliders_are_called_by_what_they_do():
    assert list(words.labels(["blur:2", "noise:0.1", "jpeg:30"]).values()) == ["Deblur", "Denoise", "Repair JPEG"]
    assert list(words.labels(["noise:0.1", "noise:0.2"]).values()) == ["Denoise (noise:0.1)", "Denoise (noise:0.2)"]
    assert [words.title(name) for name in ("blur:2", "jpeg:30")] == ["Deblurring", "JPEG repair"]
    assert words.labels(["blur:2+noise:0.1"]) == {"blur:2+noise:0.1": "Undo blur:2+noise:0.1"}


def test_a_result_is_named_after_its_picture_and_strengths():
    assert words.stem("chelsea", {"blur:2": 0.4, "noise:0.1": 1.0}) == "chelsea-deblur-0.4-denoise-1"


@pytest.mark.parametrize(
    "names", [["blur:2", "noise:0.1", "jpeg:30"], ["noise:0.1", "noise:0.2", "poisson:100"], ["a"] * 1]
)
def test_every_function_has_a_colour_of_its_own(names):
    chosen = colours(names)
    assert list(chosen) == names
    assert len(set(chosen.values())) == len(names)
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in chosen.values())


def explanation(**scores):
    named = {"blur:2": scores["blur"], "noise:0.1": scores["noise"]}
    thresholds = {"blur:2": 0.19, "noise:0.1": 0.38}
    present = tuple(name for name in named if named[name] >= thresholds[name])
    unseen = ("blur:2",) if present == ("noise:0.1",) else ()
    return Explanation(Verdict(present, named, {}, unseen), thresholds, 1.0, torch.zeros(4))


def test_the_verdict_says_what_is_there_and_draws_every_overlap_with_its_threshold():
    page = verdict_html(explanation(blur=0.467, noise=0.1))
    assert "This input has <b>blur</b>." in page
    assert 'style="width: 46.7%' in page
    assert 'style="left: 19.0%"' in page
    assert page.count('class="bar present"') == 1
    assert page.count('class="bar"') == 1
    assert "1 % of the filters" in page


def test_what_is_hidden_beneath_noise_is_said():
    page = verdict_html(explanation(blur=0.1, noise=0.6))
    assert "Beneath noise, blur cannot be seen." in page
    assert "looks <b>free of blur and noise</b>" in verdict_html(explanation(blur=0.1, noise=0.1))


def test_confidence_is_told_where_it_is_known():
    verdict = Verdict(("blur:2",), {"blur:2": 0.5}, {"blur:2": 0.984}, ())
    assert words.verdict_sentence(verdict) == "This input has <b>blur</b>, 98 % sure."


def test_names_from_outside_are_escaped():
    verdict = Verdict((), {"<script>": 0.5}, {}, ())
    page = verdict_html(Explanation(verdict, {"<script>": 0.6}, 1.0, torch.zeros(1)))
    assert "<script>" not in page
    assert "<script>" not in words.lead(["<script>:1"], 2)
