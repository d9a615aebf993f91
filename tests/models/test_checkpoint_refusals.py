# SPDX-License-Identifier: Apache-2.0
"""What is no checkpoint is refused by its content in one line with the remedy, before it takes memory or time."""

import argparse
import io
import json
import os
import pathlib
import pickle
import re
import shlex
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from filterlens.errors import FilterlensError, UsageError
from filterlens.models.architectures import Bounded, TooLargeError, build
from filterlens.models.checkpoints import load_network
from filterlens.models.loading import load_strictly

SMALL = {"scale": 2, "features": 8, "blocks": 2}

Weights = dict[str, Tensor]


@pytest.fixture
def weights() -> Weights:
    torch.manual_seed(0)
    return {name: value.clone() for name, value in build("srresnet", **SMALL).state_dict().items()}


def refusal(path: Path) -> str:
    with pytest.raises(FilterlensError) as caught:
        load_network(path)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 900
    assert "weights_only=False" not in text and "arbitrary code" not in text
    return text.replace(str(path), path.name)


@pytest.mark.parametrize("name", ["NET.SAFETENSORS", "net.pth", "net.bin", "net", "net.Pth"])
def test_what_a_file_is_decides_its_content_and_not_its_name(tmp_path: Path, weights: Weights, name: str) -> None:
    for write in (save_file, torch.save):
        write(weights, tmp_path / name)
        assert torch.equal(load_network(tmp_path / name).network.state_dict()["conv_hr.bias"], weights["conv_hr.bias"])
    torch.save(weights, tmp_path / "net.safetensors")
    assert load_network(tmp_path / "net.safetensors").options == SMALL


FILES = {
    "page.pth": (b"<!DOCTYPE html>\n<html>" + b"x" * 500, "is a web page: its download failed"),
    "page.safetensors": (b"\r\n  <HTML><head>" + b"x" * 500, "is a web page"),
    "pointer.safetensors": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
    "onnx.pth": (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + b"\x00\x01" * 99, "is an ONNX file"),
    "net.onnx": (b"\x08\x08\x32\x07" + b"\x00\x01" * 99, "is an ONNX file"),
    "empty.pth": (b"", "is empty. Copy it again"),
    "empty.safetensors": (b"", "is empty. Copy it again"),
    "short.pth": (b"404: Not Found", "no checkpoint, or only the first 14 bytes of one"),
    "index.json": (b'{"weight_map": {"a": "model-1.safetensors"}}', "is JSON text"),
    "text.pth": (b"hello, this is text\n" * 50, "is text, not a checkpoint"),
    "picture.pth": (b"\x89PNG\r\n\x1a\n" + b"\x01" * 99, "is an image"),
    "packed.pth": (b"\x1f\x8b\x08\x00" + b"\x01" * 99, "is compressed by gzip. Unpack it"),
    "keras.pth": (b"\x89HDF\r\n\x1a\n" + b"\x01" * 99, "is an HDF5 file"),
    "llm.pth": (b"GGUF\x03\x00\x00\x00" + b"\x01" * 99, "is a quantised GGUF file"),
    "zeros.pth": (bytes(4000), "is no checkpoint: neither safetensors nor"),
}


@pytest.mark.parametrize("name", FILES)
def test_other_files_are_named_with_the_remedy(tmp_path: Path, name: str) -> None:
    content, part = FILES[name]
    (tmp_path / name).write_bytes(content)
    text = refusal(tmp_path / name)
    assert f"'{name}' {part}" in text or part in text
    assert "would run code" not in text and len(text) < 200


def test_zips_of_other_things_are_named(tmp_path: Path, weights: Weights) -> None:
    save_file(weights, tmp_path / "net.safetensors")
    for name, inside in {"a.pth": "notes/readme.txt", "b.pth": "deep/net.safetensors"}.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.write(tmp_path / "net.safetensors", inside)
    assert "a zip archive without weights of PyTorch (it holds notes/readme.txt)" in refusal(tmp_path / "a.pth")
    assert "Unpack it and give 'deep/net.safetensors'" in refusal(tmp_path / "b.pth")
    np.savez(tmp_path / "c.npz", a=np.zeros(3))
    assert "(it holds a.npy)" in refusal(tmp_path / "c.npz")


