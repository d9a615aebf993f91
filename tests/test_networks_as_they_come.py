# SPDX-License-Identifier: Apache-2.0
"""Networks with more inputs, several outputs, holders around them, mixed types and derived weights: each by hand."""

import copy
import types
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from filterlens import FilterlensError, ModelPair, UsageError
from filterlens.attribution.engine import Engine
from filterlens.attribution.per_sample import patch_magnitudes
from filterlens.attribution.quadrature import Quadrature
from filterlens.attribution.randomised import randomised
from filterlens.execution.rematerialise import rematerialised
from filterlens.execution.tiled_network import TiledNetwork
from tests.odd_networks import Plain, ends
from tests.oracles import faig_by_hand

NODES = Quadrature("gauss-legendre", 16)


def images(channels=3, height=9, width=8):
    generator = torch.Generator().manual_seed(5)
    return torch.rand(1, channels, height, width, generator=generator, dtype=torch.float64)


def agrees(pair, baseline, target, call=None):
    """Scores of the pair are those of the plain networks, called by hand."""
    lowered, truth = images(), images().flip(-1)
    wanted = faig_by_hand(baseline, target, lowered, truth, call=call, magnitudes=True)
    torch.testing.assert_close(patch_magnitudes(pair, lowered, truth, quadrature=NODES)[0], wanted, rtol=1e-5, atol=0)


