# SPDX-License-Identifier: Apache-2.0
"""Checkpoints load strictly, run no code, and say what does not fit."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from filterlens.errors import FilterlensError, UsageError
from filterlens.models.architectures import build
from filterlens.models.checkpoints import load_network, save_network
from filterlens.models.identify import recognise

SMALL = {"scale": 2, "features": 8, "blocks": 2}

Weights = dict[str, Tensor]


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return build("srresnet", **SMALL)


@pytest.fixture
def weights(network: nn.Module) -> Weights:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(first: nn.Module, second: Weights) -> bool:
    state = first.state_dict()
    return list(state) == list(second) and all(torch.equal(state[name], second[name]) for name in second)


def published_srresnet(scale: int) -> Weights:
    """Zeros under the names and shapes of the published BasicSR checkpoints of MSRResNet."""
    names = {"conv_first": (64, 3)}
    names |= {f"body.{block}.conv{number}": (64, 64) for block in range(16) for number in (1, 2)}
    names |= {"upconv1": (576 if scale == 3 else 256, 64)} | ({"upconv2": (256, 64)} if scale == 4 else {})
    return filled(names | {"conv_hr": (64, 64), "conv_last": (3, 64)})


def published_srcnn(scale: int) -> Weights:
    """Zeros under the names and shapes of the reference's checkpoints of its SRCNN-style network."""
    widths = [(64, 3), (128, 64), *[(128, 128)] * 4]
    names = {f"features.{2 * index}": shape for index, shape in enumerate(widths)}
    if scale == 4:
        tail = {12: (512, 128), 15: (512, 128), 18: (128, 128), 20: (3, 128)}
    else:
        tail = {12: (128 * scale**2, 128), 15: (128, 128), 17: (3, 128)}
    return filled(names | {f"features.{index}": shape for index, shape in tail.items()})


def filled(shapes: dict[str, tuple[int, int]]) -> Weights:
    weights: Weights = {}
    for name, (out, into) in shapes.items():
        weights |= {f"{name}.weight": torch.full((out, into, 3, 3), 0.01), f"{name}.bias": torch.zeros(out)}
    return weights


PUBLISHED = {"srresnet": published_srresnet, "srcnn-style": published_srcnn}


def test_a_checkpoint_reads_back_bit_identical_with_its_card(
    tmp_path: Path, network: nn.Module, weights: Weights
) -> None:
    path = tmp_path / "folder" / "network.safetensors"
    save_network(path, network, "srresnet", SMALL, {"role": "baseline", "σ": [1, 2]})
    loaded = load_network(path)
    assert same(loaded.network, weights)
    assert (loaded.architecture, loaded.options, loaded.scale) == ("srresnet", SMALL, 2)
    assert loaded.card == {"role": "baseline", "σ": [1, 2]}
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not loaded.network.training


def test_the_header_is_json_under_the_key_filterlens(tmp_path: Path, network: nn.Module) -> None:
    save_network(tmp_path / "n.safetensors", network, "srresnet", SMALL, {"role": "target"})
    with safe_open(tmp_path / "n.safetensors", framework="pt") as file:
        header = json.loads(file.metadata()["filterlens"])
    assert set(header) == {"architecture", "options", "version", "card"}


def test_float16_storage_halves_the_file_and_loads_as_float32(tmp_path: Path, network: nn.Module) -> None:
    full, half = tmp_path / "full.safetensors", tmp_path / "half.safetensors"
    save_network(full, network, "srresnet", SMALL, {})
    save_network(half, network, "srresnet", SMALL, {}, dtype=torch.float16)
    assert half.stat().st_size < 0.65 * full.stat().st_size
    rounded = {name: value.half().float() for name, value in network.state_dict().items()}
    assert same(load_network(half).network, rounded)


def test_saving_leaves_the_network_as_it_is(tmp_path: Path, network: nn.Module, weights: Weights) -> None:
    save_network(tmp_path / "n.safetensors", network, "srresnet", SMALL, {}, dtype=torch.float16)
    assert same(network, weights)
    assert network.training