def test_a_program_of_torchscript_is_called_one(tmp_path: Path) -> None:
    torch.jit.trace(nn.Conv2d(3, 3, 3), torch.rand(1, 3, 8, 8)).save(str(tmp_path / "net.pt"))
    text = refusal(tmp_path / "net.pt")
    assert "is a program of TorchScript" in text and "copy it again" not in text.lower()


def test_folders_devices_pipes_and_loops_are_no_checkpoints(tmp_path: Path, weights: Weights) -> None:
    (tmp_path / "folder").mkdir()
    save_file(weights, tmp_path / "folder" / "model.safetensors")
    assert "Give a file, for example 'folder/model.safetensors'" in refusal(tmp_path / "folder")
    assert "is a device, pipe or socket" in refusal(Path(os.devnull))
    os.mkfifo(tmp_path / "pipe")
    assert "is a device, pipe or socket" in refusal(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "Cannot read checkpoint" in refusal(tmp_path / "loop")
    assert "Cannot read checkpoint" in refusal(Path("x" * 300))
    assert "Cannot read checkpoint" in refusal(Path("a\0b"))


OBJECTS: dict[str, Any] = {
    "argparse.Namespace": argparse.Namespace(lr=1e-4, layers=[1, 2]),
    "numpy.dtype": np.float64(31.5),
    "pathlib.PosixPath": pathlib.PurePosixPath("x") and pathlib.Path("x"),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_the_line_that_converts_a_file_with_plain_objects_runs_and_its_result_loads(
    tmp_path: Path, weights: Weights, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": weights, "epoch": 3, "more": OBJECTS[name]}, "net.ckpt")
    text = refusal(Path("net.ckpt"))
    assert name in text and "would run code" in text and len(text) < 500
    line = re.search(r'python -c ".*"', text)
    assert line is not None
    subprocess.run([sys.executable, *shlex.split(line[0])[1:]], check=True, capture_output=True)
    assert torch.equal(load_network("weights.pth").network.state_dict()["conv_hr.bias"], weights["conv_hr.bias"])


class Own:
    """A class of the user's."""


@pytest.mark.parametrize("thing", [Own(), nn.Conv2d(3, 3, 3), slice(3), np.zeros(3).tolist, torch.save])
def test_other_objects_are_refused_by_name_with_the_remedy(tmp_path: Path, weights: Weights, thing: object) -> None:
    torch.save({"state_dict": weights, "more": thing}, tmp_path / "net.pth")
    text = refusal(tmp_path / "net.pth")
    assert "holds Python objects that would run code" in text
    assert "torch.save(model.state_dict(), 'weights.pth')" in text


def test_another_pickle_protocol_is_called_that(tmp_path: Path, weights: Weights) -> None:
    torch.save(weights, tmp_path / "net.pth", pickle_protocol=4)
    text = refusal(tmp_path / "net.pth")
    assert "written in pickle protocol 4" in text and "Python objects" not in text


def as_bool(value: Tensor) -> Tensor:
    return value > 0


def quantised(value: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its end in later versions of PyTorch
        return torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)


KINDS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "bool": (as_bool, "holds truth values (bool) in 'conv_"),
    "int8": (lambda value: (100 * value).to(torch.int8), "holds whole numbers (int8) in 'conv_"),
    "int64": (lambda value: (100 * value).long(), "holds whole numbers (int64) in 'conv_"),
    "uint8": (lambda value: (100 * value.abs()).to(torch.uint8), "holds whole numbers (uint8) in 'conv_"),
    "complex": (lambda value: torch.complex(value, value), "holds complex numbers (complex64) in 'conv_"),
    "quantised": (quantised, "is quantised. Take the weights from before"),
    "sparse": (Tensor.to_sparse, "is sparse"),
    "meta": (lambda value: value.to("meta"), "is without numbers"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 100])
def test_weights_that_are_no_floating_point_numbers_are_refused(
    tmp_path: Path, weights: Weights, kind: str, count: int
) -> None:
    change, part = KINDS[kind]
    names = [name for name in weights if name.startswith("conv_hr.w") or count > 1]
    torch.save(weights | {name: change(weights[name]) for name in names}, tmp_path / "net.pth")
    text = refusal(tmp_path / "net.pth")
    assert part in text and "'net.pth'" in text


class Counting(nn.Module):
    """Has whole numbers and truth values for good reasons."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.register_buffer("index", torch.arange(5))
        self.register_buffer("mask", torch.tensor([True, False]))


def test_counters_indices_and_masks_stay_whole_numbers_and_truth_values() -> None:
    network = Counting()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    load_strictly(network, state, "net.pth", "Counting")
    load_strictly(network, state | {"index": state["index"].float()}, "net.pth", "Counting")
    for broken in ({"index": torch.full((5,), 0.5)}, {"mask": torch.tensor([0.5, 0.0])}, {"index": torch.ones(5) * 1j}):
        with pytest.raises(FilterlensError, match=r"where (whole numbers|truth values) belong"):
            load_strictly(network, state | broken, "net.pth", "Counting")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_numbers_that_are_none_are_refused_in_every_precision(
    tmp_path: Path, weights: Weights, bad: float, kind: torch.dtype
) -> None:
    weights["conv_last.bias"][1] = bad
    torch.save({name: value.to(kind) for name, value in weights.items()}, tmp_path / "net.pth")
    assert "NaN or infinity in 'conv_last.bias'" in refusal(tmp_path / "net.pth")


OPTIONS = {
    "blocks": [-1, 0, 10**7, True, "2", None, 2.5, float("inf"), [2]],
    "features": [0, 10**9, -8, float("nan"), {}, 10**100],
    "scale": ["2", [2], 2.0, 7, -1, 10**40, None],
}


@pytest.mark.parametrize(
    ("option", "value"), [(name, value) for name, values in OPTIONS.items() for value in values], ids=str
)
def test_a_card_with_options_that_no_network_has_is_refused_with_the_value(
    tmp_path: Path, weights: Weights, option: str, value: object
) -> None:
    card = {"architecture": "srresnet", "options": SMALL | {option: value}}
    save_file(weights, tmp_path / "net.safetensors", metadata={"filterlens": json.dumps(card)})
    text = refusal(tmp_path / "net.safetensors")
    assert f"{option} = {str(value)[:60]} is not legal" in text or f"Scale {value} is not legal" in text


@pytest.mark.parametrize(
    "more", [{"features": 9999}, {"blocks": 999, "features": 500}, {"features": 4000, "blocks": 1}]
)
def test_a_card_that_promises_more_than_the_file_holds_is_refused_before_that_is_built(
    tmp_path: Path, weights: Weights, more: dict[str, int]
) -> None:
    card = {"architecture": "srresnet", "options": SMALL | more}
    save_file(weights, tmp_path / "net.safetensors", metadata={"filterlens": json.dumps(card)})
    assert "far more numbers or layers than the file holds" in refusal(tmp_path / "net.safetensors")


@pytest.mark.parametrize("options", [{"blocks": -1}, {"features": 10**9}, {"blocks": True}, {"features": "64"}])
def test_options_that_are_not_legal_are_refused_when_building(options: dict[str, Any]) -> None:
    (name, value), *_ = options.items()
    with pytest.raises(UsageError, match=f"{name} = {value} is not legal for srresnet"):
        build("srresnet", **options)


def test_a_network_beyond_the_memory_is_refused_before_it_takes_any() -> None:
    with pytest.raises(TooLargeError, match="this machine has memory for"):
        build("srresnet", features=10_000, blocks=1000)


def test_bounds_count_numbers_and_tensors() -> None:
    with Bounded(100, 3, "given"):
        nn.Linear(9, 10)
        with pytest.raises(TooLargeError, match="than given"):
            torch.empty((2, 50))
    with Bounded(100, 1, "given"), pytest.raises(TooLargeError):
        nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("[" * 100_000, "recursion"),
        ('{"card":' * 50_000, "recursion"),
        ("[1]", "no JSON object"),
        ("5", "no JSON object"),
        ('{"options": [1]}', "options is '[1]'"),
        ('{"card": 5}', "card is '5'"),
        ('{"architecture": 3}', "architecture is '3'"),
        ('{"architecture": ["x"]}', "architecture is"),
        (f'{{"architecture": "{"x" * 9000}"}}', "Unknown architecture 'xxx"),
        ('{"architecture": "\\u001b[2J:b"}', "imports nothing"),
        (f'{{"architecture": "a:{"b" * 9000}"}}', "imports nothing"),
        ('{"architecture": "srresnet", "options": {"blocks": 1' + "0" * 5000 + "}}", "digits"),
    ],
    ids=range(12),
)
def test_malformed_cards_end_in_one_line(tmp_path: Path, weights: Weights, header: str, part: str) -> None:
    save_file(weights, tmp_path / "net.safetensors", metadata={"filterlens": header})
    assert part in refusal(tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":' * 9999 + b"1" + b"}" * 9999,
        b'{"a":{"dtype":"F32","shape":[100000,100000],"data_offsets":[0,40000000000]}}',
        b'{"a":{"dtype":"X","shape":[1],"data_offsets":[0,4]}}' + b"1234",
        b'{"__metadata__":{"filterlens":5}}',
        b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}1234',
    ],
)
@pytest.mark.parametrize("length", [None, 2**38, 3])
def test_malformed_headers_of_safetensors_end_in_one_line(tmp_path: Path, header: bytes, length: int | None) -> None:
    end = header.rindex(b"}") + 1
    (tmp_path / "n.safetensors").write_bytes(struct.pack("<Q", end if length is None else length) + header)
    text = refusal(tmp_path / "n.safetensors")
    assert "not an intact safetensors file" in text and len(text) < 400


def test_names_of_tensors_are_cut(tmp_path: Path, weights: Weights) -> None:
    for more in ({"z" * 9000: torch.ones(1)}, {f"{'z' * 900}{place}": torch.ones(1) for place in range(20)}):
        save_file(weights | more, tmp_path / "net.safetensors")
        assert "unexpected: zzz" in refusal(tmp_path / "net.safetensors")
    save_file({"z" * 9000 + name: value for name, value in weights.items()}, tmp_path / "net.safetensors")
    assert "of no architecture known here" in refusal(tmp_path / "net.safetensors")


def packed(content: Any, change: Callable[[str, bytes], bytes], path: Path, how: int = zipfile.ZIP_STORED) -> None:
    """Write a checkpoint with entries of its zip changed."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with zipfile.ZipFile(buffer) as before, zipfile.ZipFile(path, "w", how) as after:
        for entry in before.infolist():
            after.writestr(entry.filename, change(entry.filename.split("/", 1)[1], before.read(entry)))


PEAK = """
import resource, sys
from filterlens.errors import FilterlensError
from filterlens.models.checkpoints import load_network
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load_network(sys.argv[1])
except FilterlensError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""


def peak(path: Path) -> tuple[int, str]:
    """Return the kB of memory that refusing a file takes, and the refusal."""
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    number, _, text = done.stdout.partition(" ")
    return int(number), text


def test_what_unpacks_to_far_more_than_its_size_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    zeros = bytes(140 * 10**6)
    packed({"a": torch.zeros(3)}, lambda name, data: zeros if name == "data/0" else data, tmp_path / "b.pth", 8)
    memory, text = peak(tmp_path / "b.pth")
    assert "would unpack to 0.1 GB, as no weights do" in text
    assert memory < 50_000


def test_a_compressed_checkpoint_of_ordinary_size_loads(tmp_path: Path, weights: Weights) -> None:
    packed(weights, lambda name, data: data, tmp_path / "net.pth", zipfile.ZIP_DEFLATED)
    assert load_network(tmp_path / "net.pth").options == SMALL


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickle_that_says_it_holds_more_than_the_file_is_refused_before_that_is_taken(
    tmp_path: Path, is_zip: bool
) -> None:
    few, many = b"K\x0a", b"J\x00\x00\x00\x40"  # ten numbers, and 1,073,741,824
    if is_zip:
        packed({"a": torch.zeros(10)}, lambda name, data: data.replace(few, many), tmp_path / "net.pth")
    else:
        torch.save({"a": torch.zeros(10)}, tmp_path / "net.pth", _use_new_zipfile_serialization=False)
        path = tmp_path / "net.pth"
        path.write_bytes(path.read_bytes().replace(few, many))
    memory, text = peak(tmp_path / "net.pth")
    assert "1.07e+09 numbers, more than the file has bytes" in text
    assert memory < 50_000


def test_numbers_that_all_lie_in_one_place_are_counted(tmp_path: Path, weights: Weights) -> None:
    weights |= {"conv_first.weight": torch.zeros(1).half().expand(10**6, 3, 3, 3)}
    torch.save(weights, tmp_path / "net.pth")
    assert "more than its bytes can be" in refusal(tmp_path / "net.pth")


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_the_largest_file_is_a_setting(
    tmp_path: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / f"net.{kind}"
    (save_file if kind == "safetensors" else torch.save)(weights, path)
    monkeypatch.setenv("FILTERLENS_MAX_CHECKPOINT_GB", "0.00001")
    assert "more than 1e-05. If you trust it and have the memory: FILTERLENS_MAX_CHECKPOINT_GB=1" in refusal(path)
    monkeypatch.setenv("FILTERLENS_MAX_CHECKPOINT_GB", "1")
    assert load_network(path).options == SMALL
    for wrong in ("x", "-1", "nan", "inf"):
        monkeypatch.setenv("FILTERLENS_MAX_CHECKPOINT_GB", wrong)
        assert f"FILTERLENS_MAX_CHECKPOINT_GB={wrong} is no number of GB" in refusal(path)


def test_a_large_sparse_file_is_refused_by_its_size(tmp_path: Path) -> None:
    with (tmp_path / "net.safetensors").open("wb") as stream:
        stream.write(struct.pack("<Q", 2) + b"{}")
        stream.truncate(10**12)
    assert "has 1000.0 GB, more than 16" in refusal(tmp_path / "net.safetensors")


DEEP = {
    "lists": b"]" * 50_000 + b"a" * 49_999,
    "tuples": b")" + b"\x85" * 50_000,
    "dictionaries": b"}" + b"U\x01a}" * 50_000 + b"s" * 50_000,
}


@pytest.mark.parametrize("kind", DEEP)
def test_deeply_nested_pickles_end_in_one_line(tmp_path: Path, kind: str) -> None:
    nested = b"\x80\x02" + DEEP[kind] + b"."
    packed({"a": torch.zeros(1)}, lambda name, data: nested if name == "data.pkl" else data, tmp_path / "net.pth")
    assert "holds no weights" in refusal(tmp_path / "net.pth")
    (tmp_path / "old.pth").write_bytes(nested)
    assert "cut short or damaged" in refusal(tmp_path / "old.pth")


def test_a_pickle_that_was_not_written_by_torch_is_refused(tmp_path: Path, weights: Weights) -> None:
    for protocol in (2, 4, 5):
        for content in (weights, {name: value.numpy() for name, value in weights.items()}):
            (tmp_path / "net.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
            assert "torch.save(model.state_dict(), 'weights.pth')" in refusal(tmp_path / "net.pkl")


@pytest.mark.parametrize("content", [5, None, "text", (1, 2), [torch.ones(3)], {"a": [torch.ones(3)]}, {1: {2: 3}}])
def test_content_without_named_tensors_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "net.pth")
    assert "holds no weights under a known key: found" in refusal(tmp_path / "net.pth")
