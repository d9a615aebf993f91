# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from filterlens.data.samples import Sample, as_samples
from filterlens.degradations import Degradation
from filterlens.editing.retrain import _Stage, retrain
from filterlens.editing.retrain_settings import settings_for
from filterlens.editing.trained_part import AllFilters, SelectedFilters
from filterlens.errors import FilterlensError
from filterlens.paper.experiment import Verdict
from filterlens.paper.experiments.retraining import measure, page
from filterlens.paper.experiments.retraining.measure import (
    BOUND,
    Arm,
    Rates,
    Retrainings,
    RetrainingSettings,
    Trained,
    Workshop,
    best_rate,
    parts_of,
    split,
    study,
)
from filterlens.paper.experiments.retraining.page import claims, paper_table, tables
from filterlens.paper.published import RETRAINING, RETRAINING_BOUND
from filterlens.report.figures import LIGHT, png
from filterlens.training.loop import DivergedError

BLUR, NOISE = "blur:1", "noise:0.1"
ONE_RATE = Rates(filters=(0.01,), low_rank=(0.02,), all=(0.001,))
SETTINGS = RetrainingSettings(
    percent=10, methods=("faig", "change-relative", "random"), seeds=2, rates=ONE_RATE, iterations=4, batch=2, patch=16,
)  # fmt: skip
SMALL = SETTINGS.model_copy(update={"methods": ("faig",), "others": (), "seeds": 1})


@pytest.fixture(scope="module")
def outcome(laboratory):
    return page.run(laboratory, SETTINGS)


def table_of(outcome, stem):
    return next(table for table in outcome.tables if table.name.startswith(stem))


def psnr_by_formula(restored, truth):
    """PSNR of 8-bit images without a border of 2, in float64."""
    first, second = ((each.double().clamp(0, 1) * 255).round()[..., 2:-2, 2:-2].numpy() for each in (restored, truth))
    return 10 * math.log10(255**2 / ((first - second) ** 2).mean())


@pytest.mark.parametrize(("name", "label", "rate"), [("faig", "FAIG, deblurring locations", 0.01),
                                                       ("all", BOUND.label, 0.001)])  # fmt: skip
def test_a_cell_is_what_re_training_and_judging_by_hand_gives(laboratory, folders, outcome, name, label, rate):
    images = [sample.read()[..., :36] for sample in as_samples(folders[0])]  # a quarter of 48 columns is held out
    means = {BLUR: [], NOISE: []}
    for seed, model in enumerate(laboratory.targets("tiny")):
        selection = laboratory.attribute(model, ["faig"], laboratory.finding)["faig"].select(BLUR, 10)
        part = AllFilters() if name == "all" else SelectedFilters(selection)
        how = settings_for(BLUR, iterations=4, learning_rate=rate, batch=2, patch=16, seed=seed)
        network = model.pair.network(retrain(model.pair, part, how, images).parameters)
        for kind, found in means.items():
            values = []
            for sample in as_samples(folders[1]):
                truth = sample.truth(2)
                with torch.no_grad():
                    restored = network(Degradation.parse(kind).apply(truth, 2, seed=0))
                values.append(psnr_by_formula(restored, truth))
            found.append(np.mean(values))
    table = table_of(outcome, "arms-tiny-blur-1")
    row = next(row for row in table.rows if row[0] == label)
    for kind, values in means.items():
        cell = row[table.columns.index(f"PSNR on {kind}")]
        assert cell.mean == pytest.approx(np.mean(values), abs=1e-5)
        assert cell.sd == pytest.approx(np.std(values, ddof=1), abs=1e-5)


def test_the_references_are_the_untrained_networks(laboratory, folders, outcome):
    rows = {row[0]: row for row in table_of(outcome, "arms-tiny-noise-0.1").rows}
    pair = laboratory.targets("tiny")[0].pair
    values = []
    for sample in as_samples(folders[1]):
        truth = sample.truth(2)
        values.append(psnr_by_formula(pair.run(pair.baseline, Degradation.parse(BLUR).apply(truth, 2, seed=0)), truth))
    baseline = rows["nothing trained (baseline)"]
    assert baseline[1] == 0 and baseline[3].mean == pytest.approx(np.mean(values), abs=1e-5)
    assert baseline[3].sd == 0  # one baseline for all target models
    assert rows["full target"][3].sd > 0


