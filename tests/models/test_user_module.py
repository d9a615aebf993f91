# SPDX-License-Identifier: Apache-2.0
"""Networks of the user's own code: imported only if the user named it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from filterlens import FilterlensError, ModelPair, UsageError, load_network
from filterlens.models.checkpoints import save_network
from filterlens.models.user_module import Factory, is_factory

CODE = """
from torch import nn
from pathlib import Path

Path(__file__).with_name("imported").touch()

class Small(nn.Module):
    def __init__(self, features=4, factor=2):
        super().__init__()
        self.factor = factor
        self.down = nn.Conv2d(3, features, 4, stride=4)
        self.up = nn.ConvTranspose2d(features, 3, 4 * factor, stride=4 * factor)

    def forward(self, x):
        return self.up(self.down(x))

class Zoo:
    build = Small

def fails():
    raise ValueError("no disk")

def no_network():
    return 5

SETTING = 7
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_networks.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_networks", raising=False)
    for role, seed in (("baseline", 0), ("target", 1)):
        torch.manual_seed(seed)
        network = Factory.parse("own_networks:Small").build()
        save_file(network.state_dict(), tmp_path / f"{role}.safetensors")
    sys.modules.pop("own_networks")
    (tmp_path / "imported").unlink()
    return tmp_path


@pytest.mark.parametrize("name", ["own_networks:Small", "own_networks:Zoo.build", "own_networks:Small,features=4"])
def test_a_named_factory_builds_the_network(folder: Path, name: str) -> None:
    loaded = load_network(folder / "target.safetensors", name)
    assert (loaded.architecture, loaded.scale) == (name, 2)
    assert loaded.network(torch.rand(1, 3, 13, 22)).shape == (1, 3, 26, 44)  # multiples of 4 were found out


def test_options_reach_the_factory_and_pairs_record_it(folder: Path) -> None:
    name = "own_networks:Small,features=4,factor=2"
    pair = ModelPair.load(folder / "baseline.safetensors", folder / "target.safetensors", architecture=name)
    assert pair.facts["architecture"] == name
    assert pair.facts["options"] == {"features": 4, "factor": 2, "scale": 2}
    with pytest.raises(FilterlensError, match=r"does not fit 'own_networks:Small': of another shape: down\.weight"):
        load_network(folder / "target.safetensors", "own_networks:Small,features=5")


def test_the_code_that_a_file_names_is_not_imported_unless_the_user_names_it(folder: Path) -> None:
    network, path = Factory.parse("own_networks:Small").build(), folder / "sent.safetensors"
    save_network(path, network, "own_networks:Small", {"scale": 2}, {})
    sys.modules.pop("own_networks")
    (folder / "imported").unlink()
    for asked in (None, "srresnet", "other:thing"):
        with pytest.raises(FilterlensError, match=r"imports nothing that you did not name.*own_networks:Small"):
            load_network(path, asked)
    assert "own_networks" not in sys.modules
    assert not (folder / "imported").exists()
    assert load_network(path, "own_networks:Small").scale == 2