def state_of(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


class Conditioned(Plain):
    """Takes a noise level, and passes features through four blocks in a sequence."""

    def __init__(self):
        super().__init__()
        self.level = nn.Linear(1, 6)
        self.body = nn.Sequential(*(nn.Conv2d(6, 6, 3, padding=1) for _ in range(4)))

    def forward(self, x, sigma, *, strength):
        features = torch.tanh(self.first(x)) + strength * self.level(sigma.view(-1, 1))[:, :, None, None]
        return self.last(torch.tanh(self.body(features))), sigma


def at_level(network, x):
    return network(x, torch.full((len(x),), 0.3), strength=2.0)[0]


def at_level_in_double(network, x):
    return network(x, torch.full((len(x),), 0.3).double(), strength=2.0)[0]


def test_a_network_with_more_inputs_is_called_as_its_user_says():
    baseline, target = ends(Conditioned)
    pair = ModelPair(baseline, target, call=at_level)  # the level is float32, the weights are float64
    assert [layer.name for layer in pair.space.layers][:3] == ["first", "last", "level"]
    torch.testing.assert_close(pair.run(pair.target, images()), at_level_in_double(target, images()))
    value, gradient = pair.differentiate(pair.target, images(), lambda output: output.square().sum())
    wanted = at_level_in_double(target, images()).square().sum()
    named = pair.unflatten(gradient)
    torch.testing.assert_close(value, wanted.detach())
    for name, weight in target.named_parameters():
        torch.testing.assert_close(named[name], torch.autograd.grad(wanted, weight, retain_graph=True)[0])


def test_scores_of_a_network_with_more_inputs_are_those_by_hand():
    class Convolutions(Conditioned):
        def forward(self, x, sigma):
            return self.last(torch.tanh(self.body(torch.tanh(self.first(x)) * sigma)))

    baseline, target = ends(Convolutions)
    call = lambda network, x: network(x, 0.5)  # noqa: E731
    pair = ModelPair(baseline, target, call=call, linear="none")
    agrees(pair, baseline, target, call)


def test_tiles_and_recomputed_activations_go_through_the_call():
    baseline, target = ends(Conditioned)
    pair = ModelPair(baseline, target, call=at_level)
    assert pair.tiling is not None and pair.tiling.halo == 6
    large = images(3, 60, 70)
    square = lambda output, reference: (output - reference).square().sum()  # noqa: E731
    whole = pair.run(pair.target, large)
    value, gradient = Engine(pair, "fp32", memory=4e6).loss_and_gradient(
        pair.target, large, torch.zeros_like(whole), square
    )
    once = pair.differentiate(pair.target, large, lambda output: output.square().sum())
    torch.testing.assert_close((value, gradient), once, rtol=1e-9, atol=1e-9)
    with rematerialised(pair.blocks):
        assert len(pair.blocks) == 1
        again = pair.differentiate(pair.target, large, lambda output: output.square().sum())
    torch.testing.assert_close(again, once, rtol=1e-10, atol=1e-12)
    tiled = TiledNetwork(pair.on_images(pair.target), torch.device("cpu"), tile=32)
    torch.testing.assert_close(tiled(large), whole, rtol=1e-9, atol=1e-12)


def test_the_pair_gives_the_plain_network_and_one_for_images():
    baseline, target = ends(Conditioned)
    pair = ModelPair(baseline, target, call=at_level)
    network, callable_ = pair.network(pair.target), pair.on_images(pair.target)
    assert type(network) is Conditioned and list(network.state_dict()) == list(target.state_dict())
    assert list(callable_.state_dict()) == list(target.state_dict())
    torch.testing.assert_close(callable_(images()), at_level_in_double(network, images()))
    assert not network._forward_pre_hooks and not target._forward_pre_hooks
    moved = pair.to("cpu")
    assert torch.equal(moved.run(moved.target, images()), pair.run(pair.target, images()))
    assert randomised(pair, ["first"]).call is at_level


def test_the_call_is_in_facts_and_identity():
    def pair(call):
        return ModelPair(*ends(Conditioned), call=call)

    one = pair(at_level)
    assert one.facts["call"]["qualified_name"] == "at_level" and one.facts["call"]["source_hash"]
    assert one.identity == pair(at_level).identity != pair(at_level_in_double).identity


def test_a_network_with_more_inputs_and_no_call_is_told_in_one_line():
    with pytest.raises(
        FilterlensError, match=r"takes 3 inputs, forward\(x, sigma, \*, strength\).*call=.*--call"
    ) as told:
        ModelPair(*ends(Conditioned))
    assert "\n" not in str(told.value)
    with pytest.raises(FilterlensError, match="takes 3 inputs"):
        ModelPair(*ends(Conditioned), scale=1)


@pytest.mark.parametrize("call", ["at_level", 3])
def test_a_call_that_is_no_function_is_quoted(call):
    with pytest.raises(UsageError, match=rf"call={call!r} is not legal: a function \(network, images\)"):
        ModelPair(*ends(Conditioned), call=call)


def test_a_call_that_fails_is_told():
    with pytest.raises(FilterlensError, match=r"cannot be measured: .*TypeError"):
        ModelPair(*ends(Conditioned), call=lambda network, x: network(x))


class Several(Plain):
    """Returns what ``made`` makes of image and features."""

    made = staticmethod(lambda image, features: (image, features))

    def forward(self, x):
        features = torch.tanh(self.first(x))
        return self.made(self.last(features), features)


def returning(function):
    return type("Returns", (Several,), {"made": staticmethod(function)})


class Result:
    def __init__(self, sample, level):
        self.sample, self.level = sample, level


@pytest.mark.parametrize(
    ("made", "entry"),
    [
        (lambda image, features: (image, 3), 0),
        (lambda image, features: [features.mean((2, 3)), image], 1),
        (lambda image, features: {"image": image, "code": features.mean((2, 3))}, "image"),
        (lambda image, features: [image[..., ::2, ::2], image], 1),
        (lambda image, features: Result(image, 1), "sample"),
    ],
)
def test_the_only_image_is_taken_with_a_note(made, entry):
    baseline, target = ends(returning(made))
    pair = ModelPair(baseline, target)
    assert pair.output == entry and pair.facts["output"] == entry
    assert any(f"output={entry!r}" in note for note in pair.notes)
    agrees(pair, *ends(Plain))
    assert pair.tiling is not None and pair.tiling.halo == 2


@pytest.mark.parametrize(
    ("made", "output"),
    [
        (lambda image, features: (features, image), 1),
        (lambda image, features: (features, image), -1),
        (lambda image, features: {"features": features, "image": image}, "image"),
        (lambda image, features: Result(image, features), "sample"),
    ],
)
def test_a_chosen_entry_is_the_image(made, output):
    pair = ModelPair(*ends(returning(made)), output=output)
    agrees(pair, *ends(Plain))
    other = ModelPair(*ends(Plain))
    assert pair.identity != other.identity and torch.equal(pair.target, other.target)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            lambda image, features: {"a": image, "b": features},
            r"returns dict with 'a': \(1, 3, 16, 24\), 'b': \(1, 6, 16, 24\): several may be.*Choose one: output='a'",
        ),
        (lambda image, features: (3, None), r"returns tuple with 0: int, 1: NoneType: none is an image"),
        (lambda image, features: (), r"returns tuple: none is an image"),
        (lambda image, features: "no", r"returns str: none is an image"),
    ],
)
def test_several_outputs_without_a_choice_are_listed(made, words):
    with pytest.raises(FilterlensError, match=words) as told:
        ModelPair(*ends(returning(made)))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("output", [2, "image"])