def test_locations_found_by_the_change_are_trained_once_for_both_degradations(laboratory, outcome):
    table = table_of(outcome, "psnr-tiny")
    for row in (row for row in table.rows if row[0].endswith("here")):
        cells = dict(zip(table.columns, row, strict=True))
        assert cells["relative change, deblurring locations"] == cells["relative change, denoising locations"]
        assert cells["FAIG, deblurring locations"] != cells["FAIG, denoising locations"]
    trained = list((laboratory.folder / "results").glob("retraining-[0-9a-f]*.safetensors"))
    assert len(trained) == 2 * 2 * (2 + 1 + 2 + 3)  # seeds x degradations x (FAIG, change, random, others)


def test_other_parts_train_as_many_weights_as_faig_does(laboratory):
    model = laboratory.targets("tiny")[0]
    parts = parts_of(laboratory, SETTINGS, model, 0)
    weights = {arm: parts[arm, BLUR].trainable(model.pair, 0).trained_weights for arm, kind in parts if kind == BLUR}
    own = weights[Arm("faig", BLUR)]
    assert own == 9 * len(laboratory.attribute(model, ["faig"], laboratory.finding)["faig"].select(BLUR, 10))
    assert own - 9 < weights[Arm("last-layers")] <= own
    assert 0.9 * own < weights[Arm("low-rank")] <= own
    assert weights[BOUND] == 9 * len(model.pair.space)


def test_random_filters_are_drawn_anew_for_every_seed_and_found_ones_are_not(laboratory):
    model = laboratory.targets("tiny")[0]
    first, second = (parts_of(laboratory, SETTINGS, model, seed) for seed in (0, 1))
    for method, alike in (("faig", True), ("change-relative", True), ("random", False)):
        described = [parts[Arm(method, BLUR), BLUR].describe()["indices_sha256"] for parts in (first, second)]
        assert (described[0] == described[1]) == alike


def test_a_second_run_reads_everything_from_disk_and_no_state_is_left(laboratory, outcome, monkeypatch):
    monkeypatch.setattr(measure, "retrain", None)
    monkeypatch.setattr(measure, "psnr_per_degradation", None)
    assert page.run(laboratory, SETTINGS).tables == outcome.tables
    assert not list((laboratory.folder / "retraining").glob("*"))