def test_averages_and_prefixes_fit_own_code_too(folder: Path) -> None:
    weights = Factory.parse("own_networks:Small").build().state_dict()
    other = {name: value + 1 for name, value in weights.items()}
    torch.save({"net": other, "net_ema": {f"_orig_mod.{name}": v for name, v in weights.items()}}, folder / "net.ckpt")
    loaded = load_network(folder / "net.ckpt", "own_networks:Small")
    assert all(torch.equal(value, weights[name]) for name, value in loaded.network.state_dict().items())
    assert "took the moving average 'net_ema._orig_mod', not 'net'" in loaded.notes


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("own_netwroks:Small", UsageError, "no module 'own_netwroks'.*PYTHONPATH"),
        ("own_networks:Smal", UsageError, "Unknown name in 'own_networks' 'Smal'. Did you mean 'Small'"),
        ("own_networks:SETTING", UsageError, "is int, not a class or function"),
        ("own_networks:fails", FilterlensError, "'own_networks:fails' failed: ValueError: no disk"),
        ("own_networks:no_network", FilterlensError, "returned int, not a torch.nn.Module"),
        ("own_networks:Small,colour=1", FilterlensError, "failed: TypeError.*colour"),
        ("own networks:Small", UsageError, "names no factory; it looks like"),
    ],
)
def test_mistakes_say_what_is_right(folder: Path, name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_network(folder / "target.safetensors", name)


def test_options_are_read_as_json_or_text() -> None:
    factory = Factory.parse("a.b:c.d,n=3,rate=0.5,on=true,off=null,act=relu")
    assert (factory.module, factory.factory) == ("a.b", "c.d")
    assert factory.options == {"n": 3, "rate": 0.5, "on": True, "off": None, "act": "relu"}
    assert not is_factory("srresnet")
    assert not is_factory("spandrel:SwinIR")
    assert not is_factory(None)


WORKING_FOLDER = """
import subprocess
import sys
sys.path[:] = [each for each in sys.path if each not in ("", ".")]
from filterlens.errors import FilterlensError
from filterlens.models.user_module import Factory
try:
    network = Factory.parse(sys.argv[1]).build()
    print("built", type(network).__name__)
except FilterlensError as error:
    print(type(error).__name__, error)
import json, numpy, torch
try:
    import neighbour
    print("neighbour is importable")
except ModuleNotFoundError:
    pass
"""
TRAP = "from pathlib import Path\nPath(__file__).with_suffix('.imported').touch()\n"


def built_in(folder: Path, name: str) -> str:
    """Build a factory in a process that stands in a folder, which is not on Python's path."""
    code = f"import sys; sys.path[:0] = {[each for each in sys.path if each]!r}\n{WORKING_FOLDER}"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, name], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def standing(tmp_path: Path) -> Path:
    """A folder with code of the user's, and files that are called like what everybody imports."""
    for name in ("json", "torch", "numpy", "typing", "logging", "neighbour", "spandrel", "cupy"):
        (tmp_path / f"{name}.py").write_text(TRAP)
    (tmp_path / "mynet.py").write_text(CODE)
    (tmp_path / "parts.py").write_text("from mynet import Small as Part\n")
    (tmp_path / "whole.py").write_text(
        "import json\nimport parts\ndef late():\n    import mynet\n    return mynet.Small()\nNet = parts.Part\n"
    )
    (tmp_path / "package" / "inner").mkdir(parents=True)
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "inner" / "nets.py").write_text("from ..more import Small\nimport mynet\n")
    (tmp_path / "package" / "more.py").write_text("from mynet import Small\n")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    ["mynet:Small", "mynet:Zoo.build", "whole:Net", "whole:late", "package.inner.nets:Small", "package.more:Small"],
)
def test_a_module_in_the_working_folder_is_found_with_its_neighbours_and_nothing_else_is(
    standing: Path, name: str
) -> None:
    assert built_in(standing, name) == "built Small"
    assert not list(standing.glob("*.imported"))


def test_what_is_installed_comes_before_what_lies_in_the_working_folder(standing: Path) -> None:
    assert built_in(standing, "torch:nn.Identity") == "built Identity"
    assert not list(standing.glob("*.imported"))
    (standing / "json.py").write_text(CODE)
    assert "Unknown name in 'json' 'Small'" in built_in(standing, "json:Small")


def test_a_module_that_is_nowhere_is_named_with_the_folder_that_was_searched(standing: Path) -> None:
    text = built_in(standing, "other:Net")
    assert f"There is no module 'other' for 'other:Net', neither installed nor in '{standing}'" in text
    (standing / "json").mkdir()
    (standing / "json" / "nets.py").write_text(CODE)
    assert "The 'json' here is hidden by an installed one; rename it." in built_in(standing, "json.nets:Small")


def test_a_module_in_the_working_folder_that_lacks_something_says_what(standing: Path) -> None:
    (standing / "broken.py").write_text("import not_installed_anywhere\n")
    text = built_in(standing, "broken:Net")
    assert "'broken' cannot be imported: No module named 'not_installed_anywhere'" in text