def wrapped(key: str) -> Callable[[Weights, Weights], Any]:
    return lambda good, other: {key: good}


@pytest.mark.parametrize(
    "layout",
    [
        lambda good, other: good,
        wrapped("params"),
        wrapped("params_ema"),
        wrapped("state_dict"),
        lambda good, other: {"params": other, "params_ema": good},
        lambda good, other: {f"module.{name}": value for name, value in good.items()},
        lambda good, other: OrderedDict(params=OrderedDict((f"module.{name}", v) for name, v in good.items())),
    ],
    ids=["bare", "params", "params_ema", "state_dict", "ema preferred", "module.", "ordered module."],
)
def test_foreign_pth_layouts_load(tmp_path: Path, weights: Weights, layout: Callable[[Weights, Weights], Any]) -> None:
    other = {name: value + 1 for name, value in weights.items()}
    torch.save(layout(weights, other), tmp_path / "net.pth")
    loaded = load_network(tmp_path / "net.pth")
    assert same(loaded.network, weights)
    assert (loaded.architecture, loaded.options, loaded.card) == ("srresnet", SMALL, {})


def test_a_pth_in_the_old_format_loads(tmp_path: Path, weights: Weights) -> None:
    torch.save(weights, tmp_path / "net.pth", _use_new_zipfile_serialization=False)
    assert same(load_network(tmp_path / "net.pth").network, weights)


def test_a_foreign_safetensors_without_header_loads(tmp_path: Path, weights: Weights) -> None:
    save_file(weights, tmp_path / "net.safetensors")
    assert same(load_network(tmp_path / "net.safetensors").network, weights)


@pytest.mark.parametrize("architecture", sorted(PUBLISHED))
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_published_checkpoints_are_recognised_and_load_at_every_scale(
    tmp_path: Path, architecture: str, scale: int
) -> None:
    published = PUBLISHED[architecture](scale)
    torch.save({"params": published}, tmp_path / "net.pth")
    loaded = load_network(tmp_path / "net.pth")
    assert (loaded.architecture, loaded.scale) == (architecture, scale)
    assert same(loaded.network, published)


@pytest.mark.parametrize("architecture", sorted(PUBLISHED))
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_own_networks_are_recognised_at_every_scale(architecture: str, scale: int) -> None:
    name, options = recognise(build(architecture, scale=scale).state_dict(), "net.pth")
    assert (name, options["scale"]) == (architecture, scale)


def test_naming_the_architecture_keeps_the_scale_and_the_size_that_the_shapes_say(tmp_path: Path) -> None:
    torch.save(build("srresnet", scale=4, features=8, blocks=2).state_dict(), tmp_path / "net.pth")
    loaded = load_network(tmp_path / "net.pth", architecture="srresnet")
    assert loaded.options == {"scale": 4, "features": 8, "blocks": 2}
    assert loaded.scale == 4


def test_naming_another_architecture_fails_with_the_tensors_that_do_not_fit(tmp_path: Path, weights: Weights) -> None:
    torch.save(weights, tmp_path / "net.pth")
    with pytest.raises(FilterlensError, match=r"does not fit srcnn-style: missing: features\.0\.weight"):
        load_network(tmp_path / "net.pth", architecture="srcnn-style")


def test_naming_another_scale_says_which_is_the_networks(tmp_path: Path, weights: Weights) -> None:
    torch.save(weights, tmp_path / "net.pth")
    with pytest.raises(FilterlensError, match=r"is a network of scale \d, not 3: leave the scale out"):
        load_network(tmp_path / "net.pth", scale=3)


def test_an_unknown_architecture_is_refused_with_the_nearest_name(tmp_path: Path, weights: Weights) -> None:
    torch.save(weights, tmp_path / "net.pth")
    with pytest.raises(UsageError, match=r"'srcnn'. Did you mean 'srcnn-style'"):
        load_network(tmp_path / "net.pth", architecture="srcnn")


