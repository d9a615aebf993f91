# SPDX-License-Identifier: Apache-2.0
"""Tensors in files: equal contents are equal bytes, and a disk that is full is told as such."""

import errno
import io
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from filterlens.errors import FilterlensError
from filterlens.tensors import HEADER, read_tensors, write_tensors

TENSORS = {"b": torch.arange(5), 'a"é': torch.randn(2, 3), "half": torch.zeros(3, dtype=torch.float16)}
METADATA = {f"key {number}": f'"ü"\n\x01 {number}' for number in range(9)}


def test_metadata_in_any_order_are_the_same_bytes(tmp_path):
    path, found = tmp_path / "a.safetensors", set()
    for turned in (dict, lambda pairs: dict(reversed(list(pairs)))):
        for _ in range(10):
            write_tensors(path, TENSORS, turned(METADATA.items()))
            found.add(path.read_bytes())
    assert len(found) == 1
    with safe_open(path, "pt") as file:
        assert file.metadata() == METADATA
    assert all(torch.equal(value, TENSORS[name]) for name, value in load_file(path).items())


@pytest.mark.parametrize("metadata", [{}, {"one": "text"}])
def test_where_safetensors_has_one_order_the_bytes_are_its_own(tmp_path, metadata):
    write_tensors(tmp_path / "a.safetensors", TENSORS, metadata)
    assert (tmp_path / "a.safetensors").read_bytes() == save(TENSORS, metadata or None)


def test_tensors_that_share_memory_are_each_written(tmp_path):
    weight = torch.randn(4, 2)
    write_tensors(tmp_path / "a.safetensors", {"a": weight, "b": weight, "part": weight[1:3]}, {})
    found = load_file(tmp_path / "a.safetensors")
    assert torch.equal(found["a"], weight) and torch.equal(found["b"], weight)
    assert torch.equal(found["part"], weight[1:3])


def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS, {})
    before = path.read_bytes()

    class Full(io.BytesIO):
        def write(self, content):
            raise OSError(errno.ENOSPC, "No space left on device")

    words = r"Cannot write '.*a\.safetensors': No space left on device. Free the"
    with monkeypatch.context() as patch, pytest.raises(FilterlensError, match=words):
        patch.setattr(Path, "open", lambda self, mode: Full())
        write_tensors(path, TENSORS, METADATA)
    assert path.read_bytes() == before and [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no safetensors at all",
        save({"a": torch.zeros(2)}),
        save({"a": torch.zeros(2)}, {HEADER: "{"}),
        save({"a": torch.zeros(2)}, {HEADER: "[" * 100_000}),
        save({"a": torch.zeros(2)}, {HEADER: "[1]"})[:-3],
    ],
    ids=["empty", "foreign", "no header", "no JSON", "deep", "cut off"],
)
def test_damage_is_one_line_that_names_the_file_and_the_remedy(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(
        FilterlensError, match=r"a\.safetensors' is not an intact score file \(.*\)\. Make it again\."
    ) as caught:
        read_tensors(path, "score file", "Make it again.")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
