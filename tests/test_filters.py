# SPDX-License-Identifier: Apache-2.0
"""Filters: every one has one address and one index, in convolutions of any sort, linear layers and attention."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from filterlens import FAIG, FilterlensError, FilterSpace, ModelPair, Quadrature, Selection, UsageError, substitute
from filterlens.attribution.result import Attribution
from filterlens.models.architectures import build


def network():
    return nn.Sequential(
        nn.Conv2d(3, 8, 5), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 1, groups=2), nn.Linear(4, 4), nn.Conv1d(2, 2, 3)
    )


@pytest.mark.parametrize(
    ("architecture", "scale", "layers", "filters"),
    [("srresnet", 2, 36, 151_936), ("srresnet", 4, 37, 168_320), ("srcnn-style", 2, 9, 156_224)],
)
def test_counts_are_those_of_the_paper(architecture, scale, layers, filters):
    space = FilterSpace(build(architecture, scale=scale))
    assert (len(space.layers), len(space)) == (layers, filters)


def test_one_percent_of_srresnet_is_1519_filters_as_in_the_reference():
    space = FilterSpace(build("srresnet", scale=2))
    assert len(Selection.top(space, torch.rand(len(space)), 1)) == 1519
    assert [len(Selection.top(space, torch.rand(len(space)), p)) for p in (3, 5, 10, 100)] == [
        4558,
        7596,
        15193,
        151936,
    ]


def test_index_and_address_are_inverse_for_any_kernel_and_groups():
    space = FilterSpace(network(), linear="none")
    assert len(space) == 3 * 8 + 6 * 4 + 2 * 2
    for index in range(len(space)):
        assert space.index(space.address(index)) == index
        assert space.index(str(space.address(index))) == index


def test_flat_index_is_layer_offset_plus_out_times_in_channels_plus_in():
    space = FilterSpace(network(), linear="none")
    assert space.index("2.weight[5, 3]") == 24 + 5 * 4 + 3
    assert str(space.address(24 + 23)) == "2.weight[5, 3]"


def test_pooling_sums_each_slice_and_spreading_undoes_the_addressing():
    module = network()
    space = FilterSpace(module, linear="none")
    weights = {name: parameter.detach() for name, parameter in module.named_parameters()}
    pooled = space.pool(weights)
    assert pooled[space.index("0.weight[7, 2]")] == pytest.approx(
        float(module[0].weight[7, 2].detach().sum()), rel=1e-5
    )
    spread = space.spread(torch.arange(len(space)))
    assert spread["4.weight"][1, 0].item() == space.index("4.weight[1, 0]")


def test_weights_that_are_no_filters_are_listed_not_dropped_silently():
    assert FilterSpace(network(), linear="none").left_out == ("1.weight", "3.weight")


def test_shared_weights_count_once():
    shared = nn.Conv2d(3, 3, 3)
    assert len(FilterSpace(nn.Sequential(shared, shared))) == 9


def test_derived_weights_are_refused_with_a_hint():
    with pytest.raises(FilterlensError, match=r"'0' is derived.*remove_parametrizations"):
        FilterSpace(nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 3, 3))))


def test_a_network_without_convolutions_is_refused():
    with pytest.raises(FilterlensError, match="no convolution"):
        FilterSpace(nn.Linear(3, 3), linear="none")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.weight[8, 0]", "8 × 3 filters"),
        ("0.wieght[1, 0]", "not a filter address"),
        ("00.weight[1, 0]", "Unknown layer '00'.*Did you mean '0'"),
    ],
)
def test_wrong_addresses_say_what_is_right(text, message):
    with pytest.raises(UsageError, match=message):
        FilterSpace(network(), linear="none").index(text)


def test_top_takes_the_highest_scores_and_breaks_ties_by_index():
    space = FilterSpace(nn.Conv2d(2, 5, 3))
    chosen = Selection.top(space, torch.tensor([0.0, 3, 1, 3, 2, 0, 0, 0, 0, 0]), 40)
    assert chosen.indices.tolist() == [1, 3, 4, 2]
    assert [str(each) for each in chosen.addresses()][:2] == ["weight[0, 1]", "weight[1, 1]"]


def test_selections_refuse_what_is_no_set_of_filters():
    space = FilterSpace(nn.Conv2d(2, 5, 3))
    for indices, message in (([0, 0], "twice"), ([10], "out of range"), ([-1], "out of range")):
        with pytest.raises(UsageError, match=message):
            Selection(space, torch.tensor(indices))
    with pytest.raises(UsageError, match="percentage"):
        Selection.top(space, torch.rand(10), 101)


def test_the_fingerprint_of_a_set_is_of_its_filters_in_any_order():
    space = FilterSpace(nn.Conv2d(2, 5, 3))
    first, again, other = (Selection(space, torch.tensor(each)).fingerprint() for each in ([1, 7], [7, 1], [1, 8]))
    assert first == again != other


def test_overlap_is_the_shared_part_of_the_first_set():
    space = FilterSpace(nn.Conv2d(2, 5, 3))
    first, second = Selection(space, torch.tensor([0, 1, 2, 3])), Selection(space, torch.tensor([3, 9]))
    assert first.overlap(second) == 0.25
    assert second.overlap(first) == 0.5


class Mixed(nn.Module):
    """Every kind of weight: convolutions of all sorts, attention, a linear layer, and what holds no filters."""

    def __init__(self, kdim: int | None = None) -> None:
        super().__init__()
        self.scale = 2
        self.first = nn.Conv2d(3, 8, 1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, kdim=kdim, batch_first=True)
        self.linear = nn.Linear(8, 6)
        self.positions = nn.Parameter(torch.zeros(4, 5))
        self.position_bias = nn.Parameter(torch.zeros(4, 5))
        self.embedding = nn.Embedding(4, 6)
        self.up = nn.ConvTranspose2d(6, 3, 2, 2)

    def forward(self, x):
        y = self.depthwise(torch.tanh(self.first(x)))
        tokens = self.norm(y.flatten(2).transpose(1, 2))
        tokens = tokens + self.attention(tokens, tokens, tokens)[0]
        return self.up(self.linear(tokens).transpose(1, 2).unflatten(2, y.shape[-2:]))


def test_every_kind_of_weight_has_its_filters_in_the_order_of_the_state_dict():
    space = FilterSpace(Mixed())
    found = {layer.parameter: (layer.out_channels, layer.in_channels, layer.kernel) for layer in space.layers}
    assert found == {
        "first.weight": (8, 3, (1, 1)),
        "depthwise.weight": (8, 1, (3, 3)),
        "attention.in_proj_weight": (24, 1, (8,)),
        "attention.out_proj.weight": (8, 1, (8,)),
        "linear.weight": (6, 1, (8,)),
        "up.weight": (6, 3, (2, 2)),
    }
    order = [name for name in Mixed().state_dict() if name in found]
    assert [layer.parameter for layer in space.layers] == order
    assert len(space) == 24 + 8 + 24 + 8 + 6 + 18


def test_what_holds_no_filters_is_named_and_a_table_called_bias_too():
    parameters = dict(Mixed().named_parameters())
    space = FilterSpace(Mixed())
    assert set(space.left_out) == {"norm.weight", "positions", "position_bias", "embedding.weight"}
    biases = {name for name in parameters if name.endswith(("bias", "in_proj_bias"))} - {"position_bias"}
    assert set(parameters) == {layer.parameter for layer in space.layers} | set(space.left_out) | biases
    without = FilterSpace(Mixed(), linear="none")
    assert set(without.left_out) - set(space.left_out) == {
        "attention.in_proj_weight", "attention.out_proj.weight", "linear.weight",
    }  # fmt: skip


def test_separate_projections_of_an_attention_are_filters_too():
    space = FilterSpace(Mixed(kdim=4))
    assert [layer.parameter for layer in space.layers if "q_proj" in layer.name] == ["attention.q_proj_weight"]
    assert str(space.address(space.index("attention.k_proj_weight[3, :]"))) == "attention.k_proj_weight[3, :]"


@pytest.mark.parametrize("linear", ["rows", "weights", "none"])
def test_addresses_and_indices_are_inverse(linear):
    space = FilterSpace(Mixed(), linear=linear)
    addresses = space.addresses(torch.arange(len(space)))
    for index, address in enumerate(addresses):
        assert space.address(index) == address
        assert space.index(address) == space.index(str(address)) == index


def test_a_row_is_written_with_a_colon_and_nothing_else_is():
    space = FilterSpace(Mixed())
    assert str(space.address(space.index("linear.weight[5, :]"))) == "linear.weight[5, :]"
    with pytest.raises(UsageError, match=r"no filter linear\.weight\[5, 0\].*written linear\.weight\[5, :\]"):
        space.index("linear.weight[5, 0]")
    with pytest.raises(UsageError, match=r"written up\.weight\[5, 0\]"):
        space.index("up.weight[5, :]")
    assert str(FilterSpace(nn.Linear(2, 3)).address(1)) == "weight[1, :]"
    assert FilterSpace(nn.Linear(2, 3), linear="weights").index("weight[1, 1]") == 3


def test_an_unknown_filter_of_linear_layers_is_refused():
    with pytest.raises(UsageError, match="Did you mean 'rows'"):
        FilterSpace(nn.Linear(2, 2), linear="row")


@pytest.mark.parametrize("linear", ["rows", "weights"])
def test_pooling_sums_a_filter_and_spreading_broadcasts_over_it(linear):
    network = Mixed()
    space = FilterSpace(network, linear=linear)
    weights = {name: each.detach().double() for name, each in network.named_parameters()}
    pooled = space.pool(weights)
    for layer in space.layers:
        weight, spread = weights[layer.parameter], space.spread(torch.arange(len(space)))[layer.parameter]
        owners = spread.expand(weight.shape)
        own = [weight[owners == layer.offset + each].sum() for each in range(layer.count)]
        torch.testing.assert_close(pooled[layer.offset : layer.offset + layer.count], torch.stack(own))
        assert (owners.flatten().diff() >= 0).all()  # each filter is a run of consecutive weights


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    baseline, target = Mixed().double().eval(), Mixed().double().eval()
    with torch.no_grad():
        for old, new in zip(baseline.parameters(), target.parameters(), strict=True):
            new.copy_(old + 0.3 * (new + 0.1 * torch.randn_like(new)))
    return baseline, target


@pytest.mark.parametrize("linear", ["rows", "weights", "none"])
def test_attribution_is_complete_and_survives_its_file(networks, linear, tmp_path):
    pair = ModelPair(*networks, linear=linear)
    images = [torch.rand(3, 24, 24, dtype=torch.float64)]
    found = FAIG(pair, quadrature=Quadrature("gauss-legendre", 12)).attribute(images, ["blur:2", "noise:0.1"])
    assert found.completeness_gap < 1e-3
    found.save(tmp_path / "scores.safetensors")
    again = Attribution.load(tmp_path / "scores.safetensors")
    assert again.space == pair.space
    assert [str(each) for each in again.select("blur:2", 10).addresses()] == [
        str(each) for each in found.select("blur:2", 10).addresses()
    ]


def test_scores_of_single_weights_sum_to_those_of_their_row(networks):
    """Integrals of weights add up before the absolute value is taken: compare what a row's weights were pooled from."""
    pairs = {linear: ModelPair(*networks, linear=linear) for linear in ("rows", "weights")}
    vector = torch.randn_like(pairs["rows"].target)
    rows, weights = (pairs[linear].pool(vector) for linear in ("rows", "weights"))
    row, column = (pairs[linear].space.layer("linear") for linear in ("rows", "weights"))
    summed = weights[column.offset : column.offset + column.count].view(6, 8).sum(1)
    torch.testing.assert_close(rows[row.offset : row.offset + row.count], summed)


