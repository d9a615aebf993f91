# SPDX-License-Identifier: Apache-2.0
"""Modules as users have them: wrapped, of several types, of another scale; or of a kind that is told in one line."""

import copy
import threading
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel

from filterlens import FAIG, FilterlensError, ModelPair, UsageError
from filterlens.attribution.engine import Engine
from filterlens.attribution.per_sample import TRUTH, _all_at_once, patch_magnitudes
from filterlens.models.checkpoints import load_network, save_network
from filterlens.models.one_branch import SRResNet
from tests.attribution.small_networks import photographs
from tests.odd_networks import Plain, Recomputed, ends

WRAPPERS = {
    "nothing": lambda network: network,
    "data parallel": nn.DataParallel,
    "compiled": torch.compile,
    "averaged": AveragedModel,
    "both": lambda network: nn.DataParallel(torch.compile(network)),
}


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("given", [None, 1, 2, 3, 4])
def test_the_scale_is_measured_and_contradicted(scale, given):
    baseline, target = ends(Plain, scale)
    if given in (None, scale):
        assert ModelPair(baseline, target, scale=given).scale == scale
    else:
        words = rf"scale={given} is not .* makes {24 * scale}x{16 * scale} pixels of 24x16. Pass scale={scale}"
        with pytest.raises(UsageError, match=words):
            ModelPair(baseline, target, scale=given)


def test_an_attribute_called_scale_is_not_believed():
    baseline, target = ends(Plain, 2)
    target.scale = 1
    assert ModelPair(baseline, target).scale == 2


def test_two_checkpoints_of_another_scale_are_contradicted(tmp_path):
    options = {"scale": 2, "features": 8, "blocks": 1}
    for name in ("baseline", "target"):
        save_network(tmp_path / f"{name}.safetensors", SRResNet(2, 8, 1), "srresnet", options, {})
    with pytest.raises((UsageError, FilterlensError), match=r"scale 2|of another shape"):
        ModelPair.load(tmp_path / "baseline.safetensors", tmp_path / "target.safetensors", scale=3)


@pytest.mark.parametrize("scale", [0, -1, True, 2.0, "2", float("nan")])
def test_a_scale_that_is_no_whole_number_is_quoted(scale):
    with pytest.raises(UsageError, match=r"scale = .* is not legal: a whole number from 1"):
        ModelPair(*ends(Plain), scale=scale)


class OneSize(Plain):
    def forward(self, x):
        if x.shape[-2:] != (40, 40):
            raise ValueError("40x40 only")
        return super().forward(x)


def test_a_network_of_one_size_needs_its_scale_and_is_checked_when_it_runs():
    baseline, target = ends(OneSize)
    with pytest.raises(UsageError, match=r"cannot be measured: .*\(1, 3, 16, 24\) \(ValueError: 40x40 only\)"):
        ModelPair(baseline, target)
    found = FAIG(ModelPair(baseline, target, scale=1)).attribute(photographs(1, 40, 40), ["blur:1"])
    assert found.completeness_gap < 1e-3
    with pytest.raises(UsageError, match=r"not 2 times as large. Pass scale=1"):
        FAIG(ModelPair(baseline, target, scale=2)).attribute(photographs(1, 80, 80), ["blur:1"])


@pytest.mark.parametrize(("into", "out"), [(1, 1), (3, 3), (4, 3)])
def test_where_nothing_can_be_measured_the_first_image_contradicts_a_wrong_scale(into, out):
    baseline, target = ends(OneSize, 2, into, out)
    pair = ModelPair(baseline, target, scale=1)
    assert (pair.channels_in, pair.channels_out) == (into, out)
    images, truth = torch.rand(1, into, 40, 40).double(), torch.rand(1, out, 40, 40).double()
    words = rf"makes \(1, {out}, 80, 80\) of \(1, {into}, 40, 40\), not 1 times as large. Pass scale=2"
    for act in (
        lambda: pair.run(pair.target, images),
        lambda: pair.differentiate(pair.target, images, lambda output: output.sum()),
        lambda: patch_magnitudes(pair, images, truth),
        lambda: _all_at_once(pair, pair.target, images, truth, TRUTH, "fp32"),
        lambda: Engine(pair, "fp32").output(pair.target, images),
    ):
        with pytest.raises(UsageError, match=words):
            act()


@pytest.mark.parametrize("scale", [1, 3, 4])
@pytest.mark.parametrize("architecture", [None, "srresnet"])
def test_a_checkpoint_of_another_scale_is_told_in_one_line(tmp_path, scale, architecture):
    options = {"scale": 2, "features": 8, "blocks": 1}
    save_network(tmp_path / "net.safetensors", SRResNet(2, 8, 1), "srresnet", options, {})
    torch.save(SRResNet(2, 8, 1).state_dict(), tmp_path / "net.pth")
    for name in ("net.safetensors", "net.pth"):
        with pytest.raises(UsageError, match=rf"'.*{name}' is a network of scale 2, not {scale}: leave the scale out"):
            load_network(tmp_path / name, architecture, scale)


@pytest.mark.parametrize("first", WRAPPERS)
@pytest.mark.parametrize("second", ["nothing", "data parallel", "compiled", "averaged"])
def test_wrappers_are_left_out_on_either_side(first, second):
    baseline, target = ends(Plain)
    plain = ModelPair(baseline, target)
    pair = ModelPair(WRAPPERS[first](baseline), WRAPPERS[second](target))
    assert torch.equal(pair.baseline, plain.baseline) and pair.space == plain.space
    images = photographs(1, 12, 12)
    assert torch.equal(pair.run(pair.target, images), plain.run(plain.target, images))


