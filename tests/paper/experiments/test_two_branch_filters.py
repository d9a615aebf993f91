# SPDX-License-Identifier: Apache-2.0
"""The lens on two-branch networks: masks of branches, shares, contributions, edited targets, and the claims."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from filterlens.filters import Selection
from filterlens.metrics import psnr
from filterlens.models.checkpoints import load_network
from filterlens.pair import ModelPair
from filterlens.paper.experiment import Verdict
from filterlens.paper.experiments.distribution import group_shares
from filterlens.paper.experiments.two_branch_filters import edits, figures, measure, page
from filterlens.paper.experiments.two_branch_filters.edits import (
    ALONE,
    BASELINE,
    BIASES,
    CONSTANT,
    CONVOLUTIONS,
    EVERYTHING,
    FAIG,
    LINEAR,
    NORMS,
    TARGET,
    TYPES,
    Branches,
    Edited,
    Effects,
    at_random,
    baseline_buffers,
    degradation_module,
    effects_of,
    found_in,
    mean_answers,
    whole,
)
from filterlens.paper.experiments.two_branch_filters.measure import (
    Contributions,
    Found,
    Network,
    Study,
    TwoBranchSettings,
    contributions_of,
    networks_of,
    shares_of,
    sums,
)
from filterlens.paper.judged import View
from filterlens.paper.laboratory import TargetModel
from filterlens.paper.page import write_page
from filterlens.record import Record
from filterlens.report.figures import LIGHT, png
from filterlens.run.tables import Damage, Edit
from tests.paper.conftest import tiny_pair
from tests.paper.rows import judged_from_rows
from tests.two_branch_networks import TINY, save_pair

BLUR, NOISE = KINDS_OF_INPUT = ("blur:1", "noise:0.1")
BRANCHES = ("degradation", "conditioning", "restoration")
SETTINGS = TwoBranchSettings(percents=(5.0, 20.0), draws=20, all_parameters_images=1)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Architecture → pairs of two seeds, read from files."""
    found = {}
    for architecture in TINY:
        folder = tmp_path_factory.mktemp(architecture)
        for seed in range(2):
            (folder / str(seed)).mkdir()
            files = save_pair(folder / str(seed), architecture, seed=seed, dtype=torch.float32, change=0.3)
            found.setdefault(architecture, []).append(ModelPair.load(*files))
    return found


def network_of(pairs, architecture, label):
    models = [TargetModel(label, seed, pair, pair.identity) for seed, pair in enumerate(pairs)]
    options = TINY.get(architecture, {})
    return Network(label, f"{label} blur+noise", models, Branches.of(pairs[0], architecture, options), 1000.0)


@pytest.fixture(scope="module")
def peers(pairs):
    one = network_of([tiny_pair(seed) for seed in range(2)], "srresnet", "SRResNet-2")
    return {name: [network_of(pairs[name], name, name.upper()), one] for name in TINY}


def named(pair):
    """Return the name of the parameter to which every place of the flat vector belongs."""
    return [name for name, value in pair.unflatten(pair.target).items() for _ in range(value.numel())]


def test_the_branches_of_dan_are_its_estimator_what_reads_the_code_and_the_rest(peers, pairs):
    branches, pair = peers["dan"][0].branches, pairs["dan"][0]
    names = named(pair)
    degradation = branches.parameters("degradation")
    assert degradation.tolist() == [name.startswith("estimator.") for name in names]
    reads_code = {name: torch.zeros(()) for name in pair.unflatten(pair.target)}
    for block in range(4):
        weight = torch.zeros(9, 9, 3, 3)
        weight[:, 6:] = 1  # 6 features, then 3 numbers of the code
        reads_code[f"restorer.body.{block}.conv1.weight"] = weight
    assert torch.equal(branches.parameters("conditioning"), pair.flatten(reads_code).bool())
    together = sum(branches.parameters(name).int() for name in BRANCHES)
    assert bool((together == 1).all())
    layer = branches.space.layer("restorer.body.2.conv1")
    number = branches.space.layers.index(layer)
    assert [branch for place, branch in branches.groups if place == number] == [1, 2], "one layer serves two branches"


