# SPDX-License-Identifier: Apache-2.0
"""A package adds an effect: written like ours, read by its signature, seeded like noise, recorded with its version."""

import json
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from filterlens import FAIG, Degradation, FilterlensError, UsageError
from filterlens.cli.main import main
from filterlens.data.images import read_image, write_image
from filterlens.degradations import parse_degradations
from filterlens.degradations.mixture import Mixture
from filterlens.degradations.pipeline import round_to_8_bits
from filterlens.degradations.resample import downsample
from tests.attribution.small_networks import make_pair, photographs
from tests.plugged import install
from tests.small_srresnet import save_small_pair

RAIN = """
import torch

def rain(strength: float, length: int = 3, kind: str = "thin", wide: bool = False, *, density: float = 0.1):
    if strength > 1:
        raise ValueError("more than white")

    def fall(images, generator):
        drops = (torch.rand(1, 1, *images.shape[-2:], generator=generator) < density).to(images)
        streaks = torch.nn.functional.max_pool2d(drops, (2 * length + 1, 1), 1, (length, 0))
        return (images + strength * streaks).clamp(0, 1)

    return fall
"""
ENTRY = {"degradations": ["rain = filterlens_rain:rain"]}


@pytest.fixture
def rain(tmp_path, monkeypatch):
    install(tmp_path / "site", monkeypatch, package="filterlens-rain", entries=ENTRY, code=RAIN)


def images(count=2, side=16):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_it_is_read_by_its_signature_and_has_one_name(rain):
    read = Degradation.parse(" rain:0.50,wide=true,length=5,density=0.1")
    assert str(read) == "rain:0.5,length=5,wide=true" and Degradation.parse(str(read)) == read
    assert list(parse_degradations(["rain:0.5", "blur:2"])) == ["rain:0.5", "blur:2"]
    assert not read.is_clean and "filterlens-rain 1.2" in read.fingerprint


def test_nothing_is_imported_for_our_own(rain):
    Degradation.parse("blur:2+noise:0.1")
    assert "filterlens_rain" not in sys.modules


def test_pixels_are_those_of_a_loop_then_down_sampled_and_rounded(rain):
    truth = (images() * 255).round() / 255
    found = Degradation.parse("rain:0.5,length=2").apply(truth, 1, seed=3)
    again = Degradation.parse("rain:0.5,length=2").apply(truth.flip(0), 1, seed=3).flip(0)
    assert torch.equal(found, again)
    added = (found - truth).numpy()
    for image, before, pixels in zip(added, truth.numpy(), found.numpy(), strict=True):
        falls = image[0] > 0
        expected = np.where(falls, np.minimum(before + 0.5, 1), before)
        np.testing.assert_allclose(pixels, np.round(expected * 255) / 255, atol=1e-12)
        assert 0 < falls.mean() < 1
    other = Degradation.parse("rain:0.5,length=2").apply(truth, 1, seed=4)
    assert not torch.equal(other, found)
    lowered = Degradation.parse("rain:0.5,length=2").apply(truth, 2, seed=3, resampler="bilinear")
    bare = (truth + (found - truth)).float()
    expected = functional.interpolate(bare, scale_factor=0.5, mode="bilinear", antialias=False)
    torch.testing.assert_close(lowered.float(), expected, atol=2.5 / 255, rtol=0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rain", "lacks its strength. Written as: rain:STRENGTH,length=LENGTH,kind=KIND"),
        ("rain:much", "'much' in 'rain:much' is not a number"),
        ("rain:nan", "'nan' in 'rain:nan' is not finite"),
        ("rain:1,length=2.5", "'2.5' in 'rain:1,length=2.5' is not a whole number"),
        ("rain:1,wide=maybe", "neither true nor false"),
        ("rain:1,lenght=2", "Unknown option of 'rain' 'lenght'. Did you mean 'length'?"),
        ("rain:1,length=2,length=3", "'length' appears twice"),
        ("rain:2", "strength = 2.0 is not legal for 'rain' of the package filterlens-rain 1.2: more than white"),
        ("blur:2+rain:1", "joins 'rain' of the package filterlens-rain 1.2, which stands alone"),
        ("rian:1", "Unknown degradation 'rian'. Did you mean 'rain'?"),
    ],
)
def test_what_is_not_legal_is_one_line(rain, text, said):
    with pytest.raises(UsageError) as refused:
        Degradation.parse(text)
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("1 / 0", "is of no use: 'filterlens_rain:rain' cannot be imported: ZeroDivisionError"),
        ("rain = 3", "is no function, but 3"),
        ("def rain(): pass", "takes no strength"),
        ("def rain(strength, angle): pass", "the option 'angle' of 'filterlens_rain:rain' has no default"),
        ("def rain(strength): pass", "returns NoneType, and no function of images"),
        ("def rain(strength): return strength.x", "fails: AttributeError: 'float' object has no attribute 'x'"),
    ],
)
def test_a_broken_package_is_told_and_stops_nothing_else(tmp_path, monkeypatch, code, said):
    install(tmp_path / "site", monkeypatch, package="filterlens-rain", entries=ENTRY, code=code)
    with pytest.raises(FilterlensError, match=r"package filterlens-rain 1\.2") as refused:
        Degradation.parse("rain:1")
    assert said in str(refused.value)
    assert str(Degradation.parse("blur:2")) == "blur:2"