def test_a_compiled_part_is_left_out_and_stays_in_the_users_network():
    baseline, target = ends(Plain)
    part = target.last = torch.compile(target.last)
    pair = ModelPair(baseline, target)
    assert [layer.name for layer in pair.space.layers] == ["first", "last"] and target.last is part


@pytest.mark.parametrize(
    ("baseline", "target", "both"),
    [
        (torch.float64, torch.float32, torch.float64),
        (torch.float16, torch.float16, torch.float32),
        (torch.bfloat16, torch.float64, torch.float64),
        (torch.float32, torch.bfloat16, torch.float32),
    ],
)
def test_both_ends_have_the_wider_type(baseline, target, both):
    networks = [network.to(kind) for network, kind in zip(ends(Plain), (baseline, target), strict=True)]
    pair = ModelPair(*networks)
    assert pair.dtype == both and torch.equal(pair.baseline[: 6 * 27].to(baseline), networks[0].first.weight.flatten())
    pair.differentiate(pair.target, photographs(1, 12, 12), lambda output: output.sum())
    assert networks[0].first.weight.dtype == baseline


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_reentrant_checkpoints_give_the_same_gradients_though_they_need_another_backward_pass():
    pair, plain = ModelPair(*ends(Recomputed)), ModelPair(*ends(Plain))
    images = photographs(1, 12, 12)
    for _ in "twice":
        found = pair.differentiate(pair.target, images, lambda output: output.square().sum())
        wanted = plain.differentiate(plain.target, images, lambda output: output.square().sum())
        torch.testing.assert_close(found, wanted)


class Drops(Plain):
    def forward(self, x):
        return super().forward(F.dropout(x, 0.5))


class LosesBorders(Plain):
    def forward(self, x):
        return super().forward(x)[..., 1:-1, 1:-1]


class Locked(Plain):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Drops, r"gives another output each time.*F\.dropout\(x, p, self\.training\)"),
        (LosesBorders, r"\(1, 3, 14, 22\) of \(1, 3, 16, 24\), no whole multiple. Pad inside"),
        (Locked, r"The baseline cannot be copied \(TypeError: cannot pickle"),
        (
            lambda: nn.Sequential(nn.LazyConv2d(3, 3)),
            r"'0\.weight' of the baseline has no values yet \(a lazy module\)",
        ),
        (lambda: Plain().to("meta"), r"'first\.weight' of the baseline is on the meta device"),
        (lambda: Plain().to(torch.complex64), r"'first\.weight' of the baseline is of type torch\.complex64"),
        (lambda: torch.jit.trace(Plain(), torch.rand(1, 3, 8, 8)), "The baseline is a TorchScript module"),
        (lambda: "network.pth", "The baseline is str, not a torch.nn.Module"),
    ],
)
def test_what_cannot_be_paired_is_told_in_one_line(make, words):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about lazy and traced modules
        networks = make(), make()
    with pytest.raises(FilterlensError, match=words) as caught:
        ModelPair(*networks)
    assert "\n" not in str(caught.value)


class WithoutGradient(Plain):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


class InInference(Plain):
    @torch.inference_mode()
    def forward(self, x):
        return super().forward(x)


class Detached(Plain):
    def forward(self, x):
        return super().forward(x).detach()


class Unchanged(Plain):
    def forward(self, x):
        return x


@pytest.mark.parametrize("kind", [WithoutGradient, InInference, Detached, Unchanged])
def test_a_network_without_gradients_is_told_when_they_are_needed(kind):
    pair = ModelPair(*ends(kind))
    pair.run(pair.target, photographs(1, 12, 12))
    with pytest.raises(FilterlensError, match=r"Image '0' .* no gradient with respect to its weights.*no_grad"):
        FAIG(pair).attribute(photographs(1), ["blur:1", "noise:0.1"])


def test_hooks_are_part_of_the_network():
    baseline, target = ends(Plain)
    for network in (baseline, target):
        network.first.register_forward_hook(lambda module, inputs, output: 2 * output)
    pair, images = ModelPair(baseline, target), photographs(1, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(pair.run(pair.target, images), target(images), rtol=1e-10, atol=1e-12)


def test_the_same_network_twice_is_no_pair():
    network = Plain()
    with pytest.raises(FilterlensError, match="identical weights"):
        ModelPair(network, network)
    with pytest.raises(FilterlensError, match="identical weights"):
        ModelPair(network, copy.deepcopy(network).double())


def test_networks_in_training_mode_are_computed_in_evaluation_mode_and_stay_in_theirs():
    kind = nn.Sequential
    torch.manual_seed(0)
    baseline, target = (kind(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.5)).train() for _ in "ab")
    pair = ModelPair(baseline, target)
    images = photographs(1, 12, 12).float()
    assert torch.equal(pair.run(pair.target, images), pair.run(pair.target, images))
    assert target.training and int(target[1].num_batches_tracked) == 0


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "not torch.uint8"),
        (torch.zeros(3, 8, 8), r"of \(3, 8, 8\)"),
        (torch.zeros(0, 3, 8, 8), r"of \(0, 3, 8, 8\)"),
        (torch.zeros(1, 1, 8, 8), r"of shape \(batch, 3, height, width\), not torch.float32 of \(1, 1, 8, 8\)"),
    ],
)
def test_what_is_no_batch_of_images_is_told(images, words):
    pair = ModelPair(*ends(Plain))
    with pytest.raises(FilterlensError, match=words):
        pair.run(pair.target, images)


@pytest.mark.parametrize("alpha", [float("nan"), float("inf"), True, "1", 1e308])
def test_a_place_beyond_all_numbers_is_refused(alpha):
    baseline, target = ends(Plain)
    with pytest.raises(UsageError, match=r"is not legal: a number|beyond torch.float32"):
        ModelPair(baseline.float(), target.float()).at(alpha)
