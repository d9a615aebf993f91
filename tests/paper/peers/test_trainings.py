# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from filterlens.errors import FilterlensError
from filterlens.models.architectures import build
from filterlens.models.checkpoints import load_network, save_network
from filterlens.paper.peers.arms import arms_of, settings_of
from filterlens.paper.peers.trainings import Training, recipe_of
from tests.paper.peers.small import SMALL

ARMS = {arm.name: arm for arm in arms_of(SMALL)}
TASKS = {task.name: task for task in settings_of(SMALL)}


@pytest.fixture
def training(make_laboratory, tmp_path):
    """A function: arm, setting, seed and changed settings → training."""

    def make(arm="dasr", task="DASR blur", seed=0, **changes):
        laboratory = make_laboratory(tmp_path, peers=SMALL.model_copy(update=changes))
        return Training(laboratory, ARMS[arm], TASKS[task], seed)

    return make


@pytest.mark.parametrize("peer", ["dan", "dasr"])
def test_both_arms_are_trained_by_one_recipe(peer):
    task = TASKS[f"{peer.upper()} blur+noise"]
    two, one = (recipe_of(SMALL, ARMS[name], task, 1).model_dump() for name in (peer, f"srresnet as {peer}"))
    contrast = two.pop("contrast", {"baseline_iterations": 0, "target_iterations": 0})
    for role in ("baseline", "target"):
        assert two[role].pop("iterations") - contrast[f"{role}_iterations"] == one[role].pop("iterations")
    assert {name for name in two if two[name] != one[name]} == {"architecture", "network"}
    assert two["start"] == "identity" and two["seed"] == 1
    assert two["target"]["degradations"] == task.degradations and two["baseline"]["degradations"] == ()


def test_one_training_leads_and_all_others_take_its_baseline(training):
    assert training().leads
    for other in (training(seed=1), training(task="DASR blur+noise"), training(task="DASR blur+noise", seed=1)):
        assert not other.leads and other.leader.leads
        assert other.leader.folder == training().folder


def test_without_a_shared_baseline_every_seed_has_its_own(training):
    assert training(seed=1, shared_baseline=False).leads
    follower = training(task="DASR blur+noise", seed=1, shared_baseline=False)
    assert follower.leader.folder == training(seed=1, shared_baseline=False).folder


@pytest.mark.parametrize("change", [{"batch": 4}, {"ema": 0.6}, {"dasr": {"features": 16}}, {"patch": 18}])
def test_another_recipe_has_another_folder(training, change):
    if "dasr" in change:
        other = {arm.name: arm for arm in arms_of(SMALL.model_copy(update=change))}["dasr"]
        assert Training(training().laboratory, other, TASKS["DASR blur"], 0).folder != training().folder
    else:
        assert training(**change).folder != training().folder


def test_settings_and_seeds_of_an_arm_lie_together_and_checkpoints_decide_nothing(training):
    arm = training().folder.parent.parent
    assert training(task="DASR blur+noise", seed=1).folder.parent.parent == arm
    assert training(checkpoint_every=7).folder == training().folder


def saved(training, **changes):
    """Untrained networks where the trained ones belong, with a card as the training writes it."""
    network = build(training.arm.architecture, **training.recipe.options)
    recipe = training.recipe.model_dump(mode="json") | changes
    for path in training.files:
        save_network(path, network, training.arm.architecture, training.recipe.options, {"recipe": recipe})


def test_a_finished_training_of_the_recipe_is_taken(training):
    saved(training(), name="another name", checkpoint_every=5)
    assert training().is_done and training().check() is None
    (training().folder / "target.state.pt").touch()
    assert not training().is_done


@pytest.mark.parametrize(("name", "value"), [("batch", 3), ("seed", 4), ("network", {"features": 4})])
def test_networks_of_another_recipe_are_refused_with_what_differs(training, name, value):
    saved(training(), **{name: value})
    with pytest.raises(FilterlensError, match=f"{name} = .* is wanted. Move it away"):
        training().check()


def test_a_target_from_another_baseline_is_refused(training):
    follower = training(task="DASR blur+noise")
    saved(follower.leader)
    saved(follower)
    with pytest.raises(FilterlensError, match="was not fine-tuned from the baseline"):
        follower.check()
    target = load_network(follower.files[1])
    card = target.card | {"baseline_sha256": load_network(follower.leader.files[0]).sha256}
    save_network(follower.files[1], target.network, target.architecture, target.options, card)
    assert follower.check() is None


def test_loss_curves_begin_where_images_are_restored(training):
    log = training().folder / "log.jsonl"
    assert training().losses() == []
    log.parent.mkdir(parents=True)
    entries = [("baseline", 2, 9.0), ("target", 1, 8.0), ("target", 2, 7.0), ("target", 4, 0.5), ("target", 5, 0.25)]
    lines = [{"stage": stage, "step": step, "loss": loss} for stage, step, loss in entries]
    log.write_text("\n".join(map(json.dumps, [*lines, {"stage": "target", "step": 5, "psnr": {}}])))
    assert training().losses() == [(2, 0.5), (3, 0.25)]  # two steps train the encoder alone
    assert training().losses("baseline") == [(2, 9.0)]
