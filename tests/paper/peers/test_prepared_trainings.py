# SPDX-License-Identifier: Apache-2.0
import os
import threading

import pytest
import torch

from filterlens.errors import FilterlensError
from filterlens.execution.hardware import resolve_precision
from filterlens.models.checkpoints import load_network
from filterlens.paper.peers import trainings
from filterlens.paper.peers.arms import arms_of, settings_of
from filterlens.paper.peers.trainings import prepare, trained, trainings_of
from filterlens.paper.settings import ImageChoice
from filterlens.training import trainer
from filterlens.training.batches import Batches
from filterlens.training.processes import OneProcess
from filterlens.training.trainer import train
from filterlens.work.processes import Alone
from tests.paper.peers.small import SMALL

ARMS = {arm.name: arm for arm in arms_of(SMALL)}
TASKS = {task.name: task for task in settings_of(SMALL)}
CPU = torch.device("cpu")


@pytest.fixture
def make(make_laboratory, tmp_path):
    """A function: folder and changed settings → laboratory of small peers."""
    return lambda name="work", **changes: make_laboratory(tmp_path / name, peers=SMALL.model_copy(update=changes))


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.values(), second.values(), strict=True))


@pytest.mark.parametrize("name", ["dasr", "srresnet as dasr"])
def test_what_is_trained_is_what_the_training_loop_makes_of_the_recipe(make, tmp_path, name):
    laboratory = make()
    models = trained(laboratory, ARMS[name], TASKS["DASR blur+noise"])
    first, second = trainings_of(laboratory, ARMS[name], TASKS["DASR blur+noise"])
    images, precision = laboratory.training_images(), resolve_precision("auto", CPU)
    leader = train(first.leader.recipe, images, tmp_path / "leader", device=CPU, precision=precision)
    given = load_network(leader["baseline"])
    for model, training in zip(models, (first, second), strict=True):
        output = tmp_path / f"{training.seed}"
        files = train(training.recipe, images, output, device=CPU, baseline=given, precision=precision)
        wanted = load_network(files["target"]).network.state_dict()
        assert same(load_network(training.files[1]).network.state_dict(), wanted)
        parameters = dict(model.pair.network(model.pair.target).named_parameters())
        assert same(parameters, {key: wanted[key] for key in parameters})
    assert torch.equal(models[0].pair.baseline, models[1].pair.baseline)
    assert not torch.equal(models[0].pair.target, models[1].pair.target)
    assert [model.seed for model in models] == [0, 1] and models[0].identity != models[1].identity


def test_a_second_call_trains_nothing_and_reads_no_image(make, monkeypatch):
    arm, task = ARMS["srresnet as dan"], TASKS["DAN blur"]
    before = trained(make(), arm, task)
    monkeypatch.setattr(trainer, "train", None)
    laboratory = make()
    monkeypatch.setattr(laboratory, "training_images", lambda: pytest.fail("the images were read"))
    assert [model.identity for model in trained(laboratory, arm, task)] == [model.identity for model in before]


def test_a_killed_training_goes_on_and_gives_the_same_network(make, monkeypatch):
    arm, task = ARMS["dan"], TASKS["DAN blur"]
    whole = trained(make("whole", seeds=1), arm, task)
    draw, drawn = Batches.draw, []

    def killed(batches, step):
        drawn.append(step)
        if len(drawn) == 4:  # in the second step of the target
            raise KeyboardInterrupt
        return draw(batches, step)

    monkeypatch.setattr(Batches, "draw", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(make("killed", seeds=1), arm, task)
    assert [model.identity for model in trained(make("killed", seeds=1), arm, task)] == [whole[0].identity]
    assert drawn == [0, 1, 0, 1, 1, 2]


class Together:
    """Two processes as threads."""

    size = 2

    def __init__(self, rank, counters, lock):
        self.rank, self._counters, self._lock = rank, counters, lock

    def add(self, counter, amount):
        with self._lock:
            self._counters[counter] = self._counters.get(counter, 0) + amount
            return self._counters[counter]

    def agree(self, question, answer):
        return answer()


def test_processes_share_the_trainings_and_wait_for_each_other(make, monkeypatch):
    counters, lock, done, baselines_first = {}, threading.Lock(), [], []
    monkeypatch.setattr(trainings.Training, "is_done", property(lambda training: training.folder in dict(done)))
    monkeypatch.setattr(trainings.Training, "check", lambda training: None)

    def do(training, _):
        baselines_first.append(training.leads or training.leader.folder in dict(done))
        done.append((training.folder, threading.current_thread().name))

    monkeypatch.setattr(trainings, "_train", do)
    places = [(name, kind) for name in ("dasr", "srresnet as dasr") for kind in ("blur", "blur+noise")]
    wanted = [(ARMS[name], TASKS[f"DASR {kind}"]) for name, kind in places]

    def run(rank):
        laboratory = make()
        laboratory.processes = Together(rank, counters, lock)
        prepare(laboratory, wanted)
        assert len(done) == 8

    threads = [threading.Thread(target=run, args=(rank,), name=str(rank)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(done) == len(dict(done)) == 8  # two arms, two settings, two seeds, each once
    assert all(baselines_first)


def test_a_training_that_fails_in_one_process_does_not_keep_the_others_waiting(make, monkeypatch):
    def fails(training, _):
        raise FilterlensError("Training diverged")

    monkeypatch.setattr(trainings, "_train", fails)
    laboratory = make()
    counters = {}
    laboratory.processes = Together(0, counters, threading.Lock())
    with pytest.raises(FilterlensError, match="diverged"):
        trained(laboratory, ARMS["dan"], TASKS["DAN blur"])
    assert counters["call 1/finished"] == 1


def test_missing_images_say_what_they_are_needed_for(make_laboratory, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    laboratory = make_laboratory(tmp_path / "work", peers=SMALL, train=(ImageChoice(set=str(empty)),))
    with pytest.raises(
        FilterlensError, match=r"DAN for DAN blur, seed 0 is not trained yet, and it cannot be: .*empty"
    ):
        trained(laboratory, ARMS["dan"], TASKS["DAN blur"])


def test_the_beginning_of_another_training_is_not_gone_on_with(make, monkeypatch):
    arm, task = ARMS["srresnet as dasr"], TASKS["DASR blur"]
    training = trainings_of(make(), arm, task)[0]
    training.folder.mkdir(parents=True)
    torch.save({"fingerprint": "another"}, training.folder / "baseline.state.pt")
    with pytest.raises(FilterlensError, match=r"other images or in another precision\. Move it away"):
        trained(make(), arm, task)


def test_a_launched_process_trains_alone_and_stays_launched(make, monkeypatch):
    launched = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "nowhere", "MASTER_PORT": "1"}
    seen = []

    def spied(*arguments, processes, device, **more):
        seen.append((processes, device, {name: os.environ[name] for name in launched}))

    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(trainer, "train", spied)
    trainings._train(trainings_of(make(), ARMS["dan"], TASKS["DAN blur"])[0], list)
    ((processes, device, environment),) = seen
    assert isinstance(processes, OneProcess) and processes.device == device and environment == launched
    assert processes.num_processes == 1 and processes.is_main_process


def test_one_process_is_no_special_case(make):
    laboratory = make()
    assert isinstance(laboratory.processes, Alone)
    prepare(laboratory, [])
