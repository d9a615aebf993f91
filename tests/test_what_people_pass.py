# SPDX-License-Identifier: Apache-2.0
"""What people pass, row by row: degradations, pairs, objectives, images and networks as they come, each with the scores
that a few lines of plain PyTorch compute.

The oracle is equations 6 and 7 of the paper: per weight the integral of the gradient on the straight path from baseline
to target (Gauss-Legendre, NumPy's nodes) times the change, the sum of absolute values over each filter, the mean over
the images, minus the mean of the other degradations.
"""

import copy
import functools

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.func import functional_call
from torch.nn.utils import parametrizations
from torch.utils.data import DataLoader, Dataset

from filterlens import FAIG, ModelPair, OwnObjective, Quadrature, UsageError, damage
from filterlens.cli.main import main
from filterlens.models.checkpoints import save_network
from filterlens.models.one_branch import SRResNet

NODES = 16
RULE = Quadrature("gauss-legendre", NODES)


class Small(nn.Module):
    """Two convolutions with a smooth activation between them."""

    def __init__(self, into=3, out=3) -> None:
        super().__init__()
        self.first = nn.Conv2d(into, 4, 3, padding=1)
        self.second = nn.Conv2d(4, out, 3, padding=1)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


class Doubling(Small):
    """The same, ×2 by pixel shuffle."""

    def __init__(self) -> None:
        super().__init__(3, 12)

    def forward(self, x):
        return nn.functional.pixel_shuffle(super().forward(x), 2)


class WithSigma(Small):
    """A second input, and a tuple as the output."""

    def forward(self, x, sigma):
        return super().forward(x + sigma), x


class Named(Small):
    """A dict as the output."""

    def forward(self, x):
        return {"features": torch.tanh(self.first(x)), "image": super().forward(x)}


def ends(kind=Small, seed=0, **options):
    """Return a baseline and a target some way from it, in float64."""
    torch.manual_seed(seed)
    before, after = kind(**options).double().eval(), kind(**options).double().eval()
    with torch.no_grad():
        for old, new in zip(before.parameters(), after.parameters(), strict=True):
            new.copy_(old + 0.5 * new)
    return before, after


def squared(output, truth):
    return ((output - truth) ** 2).sum()


def magnitudes(before, after, lowered, truth, *, call=None, loss=squared):
    """Return equation 6 for one image: Σ|∫ ∂L/∂γ dα · (θ − θ̄)| over every filter, ``(filters,)``."""
    low, high = dict(before.named_parameters()), dict(after.named_parameters())
    totals = {name: torch.zeros_like(each) for name, each in low.items()}
    for node, weight in zip(*np.polynomial.legendre.leggauss(NODES), strict=True):
        alpha = (node + 1) / 2
        at = {name: (low[name] + alpha * (high[name] - low[name])).detach().requires_grad_(True) for name in low}
        run = functools.partial(functional_call, after, at)
        output = run((lowered,)) if call is None else call(lambda *given, run=run: run(given), lowered)
        gradients = torch.autograd.grad(loss(output, truth), list(at.values()), allow_unused=True)
        for name, gradient in zip(at, gradients, strict=True):
            if gradient is not None:
                totals[name] = totals[name] + weight / 2 * gradient
    pooled = [
        (totals[name] * (high[name] - low[name])).abs().sum((-1, -2)).flatten()
        for name in low
        if name.endswith("weight")
    ]
    return torch.cat(pooled).detach()


def scores(before, after, inputs, **how):
    """Return equation 7 for every degradation; ``inputs``: name → [(LQ, truth), …]."""
    means = {
        name: torch.stack([magnitudes(before, after, lowered, truth, **how) for lowered, truth in images]).mean(0)
        for name, images in inputs.items()
    }
    return {
        name: mean - torch.stack([each for other, each in means.items() if other != name]).mean(0)
        for name, mean in means.items()
    }


def agree(found, expected, tolerance=1e-5):
    assert set(found.degradations) >= set(expected) - {"clean"}
    for name in found.degradations:
        torch.testing.assert_close(
            found.of(name).double(), expected[name], rtol=tolerance, atol=tolerance * float(expected[name].abs().max())
        )


def pictures(count=2, channels=3, side=12, seed=3):
    """Return images on 256 levels, ``(count, channels, side, side)`` float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, side, side), generator=generator).double() / 255


def dark(image):
    return image * 0.5


def negative(image):
    return 1 - image


def of(images, *degradations):
    """Return the oracle's inputs of functions: name → [(LQ, truth), …]."""
    return {each.__name__: [(each(image[None]), image[None]) for image in images] for each in degradations}


def noisy(image, generator):
    return image + 0.1 * torch.randn(image.shape, generator=generator, dtype=torch.float64)


# Degradations


