# SPDX-License-Identifier: Apache-2.0
"""Train the networks of plan.toml, one after another, for as many days and machines as it takes.

python -m tools.long_trainings run --data DIR [--folder runs/long]   goes on where the last call stopped
python -m tools.long_trainings save [--folder runs/long]             keep the running network as a milestone
python -m tools.long_trainings pause | continue | status

On one machine a stopped training goes on exactly. Milestones (the averaged weights at 16 bits) travel in the
repository: on another machine a training goes on from its milestone with a fresh Adam, and its card says at which
steps.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import torch

from filterlens.models.architectures import build
from filterlens.models.checkpoints import load_network, save_network
from filterlens.training.checkpointing import save_state
from filterlens.training.recipe import Recipe, validated
from filterlens.training.state import TrainingState

HERE = Path(__file__).parent
MILESTONES = HERE / "milestones"
SETS = ("bsds400", "cc0_photos", "cid22", "clic2025_half", "gb82")


def plan() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the plan and its trainings in order."""
    content = tomllib.loads((HERE / "plan.toml").read_text(encoding="utf-8"))
    return content, content["training"]


def recipe_of(content: dict[str, Any], training: dict[str, Any]) -> Recipe:
    """Build the recipe of a training; the stage that it does not train has one step."""
    base = content["recipes"][training["recipe"]]
    stage = {"warmup": 100, "final_learning_rate": 1e-7}
    own = {"iterations": training["iterations"]}
    other = {"iterations": 1, "warmup": 0}
    is_target = "from" in training
    mixture = content["mixtures"][training["mixture"]] if is_target else []
    settings = {
        "name": training["name"],
        "architecture": base["architecture"],
        "start": base["start"],
        "seed": training.get("seed", 0),
        "validate_every": 1000,
        "checkpoint_every": 100,
        "baseline": stage | {"learning_rate": base["baseline_rate"]} | (other if is_target else own),
        "target": stage
        | {"learning_rate": base["target_rate"], "degradations": mixture}
        | (own if is_target else other),
    }
    return validated(settings, training["name"])


def milestone(name: str) -> Path:
    """Return where the weights of a training are kept between machines."""
    return MILESTONES / f"{name}.safetensors"


def is_done(training: dict[str, Any]) -> bool:
    """Whether the milestone of a training is its finished network."""
    path = milestone(training["name"])
    return path.exists() and load_network(path).card["steps"] >= training["iterations"]


def write_milestone(training: dict[str, Any], recipe: Recipe, weights: dict[str, torch.Tensor], steps: int) -> None:
    """Keep averaged weights at 16 bits with a card."""
    path = milestone(training["name"])
    earlier = load_network(path).card["resumed_at"] if path.exists() else []
    network = build(recipe.architecture, **recipe.options)
    network.load_state_dict(weights)
    card = {
        "role": "target" if "from" in training else "baseline",
        "recipe": recipe.model_dump(mode="json"),
        "training_data": ", ".join(SETS),
        "steps": steps,
        "resumed_at": sorted({*earlier, *([] if steps >= training["iterations"] else [steps])}),
    }
    save_network(path, network, recipe.architecture, recipe.options, card, torch.float16)
    print(f"{path.name}: {steps} of {training['iterations']} steps", flush=True)


def save(folder: Path) -> None:
    """Keep what every unfinished training of a folder has reached."""
    content, trainings = plan()
    for training in trainings:
        role = "target" if "from" in training else "baseline"
        path = folder / training["name"] / f"{role}.state.pt"
        if path.exists() and not is_done(training):
            state = torch.load(path, map_location="cpu", weights_only=True)
            weights = {key.removeprefix("module."): value for key, value in state["average"].items()}
            weights.pop("n_averaged")
            write_milestone(training, recipe_of(content, training), weights, int(state["step"]))


def begin_at_milestone(training: dict[str, Any], recipe: Recipe, output: Path, command: list[str]) -> None:
    """Make a training's first state from its milestone, where this machine has none that is further."""
    role = "target" if "from" in training else "baseline"
    state_path, path = output / f"{role}.state.pt", milestone(training["name"])
    if state_path.exists() or not path.exists():
        return
    from filterlens.training import trainer

    loaded = load_network(path)

    class FingerprintedError(Exception):
        """Carries the fingerprint out of the training that would begin."""

    def begin(self: trainer.Trainer, role: str, network: torch.nn.Module) -> Any:
        state = TrainingState.start(loaded.network, torch.device("cpu"), betas=recipe.betas, ema=recipe.ema)
        state.done = loaded.card["steps"]
        state.average.update(state.network, 0)
        save_state(state_path, {"fingerprint": self.fingerprint} | state.content(torch.zeros(())))
        raise FingerprintedError

    from filterlens.cli.main import app

    usual, trainer.Trainer._begin = trainer.Trainer._begin, begin  # type: ignore[method-assign]
    try:
        app(command[3:], standalone_mode=False)
    except FingerprintedError:
        print(f"{training['name']}: goes on from its milestone at step {loaded.card['steps']}", flush=True)
    finally:
        trainer.Trainer._begin = usual  # type: ignore[method-assign]


def run(folder: Path, data: Path) -> None:
    """Train what is not finished."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "queue.pid").write_text(str(os.getpid()))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    content, trainings = plan()
    for training in trainings:
        if is_done(training):
            continue
        recipe = recipe_of(content, training)
        output, file = folder / training["name"], folder / f"{training['name']}.toml"
        file.write_text(_as_toml(recipe), encoding="utf-8")
        command = [sys.executable, "-m", "filterlens", "train", "--recipe", str(file), "--output", str(output)]
        command += [word for name in SETS for word in ("--images", str(data / "train" / name))]
        command += ["--validation", str(data / "val" / "cid22"), "--device", "cpu"]
        if "from" in training:
            command += ["--baseline", str(milestone(training["from"]))]
        output.mkdir(parents=True, exist_ok=True)
        begin_at_milestone(training, recipe, output, command)
        subprocess.run(command, check=True)
        role = "target" if "from" in training else "baseline"
        weights = load_network(output / f"{role}.safetensors").network.state_dict()
        write_milestone(training, recipe, weights, training["iterations"])


def _as_toml(recipe: Recipe) -> str:
    """Write a recipe as TOML: plain settings first, then the two stages."""
    settings = recipe.model_dump(mode="json")
    stages = {role: settings.pop(role) for role in ("baseline", "target")}
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    for role, stage in stages.items():
        lines += [f"[{role}]", *(f"{key} = {json.dumps(value)}" for key, value in stage.items())]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=("run", "save", "pause", "continue", "status"))
    parser.add_argument("--folder", type=Path, default=Path("runs/long"))
    parser.add_argument("--data", type=Path, help="folder with train/ and val/")
    arguments = parser.parse_args()
    if arguments.do == "run":
        if arguments.data is None:
            parser.error("run needs --data")
        os.setpgrp()
        run(arguments.folder, arguments.data)
    elif arguments.do == "save":
        save(arguments.folder)
    elif arguments.do == "status":
        for log in sorted(arguments.folder.glob("*/log.jsonl")):
            print(log.parent.name, log.read_text(encoding="utf-8").splitlines()[-1])
    else:
        which = signal.SIGSTOP if arguments.do == "pause" else signal.SIGCONT
        os.killpg(int((arguments.folder / "queue.pid").read_text()), which)


if __name__ == "__main__":
    main()
