# SPDX-License-Identifier: Apache-2.0
"""Files that somebody damaged, on purpose or not: one line each, no traceback, no flood of memory, no endless run."""

import json
import random
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from filterlens.cli.main import main
from filterlens.data.photographs import photograph, square
from filterlens.editing.adapter import Adapter
from filterlens.models.checkpoints import save_network
from filterlens.models.one_branch import SRResNet
from filterlens.pair import ModelPair

OPTIONS = {"scale": 2, "features": 8, "blocks": 1}
RECIPE = """name = "tiny"
architecture = "srresnet"
scale = 2
patch = 16
batch = 1
network = { features = 4, blocks = 1 }
[baseline]
iterations = 1
learning_rate = 1e-4
[target]
iterations = 1
learning_rate = 1e-4
degradations = [["blur:2", 0.5]]
"""
READERS: dict[str, tuple[str, ...]] = {
    "run/run.json": ("report", "run"),
    "run/mask.json": ("report", "run"),
    "run/pictures.json": ("report", "run"),
    "run/filters.csv": ("report", "run"),
    "run/distribution.csv": ("report", "run"),
    "run/damage.csv": ("report", "run"),
    "run/networks.csv": ("report", "run"),
    "run/.filterlens-files.jsonl": ("report", "run"),
    "run/scores.safetensors": ("adapter", "export", "--run", "run", "--degradation", "blur:2", "-o", "out.safetensors"),
    "adapter.safetensors": ("adapter", "show", "adapter.safetensors"),
    "target.safetensors": ("adapter", "merge", "--base", "target.safetensors", "--adapter", "whole.safetensors=0.5",
                           "-o", "merged.safetensors"),
    "target.pth": ("adapter", "merge", "--base", "target.pth", "--adapter", "whole.safetensors=0.5", "-o", "m.pth"),
    "recipe.toml": ("train", "--recipe", "recipe.toml", "--images", "images", "-o", "trained", "--device", "cpu"),
    "images/a.png": ("degrade", "images", "lr", "--degradation", "blur:2"),
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run, an adapter, checkpoints, a recipe and an image."""
    folder = tmp_path_factory.mktemp("home")
    torch.manual_seed(0)
    baseline, target = SRResNet(**OPTIONS), SRResNet(**OPTIONS)
    for role, network in (("baseline", baseline), ("target", target)):
        save_network(folder / f"{role}.safetensors", network, "srresnet", OPTIONS, {"role": role})
    torch.save({"params_ema": target.state_dict()}, folder / "target.pth")
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "images").mkdir()
    pixels = square(photograph("astronaut"), 48, 20, 130)
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / "images" / "a.png")
    pair = ["--baseline", folder / "baseline.safetensors", "--target", folder / "target.safetensors"]
    asked = ["--images", folder / "images", "--degradation", "blur:2", "--degradation", "noise:0.1", "--nodes", 2]
    assert call("attribute", *pair, *asked, "-o", folder / "run", "--precision", "fp32") == 0
    assert call("mask", folder / "run", "--images", folder / "images", "--percent", 5, "--no-controls") == 0
    assert call("report", folder / "run") == 0
    loaded = ModelPair.load(folder / "baseline.safetensors", folder / "target.safetensors")
    scores = torch.rand(len(loaded.space))
    from filterlens.filters import Selection

    adapter = Adapter.of(loaded, [Selection.top(loaded.space, scores, 5.0, name="blur:2")])
    adapter.save(folder / "adapter.safetensors")
    shutil.copyfile(folder / "adapter.safetensors", folder / "whole.safetensors")
    return folder


def call(*arguments: object) -> int:
    return main([str(each) for each in arguments])


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def flipped(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 3, 30))):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def with_noise_inside(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content))
    return content[:place] + chance.randbytes(chance.choice((1, 8, 200))) + content[place:]


def replaced_whole(content: bytes, chance: random.Random) -> bytes:
    deep = b"[" * 100_000
    return chance.choice((b"", b"null", b"[]", b"{}", b'"x"', b"1e999", b"\x00" * 100, deep, b"\xff\xfe", content * 2))


def with_another_value(content: bytes, chance: random.Random) -> bytes:
    """Put a strange value into a random place of JSON, or a strange cell into a table, or a strange word into text."""
    strange = chance.choice(
        (None, True, -1, 0, 1e308, 10**400, "\x1b[2J", "../../etc/passwd", [], {}, "x" * 9000, [[[]]])
    )
    try:
        value = json.loads(content)
    except ValueError:
        words = content.split(b" ") if b"," not in content else content.split(b",")
        words[chance.randrange(len(words))] = str(strange)[:9000].encode()
        return (b" " if b"," not in content else b",").join(words)
    place = value
    while isinstance(place, list | dict) and place:
        key = chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if not isinstance(place[key], list | dict) or not place[key] or chance.random() < 0.3:
            if chance.random() < 0.2 and isinstance(place, dict):
                del place[key]
            else:
                place[key] = strange
            break
        place = place[key]
    return json.dumps(value).encode()


KINDS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    cut,
    flipped,
    with_noise_inside,
    replaced_whole,
    with_another_value,
)


def attempt(home: Path, folder: Path, file: str, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Damage one file of a copy of the home, and read it by the command that reads it."""
    chance = random.Random(f"{file} {seed}")
    shutil.copytree(home, folder)
    content = (folder / file).read_bytes()
    kind = KINDS[seed % len(KINDS)]
    (folder / file).write_bytes(kind(content, chance))
    words = [str(folder / word) if (home / word).exists() or word in NEW else word for word in READERS[file]]
    words = [f"{folder}/{word}" if word.startswith("whole.") else word for word in words]
    began, most = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code = call(*words)
    told = capsys.readouterr()
    what = f"{kind.__name__} of {file}, seed {seed}: {told.err[-700:]}"
    assert code in (0, 1, 2), what
    assert "This is a bug" not in told.err and "Traceback" not in told.err, what
    assert "weights_only=False" not in told.err, what
    assert not set(told.err + told.out) & set("\x1b\x07\x9b\x00"), what
    assert all(len(line) <= 520 for line in told.err.splitlines() if line.startswith("error: ")), what
    assert time.process_time() - began < 30, what
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most < 2 << 20, what  # KiB
    shutil.rmtree(folder)


NEW = ("out.safetensors", "merged.safetensors", "m.pth", "trained", "lr")


@pytest.mark.parametrize("file", list(READERS))
def test_damaged_files_are_told_in_one_line(
    home: Path, file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = 2 * list(READERS).index(file)  # so that every kind of damage comes up
    for seed in (first, first + 1):
        attempt(home, tmp_path / str(seed), file, seed, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("file", list(READERS))
def test_a_thousand_damaged_files_are_told_in_one_line(
    home: Path, file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(30, 30 + 1000 // len(READERS)):
        attempt(home, tmp_path / str(seed), file, seed, capsys)