def test_a_killed_training_goes_on_and_gives_the_same_numbers(make_laboratory, tmp_path, monkeypatch):
    whole = study(make_laboratory(tmp_path / "whole"), SMALL, "tiny")
    killed = make_laboratory(tmp_path / "killed")
    resumed = []

    def interrupted(*positional, state, **named):
        resumed.append(state.exists())
        with monkeypatch.context() as patch:
            if len(resumed) == 1:
                patch.setattr(_Stage, "_after_step", stop_after_two)
            return retrain(*positional, state=state, **named)

    after_step = _Stage._after_step

    def stop_after_two(stage, *arguments):
        after_step(stage, *arguments)
        if stage.state.done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(measure, "CHECKPOINT_EVERY", 1)
    monkeypatch.setattr(measure, "retrain", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study(killed, SMALL, "tiny")
    again = study(killed, SMALL, "tiny")
    assert resumed[:3] == [False, True, False]
    for place, trained in whole.trained.items():
        for given, values in trained.psnr.items():
            np.testing.assert_array_equal(again.trained[place].psnr[given], values)
    assert not list((killed.folder / "retraining").glob("*"))


def test_nothing_of_a_held_out_square_is_trained_on_and_nothing_else_is_lost():
    images = [torch.arange(3 * 40 * 64, dtype=torch.int32).view(3, 40, 64) + 10**6 * number for number in range(4)]
    samples = [Sample(str(number), lambda image=image: image) for number, image in enumerate(images)]
    training, held_out = split(samples, side=12, count=2)
    assert [tuple(image.shape[1:]) for image in training] == [(40, 52), (40, 64), (40, 52), (40, 64)]
    assert [tuple(square.shape[1:]) for square in held_out] == [(12, 12)] * 2
    torch.testing.assert_close(held_out[0], images[0][:, 14:26, 52:])
    seen = set(torch.cat([image.flatten() for image in training]).tolist())
    assert not seen & set(torch.cat([square.flatten() for square in held_out]).tolist())


def test_a_square_takes_a_quarter_of_an_image_at_most():
    image = torch.zeros(3, 40, 64)
    training, held_out = split([Sample("a", lambda: image)], side=128, count=16)
    assert training[0].shape[-1] == 48 and held_out[0].shape[-2:] == (16, 16)


def test_the_best_rate_on_held_out_images_is_taken_and_a_diverged_one_never(make_laboratory, tmp_path, monkeypatch):
    tried = []

    def fake(pair, part, settings, images, **named):
        tried.append((settings.learning_rate, settings.iterations))
        if settings.learning_rate == 0.5:
            raise DivergedError("Re-training diverged at step 2: the loss is nan.")
        return retrain(pair, part, settings, images, **named)

    monkeypatch.setattr(measure, "retrain", fake)
    rates = Rates(filters=(1e-7, 0.003, 0.5), low_rank=(0.01,), all=(0.001,))
    found = study(make_laboratory(tmp_path), SMALL.model_copy(update={"rates": rates, "search": 3}), "tiny")
    for kind in (BLUR, NOISE):
        searched = found.trained[Arm("faig", kind), kind].searched
        assert searched[0.5] is None
        reached = {rate: value for rate, value in searched.items() if value is not None}
        assert found.trained[Arm("faig", kind), kind].rate == max(reached, key=reached.get)
        assert found.trained[BOUND, kind].rate == 0.001 and not found.trained[BOUND, kind].searched
    assert (0.5, 3) in tried and (0.5, 4) not in tried
    (table,) = (each for each in tables(found) if each.name == "rates-tiny")
    assert all("diverged" in row for row in table.rows)


def test_a_search_as_long_as_the_training_is_not_repeated(make_laboratory, tmp_path, monkeypatch):
    tried = []

    def counted(pair, part, settings, images, **named):
        tried.append((part.describe()["part"], settings.learning_rate))
        return retrain(pair, part, settings, images, **named)

    monkeypatch.setattr(measure, "retrain", counted)
    rates = Rates(filters=(0.001, 0.003), low_rank=(0.01,), all=(0.001,))
    study(make_laboratory(tmp_path), SMALL.model_copy(update={"rates": rates, "search": None}), "tiny")
    assert len(tried) == 2 * (2 * 2 + 1)  # degradations x (locations x rates, all filters)


def test_where_every_rate_diverges_the_page_says_which_setting_to_change():
    with pytest.raises(FilterlensError, match=r"diverged at every learning rate of 0.1, 1.*retraining.rates.low_rank"):
        best_rate({0.1: None, 1.0: None}, (0.1, 1.0), (Arm("low-rank"), BLUR))


def test_a_training_that_diverges_at_its_only_rate_stops_the_page(make_laboratory, tmp_path, monkeypatch):
    def diverging(*positional, **named):
        raise DivergedError("Re-training diverged at step 2: the loss is nan. Lower the learning rate.")

    monkeypatch.setattr(measure, "retrain", diverging)
    with pytest.raises(FilterlensError, match="on blur:1: Re-training diverged"):
        study(make_laboratory(tmp_path), SMALL, "tiny")


def test_other_errors_than_divergence_are_not_swallowed(make_laboratory, tmp_path):
    large = SMALL.model_copy(update={"patch": 64})
    with pytest.raises(FilterlensError, match="smaller than a patch of 64"):
        study(make_laboratory(tmp_path), large, "tiny")


def test_more_seeds_than_target_models_begin_with_the_first_one_again(make_laboratory, tmp_path, monkeypatch):
    used, shops = [], []

    def train(shop, trainings):
        shops.append(shop)
        used.extend(trainings)
        psnr = {given: [1.0, 2.0] for given in shop.laboratory.inputs}
        result = {"psnr": psnr, "weights": 1, "losses": [[1, 1.0]], "held_out": 1.0}
        return {training: dict(result) for training in trainings}

    monkeypatch.setattr(Workshop, "train", train)
    found = study(make_laboratory(tmp_path), SMALL.model_copy(update={"seeds": 3}), "tiny")
    assert {each.seed for each in used} == {0, 1, 2}
    assert [model.seed for model in shops[0].models] == [0, 1, 0]
    assert found.references["target", BLUR].shape == (3, 2)
    np.testing.assert_array_equal(*found.references["target", BLUR][[0, 2]])


def test_every_table_is_complete_and_every_figure_can_be_drawn(outcome):
    assert [table.name for table in outcome.tables] == [
        "psnr-tiny", "arms-tiny-blur-1", "arms-tiny-noise-0.1", "differences-tiny",
    ]  # fmt: skip
    assert all({len(row) for row in table.rows} == {len(table.columns)} for table in outcome.tables)
    assert all(png(panel, LIGHT).startswith(b"\x89PNG") for panel in outcome.panels)
    assert len(outcome.panels) == 4


def test_a_smoke_run_says_so_and_a_longer_one_does_not(outcome):
    assert any("smoke run" in paragraph for paragraph in outcome.text)
    long = "".join(page._text(SETTINGS.model_copy(update={"iterations": 1000}), []))
    assert "smoke run" not in long and "biases are frozen" in long


def fabricated(dbs, kinds=("blur:2", "noise:0.1"), noise=0.0, images=6, seeds=2):
    """Re-trainings with these PSNR in dB above the baseline's 25: (part, own or other) → gain."""
    generator = np.random.default_rng(0)
    located = [Arm(part, place) for part in ("faig", "random") for place in kinds]
    arms = [*located, Arm("last-layers"), Arm("low-rank"), BOUND]
    trained = {}
    for kind in kinds:
        for arm in arms:
            gain = dbs[arm.part, "own" if arm.found_for in (kind, "") else "other"]
            psnr = {
                given: 25 + gain + noise * generator.standard_normal((seeds, images)) for given in (*kinds, "clean")
            }
            trained[arm, kind] = Trained(psnr, [9] * seeds, [[[1, 0.1], [2, 0.05]]] * seeds, 0.01, {})
    references = {(name, given): np.full((seeds, images), 25.0)
                  for name in ("baseline", "target") for given in (*kinds, "clean")}  # fmt: skip
    return Retrainings("tiny", arms, kinds, trained, references, 200)


AS_PUBLISHED = {
    ("faig", "own"): 3.0, ("faig", "other"): 2.0, ("random", "own"): 1.0, ("random", "other"): 1.0,
    ("last-layers", "own"): 0.5, ("low-rank", "own"): 3.5, ("all", "own"): 4.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "verdicts"),
    [
        ({}, "best holds, own holds, way holds, others in part"),
        ({("random", "own"): 3.2}, "best fails, own holds, way holds, others in part"),
        ({("faig", "other"): 3.2}, "best holds, own fails, way holds, others in part"),
        ({("all", "own"): 9.0}, "best holds, own holds, way fails, others in part"),
        ({("low-rank", "own"): 1.0}, "best holds, own holds, way holds, others holds"),
        ({("last-layers", "own"): 3.2}, "best holds, own holds, way holds, others fails"),
    ],
)
def test_every_claim_can_hold_and_fail(changes, verdicts):
    found = list(claims(fabricated(AS_PUBLISHED | changes, noise=0.01), 1.0, 1000))
    words = {Verdict.HOLDS: "holds", Verdict.FAILS: "fails", Verdict.PARTLY: "in part", Verdict.OPEN: "open"}
    names = ("best", "best", "own", "way", "others", "others")
    said = [f"{name} {words[claim.verdict]}" for name, claim in zip(names, found, strict=True)]
    assert said[0] == said[1] and said[4] == said[5]
    assert ", ".join([said[0], *said[2:5]]) == verdicts