def test_a_function_alone_in_a_list_and_with_a_name():
    before, after = ends()
    images, pair = pictures(), ModelPair(before, after)
    expected = scores(before, after, of(images, dark, negative))
    agree(FAIG(pair, quadrature=RULE).attribute(images, [dark, negative]), expected)
    named = FAIG(pair, quadrature=RULE).attribute(images, {"dim": lambda image: image * 0.5, "inverse": negative})
    agree(named, {"dim": expected["dark"], "inverse": expected["negative"]})
    clean = [(image[None], image[None]) for image in images]
    alone = scores(before, after, {**of(images, dark), "clean": clean})
    agree(FAIG(pair, quadrature=RULE).attribute(images, dark), alone)
    agree(FAIG(pair, quadrature=RULE).attribute(images, {"dark": dark}), alone)


def test_a_function_with_a_generator_gives_one_result_whatever_the_order():
    before, after = ends()
    images, pair = pictures(3), ModelPair(before, after)
    seen = []

    def watched(image, generator):
        seen.append(noisy(image, generator))
        return seen[-1]

    first = FAIG(pair, quadrature=RULE).attribute(images, {"noisy": watched, "dark": dark})
    made = {tuple(lowered.shape[1:]): None for lowered in seen}
    assert len(made) == 1
    second = FAIG(pair, quadrature=RULE).attribute(images.flip(0), {"noisy": noisy, "dark": dark})
    torch.testing.assert_close(first.of("noisy"), second.of("noisy"), rtol=1e-9, atol=0)


def test_a_written_one_and_a_function_that_reduces_by_itself():
    before, after = ends(Doubling)
    images, pair = pictures(), ModelPair(before, after)

    def averaged(image):
        return nn.functional.avg_pool2d(image, 2)

    def picked(image):
        return image[..., ::2, ::2]

    found = FAIG(pair, quadrature=RULE).attribute(images, [averaged, picked])
    agree(found, scores(before, after, of(images, averaged, picked)))


# Pairs


def test_pairs_of_tensors_and_datasets():
    before, after = ends()
    images, pair = pictures(), ModelPair(before, after)
    rain, haze = pictures(seed=4), pictures(seed=5)
    expected = scores(
        before,
        after,
        {
            name: [(low[None], image[None]) for low, image in zip(lowered, images, strict=True)]
            for name, lowered in (("rain", rain), ("haze", haze))
        },
    )
    tensors = {"rain": (rain, images), "haze": (haze, images)}
    agree(FAIG(pair, quadrature=RULE).attribute(pairs=tensors), expected)
    basic = {
        name: [{"lq": low, "gt": image} for low, image in zip(lowered, images, strict=True)]
        for name, lowered in (("rain", rain), ("haze", haze))
    }
    agree(FAIG(pair, quadrature=RULE).attribute(pairs=basic), expected)
    listed = {name: list(zip(lowered, images, strict=True)) for name, lowered in (("rain", rain), ("haze", haze))}
    agree(FAIG(pair, quadrature=RULE).attribute(pairs=listed), expected)


def test_pairs_without_truth_are_attributed_to_the_target():
    before, after = ends()
    pair = ModelPair(before, after)
    lowered = {"rain": pictures(seed=4), "haze": pictures(seed=5)}
    with torch.no_grad():
        inputs = {name: [(low[None], after(low[None])) for low in images] for name, images in lowered.items()}
    given = {name: (images, None) for name, images in lowered.items()}
    found = FAIG(pair, quadrature=RULE, objective="target").attribute(pairs=given)
    agree(found, scores(before, after, inputs))


def folders(place, **images):
    """Write 8-bit images of one set of names into a folder for each keyword."""
    for folder, batch in images.items():
        (place / folder).mkdir()
        for number, image in enumerate(batch):
            as_picture(image).save(place / folder / f"{number}.png")


def as_picture(image):
    return Image.fromarray(np.asarray((image * 255).round().permute(1, 2, 0).to(torch.uint8)))


def test_pairs_of_two_folders(tmp_path):
    before, after = ends()
    images, rain, haze = pictures(), pictures(seed=4), pictures(seed=5)
    folders(tmp_path, clean=images, rain=rain, haze=haze)
    given = {name: (tmp_path / name, tmp_path / "clean") for name in ("rain", "haze")}
    found = FAIG(ModelPair(before, after), quadrature=RULE).attribute(pairs=given)
    sides = {"rain": rain, "haze": haze}
    agree(
        found,
        scores(
            before,
            after,
            {
                name: [(low[None], image[None]) for low, image in zip(batch, images, strict=True)]
                for name, batch in sides.items()
            },
        ),
    )


