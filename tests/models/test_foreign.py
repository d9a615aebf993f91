# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of other people's architectures load, and compute what they compute elsewhere."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file

from filterlens import FilterlensError, FilterSpace, load_network
from filterlens.execution.torchvision_stand_in import torchvision_or_stand_in
from filterlens.models import foreign
from filterlens.models.any_image import padded
from filterlens.models.architectures import build
from filterlens.models.checkpoints import save_network
from tests.models.foreign_networks import SCALES, SMALL, network_of, write_pair

with_spandrel = pytest.mark.skipif(not foreign.is_installed(), reason="the extra 'archs' (spandrel) is not installed")
pytestmark = pytest.mark.filterwarnings(
    "ignore:torch.meshgrid", "ignore:Initializing zero-element", "ignore:'saved_variables'"
)


@pytest.fixture
def unrecognised(tmp_path: Path) -> Path:
    path = tmp_path / "own.safetensors"
    save_file({"mine.weight": torch.rand(3, 3, 3, 3)}, path)
    return path


@with_spandrel
@pytest.mark.parametrize("name", SMALL)
def test_a_checkpoint_computes_what_spandrel_computes(name: str, tmp_path: Path) -> None:
    """The oracle is spandrel's own call on images of legal size; others are padded as it pads them."""
    path, _ = write_pair(name, tmp_path)
    loaded = load_network(path)
    assert (loaded.architecture, loaded.scale) == (f"spandrel:{name}", SCALES.get(name, 2))
    descriptor = foreign.spandrel().ModelLoader().load_from_file(path)
    x = torch.rand(1, 3, 21, 30, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        y = loaded.network(x)
        channels = x.split(descriptor.input_channels, 1)
        expected = torch.cat([descriptor.eval()(channel) for channel in channels], 1)
    assert y.shape == (1, 3, 21 * loaded.scale, 30 * loaded.scale)
    torch.testing.assert_close(y.clamp(0, 1), expected, rtol=1e-4, atol=5e-5)


@with_spandrel
@pytest.mark.parametrize("name", SMALL)
def test_every_trained_weight_gets_a_gradient_or_is_named(name: str, tmp_path: Path) -> None:
    network = load_network(write_pair(name, tmp_path)[0]).network
    network(torch.rand(1, 3, 20, 20)).square().sum().backward()
    space = FilterSpace(network)
    without = {layer.parameter for layer in space.layers if network.get_parameter(layer.parameter).grad is None}
    assert not without
    others = {name for name, each in network.named_parameters() if each.ndim > 1} - {x.parameter for x in space.layers}
    assert others <= set(space.left_out)


@with_spandrel
def test_a_trained_copy_of_a_foreign_network_is_read_again(tmp_path: Path) -> None:
    first = load_network(write_pair("SwinIR", tmp_path)[0])
    save_network(tmp_path / "copy.safetensors", first.network, first.architecture, first.options, {"role": "target"})
    again = load_network(tmp_path / "copy.safetensors")
    assert (again.architecture, again.options, again.card) == (first.architecture, first.options, {"role": "target"})
    assert all(torch.equal(again.network.state_dict()[name], each) for name, each in first.network.state_dict().items())


@with_spandrel
def test_filterlens_own_networks_are_recognised_first(tmp_path: Path) -> None:
    save_file(build("srresnet", features=8, blocks=2).state_dict(), tmp_path / "net.safetensors")
    assert load_network(tmp_path / "net.safetensors").architecture == "srresnet"


@with_spandrel
def test_weights_that_only_look_like_an_architecture_are_refused(tmp_path: Path) -> None:
    weights = {name: each for name, each in network_of("SwinIR").state_dict().items() if "mlp.fc2" not in name}
    save_file(weights, tmp_path / "net.safetensors")
    with pytest.raises(FilterlensError, match=r"looks like an architecture of spandrel but does not fit.*factory"):
        load_network(tmp_path / "net.safetensors")


@with_spandrel
def test_weights_that_nobody_knows_are_refused_with_the_way_out(unrecognised: Path) -> None:
    with pytest.raises(
        FilterlensError, match=r"no architecture known here.*Nor does spandrel.*package\.module:factory"
    ):
        load_network(unrecognised)


@with_spandrel
def test_nan_the_wrong_scale_and_the_wrong_architecture_are_refused(tmp_path: Path) -> None:
    path, _ = write_pair("Compact", tmp_path)
    with pytest.raises(FilterlensError, match="scale 1, not 2"):
        load_network(path, scale=2)
    with pytest.raises(FilterlensError, match=r"is spandrel:Compact, not spandrel:SwinIR"):
        load_network(path, "spandrel:SwinIR")
    network = network_of("Compact")
    with torch.no_grad():
        next(network.parameters())[0, 0, 0, 0] = torch.nan
    save_file(network.state_dict(), path)
    with pytest.raises(FilterlensError, match="holds NaN"):
        load_network(path)


@with_spandrel
@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".pt"])
def test_a_crafted_pickle_is_refused_and_not_run(tmp_path: Path, suffix: str) -> None:
    class Malicious:
        def __reduce__(self):
            return Path.mkdir, (tmp_path / "executed",)

    path = tmp_path / f"evil{suffix}"
    torch.save({"params_ema": network_of("Compact").state_dict() | {"more": Malicious()}}, path)
    with pytest.raises(FilterlensError, match="would run code when loaded"):
        load_network(path)
    assert not (tmp_path / "executed").exists()