def test_the_types_of_parameters_of_dasr(peers, pairs):
    branches, names = peers["dasr"][0].branches, named(pairs["dasr"][0])
    found = {kind: {name for name, place in zip(names, branches.types, strict=True) if place == TYPES.index(kind)}
             for kind in TYPES}  # fmt: skip
    assert len(found[LINEAR]) == 1 + 4 * 2 * 2 and all("kernel" in name or "compress" in name for name in found[LINEAR])
    assert found[NORMS] == {f"encoder.layers.{n}.norm.{what}" for n in range(6) for what in ("weight", "bias")}
    assert all(name.endswith("bias") for name in found[BIASES])
    rest = set(names) - found[LINEAR] - found[NORMS] - found[BIASES]
    assert found[CONVOLUTIONS] == rest and all(name.endswith("weight") for name in rest)
    mine = {name for name, is_in in zip(names, branches.parameters("conditioning"), strict=True) if is_in}
    assert mine == found[LINEAR] | {name for name in names if ".ca." in name}


def test_the_best_filters_of_a_branch_are_as_many_as_anywhere_or_all_it_has(peers):
    branches = peers["dan"][0].branches
    scores = torch.rand(len(branches.space), generator=torch.Generator().manual_seed(0))
    inside = branches.top(scores, 5.0, "degradation")
    assert len(inside) == len(Selection.top(branches.space, scores, 5.0))
    mine = branches.of_filters == 0
    worst = float(scores[inside.indices].min())
    assert bool(mine[inside.indices].all()) and int(((scores > worst) & mine).sum()) == len(inside) - 1
    assert len(branches.top(scores, 100.0, "degradation")) == int(mine.sum())
    assert torch.equal(branches.top(scores, 5.0).indices, Selection.top(branches.space, scores, 5.0).indices)


def test_a_plain_network_has_one_branch(peers):
    branches = peers["dan"][1].branches
    assert branches.names == ("restoration",) and bool(branches.parameters("restoration").all())
    assert len(branches.groups) == len(branches.space.layers)


def test_shares_are_those_of_the_ranking_by_the_weighted_mean(peers):
    branches = peers["dan"][0].branches
    generator = torch.Generator().manual_seed(1)
    scores = torch.rand(3, 2, len(branches.space), generator=generator, dtype=torch.float64)
    weights = torch.tensor([[1, 0, 0], [0.5, 0.25, 0.25]], dtype=torch.float64)
    found = group_shares(branches.group_of_filters, len(branches.groups), scores, weights, 10.0)
    for row in range(2):
        for kind in range(2):
            mean = sum(weight * each[kind] for weight, each in zip(weights[row].tolist(), scores, strict=True))
            top = Selection.top(branches.space, mean, 10.0)
            expected = [0] * len(branches.groups)
            for index in top.indices.tolist():
                group = (int(branches.space.layer_index[index]), int(branches.of_filters[index]))
                expected[branches.groups.index(group)] += 1 / len(top)
            np.testing.assert_allclose(found[row, kind], expected, atol=1e-12)


def test_shares_and_enrichment_are_those_of_faigs_selections(laboratory, peers):
    network = peers["dasr"][0]
    shares = Found(network, shares_of(laboratory, network, [5.0], 20), len(laboratory.finding), NOT_JUDGED)
    found = [laboratory.attribute(model, ["faig"], laboratory.finding)["faig"] for model in network.models]
    for branch, name in enumerate(BRANCHES):
        inside = [(network.branches.of_filters[each.select(BLUR, 5.0).indices] == branch).double().mean()
                  for each in found]  # fmt: skip
        share, times = shares.share((5.0, BLUR), name), shares.enrichment((5.0, BLUR), name)
        everything = float((network.branches.of_filters == branch).double().mean())
        assert share.mean == pytest.approx(float(np.mean(inside))) and share.n == 2
        assert times.mean == pytest.approx(float(np.mean(inside)) / everything)
        assert share.low <= share.mean <= share.high


NOT_JUDGED = View("nothing", 5.0, KINDS_OF_INPUT, judged_from_rows([], []))


