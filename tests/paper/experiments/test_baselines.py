# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from filterlens.data.samples import as_samples
from filterlens.degradations import Degradation
from filterlens.errors import FilterlensError
from filterlens.evaluation.function_distance import function_distance
from filterlens.filters import Selection
from filterlens.models.checkpoints import load_network
from filterlens.models.one_branch import SRResNet
from filterlens.pair import ModelPair
from filterlens.paper.experiment import Verdict
from filterlens.paper.experiments import baselines
from filterlens.paper.experiments.baselines import (
    FINE_TUNED,
    LABELS,
    RANDOM,
    ZERO,
    BaselineSettings,
    independent_network,
    independent_recipe,
    replaced,
    start_points,
    untrained,
    with_limit,
)
from filterlens.paper.judged import View, judge
from filterlens.paper.settings import ImageChoice
from filterlens.run.tables import Damage, Edit
from tests.paper.conftest import TinyLaboratory, tiny_pair
from tests.paper.rows import judged_from_rows

BLUR, NOISE = "blur:1", "noise:0.1"
SETTINGS = BaselineSettings(
    percent=5.0, independent=False, find_images=1, find_crop=None, most_nodes=8, judge_images=None
)
RECIPE = """
name = "two steps"
patch = 16
batch = 1
[baseline]
iterations = 2
learning_rate = 1e-4
[target]
iterations = 500
learning_rate = 1e-4
degradations = [["noise:0.1", 0.5]]
"""


class KnownArchitecture(TinyLaboratory):
    """Tiny pairs that say how their architecture is built."""

    def _model(self, name, seed, pair):
        pair.facts = {"architecture": "srresnet", "options": {"scale": 2, "features": 8, "blocks": 2}}
        return super()._model(name, seed, pair)


@pytest.fixture(scope="module")
def laboratory(common, tmp_path_factory):
    return KnownArchitecture(tmp_path_factory.mktemp("baselines"), common.model_copy(update={"targets": 1}))


@pytest.fixture(scope="module")
def outcome(laboratory):
    return baselines.run(laboratory, SETTINGS)


def points_of(laboratory):
    return start_points(laboratory, laboratory.target("tiny"), independent=None)


def test_every_path_ends_at_the_same_target_and_starts_where_its_name_says(laboratory):
    points = points_of(laboratory)
    real = tiny_pair()
    assert list(points) == [FINE_TUNED, RANDOM, ZERO]
    for model in points.values():
        assert torch.equal(model.pair.target, real.target)
    assert torch.equal(points[FINE_TUNED].pair.baseline, real.baseline)
    assert not points[ZERO].pair.baseline.any()
    assert len({model.identity for model in points.values()}) == 3


