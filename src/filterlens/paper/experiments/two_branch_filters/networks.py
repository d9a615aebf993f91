# SPDX-License-Identifier: Apache-2.0
"""The networks that are looked into: each two-branch network, and the one-branch network of equal computation."""

from collections.abc import Sequence
from dataclasses import dataclass

from filterlens.errors import FilterlensError
from filterlens.paper.experiments.two_branch_filters.branches import Branches
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.peers.arms import Arm, Setting, arms_of, settings_of
from filterlens.paper.peers.networks import prepare, trained

BOTH = "blur+noise"  # the settings whose networks learn both functions


@dataclass(frozen=True, eq=False)
class Network:
    """A network with its target models.

    Attributes:
        label: In tables and figures.
        setting: What it was fine-tuned for.
        models: One per seed.
        branches: Of its filters and parameters.
        multiply_adds: Per LR pixel.
    """

    label: str
    setting: str
    models: Sequence[TargetModel]
    branches: Branches
    multiply_adds: float

    @property
    def stem(self) -> str:
        """The label as part of a file's name."""
        return self.label.lower()


@dataclass(frozen=True, eq=False)
class Peer:
    """A two-branch network and, where it is compared, the one-branch network beside it."""

    two: Network
    one: Network | None


def peers_of(laboratory: Laboratory, names: Sequence[str], *, compare: bool) -> list[Peer]:
    """Return the networks of the named peers, trained where they are missing.

    Args:
        laboratory: Trains and keeps them.
        names: ``dan``, ``dasr``.
        compare: Also take the one-branch networks.

    Raises:
        FilterlensError: As :func:`filterlens.paper.peers.networks.trained`.
    """
    chosen = laboratory.common.peers
    wanted = {(arm.peer, arm.has_two_branches): arm for arm in arms_of(chosen) if compare or arm.has_two_branches}
    settings = {setting.peer: setting for setting in settings_of(chosen) if setting.name.endswith(BOTH)}
    prepare(laboratory, [(arm, settings[arm.peer]) for arm in wanted.values() if arm.peer in names])
    peers = []
    for name in names:
        two, one = (
            _network(laboratory, wanted[name, has_two], settings[name]) if (name, has_two) in wanted else None
            for has_two in (True, False)
        )
        if two is None:
            raise FilterlensError(f"There is no two-branch network '{name}'.")
        peers.append(Peer(two, one))
    return peers


def _network(laboratory: Laboratory, arm: Arm, setting: Setting) -> Network:
    models = trained(laboratory, arm, setting)
    options = arm.network | {"scale": laboratory.common.peers.scale}
    branches = Branches.of(models[0].pair, arm.architecture, options)
    return Network(arm.label, setting.name, models, branches, arm.complexity.multiply_adds)