def placed(network, blur, noise, percent=5.0, view=NOT_JUDGED):
    """Found filters that all lie in one group each: (layer, branch) per degradation."""

    def only(group):
        row = np.zeros(len(network.branches.groups))
        row[network.branches.groups.index(group)] = 1
        return np.repeat(row[None, None], 10, axis=0)  # the images themselves and nine draws

    shares = {(percent, BLUR): only(blur), (percent, NOISE): only(noise)}
    return Found(network, shares, 2, view)


def test_depth_counts_the_layers_outside_the_degradation_branch(peers):
    network = peers["dasr"][0]
    names = [layer.name for layer in network.branches.space.layers]
    last, first = names.index("restorer.conv_last"), names.index("restorer.head")
    outside = [name for name in names if name.startswith("restorer.")]
    expected = outside.index("restorer.head") / (len(outside) - 1)
    shares = placed(network, (last, 2), (first, 2))
    assert shares.depth((5.0, BLUR)).mean == 1 and shares.depth((5.0, NOISE)).mean == pytest.approx(expected)
    assert shares.depth_difference((5.0, BLUR), (5.0, NOISE)).mean == pytest.approx(1 - expected)
    inside = placed(network, (0, 0), (first, 2))
    assert np.isnan(inside.depth((5.0, BLUR)).mean), "no found filter is outside, so there is no depth"
    assert inside.share((5.0, BLUR), "degradation").mean == 1