def test_an_entry_that_is_not_there_is_told(output):
    with pytest.raises(UsageError, match=rf"output={output!r} is no entry of what the network returns, tuple with 0: "):
        ModelPair(*ends(Several), output=output)


def test_an_entry_of_one_tensor_is_told():
    with pytest.raises(UsageError, match=r"output=0 is no entry .* one tensor: leave output out"):
        ModelPair(*ends(Plain), output=0)
    with pytest.raises(UsageError, match=r"output=True is not legal"):
        ModelPair(*ends(Plain), output=True)


class Lit(nn.Module):
    """A training module as Lightning's: the network, and what it is trained with."""

    def __init__(self, network, name="model"):
        super().__init__()
        setattr(self, name, network)
        self.loss = nn.Conv2d(3, 3, 1)
        self.steps = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return getattr(self, next(iter(self._modules)))(x)


@pytest.mark.parametrize("name", ["model", "net", "module", "generator"])
@pytest.mark.parametrize("sides", ["baseline", "target", "baseline target"])
def test_a_holder_on_one_side_is_left_out_by_name(name, sides):
    baseline, target = ends(Plain)
    given = {"baseline": baseline, "target": nn.DataParallel(target)}
    for side in sides.split():
        given[side] = Lit(given[side], name)
    if sides == "baseline target":
        given["target"] = Lit(given["target"].net if name == "net" else target, "network")
    pair = ModelPair(given["baseline"], given["target"])
    assert [layer.name for layer in pair.space.layers] == ["first", "last"]
    assert sum("of the Lit that was given" in note for note in pair.notes) == len(sides.split())
    agrees(pair, baseline, target)


def test_holders_of_one_kind_on_both_sides_are_the_networks():
    pair = ModelPair(*(Lit(network).double() for network in ends(Plain)))
    assert [layer.name for layer in pair.space.layers] == ["model.first", "model.last", "loss"]


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile])
def test_wrappers_inside_a_network_are_left_out_on_one_side_or_both(wrap):
    for sides in ([0], [1], [0, 1]):
        baseline, target = ends(Conditioned)
        for side in sides:
            network = (baseline, target)[side]
            network.body = wrap(network.body)
        pair = ModelPair(baseline, target, call=at_level)
        torch.testing.assert_close(
            pair.run(pair.target, images()), at_level_in_double(ends(Conditioned)[1], images()), rtol=1e-10, atol=1e-12
        )


def test_a_network_compiled_in_place_is_taken():
    baseline, target = ends(Plain)
    target.compile()
    pair = ModelPair(baseline, target)
    agrees(pair, *ends(Plain))


def test_a_forward_that_is_compiled_alone_is_taken():
    baseline, target = ends(Plain)
    target.forward = torch.compile(target.forward, backend="eager")
    agrees(ModelPair(baseline, target), *ends(Plain))
    assert "forward" in vars(target)


def test_a_forward_that_holds_the_users_module_is_refused():
    baseline, target = ends(Plain)
    own = target.forward
    target.forward = lambda x: own(x)
    with pytest.raises(FilterlensError, match=r"forward of the target was replaced .* types\.MethodType"):
        ModelPair(baseline, target)
    target.forward = types.MethodType(Plain.forward, target)
    agrees(ModelPair(baseline, target), *ends(Plain))


class Through(Plain):
    def __init__(self):
        super().__init__()
        self.body = nn.DataParallel(nn.Conv2d(6, 6, 3, padding=1))

    def forward(self, x):
        return self.last(torch.tanh(self.body.module(torch.tanh(self.first(x)))))


def test_code_that_goes_through_a_wrapper_inside_still_finds_its_module():
    baseline, target = ends(Through)
    pair = ModelPair(baseline, target)
    assert [layer.name for layer in pair.space.layers] == ["first", "last", "body"]
    agrees(pair, baseline, target)