def test_without_spandrel_the_error_names_the_extra(unrecognised: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filterlens.models.identify.is_installed", lambda: False)
    with pytest.raises(FilterlensError, match=r'no architecture known here.*pip install "filterlens\[archs\]"'):
        load_network(unrecognised)
    with pytest.raises(FilterlensError, match=r'spandrel:SwinIR\. To read it: pip install "filterlens\[archs\]"'):
        load_network(unrecognised, "spandrel:SwinIR")


def test_a_broken_spandrel_is_one_line(unrecognised: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spandrel").mkdir()
    (tmp_path / "spandrel" / "__init__.py").write_text("raise OSError('libfoo is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("filterlens.models.identify.is_installed", lambda: True)
    monkeypatch.setattr(foreign, "spandrel", foreign.spandrel.__wrapped__)
    for name in [each for each in sys.modules if each.partition(".")[0] == "spandrel"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(FilterlensError, match=r"spandrel cannot be imported \(libfoo is missing\)"):
        load_network(unrecognised)


def fake_torchvision(folder: Path, content: str) -> None:
    package = folder / "torchvision" / "transforms"
    package.mkdir(parents=True)
    (folder / "torchvision" / "__init__.py").write_text("from torchvision import ops\n" if "raise" in content else "")
    (folder / "torchvision" / "ops.py").write_text(content)
    (package / "__init__.py").write_text("")
    (package / "functional.py").write_text("WHOSE = 'its own'")


@pytest.fixture
def _no_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)


def names_of_torchvision() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == "torchvision"]


@pytest.mark.usefixtures("_no_torchvision")
def test_absent_or_broken_torchvision_is_stood_in_for_and_then_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_torchvision(tmp_path, "raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    with torchvision_or_stand_in():
        from torchvision.transforms.functional import InterpolationMode, normalize, rotate

        assert InterpolationMode.BILINEAR.value == "bilinear"
    x = torch.rand(2, 3, 4, 5)
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 2.0]
    expected = torch.stack([(x[:, c] - mean[c]) / std[c] for c in range(3)], 1)
    torch.testing.assert_close(normalize(x, mean, std), expected)
    with pytest.raises(NotImplementedError):
        rotate(x, 5)
    assert names_of_torchvision() == []
    with pytest.raises(RuntimeError, match="nms"):
        importlib.import_module("torchvision")


@pytest.mark.usefixtures("_no_torchvision")
def test_a_working_torchvision_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_torchvision(tmp_path, "")
    monkeypatch.syspath_prepend(tmp_path)
    with torchvision_or_stand_in():
        functional: ModuleType = importlib.import_module("torchvision.transforms.functional")
    for name in names_of_torchvision():  # not by monkeypatch, which would put the fake back for the tests that follow
        del sys.modules[name]
    assert functional.WHOSE == "its own"


@pytest.mark.usefixtures("_no_torchvision")
def test_the_stand_in_leaves_also_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)  # as if it were not installed
    with pytest.raises(KeyError), torchvision_or_stand_in():
        raise KeyError
    assert sys.modules["torchvision"] is None
    assert names_of_torchvision() == ["torchvision"]


def test_metrics_do_not_notice_a_broken_torchvision(tmp_path: Path) -> None:
    """torchmetrics asks for the installed package, not whether it works."""
    fake_torchvision(tmp_path, "raise RuntimeError('operator torchvision::nms does not exist')")
    (tmp_path / "torchvision-0.28.0.dist-info").mkdir()
    (tmp_path / "torchvision-0.28.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n"
    )
    code = """
import sys
import torch
from filterlens.diagnosis.classification_metrics import area_under_roc
from filterlens.metrics import psnr, ssim
x = torch.rand(1, 3, 24, 24)
area = area_under_roc(torch.tensor([0.1, 0.9]), torch.tensor([0, 1]))
print(float(psnr(x, x, crop=0)), float(ssim(x, x, crop=0)), area)
print([name for name in sys.modules if name.startswith("torchvision")])
import torchmetrics.utilities.imports as imports
print(bool(imports._TORCHVISION_AVAILABLE))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split("\n") == ["inf 1.0 1.0", "[]", "True", ""], done.stderr


@with_spandrel
def test_padding_is_that_of_spandrel() -> None:
    foreign.spandrel()
    helpers = importlib.import_module("spandrel.__helpers.size_req")
    for size in ((5, 9), (17, 3), (1, 16)):
        x = torch.rand(1, 3, *size)
        _, expected = helpers.pad_tensor(x, helpers.SizeRequirements(minimum=16, multiple_of=8))
        assert torch.equal(padded(x, *expected.shape[-2:]), expected)


@with_spandrel
@pytest.mark.parametrize("name", ["ESRGAN", "SwinIR"])
def test_averages_and_prefixes_of_foreign_networks_are_found_and_said(name: str, tmp_path: Path) -> None:
    weights = {key: value.clone() for key, value in network_of(name).state_dict().items()}
    other = {key: value + 1 if value.is_floating_point() else value for key, value in weights.items()}
    prefixed = {f"module.{key}": value for key, value in weights.items()}
    torch.save({"params": other, "params-ema": prefixed}, tmp_path / "net.pth")
    loaded = load_network(tmp_path / "net.pth")
    assert all(torch.equal(value, weights[key]) for key, value in loaded.network.state_dict().items())
    assert loaded.notes == (
        "took the moving average 'params-ema.module', not 'params'",
        "took 'module.' off the names of the weights",
    )


@with_spandrel
def test_foreign_weights_of_other_numbers_or_of_far_too_large_a_network_are_refused(tmp_path: Path) -> None:
    weights = network_of("SwinIR").state_dict()
    whole = {
        key: (100 * value).to(torch.int8) if value.is_floating_point() else value for key, value in weights.items()
    }
    torch.save(whole, tmp_path / "net.pth")
    with pytest.raises(FilterlensError, match=r"holds whole numbers \(int8\) in"):
        load_network(tmp_path / "net.pth")
    wide = torch.zeros(1).expand(40_000, *weights["conv_first.weight"].shape[1:])
    torch.save(weights | {"conv_first.weight": wide}, tmp_path / "net.pth")
    with pytest.raises(FilterlensError, match="far more numbers or layers than the file holds"):
        load_network(tmp_path / "net.pth")