def test_pairs_on_the_command_line(tmp_path, capsys):
    torch.manual_seed(0)
    options = {"scale": 2, "features": 4, "blocks": 1}
    before, after = SRResNet(**options), SRResNet(**options)
    with torch.no_grad():
        for old, new in zip(before.parameters(), after.parameters(), strict=True):
            new.copy_(old + 0.5 * new)
    for role, network in (("baseline", before), ("target", after)):
        save_network(tmp_path / f"{role}.safetensors", network, "srresnet", options, {"role": role})
    images, rain, haze = pictures(side=64), pictures(side=32, seed=4), pictures(side=32, seed=5)
    folders(tmp_path, clean=images, rain=rain, haze=haze)
    call = ["attribute", "--baseline", tmp_path / "baseline.safetensors", "--target", tmp_path / "target.safetensors"]
    call += [f"--pairs=rain={tmp_path}/rain,{tmp_path}/clean", f"--pairs=haze={tmp_path}/haze,{tmp_path}/clean"]
    call += ["--quadrature", "gauss-legendre", "--nodes", NODES, "--allow-small", "--output", tmp_path / "run"]
    assert main([str(word) for word in call]) == 0, capsys.readouterr().err
    from filterlens import Attribution

    found = Attribution.load(tmp_path / "run" / "scores.safetensors")
    sides = {"rain": rain, "haze": haze}
    pairs = {
        name: [(low[None], image[None]) for low, image in zip(batch, images, strict=True)]
        for name, batch in sides.items()
    }
    expected = scores(before.double(), after.double(), pairs)
    agree(found, expected, 2e-3)  # the command computes in float32, and ReLU has kinks


# Objectives


def test_an_objective_of_ones_own():
    before, after = ends()
    images, pair = pictures(), ModelPair(before, after)

    def fourth(output, truth):
        return ((output - truth) ** 4).mean().sqrt()

    found = FAIG(pair, quadrature=RULE, objective=fourth).attribute(images, [dark, negative])
    agree(found, scores(before, after, of(images, dark, negative), loss=fourth))

    def summed(output, truth):
        return ((output - truth) ** 4).sum()

    own = OwnObjective(summed, additive=True)
    agree(
        FAIG(pair, quadrature=RULE, objective=own).attribute(images, [dark, negative]),
        scores(before, after, of(images, dark, negative), loss=summed),
    )


# Images


class Pictures(Dataset):
    def __init__(self, images) -> None:
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


FORMS = {
    "PIL images": lambda images: [as_picture(image) for image in images],
    "NumPy HWC uint8": lambda images: [np.asarray(as_picture(image)) for image in images],
    "NumPy HWC float": lambda images: [image.permute(1, 2, 0).numpy() for image in images],
    "NumPy CHW": lambda images: [image.numpy() for image in images],
    "dataset": Pictures,
    "loader": lambda images: DataLoader(Pictures(images), batch_size=2),
    "loader of tuples": lambda images: DataLoader(Pictures([(image, 7) for image in images])),
    "generator": lambda images: (image for image in images),
}


@pytest.mark.parametrize("form", FORMS)
def test_images_in_every_form(form):
    before, after = ends()
    images = pictures()
    found = FAIG(ModelPair(before, after), quadrature=RULE).attribute(FORMS[form](images), [dark, negative])
    agree(found, scores(before, after, of(images, dark, negative)))


# Networks


def test_a_gray_network():
    before, after = ends(into=1, out=1)
    images = pictures(channels=1)
    found = FAIG(ModelPair(before, after), quadrature=RULE).attribute(images, [dark, negative])
    agree(found, scores(before, after, of(images, dark, negative)))


def test_a_network_with_a_noise_map_as_fourth_channel():
    before, after = ends(into=4, out=3)
    images = pictures()

    def with_map(image):
        return torch.cat([image * 0.5, torch.full_like(image[:, :1], 0.1)], 1)

    def inverse_map(image):
        return torch.cat([1 - image, torch.full_like(image[:, :1], 0.3)], 1)

    found = FAIG(ModelPair(before, after), quadrature=RULE).attribute(images, [with_map, inverse_map])
    agree(found, scores(before, after, of(images, with_map, inverse_map)))


def test_a_second_input_and_a_tuple():
    before, after = ends(WithSigma)
    images = pictures()
    pair = ModelPair(before, after, call=lambda network, x: network(x, 0.2)[0])
    found = FAIG(pair, quadrature=RULE).attribute(images, [dark, negative])
    agree(found, scores(before, after, of(images, dark, negative), call=lambda network, x: network(x, 0.2)[0]))


def test_a_dict_as_output():
    before, after = ends(Named)
    images = pictures()
    found = FAIG(ModelPair(before, after, output="image"), quadrature=RULE).attribute(images, [dark, negative])
    agree(found, scores(before, after, of(images, dark, negative), call=lambda network, x: network(x)["image"]))


