# SPDX-License-Identifier: Apache-2.0
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import check_grad
from torch import nn

from filterlens.data.samples import as_samples
from filterlens.degradations import Degradation
from filterlens.degradations.resample import cubic_kernel
from filterlens.metrics import CHANNELS
from filterlens.models.complexity import Complexity
from filterlens.models.dan import DAN
from filterlens.models.dasr import DASR
from filterlens.paper.experiment import Verdict
from filterlens.paper.experiments.branches import knowledge, measure, page
from filterlens.paper.experiments.branches.knowledge import (
    BASELINE,
    CONSTANT,
    DELTA,
    TRAINED,
    UNTRAINED,
    Codes,
    Probed,
    Question,
    constant_code,
    questions_of,
    true_kernel,
)
from filterlens.paper.experiments.branches.measure import FLOOR, ONE, TWO, BranchesSettings, Compared, Study
from filterlens.paper.peers.arms import Arm, arms_of, settings_of
from filterlens.paper.peers.trainings import trained
from filterlens.report.figures import LIGHT, png
from tests.paper.peers.small import SMALL

SETTINGS = BranchesSettings(probe_patch=32, probe_squares=2)
ARMS = {arm.name: arm for arm in arms_of(SMALL)}
TASKS = {task.name: task for task in settings_of(SMALL)}


@pytest.fixture(scope="module")
def peers(make_laboratory, tmp_path_factory):
    """A laboratory of peers that are hardly trained."""
    return make_laboratory(tmp_path_factory.mktemp("peers"), peers=SMALL)


@pytest.fixture(scope="module")
def outcome(peers):
    return page.run(peers, SETTINGS)


def row_of(outcome, table, first):
    found = next(each for each in outcome.tables if each.name == table)
    row = next(row for row in found.rows if row[0] == first)
    return dict(zip(found.columns, row, strict=True))


def luma_by_formula(image):
    red, green, blue = image.unbind(1)
    return (65.481 * red + 128.553 * green + 24.966 * blue + 16)[:, None] / 255


def psnr_by_formula(restored, truth, channel):
    """PSNR of 8-bit images without a border of 2, in float64."""
    pair = [(each.double().clamp(0, 1) * 255).round() / 255 for each in (restored, truth)]
    pair = [luma_by_formula(each) if channel == "y" else each for each in pair]
    first, second = (each[..., 2:-2, 2:-2].numpy() for each in pair)
    return 10 * math.log10(1 / ((first - second) ** 2).mean())


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_cell_is_what_restoring_and_comparing_by_hand_gives(peers, folders, outcome, channel):
    task = TASKS["DASR blur+noise"]
    means = {}
    for who, name in ((TWO, "dasr"), (ONE, "srresnet as dasr")):
        rows = []
        for model in trained(peers, ARMS[name], task):
            network = model.pair.network(model.pair.target)
            values = []
            for sample in as_samples(folders[1]):
                truth = sample.truth(2)
                for test in task.tests:
                    with torch.no_grad():
                        restored = network(Degradation.parse(test).apply(truth, 2, seed=0))
                    values.append(psnr_by_formula(restored, truth, channel))
            rows.append(np.mean(values))
        means[who] = rows
    row = row_of(outcome, "settings", f"DASR blur+noise, here, {channel.upper()}")
    assert row[TWO].mean == pytest.approx(np.mean(means[TWO]), abs=1e-4)
    assert row[ONE].sd == pytest.approx(np.std(means[ONE], ddof=1), abs=1e-4)
    assert row["one − two [interval]"].mean == pytest.approx(np.mean(means[ONE]) - np.mean(means[TWO]), abs=1e-4)


def enlarged_by_formula(image):
    """Cubic convolution with a = −0.5 by a dense matrix; weights beyond the border go to those inside it."""

    def matrix(size):
        places = (torch.arange(2 * size, dtype=torch.float64) + 0.5) / 2 - 0.5
        weights = cubic_kernel(places[:, None] - torch.arange(size, dtype=torch.float64))
        return weights / weights.sum(1, keepdim=True)

    return matrix(image.shape[-2]) @ image.double() @ matrix(image.shape[-1]).T


