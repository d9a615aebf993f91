# SPDX-License-Identifier: Apache-2.0
import json

from filterlens.cli.main import main
from filterlens.paper.catalogue import EXPERIMENTS


def test_without_a_name_the_experiments_are_listed(capsys):
    assert main(["paper", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["experiments"]) == list(EXPERIMENTS)


def test_a_typo_gets_the_nearest_experiment(capsys):
    assert main(["paper", "maskng"]) == 2
    assert "Did you mean 'masking'" in capsys.readouterr().err


def test_missing_data_are_named_with_the_remedy_and_exit_code_one(tmp_path, capsys):
    words = ["paper", "masking", "--recipe", "cpu", "--seeds", "1", "--data", str(tmp_path), "-o", str(tmp_path / "o")]
    assert main(words) == 1
    errors = " ".join(capsys.readouterr().err.split())
    assert "filterlens data get" in errors
    assert (tmp_path / "o" / "index.md").is_file()
