# SPDX-License-Identifier: Apache-2.0
"""The pair of a command: a shipped one, two checkpoints, or the pair of a run folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filterlens.editing.adapter import weights_hash
from filterlens.errors import FilterlensError, UsageError
from filterlens.files import sha256_of
from filterlens.filters import ROWS
from filterlens.models.user_module import is_factory, not_named
from filterlens.pair import ModelPair
from filterlens.run.folder import RUN, placed, places_of, require_run

ROLES = ("baseline", "target")


def describe_pair(pair: ModelPair, run: Path | None = None) -> dict[str, Any]:
    """Return what ``run.json`` says of the pair: names, hashes, places, cards, and every layer."""
    checkpoints = {role: _describe_checkpoint(pair, role, run) for role in ROLES if role in pair.facts}
    return {
        "name": pair.name or None,
        **pair.facts,
        **checkpoints,
        "scale": pair.scale,
        "parameters": pair.target.numel(),
        "filters": len(pair.space),
        "left_out": list(pair.space.left_out),
        "layers": [
            {"name": layer.name, "out": layer.out_channels, "in": layer.in_channels, "filters": layer.count}
            for layer in pair.space.layers
        ],
    }


def _describe_checkpoint(pair: ModelPair, role: str, run: Path | None) -> dict[str, Any]:
    facts: dict[str, Any] = dict(pair.facts[role])
    if not pair.name and run is not None and Path(facts["path"]).is_file():
        facts |= placed(facts["path"], run) | {"weights_sha256": weights_hash(pair.network(getattr(pair, role)))}
    return facts


def open_pair(
    name: str | None,
    baseline: Path | None,
    target: Path | None,
    default: str | None = None,
    *,
    architecture: str | None = None,
    linear: str = ROWS,
) -> ModelPair:
    """Load the pair that the user named: a shipped one, or two checkpoints.

    Args:
        name: Name of a shipped pair.
        baseline: Checkpoint before fine-tuning.
        target: Checkpoint after it.
        default: The shipped pair where nothing is named.
        architecture: Architecture of the checkpoints; see :func:`filterlens.models.checkpoints.load_network`.
        linear: Filters of their linear layers.

    Raises:
        UsageError: Neither, both, or only one checkpoint is given.
    """
    if name and (baseline or target):
        raise UsageError("Give either --pair or --baseline and --target, not both.")
    if (baseline is None) != (target is None):
        raise UsageError(f"--{'target' if baseline else 'baseline'} is missing: a pair needs both checkpoints.")
    if baseline and target:
        return ModelPair.load(baseline, target, architecture=architecture, linear=linear)
    if architecture is not None or linear != ROWS:
        raise UsageError("--architecture and --linear are for your own checkpoints: give --baseline and --target.")
    if name is None and default is None:
        raise UsageError("Which pair? Give --pair NAME (one that ships) or --baseline FILE --target FILE.")
    return ModelPair.pretrained(name or str(default))


@dataclass(frozen=True)
class RunPair:
    """How the pair of a run folder is opened again: what the folder cannot know of it.

    Attributes:
        architecture: The factory of a run of the user's own code, named again. Run folders travel, and nothing is
            imported because a file says so.
        baseline: New path of the run's baseline, if it was moved.
        target: New path of its target, if it was moved.
    """

    architecture: str | None = None
    baseline: Path | None = None
    target: Path | None = None

    @property
    def is_moved(self) -> bool:
        """Whether the user says where a checkpoint lies."""
        return self.baseline is not None or self.target is not None

    def open(self, run: Path) -> ModelPair:
        """Load the pair of a run folder again and check that it is still the same.

        Raises:
            UsageError: The run is of a factory that is not named, or of another architecture than the one named.
            FilterlensError: A checkpoint is gone, or holds other weights.
        """
        facts = require_run(run)["pair"]
        said = facts.get("architecture")
        if is_factory(said) and self.architecture is None:
            raise UsageError(f"'{run}' is of a network of your own code. {not_named(str(said))}")
        if self.architecture not in (None, said):
            raise UsageError(f"'{run}' is of '{said}', not of '{self.architecture}'.")
        if facts.get("name"):
            if self.is_moved:
                raise UsageError(
                    f"'{run}' is of the pair '{facts['name']}', which ships: leave --baseline and --target out."
                )
            pair = ModelPair.pretrained(facts["name"])
        else:
            paths = {role: checkpoint_of(run, role, getattr(self, role)) for role in ROLES}
            linear = facts.get("linear", ROWS)
            pair = ModelPair.load(*paths.values(), architecture=said, linear=linear)
        for role in ROLES:
            _check_same_weights(run, role, facts[role], pair)
        _check_same_call(run, facts.get("call"), pair)
        return pair


AS_IT_LAY = RunPair()


def checkpoint_of(run: Path, role: str, moved: Path | None = None) -> Path:
    """Return the file of a run's baseline or target: where it lay, seen from here or from the run, or where it is now.

    Raises:
        FilterlensError: There is none.
    """
    entry = require_run(run)["pair"].get(role)
    if entry is None:
        raise FilterlensError(f"'{run / RUN}' names no {role}. Run `filterlens attribute` again, into another folder.")
    places = [moved] if moved else places_of(entry, run)
    there = [place for place in places if place.is_file()]
    if not there:
        looked = ", ".join(f"'{place}'" for place in places)
        raise FilterlensError(f"The {role} of '{run}' is not at {looked}. Give --{role} FILE: where it is now.")
    return next((place for place in there if sha256_of(place) == entry["sha256"]), there[0])


def _check_same_call(run: Path, recorded: Mapping[str, Any] | None, pair: ModelPair) -> None:
    """Refuse a function that calls the networks in another way than when the run was made."""
    if recorded is not None and recorded != pair.facts.get("call"):
        raise FilterlensError(
            f"The function '{recorded.get('qualified_name')}' of --call changed since '{run}' was made (its hash "
            "differs). Bring it back, or run `filterlens attribute` again."
        )


def _check_same_weights(run: Path, role: str, entry: Mapping[str, Any], pair: ModelPair) -> None:
    """Accept a file of the same bytes, or of the same weights in another wrapping."""
    if pair.facts[role]["sha256"] == entry["sha256"]:
        return
    recorded = entry.get("weights_sha256")
    if recorded is None or weights_hash(pair.network(getattr(pair, role))) != recorded:
        raise FilterlensError(
            f"The {role} '{pair.facts[role]['path']}' changed since '{run}' was made (its hash differs). "
            f"Give the old file with --{role}, or run `filterlens attribute` again."
        )
