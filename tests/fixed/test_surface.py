# SPDX-License-Identifier: Apache-2.0
"""What scripts build on stays: public names, their parameters and defaults, and how the reference promises them."""

import difflib
import inspect
from pathlib import Path

import pytest

import filterlens
from tests.fixed.surface import KEPT, signature, surface

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def test_names_and_signatures_are_the_kept_ones():
    kept, now = KEPT.read_text(encoding="utf-8").splitlines(), surface().splitlines()
    changes = [line for line in difflib.ndiff(kept, now) if line[0] in "+-"]
    assert not changes, (
        "the stable surface changed (- was, + is). If it is meant, say so in CHANGELOG.md, keep what was for one minor "
        "version with a DeprecationWarning, and accept it: python -m tests.fixed.surface\n" + "\n".join(changes)
    )


def test_a_signature_is_told_with_its_kinds_and_defaults():
    def told(first, second=2, *, third="x", fourth=object, **more):
        pass

    assert signature(told) == "(first, second=2, *, third='x', fourth=…, **more)"


@pytest.mark.parametrize("name", [name for name in filterlens.__all__ if name != "__version__"])
def test_every_public_name_says_in_one_line_what_it_is(name):
    first = (inspect.getdoc(getattr(filterlens, name)) or "").partition("\n")[0]
    assert 8 < len(first) <= 120 and first.endswith((".", ":"))


def test_the_reference_names_what_is_promised():
    if not REFERENCE.is_dir():
        pytest.skip("the documentation is not beside the tests (installed without a checkout)")
    promise = (REFERENCE / "stable.md").read_text(encoding="utf-8")
    for word in ("filterlens.methods", "filterlens.degradations", "semantic versioning", "DeprecationWarning"):
        assert word in promise
    assert "generated/public-names.rst" in promise