def test_a_function_that_fails_names_image_and_package(tmp_path, monkeypatch):
    code = "def rain(strength):\n    def fall(images): return images[0]\n    return fall"
    install(tmp_path / "site", monkeypatch, package="filterlens-rain", entries=ENTRY, code=code)
    with pytest.raises(FilterlensError, match=r"'rain:1' of the package filterlens-rain 1\.2: .*not floats \(1, chan"):
        Degradation.parse("rain:1").apply(images(), 1)


def test_a_name_that_is_ours_is_refused_with_both(tmp_path, monkeypatch):
    entries = {"degradations": ["blur = filterlens_rain:rain", *ENTRY["degradations"]]}
    install(tmp_path / "site", monkeypatch, package="filterlens-rain", entries=entries, code=RAIN)
    with pytest.raises(UsageError, match=r"degradation 'blur' .* filterlens 0\.\S+ and filterlens-rain 1\.2 both"):
        Degradation.parse("blur:2")
    assert Degradation.parse("noise:0.1").noise and Degradation.parse("rain:1").added


def test_it_is_attributed_as_the_same_function_in_python(rain):
    _, _, pair = make_pair()
    found = FAIG(pair, seed=1).attribute(photographs(1), ["rain:0.5", "blur:1"])
    from filterlens_rain import rain as factory

    fall = factory(0.5)

    def lowered(image, generator):
        return round_to_8_bits(downsample(fall(image, generator), 2, "bicubic"))

    own = FAIG(pair, seed=1).attribute(photographs(1), {"rain": lowered, "blur": "blur:1"})
    torch.testing.assert_close(found.of("rain:0.5"), own.of("rain"), rtol=1e-9, atol=0)


def test_a_mixture_lets_it_fall_on_some_patches(rain):
    patches = (images(32) * 255).round() / 255
    degraded = Mixture.of([("rain:0.5", 0.5)]).apply(patches, 1, torch.Generator().manual_seed(0))
    changed = (degraded - patches).abs().flatten(1).amax(1) > 1e-6
    assert 8 < int(changed.sum()) < 24
    assert (degraded >= patches - 1e-6).all()


def test_commands_take_it_and_runs_record_its_version(rain, tmp_path, capsys, monkeypatch):
    save_small_pair(tmp_path, scale=2, features=4, blocks=1)
    (tmp_path / "images").mkdir()
    write_image(tmp_path / "images" / "a.png", (images(1, 48)[0] * 255).to(torch.uint8))

    def run(*words):
        code = main([str(word) for word in words])
        return code, capsys.readouterr().err

    pair = ["--baseline", tmp_path / "baseline.safetensors", "--target", tmp_path / "target.safetensors"]
    call = ["attribute", *pair, "--images", tmp_path / "images", "--degradation", "rain:0.5", "--degradation", "blur:1"]
    call += ["--output", tmp_path / "run", "--allow-small"]
    assert run(*call)[0] == 0
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["settings"]["degradations"] == ["rain:0.5", "blur:1"]
    assert [(each["name"], each["version"]) for each in facts["plugins"]] == [("rain", "1.2")]
    code, said = run("mask", tmp_path / "run", "--images", tmp_path / "images", "--percent", 5, "--no-controls")
    assert code == 0, said
    code, said = run("report", tmp_path / "run")
    assert code == 0, said
    assert "filterlens-rain" in (tmp_path / "run" / "report.html").read_text()
    code, said = run("degrade", tmp_path / "images", tmp_path / "low", "--degradation", "rain:0.5", "--scale", 2)
    assert code == 0, said
    expected = Degradation.parse("rain:0.5").apply(read_image(tmp_path / "images" / "a.png")[None].float() / 255, 2)
    assert torch.equal(read_image(tmp_path / "low" / "a.png"), (expected[0] * 255).round().to(torch.uint8))
    install(tmp_path / "two", monkeypatch, package="filterlens-rain", version="1.3", entries=ENTRY, code=RAIN)
    code, said = run(*call)
    assert code == 2 and "a ranking of other settings" in said
    judge = ["mask", tmp_path / "run", "--images", tmp_path / "images", "--percent", 5, "--no-controls"]
    code, said = run(*judge)
    assert code == 0 and "was made with filterlens-rain 1.2; filterlens-rain 1.3 is installed" in said
    for place in ("two", "site"):
        monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(tmp_path / place)])
    code, said = run(*judge)
    assert code == 2 and "was made with 'rain' of the package filterlens-rain 1.2, which is not installed" in said