def test_random_weights_are_the_architectures_own_initialisation_and_leave_the_global_generator_alone(laboratory):
    pair = laboratory.target("tiny").pair
    before = torch.get_rng_state()
    found = untrained(pair, 5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    by_hand = SRResNet(scale=2, features=8, blocks=2)
    for first, second in zip(found.parameters(), by_hand.parameters(), strict=True):
        assert torch.equal(first, second)


def test_with_the_real_baselines_values_the_damage_is_that_of_masking(laboratory):
    model = laboratory.target("tiny")
    found = laboratory.attribute(model, ["faig"], laboratory.finding)["faig"]
    edits = {Edit("faig", 5.0, masked): found.select(masked, 5.0) for masked in (BLUR, NOISE)}
    donors = {model.seed: dict.fromkeys(edits, model)}
    ours = judge(laboratory, [(model, edits)], laboratory.judging("tiny"), donors=donors)
    masking = judge(laboratory, [(model, edits)], laboratory.judging("tiny"))
    assert ours.edits == masking.edits and ours.inputs == masking.inputs
    assert all(np.array_equal(ours.damage[name], column) for name, column in masking.damage.items())
    assert ours.quality("target", NOISE) == masking.quality("target", NOISE)


def test_foreign_values_are_put_in_place_and_judged_against_the_real_baseline(laboratory, folders):
    points = points_of(laboratory)
    model, zero = points[FINE_TUNED], points[ZERO]
    selection = Selection(model.pair.space, torch.arange(0, len(model.pair.space), 9))
    name = Edit("zero", 5.0, BLUR)
    donors = {model.seed: {name: zero}}
    judged = judge(laboratory, [(model, {name: selection})], laboratory.judging("tiny"), donors=donors)
    network = model.pair.network(model.pair.target)
    with torch.no_grad():
        for index in selection.indices.tolist():
            address = model.pair.space.address(index)
            network.get_submodule(address.layer).weight[address.out_channel, address.in_channel] = 0
    distances, residuals, scales = [], [], []
    for sample in as_samples(folders[1]):
        lowered = Degradation.parse(BLUR).apply(sample.truth(2), 2, seed=0)
        with torch.no_grad():
            edited = network(lowered)
        baseline, target = (model.pair.run(vector, lowered) for vector in (model.pair.baseline, model.pair.target))
        distances.append(float(function_distance(edited, target)))
        residuals.append(float((edited - baseline).square().sum()))
        scales.append(float((target - baseline).square().sum()))
    assert judged.distance(name, BLUR).mean == pytest.approx(np.mean(distances), rel=1e-4)
    assert judged.share(name, BLUR).mean == pytest.approx(1 - sum(residuals) / sum(scales), rel=1e-4)
    assert zero.pair.name == "tiny, zero weights"


def test_the_page_says_that_the_independent_network_is_left_out_and_how_to_get_it(outcome):
    assert any("left out" in text and "independent = true" in text for text in outcome.text)
    assert not any(row[0] == LABELS["independent"] for table in outcome.tables for row in table.rows)


def test_every_baseline_has_its_rows_and_the_controls_theirs(outcome):
    tables = {table.name: table for table in outcome.tables}
    labels = [LABELS[name] for name in (FINE_TUNED, RANDOM, ZERO)]
    own, real = tables["own-values-tiny-blur-1"], tables["real-values-tiny-blur-1"]
    assert [row[0] for row in own.rows] == [*labels, *(f"(random filters, values of: {each})" for each in labels)]
    assert [row[0] for row in real.rows] == [*labels, "(random filters)"]
    assert own.rows[0][1:] == real.rows[0][1:]  # the real baseline's own values are the real baseline's
    assert [row[0] for row in tables["overlap-tiny"].rows] == labels[1:]
    gaps = [row[-2] for row in tables["baselines-tiny"].rows]
    assert all(np.isfinite(gap) for gap in gaps)


def test_a_second_run_reads_everything_from_disk(laboratory, outcome, monkeypatch):
    monkeypatch.setattr("filterlens.paper.judged.measure_damage", None)
    monkeypatch.setattr("filterlens.attribution.faig.FAIG.measure", None)
    assert baselines.run(laboratory, SETTINGS).tables == outcome.tables


def test_integrals_of_another_limit_are_never_taken(laboratory):
    model = laboratory.target("tiny")
    assert len({model.identity, with_limit(model, 8).identity, with_limit(model, 9).identity}) == 3


@pytest.fixture
def training(common, folders, tmp_path, monkeypatch):
    """A laboratory that trains by a recipe of two steps, and a real pair of tiny networks in place of the shipped."""
    recipe = tmp_path / "two.toml"
    recipe.write_text(RECIPE)
    tiny = KnownArchitecture(tmp_path, common).target("tiny").pair
    monkeypatch.setattr(ModelPair, "pretrained", classmethod(lambda cls, name: tiny))

    def make(**changes):
        settings = common.model_copy(update={"training": str(recipe)} | changes)
        return TinyLaboratory(
            tmp_path / "work", settings, targets_folder=tmp_path / "targets", device=torch.device("cpu")
        )

    return make


def test_the_independent_network_is_the_baseline_stage_of_another_seed_and_is_trained_once(training, monkeypatch):
    path = independent_network(training(), "tiny")
    card = load_network(path).card["recipe"]
    assert path.parent.name == "independent" and card["baseline"]["iterations"] == 2
    assert card["seed"] == 1000 and card["target"]["iterations"] == 1
    monkeypatch.setattr("filterlens.training.trainer.train", None)
    assert independent_network(training(), "tiny") == path


def test_an_independent_network_of_another_recipe_is_refused(training, tmp_path):
    independent_network(training(), "tiny")
    other = tmp_path / "three.toml"
    other.write_text(RECIPE.replace("iterations = 2", "iterations = 3"))
    with pytest.raises(FilterlensError, match="was trained with baseline"):
        independent_network(training(training=str(other)), "tiny")


def test_without_training_images_the_message_says_how_to_do_without(training, tmp_path):
    (tmp_path / "empty").mkdir()
    missing = (ImageChoice(set=str(tmp_path / "empty")),)
    with pytest.raises(FilterlensError, match="independent = false"):
        independent_network(training(train=missing), "tiny")


def test_the_independent_recipe_is_the_pairs_own_with_another_seed():
    shipped = ModelPair.pretrained("srcnn-style-x2")
    own = shipped.facts["target"]["card"]["recipe"]
    recipe = independent_recipe(shipped, "card")
    assert recipe.baseline.model_dump(mode="json") == own["baseline"] | {"degradations": []}
    assert recipe.seed == own["seed"] + 1000 and recipe.start == own["start"]


def view_of(selective, found):
    """Build a view in which point/donor has the given selectivity (all from residuals on the own input)."""
    damages = []
    for (point, donor), value in selective.items():
        for masked in (BLUR, NOISE):
            for kind in (BLUR, NOISE):
                residual = 1 - value if masked == kind else 0.0
                for image in "ab":
                    named = replaced(point, donor, 5.0, masked)
                    damages.append((0, Damage(named, kind, image, 1.0, 1.0, 30.0, 0.9, residual, 1.0)))
    return View("tiny", 5.0, (BLUR, NOISE), judged_from_rows(damages, (), 50), found)


@pytest.mark.parametrize(
    ("own", "real", "verdicts"),
    [
        (0.2, 0.2, [Verdict.HOLDS, Verdict.HOLDS]),
        (-3.0, 0.9, [Verdict.HOLDS, Verdict.FAILS]),  # foreign values break; the filters were not worse
        (0.9, 0.9, [Verdict.FAILS, Verdict.FAILS]),
    ],
)
def test_the_claims_can_hold_and_fail(laboratory, own, real, verdicts):
    selective = {(FINE_TUNED, FINE_TUNED): 0.7, (ZERO, ZERO): own, (ZERO, FINE_TUNED): real}
    found = laboratory.attribute(laboratory.target("tiny"), ["random"], laboratory.finding)["random"]
    points = [FINE_TUNED, ZERO]
    claims = baselines.claims_of(view_of(selective, [dict.fromkeys(points, found)]), points)
    assert [claim.verdict for claim in claims] == verdicts