class Held(nn.Module):
    """Lightning's way: the network as ``model``."""

    def __init__(self, model) -> None:
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x)


WRAPPERS = {
    "DataParallel on both": (nn.DataParallel, nn.DataParallel),
    "DataParallel on one": (lambda network: network, nn.DataParallel),
    "compiled on one": (lambda network: torch.compile(network, backend="eager"), lambda network: network),
    "held on one": (Held, lambda network: network),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapped_networks(wrapper):
    before, after = ends()
    images = pictures()
    first, second = (wrap(each) for wrap, each in zip(WRAPPERS[wrapper], (before, after), strict=True))
    found = FAIG(ModelPair(first, second), quadrature=RULE).attribute(images, [dark, negative])
    agree(found, scores(before, after, of(images, dark, negative)))


def test_types_that_differ_are_brought_to_one_and_told():
    before, after = ends()
    before, after = before.float(), after.half()
    pair = ModelPair(before, after)
    assert pair.dtype == torch.float32 and any("float16" in note for note in pair.notes)
    images = pictures()
    found = FAIG(pair, quadrature=RULE).attribute(images, [dark, negative])
    expected = scores(copy.deepcopy(before).double(), copy.deepcopy(after).double(), of(images, dark, negative))
    agree(found, expected, 1e-4)  # computed in float32


def test_one_side_in_float64():
    before, after = ends()
    images = pictures()
    pair = ModelPair(copy.deepcopy(before).float(), after)
    found = FAIG(pair, quadrature=RULE).attribute(images, [dark, negative])
    agree(found, scores(before.float().double(), after, of(images, dark, negative)))


@pytest.mark.parametrize(("scale", "kind"), [(4, Doubling), (1, Doubling), (2, Small)])
def test_a_wrong_scale_is_told(scale, kind):
    with pytest.raises(UsageError) as refused:
        ModelPair(*ends(kind), scale=scale)
    assert "scale" in str(refused.value) and str(scale) in str(refused.value) and "\n" not in str(refused.value)


def baked(network):
    """Return the plain network of the weights that a derived one computes."""
    plain = Small().double().eval()
    with torch.no_grad():
        for name in ("first", "second"):
            getattr(plain, name).weight.copy_(getattr(network, name).weight)
            getattr(plain, name).bias.copy_(getattr(network, name).bias)
    return plain


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("normed", [nn.utils.weight_norm, parametrizations.weight_norm], ids=["old", "new"])
def test_weights_that_are_derived_are_attributed_as_they_are_used(normed):
    networks = [baked(each) for each in ends()]
    for network in networks:
        normed(network.first)
        normed(network.second)
    images = pictures()
    for network in networks:
        network(images)
    found = FAIG(ModelPair(*networks), quadrature=RULE).attribute(images, [dark, negative])
    agree(found, scores(*map(baked, networks), of(images, dark, negative)))


# Results


def test_a_result_prints_in_a_line_and_shows_as_table_and_plot():
    pair = ModelPair(*ends())
    found = FAIG(pair, quadrature=RULE).attribute(pictures(), [dark, negative])
    assert len(repr(found)) < 400 and "<table" in found._repr_html_()
    expected = scores(*ends(), of(pictures(), dark, negative))["dark"]
    best = [str(pair.space.address(int(index))) for index in expected.argsort(descending=True)[:3]]
    assert all(address in str(found.top(3, "dark")) for address in best)
    assert found.plot(percent=25).get_ylabel()


def test_damage_in_one_call_is_what_replacing_the_filters_by_hand_does():
    before, after = ends()
    images, pair = pictures(side=16), ModelPair(before, after)
    found = FAIG(pair, quadrature=RULE).attribute(images, [dark, negative])
    table = damage(pair, found, images, [dark, negative], percent=25)
    order = scores(before, after, of(images, dark, negative))["dark"].argsort(descending=True)
    chosen = torch.zeros(len(pair.space), dtype=torch.bool)
    chosen[order[: round(0.25 * len(chosen))]] = True
    edited = copy.deepcopy(after)
    with torch.no_grad():
        start = 0
        for layer in ("first", "second"):
            new, old = getattr(edited, layer).weight, getattr(before, layer).weight
            mask = chosen[start : start + new.shape[0] * new.shape[1]].view(new.shape[:2])
            new[mask], start = old[mask], start + mask.numel()
        outputs = [[network(dark(image[None])) for image in images] for network in (edited, before, after)]
    parts = [
        sum(float(((one - other) ** 2).sum()) for one, other in zip(outputs[a], outputs[b], strict=True))
        for a, b in ((0, 1), (2, 1))
    ]
    (own,) = [row for row in table.rows if row.edit.masked == row.input == "dark"]
    assert own.removal == pytest.approx(1 - parts[0] / parts[1], rel=1e-4)