def test_the_floor_is_cubic_convolution(folders, outcome):
    values = []
    for sample in as_samples(folders[1]):
        truth = sample.truth(2)
        lowered = Degradation.parse("blur:1.2").apply(truth, 2, seed=0)
        values.append(psnr_by_formula(enlarged_by_formula(lowered), truth, "y"))
    floor = row_of(outcome, "tests-dasr-blur", "blur:1.2")["bicubic, Y"]
    assert floor.mean == pytest.approx(np.mean(values), abs=1e-3) and floor.sd is None


def test_the_code_of_dan_is_measured_against_the_true_kernel(peers, folders, outcome):
    test = "blur:0.8"
    distances, starts = [], []
    for model in trained(peers, ARMS["dan"], TASKS["DAN blur"]):
        network = model.pair.network(model.pair.target)
        axis = np.arange(-10, 11)
        kernel = np.exp(-(axis[:, None] ** 2 + axis**2) / (2 * 0.8**2))
        wanted = (kernel / kernel.sum()).flatten() @ network.basis.double().numpy()
        for sample in as_samples(folders[1]):
            lowered = Degradation.parse(test).apply(sample.truth(2), 2, seed=0)
            with torch.no_grad():
                code = network.unroll(lowered).codes[-1]
            distances.append(np.abs(code.double().numpy()[0] - wanted).mean())
            starts.append(np.abs(network.basis.double().numpy()[220] - wanted).mean())
    found = next(each for each in outcome.tables if each.name == "codes")
    row = next(dict(zip(found.columns, row, strict=True)) for row in found.rows if row[:2] == ("DAN blur", test))
    assert row["DAN"].mean == pytest.approx(np.mean(distances), rel=1e-4)
    assert row["delta kernel (start)"] == pytest.approx(np.mean(starts), rel=1e-4)
    ways = 1 - np.array(distances).reshape(2, -1).sum(1) / np.array(starts).reshape(2, -1).sum(1)
    assert row["way from the delta"].mean == pytest.approx(ways.mean(), rel=1e-3)


def test_the_true_kernel_is_padded_to_the_codes_width():
    kernel = true_kernel("blur:1,sigma_y=2,angle=30,kernel=9+noise:0.1", 21)
    assert kernel.shape == (21, 21) and float(kernel.sum()) == pytest.approx(1)
    assert torch.equal(kernel[6:15, 6:15], Degradation.parse("blur:1,sigma_y=2,angle=30,kernel=9").blur.weights())
    assert true_kernel("noise:0.1", 21)[10, 10] == 1


