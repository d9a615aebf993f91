# SPDX-License-Identifier: Apache-2.0
"""Templates of names against every cut of a name, tried one by one."""

from fnmatch import fnmatchcase

import pytest

from filterlens.data.matching import Template, matched
from filterlens.errors import FilterlensError, UsageError

NAMES = ("a", "ax4", "a_1", "a_b_1", "a_b_1_0.8", "lr_a_1", "x4", "_1", "a_", "lr_", "lr_ax4")


def scenes_by_trying(template, name):
    """Every part of a name that gives the name when it is put into the template."""
    parts = {name[start:end] for start in range(len(name)) for end in range(start + 1, len(name) + 1)}
    return {part for part in parts if fnmatchcase(name, template.replace("{}", part))}


@pytest.mark.parametrize("template", ["{}", "{}x4", "lr_{}", "lr_{}x4", "{}_*", "lr_{}_*", "*_{}", "{}*", "lr_*_{}"])
@pytest.mark.parametrize("name", NAMES)
def test_the_scenes_of_a_name_are_those_that_give_it_the_longest_first(template, name):
    found = Template(template).scenes(name)
    assert set(found) == scenes_by_trying(template, name) and found == sorted(found, key=len, reverse=True)


@pytest.mark.parametrize("text", ["", "x4", "{}{}", "{}*_*", "a/{}", "*"])
def test_other_texts_are_no_template(text):
    with pytest.raises(UsageError, match=r"is not legal: \{\} once, .* such as '\{\}x4' or, .* '\{\}_\*'"):
        Template(text)


@pytest.mark.parametrize(
    ("lowered", "truths", "suggested"),
    [
        (["0001x4", "0002x4"], ["0001", "0002"], "{}x4"),
        (["rain-1", "rain-2"], ["1", "2"], "rain-{}"),
        (["1_1", "1_2", "2_1"], ["1", "2"], "{}_*"),
        (["1x4", "2x3"], ["1", "2"], None),
        (["1x4", "2x4", "3x4"], ["1", "2"], None),
        (["1x4"], ["1", "2"], None),
        (["a", "b"], ["1", "2"], None),
        (["a*", "b*"], ["a", "b"], None),
    ],
)
def test_a_template_is_suggested_only_where_it_fits_all_names(lowered, truths, suggested):
    with pytest.raises(FilterlensError) as caught:
        matched("rain", lowered, truths, Template(), Template())
    said = f"All LQ names fit the template '{suggested}'"
    assert said in str(caught.value) if suggested else "fit the template" not in str(caught.value)
    if suggested:
        found = matched("rain", lowered, truths, Template(suggested), Template())
        assert [lq for _, lq, _ in found] == lowered and {gt for *_, gt in found} == set(truths)