class Malicious:
    """Touches a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("is_zip", [True, False])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int, is_zip: bool) -> None:
    marker, path = tmp_path / "executed", tmp_path / "evil.pth"
    content = {"params": {"conv_first.weight": Malicious(marker)}}
    if is_zip:
        torch.save(content, path, pickle_protocol=protocol)
    else:
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(FilterlensError, match=r"evil\.pth' holds Python objects that would run code"):
        load_network(path)
    assert not marker.exists()
    if not is_zip:
        pickle.loads(path.read_bytes())  # the trap does work
        assert marker.exists()


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused_by_name(tmp_path: Path, weights: Weights, name: str, share: float) -> None:
    path = tmp_path / name
    (save_file if name.endswith("safetensors") else torch.save)(weights, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(FilterlensError, match=rf"{name}'.*[Cc]opy it again"):
        load_network(path)


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors", "net.ckpt"])
def test_a_text_file_is_no_checkpoint(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("hello, this is text\n" * 50)
    with pytest.raises(FilterlensError, match=name):
        load_network(tmp_path / name)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(FilterlensError, match=r"none\.pth' does not exist"):
        load_network(tmp_path / "none.pth")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_refused_by_its_tensor(tmp_path: Path, weights: Weights, bad: float) -> None:
    weights["body.1.conv2.weight"][0, 0, 0, 0] = bad
    torch.save(weights, tmp_path / "net.pth")
    with pytest.raises(FilterlensError, match=r"NaN or infinity in 'body\.1\.conv2\.weight'"):
        load_network(tmp_path / "net.pth")


def test_a_checkpoint_that_does_not_fit_names_every_kind_of_problem(tmp_path: Path, weights: Weights) -> None:
    del weights["conv_hr.weight"]
    weights["extra"] = torch.zeros(1)
    weights["conv_last.bias"] = torch.zeros(4)
    torch.save(weights, tmp_path / "net.pth")
    with pytest.raises(FilterlensError) as caught:
        load_network(tmp_path / "net.pth")
    for part in ("missing: conv_hr.weight", "unexpected: extra", "conv_last.bias is (4,), not (3,)"):
        assert part in str(caught.value)


def test_a_checkpoint_of_no_known_architecture_says_what_was_found(tmp_path: Path) -> None:
    torch.save({"encoder.weight": torch.zeros(2, 3)}, tmp_path / "net.pth")
    with pytest.raises(FilterlensError, match=r"no architecture known.*srresnet.*encoder\.weight \(2, 3\)"):
        load_network(tmp_path / "net.pth")


@pytest.mark.parametrize(("content", "found"), [({"epoch": 3, "loss": 0.1}, "epoch, loss"), ([1, 2], "list")])
def test_a_file_without_weights_says_what_was_found(tmp_path: Path, content: object, found: str) -> None:
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(FilterlensError, match=f"holds no weights under a known key: found {found};"):
        load_network(tmp_path / "net.pth")


def test_an_empty_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "net.pth")
    with pytest.raises(FilterlensError, match="holds no tensors"):
        load_network(tmp_path / "net.pth")


@pytest.mark.parametrize("header", ["[1]", "{broken"])
def test_a_broken_header_is_refused(tmp_path: Path, weights: Weights, header: str) -> None:
    save_file(weights, tmp_path / "net.safetensors", metadata={"filterlens": header})
    with pytest.raises(FilterlensError, match=r"net\.safetensors' is not an intact"):
        load_network(tmp_path / "net.safetensors")


FULL_DISK = """
import resource, sys
from pathlib import Path
import torch
from filterlens.errors import FilterlensError
from filterlens.models.architectures import build
from filterlens.models.checkpoints import save_network
from filterlens.training.checkpointing import save_state
network = build("srresnet", features=8, blocks=2)
path = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))  # no file may grow above 10 kB
for write in (lambda: save_network(path, network, "srresnet", {"scale": 2}, {}),
              lambda: save_state(path, {"network": network.state_dict()})):
    try:
        write()
    except FilterlensError as error:
        print("refused:", error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the file size with POSIX's setrlimit")
def test_a_disk_that_fills_up_ends_in_a_clear_error_and_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.count("refused: Cannot write") == 2, done.stderr
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
