# SPDX-License-Identifier: Apache-2.0
import pytest

from filterlens.paper.run import _command


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("paper all --recipe cpu --seeds 2 -o out --data /a/b", "filterlens paper masking --recipe cpu --seeds 2"),
        ("paper masking --judge /home/me/photos", "filterlens paper masking --judge DIR"),
        ("paper masking", "filterlens paper masking"),
    ],
)
def test_the_command_on_a_page_decides_the_numbers_and_names_no_place(monkeypatch, words, command):
    monkeypatch.setattr("sys.argv", ["filterlens", *words.split()])
    assert _command("masking") == command