def test_replacing_a_row_changes_that_row_alone(networks):
    pair = ModelPair(*networks)
    chosen = Selection.of(pair.space, ["linear.weight[2, :]", "attention.in_proj_weight[9, :]"])
    edited, target, baseline = substitute(pair, chosen).state_dict(), networks[1].state_dict(), networks[0].state_dict()
    for name, row in (("linear.weight", 2), ("attention.in_proj_weight", 9)):
        expected = target.pop(name).clone()
        expected[row] = baseline[name][row]
        assert torch.equal(edited.pop(name), expected)
    assert all(torch.equal(edited[name], target[name]) for name in target)


def test_results_of_networks_of_convolutions_are_written_as_before():
    layer = FilterSpace(nn.Conv2d(3, 4, 5)).layers[0]
    written = "FilterLayer(name='', out_channels=4, in_channels=3, kernel=(5, 5), offset=0)"
    assert repr(layer) == written  # hashes of measurements on disk are of this text
    assert layer.facts() == {"name": "", "out_channels": 4, "in_channels": 3, "kernel": (5, 5), "offset": 0}
    assert FilterSpace(nn.Linear(3, 4)).layers[0].facts()["row"] is True


def derived(how):
    if how is prune.l1_unstructured:
        return how(nn.Linear(4, 4), "weight", amount=0.5)
    return how(nn.Linear(4, 4))


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "how",
    [weight_norm, spectral_norm, parametrizations.weight_norm, parametrizations.spectral_norm, prune.l1_unstructured],
    ids=["old weight norm", "old spectral norm", "weight norm", "spectral norm", "pruned"],
)
def test_derived_weights_of_linear_layers_are_refused_with_a_hint(how):
    network = nn.Sequential(nn.Conv2d(3, 3, 1), derived(how))
    with pytest.raises(FilterlensError, match=r"'1' is derived.*Bake it in"):
        FilterSpace(network)
    assert len(FilterSpace(network, linear="none")) == 9
