# SPDX-License-Identifier: Apache-2.0
"""What decides a judging, and what it records."""

import pytest

from filterlens.errors import UsageError
from filterlens.evaluation.settings import MaskSettings
from filterlens.jobs.mask import _is_held_out


def test_held_out_is_decided_by_content_not_by_name():
    used = [{"name": "a", "sha256": "1"}, {"name": "b", "sha256": "2"}]
    assert _is_held_out([{"name": "a", "sha256": "3"}], used)
    assert not _is_held_out([{"name": "c", "sha256": "2"}], used)
    assert not _is_held_out([{"name": "c", "sha256": "3"}, {"name": "d", "sha256": "1"}], used)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"pictures": -1}, r"pictures = -1"),
        ({"percents": [101]}, "101 is not a percentage"),
        ({"percents": []}, r"percents = \[\]"),
        ({"percent": [1]}, r"Did you mean 'percents'"),
    ],
)
def test_settings_that_are_not_legal_are_quoted(given, words):
    with pytest.raises(UsageError, match=words):
        MaskSettings.of(given)
