# SPDX-License-Identifier: Apache-2.0
"""Help that a stranger understands, at once."""

import subprocess
import sys

import pytest

from filterlens.attribution.methods import METHODS
from filterlens.attribution.settings import AttributeSettings

COMMANDS = ("demo", "attribute", "mask", "report", "restore", "degrade", "train")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run, command):
    outcome = run(command, "--help")
    assert outcome.code == 0
    assert "Options:" in outcome.out and len(outcome.out.splitlines()) > 8


def test_the_overview_lists_every_command(run):
    outcome = run("--help")
    assert all(f"  {command} " in outcome.out for command in COMMANDS)


def test_version(run):
    assert run("--version").out.startswith("filterlens 0.")


@pytest.mark.parametrize(
    "code",
    [
        "import filterlens",
        "from filterlens.cli.main import main; main(['attribute', '--help'])",
        "from filterlens.cli.main import main; main(['mask', '--help'])",
    ],
)
def test_importing_and_helping_do_not_load_torch(code):
    check = f"import sys; {code}; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, check=False).returncode == 0


def test_importing_the_commands_loads_nothing_heavy():
    heavy = ("torch", "numpy", "pydantic", "matplotlib", "PIL")
    check = f"import sys; import filterlens.cli.main; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, check=False).returncode == 0


def test_help_of_attribute_names_all_methods_in_one_sentence(run):
    shown = " ".join(run("attribute", "--help").out.split()).replace("- ", "-")  # lines break after hyphens too
    listed = shown.split("--method <list[str]> ")[1].split(", or all;")[0]
    assert sorted(listed.split(", ")) == sorted(METHODS)


def test_options_of_attribute_are_the_fields_of_its_settings(run):
    shown = " ".join(run("attribute", "--help").out.split())
    for name, field in AttributeSettings.model_fields.items():
        assert f"--{name} <" in shown
        if field.default is not None:
            assert f"[default: {field.default}]" in shown
    for said in ("[default: (adaptive)]", "[default: (0.01)]", "[default: (half of what is free, at most 4)]"):
        assert said in shown
    assert "--seed <int>" in shown and "--tolerance <float>" in shown and "--quadrature <str>" in shown


def test_options_of_mask_are_the_fields_of_its_settings(run):
    shown = " ".join(run("mask", "--help").out.split())
    for said in ("--percent <list[float]>", "[default: (1 3 5 10)]", "--controls / --no-controls", "[default: 2]"):
        assert said in shown
    assert "--precision <str> fp32, bf16 or auto" in shown and "--strict Stop at the first image" in shown


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--objective", "trth"], "Unknown objective 'trth'. Did you mean 'truth'?"),
        (["--quadrature", "left", "--tolerance", "0.1"], "--tolerance is for adaptive nodes"),
        (["--seed", "-1"], "seed = -1 is not legal: a whole number from 0."),
        (["--memory", "0"], "memory in GiB = 0.0 is not legal: a number above 0."),
        (["--method", "goal-directed", "--objective", "target"], "--objective target means nothing to goal-directed."),
        (["--method", "ig", "--tolerance", "0.1"], "--tolerance 0.1 means nothing to ig."),
    ],
)
def test_settings_of_attribute_are_checked_before_anything_is_loaded(run, options, said, tmp_path):
    needed = ["--pair", "none", "--images", "none", "--degradation", "blur:2", "-o", str(tmp_path / "run")]
    outcome = run("attribute", *needed, *options)
    assert outcome.code == 2 and said in outcome.err, outcome.err
    assert not (tmp_path / "run").exists()


def test_every_public_name_exists():
    import filterlens

    for name in filterlens.__all__:
        assert getattr(filterlens, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'FIAG'"):
        _ = filterlens.FIAG