def test_no_other_constant_is_nearer_to_the_trainings_codes():
    network = DAN(features=8, blocks=1, estimator_blocks=1)
    constant = constant_code(network, ["blur:0.2..4", "noise:0..0.1"])
    drawn = torch.rand(4000, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * 3.8 + 0.2
    codes = network.encode(torch.stack([Degradation.parse(f"blur:{float(s):.6f}").blur.weights() for s in drawn[:500]]))

    def cost(code):
        return float((codes - code).abs().mean())

    others = [codes.mean(0, keepdim=True), network.initial_code, constant * 1.05, constant * 0.95]
    assert all(cost(constant) < cost(other) for other in others)


def test_a_probe_is_at_the_minimum_of_its_loss_and_separates_what_can_be_separated():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(40)
    features = torch.randn(120, 4, generator=generator) + 4 * torch.eye(4)[labels]
    found = knowledge.fit(features, labels)
    assert (found.answer(features) == labels).double().mean() > 0.95
    x = (features.double() - features.double().mean(0)) / features.double().std(0)

    def loss(flat):
        weights, bias = flat[:12].reshape(4, 3), flat[12:]
        scores = x.numpy() @ weights + bias
        scores -= scores.max(1, keepdims=True)
        right = scores[np.arange(120), labels.numpy()] - np.log(np.exp(scores).sum(1))
        return -right.mean() + knowledge.DECAY / 2 * (weights**2).sum()

    best = np.concatenate([found.weights.numpy().flatten(), found.bias.numpy()])
    assert check_grad(loss, lambda _: np.zeros(15), best) < 1e-3


class Grain(nn.Module):
    """An encoder that sees nothing but the usual difference between neighbours: edges are rare, noise is everywhere."""

    def forward(self, x):
        return (x[..., 1:] - x[..., :-1]).abs().flatten(1).median(1, keepdim=True).values


class Blind(nn.Module):
    """An encoder that sees nothing."""

    def forward(self, x):
        return torch.zeros(len(x), 1)


def test_a_probe_tells_what_the_encoder_sees(peers, folders, monkeypatch):
    task = SimpleNamespace(name="noise")
    monkeypatch.setattr(
        knowledge, "encoders_of", lambda model: {TRAINED: Grain(), BASELINE: Blind(), UNTRAINED: Blind()}
    )
    network = DASR(features=8, groups=1, blocks=1)
    model = SimpleNamespace(seed=0, pair=SimpleNamespace(network=lambda _: network, target=None))
    monkeypatch.setattr(knowledge, "_hash", lambda encoder: type(encoder).__name__)
    find, judge = (as_samples(folder) for folder in folders)
    question = Question("noise level", ("clean", "noise:0.2"))
    found = knowledge.probed(peers, task, question, [model], find, judge, patch=32, count=4)
    assert found.chance == 0.5
    assert found.accuracy(TRAINED).mean > 0.9 and found.accuracy(BASELINE).mean == 0.5
    assert found.gain(UNTRAINED).low > 0.3 and found.right[TRAINED].shape == (1, 2)


def test_kernels_are_asked_for_and_in_noisy_settings_the_noise_too():
    (only,) = questions_of(TASKS["DASR blur"])
    assert only == Question("blur kernel", TASKS["DASR blur"].tests)
    kernel, noise = questions_of(TASKS["DASR blur+noise"])
    parsed = [Degradation.parse(each) for each in kernel.classes]
    assert len({each.blur for each in parsed}) == 4 and len({each.noise for each in parsed}) == 1
    parsed = [Degradation.parse(each) for each in noise.classes]
    assert len({each.blur for each in parsed}) == 1 and parsed[0].noise is None
    assert [each.noise.sigma for each in parsed[1:]] == pytest.approx([25 / 3 / 255, 50 / 3 / 255, 25 / 255], abs=1e-4)


def test_the_baselines_encoder_keeps_its_own_running_statistics(peers):
    model = trained(peers, ARMS["dasr"], TASKS["DASR blur"])[0]
    statistics = {kind: encoder.layers[0].norm.running_mean for kind, encoder in knowledge.encoders_of(model).items()}
    assert not torch.equal(statistics[TRAINED], statistics[BASELINE])
    assert torch.equal(statistics[UNTRAINED], torch.zeros(8))


def test_a_second_run_reads_everything_from_disk(peers, outcome, monkeypatch):
    monkeypatch.setattr(measure, "psnr", None)
    monkeypatch.setattr(knowledge, "_code_distances", None)
    monkeypatch.setattr(knowledge, "fit", None)
    assert page.run(peers, SETTINGS).tables == outcome.tables


def test_every_table_is_complete_and_every_figure_can_be_drawn(outcome):
    assert [table.name for table in outcome.tables] == [
        "settings", "complexity", "tests-dan-blur", "tests-dan-blur-noise", "tests-dasr-blur", "tests-dasr-blur-noise",
        "codes", "probe",
    ]  # fmt: skip
    assert all({len(row) for row in table.rows} == {len(table.columns)} for table in outcome.tables)
    assert [panel.stem for panel in outcome.panels][:2] == ["gains", "codes-dan-blur"] and len(outcome.panels) == 8
    assert all(png(panel, LIGHT).startswith(b"\x89PNG") for panel in outcome.panels)
    assert any("smoke run" in paragraph for paragraph in outcome.text)


def arm(name, peer, multiply_adds=100.0, parameters=1000):
    architecture = name if name in ("dan", "dasr") else "srresnet"
    return Arm(name, peer, architecture, {"blocks": 3}, Complexity(parameters, multiply_adds))


def fabricated(gain=0.0, noise=0.01, seeds=3, name="DAN blur", floor=1.0, spread=0.0):
    """A setting in which one branch is ``gain`` dB above two branches, which are ``floor`` dB above bicubic."""
    generator = np.random.default_rng(0)
    task = TASKS[name]
    shape = (seeds, 12, len(task.tests))
    level = 30 + generator.standard_normal((1, 12, 1))
    psnr = {}
    for channel in CHANNELS:
        psnr[FLOOR, channel] = np.broadcast_to(level, (1, *shape[1:]))
        psnr[TWO, channel] = level + floor + noise * generator.standard_normal(shape)
        drift = spread * np.linspace(-1, 1, seeds)[:, None, None]
        psnr[ONE, channel] = psnr[TWO, channel] + gain + drift + noise * generator.standard_normal(shape)
    arms = {TWO: arm(task.peer, task.peer), ONE: arm(f"srresnet as {task.peer}", task.peer)}
    return Compared(task, arms, 2, psnr, 0.1, "y", 500)


@pytest.mark.parametrize(
    ("gain", "spread", "matches", "no_worse", "said"),
    [
        (0.0, 0.0, True, True, "wholly inside ±0.1 dB: one branch matches two"),
        (0.05, 0.0, True, True, "matches"),
        (0.3, 0.0, False, True, "wholly outside ±0.1 dB: one branch is better"),
        (-0.3, 0.0, False, False, "wholly outside ±0.1 dB: one branch is worse"),
        (-0.1, 0.0, None, None, "not decided"),
        (0.1, 0.0, None, True, "not decided"),
        (0.0, 1.0, None, None, "not decided"),
    ],
)
def test_one_branch_matches_where_the_whole_interval_lies_inside_the_margin(gain, spread, matches, no_worse, said):
    compared = fabricated(gain, spread=spread)
    assert (compared.matches, compared.is_no_worse) == (matches, no_worse)
    assert said in page.sentence(compared)


def test_one_training_each_decides_nothing():
    compared = fabricated(0.0, seeds=1)
    assert compared.matches is None and compared.is_no_worse is None
    assert "one training of each does not tell" in page.sentence(compared)


def test_the_difference_is_paired_over_images_and_seeds():
    compared = fabricated(0.0, noise=0.001)
    gain, level = compared.gain, compared.quality(TWO)
    assert gain.high - gain.low < 0.01 < np.ptp(compared.psnr[TWO, "y"].mean((0, 2)))  # images differ by dB
    values = (compared.psnr[ONE, "y"] - compared.psnr[TWO, "y"]).mean(2)
    assert gain.mean == pytest.approx(values.mean()) and gain.sd == pytest.approx(values.mean(1).std(ddof=1))
    assert level.mean == pytest.approx(compared.psnr[TWO, "y"].mean())


def fabricated_codes(estimated=0.1, delta=1.0, constant=0.5, noise=0.001):
    task = TASKS["DAN blur"]
    distances = estimated + noise * np.random.default_rng(1).standard_normal((2, len(task.tests), 12))
    start = np.ones((2, len(task.tests)))
    return Codes(task, task.tests, distances, {DELTA: delta * start, CONSTANT: constant * start}, 500)


def fabricated_probe(trained=0.9, baseline=0.5, untrained=0.4):
    values = {TRAINED: trained, BASELINE: baseline, UNTRAINED: untrained}
    noise = 0.01 * np.random.default_rng(2).standard_normal((2, 12))
    right = {kind: value + noise for kind, value in values.items()}
    return Probed(TASKS["DASR blur"], Question("blur kernel", ("a", "b", "c", "d")), right, 500)


def judged(compared=None, codes=None, probes=None, here=None, published=None):
    found = Study([compared or fabricated()], [codes or fabricated_codes()], [probes or fabricated_probe()], {})
    both = [arm(name, peer) for peer in ("dan", "dasr") for name in (peer, f"srresnet as {peer}")]
    listed = list(page.claims(found, [("here", 2, here or both), *(published or [(page.PUBLISHED, 2, both)])]))
    names = ("matches", "no worse", "cost", "parameters", "delta", "constant", "separates", "bicubic")
    return dict(zip(names, listed, strict=True))


UNEQUAL = [arm("dan", "dan"), arm("x", "dan", 150), arm("dasr", "dasr"), arm("y", "dasr")]


def published_x4(dan, dasr):
    two = [arm("dan", "dan", parameters=dan), arm("dasr", "dasr", parameters=dasr)]
    return [(page.PUBLISHED, 4, [two[0], arm("x", "dan"), two[1], arm("y", "dasr")])]


@pytest.mark.parametrize(
    ("name", "changes", "verdict"),
    [
        ("matches", {}, Verdict.HOLDS),
        ("matches", {"compared": fabricated(-0.3)}, Verdict.FAILS),
        ("matches", {"compared": fabricated(seeds=1)}, Verdict.OPEN),
        ("no worse", {}, Verdict.HOLDS),
        ("no worse", {"compared": fabricated(-0.3)}, Verdict.FAILS),
        ("no worse", {"compared": fabricated(-0.1)}, Verdict.OPEN),
        ("cost", {}, Verdict.HOLDS),
        ("cost", {"here": UNEQUAL}, Verdict.PARTLY),
        ("parameters", {"published": published_x4(4_329_511, 5_837_699)}, Verdict.HOLDS),
        ("parameters", {"published": published_x4(4_400_000, 5_837_699)}, Verdict.PARTLY),
        ("parameters", {"published": published_x4(4_400_000, 5_700_000)}, Verdict.FAILS),
        ("delta", {}, Verdict.HOLDS),
        ("delta", {"codes": fabricated_codes(1.1)}, Verdict.FAILS),
        ("constant", {}, Verdict.HOLDS),
        ("constant", {"codes": fabricated_codes(0.7)}, Verdict.FAILS),
        ("separates", {}, Verdict.HOLDS),
        ("separates", {"probes": fabricated_probe(trained=0.45)}, Verdict.PARTLY),
        ("separates", {"probes": fabricated_probe(trained=0.2)}, Verdict.FAILS),
        ("bicubic", {}, Verdict.HOLDS),
        ("bicubic", {"compared": fabricated(gain=-2)}, Verdict.PARTLY),
        ("bicubic", {"compared": fabricated(floor=-1)}, Verdict.FAILS),
    ],
)  # fmt: skip
def test_every_claim_can_hold_and_fail(name, changes, verdict):
    assert judged(**changes)[name].verdict is verdict


def test_the_evidence_says_the_numbers():
    found = judged(codes=fabricated_codes(0.25, delta=1.0, constant=0.5))
    assert "8 of 8 kernels; of the way to the truth: DAN blur: 75 %" in found["delta"].evidence
    assert "DAN blur: 50 %" in found["constant"].evidence
    assert "blur kernel in DASR blur: 90 % right, against 40 % with random weights, 50 %" in found["separates"].evidence
    assert "2 of 2; the least gain is that of" in found["bicubic"].evidence
    assert "not above it: one branch in DAN blur" in judged(compared=fabricated(gain=-2))["bicubic"].evidence


@pytest.mark.parametrize(
    ("codes", "probes", "said", "not_said"),
    [
        (fabricated_codes(), fabricated_probe(), "DAN blur and DASR's encoder of the blur kernel", "Not so"),
        (fabricated_codes(0.6), fabricated_probe(), "Not so DAN's estimator of the kernel in DAN blur: there", "none"),
        (fabricated_codes(), fabricated_probe(trained=0.4), "Not so DASR's encoder of the blur kernel", "none"),
        (
            fabricated_codes(0.6),
            fabricated_probe(trained=0.2),
            "none has learnt its task. The two-branch network restores without",
            "Not so",
        ),
    ],
)
def test_branches_that_know_nothing_are_named_with_what_follows(codes, probes, said, not_said):
    text = page.knowledge(Study([fabricated()], [codes], [probes], {}))
    assert said in text and not_said not in text


def test_the_published_row_stands_below_ours():
    table = page.settings_table([fabricated(), fabricated(name="DASR blur+noise")])
    rows = [row for row in table.rows if "paper" in row[0]]
    assert [row[1:3] for row in rows] == [("26.168 ± 0.009", "26.182 ± 0.011"), ("25.116 ± 0.012", "25.143 ± 0.013")]
    assert [row[0] for row in table.rows[:3]] == ["DAN blur, here, Y", "DAN blur, here, RGB", "DAN blur, paper"]
    assert [row[-1] for row in table.rows[:3]] == ["yes", None, None]


def test_the_table_of_costs_sets_every_one_branch_network_against_its_peer():
    here = [arm("dan", "dan", 200), arm("x", "dan", 150), arm("dasr", "dasr", 80), arm("y", "dasr", 100)]
    table = page.complexity_table([("here", 2, here)])
    assert [row[-1] for row in table.rows] == ["100.0 %", "75.0 %", "100.0 %", "125.0 %"]
    assert table.rows[1][4] == pytest.approx(0.15)
