# SPDX-License-Identifier: Apache-2.0
"""A package adds a method: by its name wherever ours go, imported when it is named, recorded with its version."""

import json
import sys

import pytest
import torch

from filterlens import FilterlensError, UsageError
from filterlens.attribution.methods import METHODS, attribute_with, known_methods
from filterlens.attribution.result import load_attributions
from filterlens.cli.main import main
from tests.attribution.small_networks import make_pair, photographs
from tests.plugged import DEPTH as DEPTH_CODE
from tests.plugged import install
from tests.small_srresnet import save_small_pair

DEGRADATIONS = ["blur:1", "noise:0.1"]
DEPTH = {"methods": ["depth = filterlens_depth:Depth"]}
OURS = list(METHODS)


@pytest.fixture
def depth(tmp_path, monkeypatch):
    install(tmp_path / "site", monkeypatch, entries=DEPTH)


def test_it_stands_in_the_table_and_is_imported_only_when_named(depth, capsys):
    assert list(METHODS) == [*OURS, "depth"]
    known_methods(["faig", "random"])
    assert "filterlens_depth" not in sys.modules
    assert METHODS["depth"] == "the filter's number"
    assert capsys.readouterr().out == "imported\n"


def test_its_scores_are_those_that_its_class_computes(depth):
    _, _, pair = make_pair()
    found = attribute_with(["depth", "faig"], pair, photographs(), DEGRADATIONS)
    assert list(found) == ["depth", "faig"]
    assert torch.equal(found["depth"].of("blur:1"), torch.arange(len(pair.space), dtype=torch.float64))
    assert found["depth"].settings["package"] == "filterlens-depth 1.2"
    assert "package" not in found["faig"].settings


def test_a_run_records_the_package_and_another_version_is_another_ranking(tmp_path, monkeypatch, capsys):
    install(tmp_path / "one", monkeypatch, entries=DEPTH)
    save_small_pair(tmp_path, scale=2, features=4, blocks=1)
    images = tmp_path / "images"
    images.mkdir()
    from filterlens.data.images import write_image

    write_image(images / "a.png", torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8))
    call = ["attribute", "--baseline", tmp_path / "baseline.safetensors", "--target", tmp_path / "target.safetensors"]
    call += ["--images", images, "--degradation", "blur:1", "--degradation", "noise:0.1", "-o", tmp_path / "run"]
    call = [str(each) for each in [*call, "--method", "random", "--method", "depth", "--allow-small"]]
    assert main(call) == 0, capsys.readouterr().err
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["plugins"] == [
        {"group": "filterlens.methods", "name": "depth", "package": "filterlens-depth", "version": "1.2"}
    ]
    kept = load_attributions(tmp_path / "run" / "scores.safetensors")["depth"]
    assert torch.equal(kept.of("noise:0.1"), torch.arange(len(kept.space), dtype=torch.float32))
    assert main(call) == 0 and "this very ranking" in capsys.readouterr().err
    install(tmp_path / "two", monkeypatch, entries=DEPTH, version="1.3")
    assert main(call) == 2 and "a ranking of other settings" in capsys.readouterr().err


def test_help_lists_it_with_its_package_and_imports_nothing(depth, capsys):
    assert main(["attribute", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.endswith("From other packages: --method depth (filterlens-depth 1.2).")
    assert "filterlens_depth" not in sys.modules
    assert main(["restore", "--help"]) == 0 and "From other packages" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nowhere_at_all", "cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
        ("other = 3", "cannot be imported: AttributeError: module 'filterlens_depth' has no attribute 'Depth'"),
        ("Depth = 3", "is no subclass of filterlens.Method, but 3"),
        ("from filterlens import ImageFree\nclass Depth(ImageFree): name = 'depth'", "lacks scores_for, summary"),
        ("from filterlens import Random as Depth", "calls itself 'random'"),
    ],
)
def test_a_broken_package_is_one_line_when_it_is_named_and_stops_nothing_else(tmp_path, monkeypatch, code, said):
    install(tmp_path / "site", monkeypatch, entries=DEPTH, code=code)
    with pytest.raises(FilterlensError) as refused:
        known_methods(["faig", "depth"])
    assert str(refused.value).startswith("The method 'depth' of the package filterlens-depth 1.2 is of no use: ")
    assert said in str(refused.value) and str(refused.value).endswith("remove it: pip uninstall filterlens-depth.")
    assert "\n" not in str(refused.value)
    assert known_methods(["faig", "random"]) == ["faig", "random"]
    with pytest.raises(UsageError, match=r"Unknown method 'dept'\. Did you mean 'depth'\?"):
        known_methods("dept")
    assert main(["attribute", "--help"]) == 0


def test_a_name_of_two_packages_is_refused_with_both(tmp_path, monkeypatch):
    install(tmp_path / "one", monkeypatch, entries={"methods": ["random = filterlens_depth:Depth", *DEPTH["methods"]]})
    with pytest.raises(UsageError, match=r"'random' .* filterlens 0\.\S+ and filterlens-depth 1\.2 both have it\. Rem"):
        known_methods("random")
    assert known_methods(["faig", "depth"])
    install(tmp_path / "two", monkeypatch, package="other-depth", entries={"methods": ["depth = other_depth:Depth"]})
    with pytest.raises(UsageError, match=r"'depth' .* other-depth 1\.2 and filterlens-depth 1\.2 both have it"):
        known_methods("depth")
    assert known_methods("faig")


def test_code_of_a_package_that_fails_is_told_with_its_name(tmp_path, monkeypatch):
    install(tmp_path / "site", monkeypatch, entries=DEPTH, code=DEPTH_CODE.replace("len(self.pair.space)", "len(3)"))
    _, _, pair = make_pair()
    with pytest.raises(FilterlensError, match=r"'depth' of the package filterlens-depth 1\.2 fails: TypeError: .* len"):
        attribute_with("depth", pair, [], DEGRADATIONS)
