# SPDX-License-Identifier: Apache-2.0
"""Damaged files, whatever the damage, load or are refused in one line; the damage is drawn from a seed."""

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from filterlens.errors import FilterlensError
from filterlens.models.architectures import build
from filterlens.models.checkpoints import load_network

OPTIONS = {
    "srresnet": {"features": 4, "blocks": 1},
    "dan": {"features": 4, "blocks": 1, "estimator_blocks": 1, "code": 2, "kernel": 3},
    "dasr": {"features": 8, "groups": 1, "blocks": 1},
    "dncnn": {"features": 4, "layers": 3},
}
ODD = (-1, 0, 10**9, 2**63, True, None, "x", "\x1b[2J", [], {}, [[]], 1.5, "9" * 300, float("nan"))

Draw = random.Random


def pickled(architecture: str, is_zip: bool) -> bytes:
    stream = io.BytesIO()
    weights = build(architecture, **OPTIONS[architecture]).state_dict()
    torch.save({"params_ema": weights, "epoch": 3}, stream, _use_new_zipfile_serialization=is_zip)
    return stream.getvalue()


def safe(architecture: str) -> bytes:
    card = {"architecture": architecture, "options": OPTIONS[architecture], "card": {"role": "target"}}
    weights = build(architecture, **OPTIONS[architecture]).state_dict()
    return save({name: each.contiguous() for name, each in weights.items()}, {"filterlens": json.dumps(card)})


def cut(data: bytes, draw: Draw) -> bytes:
    return data[: draw.randrange(len(data))]


def flipped(data: bytes, draw: Draw) -> bytes:
    changed = bytearray(data)
    places = [draw.randrange(len(data)) for _ in range(draw.choice((1, 3, 30)))]
    places += [draw.randrange(min(len(data), 2000)) for _ in range(3)]
    for place in places:
        changed[place] = draw.randrange(256)
    return bytes(changed)


def shuffled(data: bytes, draw: Draw) -> bytes:
    start, length = draw.randrange(len(data)), draw.randrange(1, 400)
    piece = data[start : start + length]
    return draw.choice(
        (data[:start] + data[start + length :], data[:start] + piece + data[start:], data + piece, piece)
    )


def header_edited(data: bytes, draw: Draw) -> bytes:
    """Change a value somewhere in the header of a safetensors file, or in the card in it."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    card = json.loads(header["__metadata__"]["filterlens"])
    if draw.random() < 0.5:
        part = draw.choice((card, card["options"], card["card"]))
        part[draw.choice([*part, "more"])] = draw.choice(ODD)
        header["__metadata__"]["filterlens"] = json.dumps(card)
    else:
        name = draw.choice([each for each in header if each != "__metadata__"])
        entry = header.pop(name)
        field = draw.choice(("name", "dtype", "shape", "data_offsets", "none"))
        if field == "shape":
            entry["shape"] = draw.choice(([], [1, *entry["shape"]], entry["shape"][::-1], [0], [2**62, 4], [-1]))
        elif field != "name":
            entry[field] = draw.choice((*ODD, "F16", "I32", "BOOL", "F64"))
        header[draw.choice((name, f"module.{name}", name[::-1], "\x1b[31m")) if field == "name" else name] = entry
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def pickle_edited(data: bytes, draw: Draw) -> bytes:
    """Change bytes of the pickle in a zip, which stays a whole zip."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(stream, "w") as after:
        for entry in before.infolist():
            content = before.read(entry)
            if entry.filename.endswith("data.pkl"):
                content = draw.choice((flipped, flipped, shuffled, cut))(content, draw)
            after.writestr(entry.filename, content)
    return stream.getvalue()


SOURCES: dict[str, tuple[Callable[[str], bytes], tuple[Callable[[bytes, Draw], bytes], ...]]] = {
    "zip": (lambda name: pickled(name, True), (cut, flipped, shuffled, pickle_edited, pickle_edited)),
    "old": (lambda name: pickled(name, False), (cut, flipped, flipped, shuffled)),
    "safetensors": (safe, (cut, flipped, shuffled, header_edited, header_edited, header_edited)),
}


def check(path: Path, seed: int) -> None:
    draw = Draw(seed)
    kind, architecture = draw.choice(list(SOURCES)), draw.choice(list(OPTIONS))
    torch.manual_seed(seed)
    source, damages = SOURCES[kind]
    path.write_bytes(draw.choice(damages)(source(architecture), draw))
    try:
        loaded = load_network(path)
    except FilterlensError as error:
        text = str(error).replace(str(path), path.name)
        assert "\n" not in text and len(text) < 900 and "weights_only=False" not in text
    else:
        assert all(bool(value.isfinite().all()) for value in loaded.network.state_dict().values())


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_checkpoint_loads_or_is_refused_in_one_line(tmp_path: Path, seed: int) -> None:
    check(tmp_path / "net.pth", seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 400))
def test_many_damaged_checkpoints_load_or_are_refused_in_one_line(tmp_path: Path, seed: int) -> None:
    check(tmp_path / "net.pth", seed)