class Mixed(Plain):
    """Some weights, a buffer and a plain attribute are of other types than the rest."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.4, dtype=torch.float64))
        self.gain = torch.tensor(1.5, dtype=torch.float16)

    def forward(self, x):
        return super().forward((x - self.mean) * self.gain) + self.mean


@pytest.mark.parametrize(
    ("kinds", "both"),
    [
        ((torch.float16, torch.float32), "float32"),
        ((torch.float64, torch.float32), "float64"),
        ((torch.float32, torch.float32), "float32"),
        ((torch.float16, torch.bfloat16), "float32"),
    ],
)
def test_types_are_unified_with_a_note(kinds, both):
    torch.manual_seed(0)
    baseline, target = Mixed(), Mixed()
    baseline.to(kinds[0])
    target.last.to(kinds[1])
    before = state_of(target), target.gain.dtype
    pair = ModelPair(baseline, target)
    assert str(pair.dtype) == f"torch.{both}" and any(f"all is computed in {both}" in note for note in pair.notes)
    assert all(torch.equal(value, before[0][name]) for name, value in target.state_dict().items())
    assert target.gain.dtype == before[1] and target.mean.dtype == torch.float64
    wanted = copy.deepcopy(target).double()
    wanted.gain = wanted.gain.double()
    with torch.no_grad():
        torch.testing.assert_close(
            pair.run(pair.target, images().float()).double(), wanted(images()), rtol=1e-5, atol=1e-5
        )
    assert pair.tiling is not None
    TiledNetwork(pair.network(pair.target), torch.device("cpu"))(images().float())


def test_networks_of_one_type_need_no_note():
    assert ModelPair(*ends(Plain)).notes == () and "notes" not in ModelPair(*ends(Plain)).facts


class Twice(nn.Module):
    def forward(self, weight):
        return 2 * weight


NORMS = {
    "old weight norm": lambda layer: nn.utils.weight_norm(layer),
    "old spectral norm": lambda layer: nn.utils.spectral_norm(layer),
    "weight norm": parametrizations.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "own": lambda layer: (parametrize.register_parametrization(layer, "weight", Twice()), layer)[1],
}


def normed(kind, *, also=()):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about old-style norms
        networks = ends(Plain)
        for network in networks:
            for name in ("first", *also):
                setattr(network, name, NORMS[kind](getattr(network, name)))
            network(images())  # old-style norms keep what they computed
            network.eval()
    return networks


def effective(network):
    """A plain network with the weights that a normed one computes with in evaluation mode."""
    with torch.no_grad():
        network(images())
        result = Plain().double()
        for name in ("first", "last"):
            layer, own = getattr(network, name), getattr(result, name)
            own.weight.copy_(layer.weight)
            own.bias.copy_(layer.bias)
    return result


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("also", [(), ("last",)])
def test_derived_weights_are_attributed_as_what_they_are(kind, also):
    networks = normed(kind, also=also)
    before = [state_of(network) for network in networks]
    pair = ModelPair(*networks)
    baseline, target = map(effective, networks)
    assert [layer.name for layer in pair.space.layers] == ["first", "last"]
    assert list(pair.network(pair.target).state_dict()) == list(target.state_dict())
    agrees(pair, baseline, target)
    assert len(pair.notes) == 1 and "baked in: 'first.weight'" in pair.notes[0] and "edits" in pair.notes[0]
    for network, old in zip(networks, before, strict=True):
        assert all(torch.equal(value, old[name]) for name, value in network.state_dict().items())
        assert type(network.first).__name__ in ("Conv2d", "ParametrizedConv2d") and "weight" not in network._parameters


def test_a_plain_network_and_a_normed_one_are_a_pair():
    plain, normal = ends(Plain)[0], normed("old weight norm")[1]
    pair = ModelPair(plain, normal)
    agrees(pair, plain, effective(normal))


class Fails(nn.Module):
    def forward(self, weight):
        if not self.training:
            raise ValueError("training only")
        return weight


def test_what_cannot_be_baked_is_refused_with_the_remedy():
    networks = ends(Plain)
    for network in networks:
        parametrize.register_parametrization(network.first, "weight", Fails())
    with pytest.raises(FilterlensError, match=r"'first.weight' of the baseline is derived .*remove_parametrizations"):
        ModelPair(*networks)
