# SPDX-License-Identifier: Apache-2.0
"""Which network a command runs: one of a pair, a lone checkpoint, or a target with filters put back."""

from pathlib import Path

from torch import nn

from filterlens.attribution.result import load_attributions
from filterlens.editing.dial import modulate
from filterlens.errors import UsageError, unknown
from filterlens.jobs.pairs import STAYED, Moved, reopen_pair
from filterlens.pair import ModelPair
from filterlens.run.folder import SCORES, require_run


def network_to_run(
    *,
    pair: str | None = None,
    model: Path | None = None,
    architecture: str | None = None,
    network: str = "target",
    run: Path | None = None,
    without: str | None = None,
    percent: float = 1.0,
    strength: float = 0.0,
    moved: Moved = STAYED,
) -> nn.Module:
    """Build the network that the options describe.

    Args:
        pair: Name of a shipped pair; the default is ``srresnet-x2``.
        model: One checkpoint.
        architecture: Of that checkpoint (see :func:`filterlens.models.checkpoints.load_network`), or of a run of the
            user's own code (see :func:`filterlens.jobs.pairs.reopen_pair`).
        network: ``target`` or ``baseline`` of the pair.
        run: A run folder, whose pair is used.
        without: Degradation whose top filters are dialled to ``strength``; needs ``run``.
        percent: How many of them.
        strength: 0 replaces them by the baseline's, 1 leaves the target.
        moved: Where the run's checkpoints lie now.

    Raises:
        UsageError: The options contradict each other or name something unknown.
    """
    if network not in ("target", "baseline"):
        raise unknown("network", network, ("target", "baseline"))
    if without is not None and run is None:
        raise UsageError("--without needs --run RUN: the ranking says which filters to replace.")
    if model is not None:
        from filterlens.models.checkpoints import load_network

        return load_network(model, architecture).network
    if run is None:
        shipped = ModelPair.pretrained(pair or "srresnet-x2")
        return shipped.network(getattr(shipped, network))
    require_run(run)
    opened = reopen_pair(run, architecture, moved)
    if without is None:
        return opened.network(getattr(opened, network))
    ranking = next(iter(load_attributions(run / SCORES).values()))
    return modulate(opened, ranking.select(without, percent), strength)