def test_what_lies_within_the_noise_is_not_decided():
    found = fabricated(dict.fromkeys(AS_PUBLISHED, 1.0), noise=0.5)
    for values in (values for trained in found.trained.values() for values in trained.psnr.values()):
        values += 26 - values.mean(1, keepdims=True)  # every arm wins on some images, none on average
    assert [claim.verdict for claim in claims(found, 1.0, 1000) if "more than half" not in claim.text] == [
        Verdict.OPEN
    ] * 5
    others = [claim for claim in claims(found, 1.0, 50) if "as many trained weights" in claim.text]
    assert len(others) == 2 and all("Ahead, though not decided" in claim.evidence for claim in others)


def test_seeds_that_disagree_decide_nothing():
    found = fabricated(AS_PUBLISHED)
    own, rival = Arm("faig", "blur:2"), Arm("random", "blur:2")
    assert found.better(own, rival, "blur:2") is True and found.better(rival, own, "blur:2") is False
    found.psnr(rival, "blur:2")[1] += 3  # better with the second seed, by less than it loses with the first
    assert found.compare(own, rival, "blur:2").difference.low > 0
    assert found.better(own, rival, "blur:2") is None


def test_an_upper_bound_that_another_arm_beats_is_none():
    (claim,) = (each for each in claims(fabricated(AS_PUBLISHED | {("low-rank", "own"): 5.0}, noise=0.01), 1.0, 50)
                if "more than half" in each.text)  # fmt: skip
    assert claim.verdict is Verdict.OPEN
    assert "75 %" in claim.evidence and "no upper bound yet: low-rank adapter (LoRA) got further" in claim.evidence