def test_sums_over_branches_and_kinds_are_those_by_hand(peers, pairs):
    branches, names = peers["dasr"][0].branches, named(pairs["dasr"][0])
    values = torch.randn(len(names), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = torch.zeros(3, 4, dtype=torch.float64)
    for name, value in zip(names, values.tolist(), strict=True):
        conditioning = "compress" in name or ".kernel." in name or ".ca." in name
        row = 0 if name.startswith("encoder.") else 1 if conditioning else 2
        kind = NORMS if ".norm." in name else BIASES if name.endswith("bias") else CONVOLUTIONS
        kind = LINEAR if "compress" in name or ".kernel." in name else kind
        expected[row, TYPES.index(kind)] += value
    torch.testing.assert_close(sums(branches, values), expected)


def test_signed_contributions_add_up_to_the_fall_of_the_loss_and_kinds_to_their_branch(laboratory, peers):
    network = peers["dasr"][0]
    found = contributions_of(laboratory, network, laboratory.finding[:1])
    assert found.gap < 0.01
    for seed, model in enumerate(network.models):
        truth = laboratory.finding[0].truth(2)
        lowered = laboratory.inputs[NOISE].apply(truth, 2, seed=laboratory.common.seed)
        losses = [float((model.pair.run(vector, lowered) - truth).square().sum())
                  for vector in (model.pair.baseline, model.pair.target)]  # fmt: skip
        assert found.signed[NOISE][seed].sum() == pytest.approx(losses[0] - losses[1], rel=0.02)
        assert found.losses[NOISE][seed, 0] == pytest.approx(losses[0], rel=1e-4)
    for name in BRANCHES:
        parts = [found.share(BLUR, name, kind).mean for kind in TYPES]
        assert sum(parts) == pytest.approx(found.share(BLUR, name).mean)
    assert sum(found.share(BLUR, name).mean for name in BRANCHES) == pytest.approx(1)
    assert NORMS in found.types_of("degradation") and found.types_of("conditioning") == [CONVOLUTIONS, LINEAR]


def contributions(signed, loss=100.0):
    """Contributions of one model and two images: branch → signed sum."""
    table = np.zeros((1, 2, 3, len(TYPES)))
    for place, name in enumerate(BRANCHES):
        table[:, :, place, 0] = signed[name]
    both = dict.fromkeys(KINDS_OF_INPUT, table)
    losses = dict.fromkeys(KINDS_OF_INPUT, np.full((1, 2), loss))
    return Contributions(BRANCHES, {kind: np.abs(each) for kind, each in both.items()}, both, losses, 0.0, 50)


def test_where_the_loss_did_not_fall_nothing_is_shared_out():
    fell = contributions({"degradation": 10, "conditioning": 0, "restoration": 30})
    assert fell.gain(BLUR, "degradation").mean == pytest.approx(0.25)
    rose = contributions({"degradation": 10, "conditioning": 0, "restoration": -30})
    assert np.isnan(rose.gain(BLUR, "degradation").mean)
    assert rose.share(BLUR, "degradation").mean == pytest.approx(0.25)


def test_a_swapped_branch_is_that_of_the_baseline_and_everything_with_statistics_the_baseline_itself(peers, pairs):
    model, pair = peers["dasr"][0].models[0], pairs["dasr"][0]
    buffers = baseline_buffers(model)
    assert set(buffers) == {f"encoder.layers.{n}.norm.running_{what}" for n in range(6) for what in ("mean", "var")}
    branches, image = peers["dasr"][0].branches, torch.rand(1, 3, 20, 24)
    own = [load_network(pair.facts[role]["path"]).network for role in ("baseline", "target")]
    with torch.no_grad():
        everything = torch.ones(len(pair.target), dtype=torch.bool)
        assert torch.equal(Edited("", everything, buffers).network(pair)(image), own[0](image))
        assert torch.equal(Edited("", ~everything).network(pair)(image), own[1](image))
        own[1].encoder.load_state_dict(own[0].encoder.state_dict())
        mixed = Edited("", branches.parameters("degradation"), buffers)
        assert torch.equal(mixed.network(pair)(image), own[1](image))
    assert mixed.digest != Edited("", branches.parameters("degradation")).digest


def test_removal_and_preservation_of_swaps_are_their_formulas(laboratory, peers):
    network = peers["dan"][0]
    masks = {name: network.branches.parameters(name) for name in BRANCHES}
    every = {"nothing": torch.zeros_like(masks["restoration"]), "everything": torch.ones_like(masks["restoration"])}
    edits = [Edited(name, mask) for name, mask in (masks | every).items()]
    samples = laboratory.judging("any")
    found = effects_of(laboratory, [(model, edits) for model in network.models], samples)
    assert found.removed("everything", BLUR).mean == pytest.approx(1)
    assert found.kept("nothing", BLUR).mean == pytest.approx(1)
    assert found.removed("nothing", BLUR).mean == pytest.approx(0)
    per_model, levels = [], []
    for model in network.models:
        residual = scale = 0.0
        for sample in samples:
            truth = sample.truth(2)
            lowered = laboratory.inputs[BLUR].apply(truth, 2, seed=0)
            vector = torch.where(masks["degradation"], model.pair.baseline, model.pair.target)
            edited, baseline, target = (
                model.pair.run(each, lowered) for each in (vector, model.pair.baseline, model.pair.target)
            )
            residual += float((edited - baseline).double().square().sum())
            scale += float((target - baseline).double().square().sum())
            levels.append(float(psnr(edited, truth, crop=2)))
        per_model.append(1 - residual / scale)
    estimate = found.removed("degradation", BLUR)
    assert estimate.mean == pytest.approx(np.mean(per_model), rel=1e-4)
    assert estimate.sd == pytest.approx(np.std(per_model, ddof=1), rel=1e-3)
    assert found.psnr("degradation", BLUR).mean == pytest.approx(np.mean(levels), abs=1e-3)
    same = found.removed_more("degradation", "degradation", BLUR)
    assert (same.mean, same.low, same.high) == (0, 0, 0)
    assert found.removed_more("everything", "nothing", BLUR).mean == pytest.approx(1)


def test_the_gain_is_paired_and_what_is_left_of_it_is_a_ratio_of_sums():
    levels = {
        BASELINE: [[20.0, 24.0], [20.0, 24.0]],
        TARGET: [[24.0, 26.0], [23.0, 25.0]],
        "edit": [[21, 24], [18, 26]],
    }
    found = Effects({(edit, BLUR, "psnr"): np.array(rows, dtype=float) for edit, rows in levels.items()}, 50)
    gain, left = found.gain(BLUR), found.gain_left("edit", BLUR)
    assert gain.mean == pytest.approx((3 + 2) / 2) and gain.low >= 1 and gain.high <= 4
    assert left.mean == pytest.approx(np.mean([(1 + 0) / (4 + 2), (-2 + 2) / (3 + 1)])) and left.n == 2
    assert found.gain_left(TARGET, BLUR).mean == 1 and found.gain_left(BASELINE, BLUR).mean == 0
    levels[TARGET][1] = [19.0, 24.0]
    worse = Effects({(edit, BLUR, "psnr"): np.array(rows, dtype=float) for edit, rows in levels.items()}, 50)
    assert np.isnan(worse.gain_left("edit", BLUR).mean), "one of the targets gained nothing"


@pytest.mark.parametrize("architecture", ["dan", "dasr"])
def test_one_answer_for_all_images_is_the_mean_of_the_answers_and_nothing_else_changes(laboratory, peers, architecture):
    network = peers[architecture][0]
    model, branches = network.models[0], network.branches
    branch = {"dan": "estimator", "dasr": "encoder"}[architecture]
    assert degradation_module(model.pair, branches) == branch
    (answer,) = mean_answers(laboratory, branches, [model], laboratory.finding)
    target, said = model.pair.network(model.pair.target), []
    for sample in laboratory.finding:
        for degradation in laboratory.inputs.values():
            lowered = degradation.apply(sample.truth(2), 2, seed=0)
            with torch.no_grad():
                said.append(target.unroll(lowered).codes[-1] if architecture == "dan" else target.encoder(lowered))
    torch.testing.assert_close(answer, torch.cat(said).mean(0), rtol=1e-5, atol=1e-6)
    edited = Edited("", torch.zeros(len(model.pair.target), dtype=torch.bool), answers={branch: answer}).network(
        model.pair
    )
    with torch.no_grad():
        assert torch.equal(edited(lowered), target.restorer(lowered, answer[None]))
    assert torch.equal(torch.cat([each.flatten() for each in edited.parameters()]), model.pair.target)


PERCENT = 5.0


def effects(removed, learnt=KINDS_OF_INPUT):
    """One model, two images: edit → R; P is 1 − R; baselines are at 20 dB, targets at 25 dB where they learnt."""
    values = {}
    for kind in (*KINDS_OF_INPUT, "clean"):
        levels = {BASELINE: 20.0, TARGET: 25.0 if kind in learnt else 20.1}
        for edit, share in ({BASELINE: 1.0, TARGET: 0.0} | removed).items():
            level = levels.get(edit, 25 - 5 * share)
            numbers = {"to_baseline": 1 - share, "to_target": share, "scale": 1.0, "psnr": level}
            values |= {(edit, kind, what): np.full((1, 2), number) for what, number in numbers.items()}
    return Effects(values, 50)


def judged(own, cross, removed=0.9, kept=0.9):
    damages = []
    for masked in KINDS_OF_INPUT:
        edit = Edit(FAIG, PERCENT, masked)
        for kind in (*KINDS_OF_INPUT, "clean"):
            share = removed if kind == masked else kept
            row = Damage(edit, kind, "", own if kind == masked else cross, 0.0, 20.0, 0.5, 1 - share, 1.0)
            damages += [(0, replace(row, image=image)) for image in ("one", "two")]
    return View("a network", PERCENT, KINDS_OF_INPUT, judged_from_rows(damages, (), 50))


def world(networks, *, inside, learnt=KINDS_OF_INPUT):
    """A study in which the functions sit in the degradation branch, or else outside it."""
    two, one = networks
    names = [layer.name for layer in two.branches.space.layers]
    first, last = names.index("restorer.head"), names.index("restorer.conv_last")
    encoder = names.index("encoder.layers.5.conv")
    damage = judged(1.0, 0.1) if not inside else judged(1.0, 0.9, kept=-1.0)
    places = ((encoder, 0), (encoder, 0)) if inside else ((last, 2), (first, 2))
    both = [
        placed(two, *places, view=damage),
        placed(one, (len(one.branches.space.layers) - 1, 0), (0, 0), view=judged(1.0, 0.1)),
    ]
    removed = {whole("degradation"): 0.9 if inside else 0.1, ALONE: 0.2 if inside else 1.0}
    removed[CONSTANT] = removed[whole("degradation")]
    for kind in KINDS_OF_INPUT:
        removed |= {found_in(PERCENT, kind): 0.8, found_in(PERCENT, kind, "degradation"): 0.8 if inside else 0.1}
        removed |= {found_in(PERCENT, kind, "restoration"): 0.1 if inside else 0.8, at_random(PERCENT, kind): 0.0}
    removed |= {whole("conditioning"): 0.1, whole("restoration"): 0.1 if inside else 0.9}
    parts = {"degradation": 30 if inside else 5, "conditioning": 5, "restoration": 5 if inside else 30}
    return Study(KINDS_OF_INPUT, PERCENT, both, contributions(parts), effects(removed, learnt))


HOLDS, PARTLY, FAILS, OPEN = Verdict.HOLDS, Verdict.PARTLY, Verdict.FAILS, Verdict.OPEN


def test_the_claims_can_hold_and_fail(peers):
    outside = [claim.verdict for claim in page.claims_of(world(peers["dasr"], inside=False))]
    assert outside == [FAILS, FAILS, FAILS, FAILS, FAILS, HOLDS, HOLDS, HOLDS, HOLDS]
    inside = [claim.verdict for claim in page.claims_of(world(peers["dasr"], inside=True))]
    assert inside == [HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, PARTLY, FAILS, FAILS, FAILS]


def test_a_function_that_was_not_learnt_is_not_judged_and_the_page_says_so(peers):
    claims = list(page.claims_of(world(peers["dasr"], inside=False, learnt=(NOISE,))))
    assert [claim.verdict for claim in claims] == [FAILS, FAILS, FAILS, FAILS, FAILS, HOLDS, HOLDS, HOLDS, OPEN]
    assert all("deblurring was not judged: fine-tuning gained 0.10 [0.10, 0.10] dB" in c.evidence for c in claims)
    nothing = list(page.claims_of(world(peers["dasr"], inside=True, learnt=())))
    assert {claim.verdict for claim in nothing} == {OPEN}
    assert "remains-dasr" not in [panel.stem for panel in figures.panels(world(peers["dasr"], inside=True, learnt=()))]


def test_a_network_that_another_answer_breaks_is_called_broken(peers):
    found = world(peers["dasr"], inside=True)
    values = dict(found.effects.values) | {(whole("degradation"), kind, "to_target"): np.full((1, 2), 1.4)
                                           for kind in KINDS_OF_INPUT}  # fmt: skip
    claims = list(page.claims_of(replace(found, effects=Effects(values, 50))))
    assert "P = −0.40 [−0.40, −0.40]: further from the target's output than the baseline's is" in claims[2].evidence
    assert "further from" not in claims[3].evidence


def test_the_figures_say_in_words_what_they_show(peers):
    found = {panel.stem: panel for panel in figures.panels(world(peers["dasr"], inside=False))}
    assert list(found) == ["composition-dasr", "layers-dasr", "layers-srresnet-2", "remains-dasr"]
    assert "deblurring filters, top 5 %: degradation 0.0 %" in found["composition-dasr"].alt
    assert "Most of deblurring: restorer.conv_last 100.0 %" in found["layers-dasr"].alt
    assert "the degradation branch is the baseline's: deblurring 90 %, denoising 90 %" in found["remains-dasr"].alt
    assert all(png(panel, LIGHT).startswith(b"\x89PNG") for panel in found.values())


def test_bars_of_a_layer_that_serves_two_branches_stand_on_each_other(peers, laboratory):
    from matplotlib.figure import Figure

    network = peers["dan"][0]
    found = Found(network, shares_of(laboratory, network, [20.0], 5), len(laboratory.finding), NOT_JUDGED)
    axes = Figure().add_subplot()
    figures.layers(found, 20.0, KINDS_OF_INPUT).draw(axes, LIGHT)
    heights = np.zeros(len(network.branches.space.layers))
    for bar in (bar for container in axes.containers for bar in container):
        if bar.get_height() > 0:
            heights[round(bar.get_x() + bar.get_width() / 2)] += bar.get_height()
    assert heights.sum() == pytest.approx(1)
    estimator = [layer.name.startswith("estimator") for layer in network.branches.space.layers]
    inside = found.share((20.0, BLUR), "degradation").mean
    assert heights[: sum(estimator)].sum() == pytest.approx(inside), "the degradation branch stands on the left"


def test_the_page_of_both_peers(laboratory, peers, monkeypatch, tmp_path):
    monkeypatch.setattr(page, "networks_of", lambda *_, **__: list(peers.values()))
    outcome = page.run(laboratory, SETTINGS)
    assert len(outcome.claims) == 2 * 9
    assert [table.name for table in outcome.tables] == [
        "networks", "where", "contributions", "swaps-dan", "quality-dan", "swaps-dasr", "quality-dasr", "cross",
        "depth",
    ]  # fmt: skip
    tables = {table.name: table for table in outcome.tables}
    edits = [row[0] for row in tables["swaps-dasr"].rows]
    assert EVERYTHING in edits and EVERYTHING not in [row[0] for row in tables["swaps-dan"].rows]
    assert all(len(row) == len(table.columns) for table in outcome.tables for row in table.rows)
    written = [str(cell) for table in outcome.tables for row in (table.columns, *table.rows) for cell in row]
    written += [text for claim in outcome.claims for text in (claim.text, claim.evidence)]
    assert not any("|" in text for text in written), "a bar would end a cell of the page"
    assert any("running statistics" in text for text in outcome.text)
    shares = [sum(cell.mean for cell in row[2:5]) for row in tables["where"].rows if row[1] != "all filters"]
    assert shares == pytest.approx([1.0] * len(shares))
    rows = outcome.data["layers"]
    for network in ("DAN", "DASR", "SRResNet-2"):
        total = sum(row[f"{NOISE}, 20 %"] for row in rows if row["network"] == network)
        assert total == pytest.approx(2 if network == "SRResNet-2" else 1)  # it stands beside both
    origin = page_origin()
    text = write_page(Record(tmp_path, "paper"), page.EXPERIMENT, outcome, origin, {}).read_text(encoding="utf-8")
    assert "which branch holds it" not in text and "composition-dan.png" in text


def page_origin():
    from filterlens.paper.page import Origin

    return Origin("filterlens paper two-branch-filters", "quick", "commit", "machine", "2026-01-01", 1.0)


def test_a_second_look_takes_everything_from_disk(laboratory, peers, monkeypatch):
    first = measure.measure(laboratory, SETTINGS, peers["dasr"])
    for module, name in ((measure, "_contributions"), (edits, "_effects")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("it was measured before"))
    again = measure.measure(laboratory, SETTINGS, peers["dasr"])
    assert again.effects.removed(whole("degradation"), BLUR) == first.effects.removed(whole("degradation"), BLUR)


def test_the_networks_are_those_trained_for_blur_and_noise(laboratory, peers, monkeypatch):
    asked = []
    monkeypatch.setattr(measure, "prepare", lambda _, wanted: asked.extend(wanted))

    def trained(_, arm, setting):
        asked.append((arm, setting))
        return peers[arm.peer][0 if arm.has_two_branches else 1].models

    monkeypatch.setattr(measure, "trained", trained)
    ((alone,),) = networks_of(laboratory, ["dan"], compare=False)
    assert alone.label == "DAN" and alone.setting == "DAN blur+noise"
    assert {setting.name for _, setting in asked} == {"DAN blur+noise"} and len(asked) == 2
    both = networks_of(laboratory, ["dasr", "dan"], compare=True)
    assert [two.setting for two, _ in both] == ["DASR blur+noise", "DAN blur+noise"]
    assert all(one.label.startswith("SRResNet-") for _, one in both)


def test_users_pairs_stay_as_they_were(peers):
    branches, model = peers["dasr"][0].branches, peers["dasr"][0].models[0]
    before = {name: value.clone() for name, value in model.pair.network(model.pair.target).state_dict().items()}
    Edited("", branches.parameters("degradation"), baseline_buffers(model)).network(model.pair)
    after = model.pair.network(model.pair.target).state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
