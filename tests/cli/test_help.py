# SPDX-License-Identifier: Apache-2.0
"""Help that a stranger understands, at once."""

import subprocess
import sys

import pytest

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
    "code", ["import filterlens", "from filterlens.cli.main import main; main(['attribute', '--help'])"]
)
def test_importing_and_helping_do_not_load_torch(code):
    check = f"import sys; {code}; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, check=False).returncode == 0


def test_every_public_name_exists():
    import filterlens

    for name in filterlens.__all__:
        assert getattr(filterlens, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'FIAG'"):
        _ = filterlens.FIAG