def test_four_images_are_too_few_to_decide_anything():
    found = fabricated(AS_PUBLISHED, noise=0.01, images=4)
    assert found.compare(Arm("faig", "blur:2"), BOUND, "blur:2").p == pytest.approx(2 / 2**4)
    assert found.better(Arm("faig", "blur:2"), BOUND, "blur:2") is None


@pytest.mark.parametrize(
    ("decisions", "verdict"),
    [
        ([True, True], Verdict.HOLDS), ([True, None], Verdict.PARTLY), ([True, False], Verdict.PARTLY),
        ([None, None], Verdict.OPEN), ([False, None], Verdict.FAILS), ([False, False], Verdict.FAILS),
        ([], Verdict.OPEN),
    ],
)  # fmt: skip
def test_what_is_not_decided_makes_no_claim_hold(decisions, verdict):
    assert Verdict.of(decisions) is verdict


def test_the_way_is_the_share_of_the_upper_bounds_gain():
    found = fabricated(AS_PUBLISHED, noise=0.2)
    own = found.psnr(Arm("faig", "blur:2"), "blur:2")
    bound = found.psnr(BOUND, "blur:2")
    per_seed = [(own[seed] - 25).sum() / (bound[seed] - 25).sum() for seed in range(2)]
    way = found.way(Arm("faig", "blur:2"), "blur:2")
    assert way.mean == pytest.approx(np.mean(per_seed)) and way.sd == pytest.approx(np.std(per_seed, ddof=1))
    assert way.low < way.mean < way.high


def test_without_a_gain_of_the_upper_bound_there_is_no_way():
    found = fabricated(AS_PUBLISHED | {("all", "own"): -0.1})
    assert found.way(Arm("faig", "blur:2"), "blur:2") is None
    (claim,) = (each for each in claims(found, 1.0, 50) if "more than half" in each.text)
    assert claim.verdict is Verdict.OPEN and "gains nothing" in claim.evidence


def test_the_published_row_stands_below_ours_in_the_same_columns():
    table = paper_table(fabricated(AS_PUBLISHED))
    assert [row[0] for row in table.rows] == ["blur:2, here", "blur:2, paper", "noise:0.1, here", "noise:0.1, paper"]
    published = dict(zip(table.columns, table.rows[1], strict=True))
    assert published[BOUND.label] == str(RETRAINING_BOUND["blur:2"])
    assert published["FAIG, denoising locations"] == str(RETRAINING["blur:2", "noise:0.1"]["faig"]) == "27.463 ± 0.133"
    ours = dict(zip(table.columns, table.rows[0], strict=True))
    assert ours["FAIG, denoising locations"].mean == pytest.approx(27)


def test_the_evidence_says_who_wins():
    (claim,) = (each for each in claims(fabricated(AS_PUBLISHED), 1.0, 1000)
                if "as many trained weights" in each.text and "blur:2" in each.text)  # fmt: skip
    assert claim.evidence.startswith(
        "Best: low-rank adapter (LoRA). low-rank adapter (LoRA) 28.50, FAIG's deblurring locations 28.00, "
        "last layers 25.50 dB"
    )


def test_settings_without_faig_or_with_an_unknown_part_are_refused():
    with pytest.raises(ValidationError, match="'faig' must be among the methods"):
        RetrainingSettings(methods=("ig",))
    with pytest.raises(ValidationError, match="'first-layers' is none of last-layers, low-rank"):
        RetrainingSettings(others=("first-layers",))
