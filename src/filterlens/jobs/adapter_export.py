# SPDX-License-Identifier: Apache-2.0
"""Taking adapters out of a pair: from a run folder's ranking, from what ships, or from a re-trained baseline."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from filterlens.attribution.result import load_attributions
from filterlens.degradations import parse_degradations
from filterlens.editing.adapter import Adapter
from filterlens.errors import FilterlensError, UsageError, unknown
from filterlens.filters import Selection
from filterlens.jobs.pairs import STAYED, Moved, checkpoint_of, open_pair, reopen_pair
from filterlens.models.checkpoints import load_network
from filterlens.pair import ModelPair
from filterlens.run.folder import SCORES, provenance, require_run

FOUND, RETRAINED = "found filters", "re-trained filters"
_KEPT = (
    "protocol", "resampler", "objective", "quadrature", "tolerance", "nodes", "contrast", "contrasted_with",
    "precision", "seed",
)  # fmt: skip
_TRAINING = ("iterations", "learning_rate", "batch", "patch", "seed", "resampler")


def found_adapter(
    degradations: Sequence[str],
    percent: float = 1.0,
    *,
    run: Path | None = None,
    pair: str | None = None,
    method: str | None = None,
    architecture: str | None = None,
    moved: Moved = STAYED,
) -> Adapter:
    """Take the filters that were found for one or more degradations, with the target's values.

    Args:
        degradations: For which; several give one adapter with all their filters.
        percent: Share of the network's filters, for each of them.
        run: Run folder of ``filterlens attribute``.
        pair: Instead, a shipped pair with the rankings beside it (the top 5 %).
        method: Whose ranking of the run; default: the first one's.
        architecture: Of a run of the user's own code; see :func:`filterlens.jobs.pairs.reopen_pair`.
        moved: Where the run's checkpoints lie now.

    Raises:
        UsageError: Both or neither of run and pair, nothing to take, or an unknown name.
        FilterlensError: The run folder or its checkpoints are not there or changed.
    """
    if (run is None) == (pair is None):
        raise UsageError("Where are the scores? Give --run RUN, or --pair NAME for a pair that ships.")
    if not degradations:
        raise UsageError("Whose filters? Give --degradation, for example --degradation blur:2.")
    names = list(parse_degradations(degradations))
    network, selections, scores = (
        _of_run(run, names, percent, method, architecture, moved)
        if run is not None
        else _of_shipped(str(pair), names, percent)
    )
    card = {
        "holds": FOUND,
        "degradations": names,
        "percent": percent,
        "found": {each.name: len(each) for each in selections},
        "scores": scores,
    }
    return Adapter.of(network, selections, card | _writer())


def retrained_adapter(
    retrained: Path,
    *,
    run: Path | None = None,
    pair: str | None = None,
    baseline: Path | None = None,
    architecture: str | None = None,
) -> Adapter:
    """Take the filters that ``filterlens retrain`` changed in a baseline.

    Args:
        retrained: The re-trained checkpoint.
        run: Run folder whose pair's baseline was re-trained.
        pair: Instead, a shipped pair.
        baseline: Instead, the baseline's checkpoint.
        architecture: Of checkpoints that do not say it themselves.

    Raises:
        UsageError: Not exactly one of run, pair and baseline.
        FilterlensError: It was made from another baseline, or changed more than filters (biases).
    """
    if sum(choice is not None for choice in (run, pair, baseline)) != 1:
        raise UsageError("What was re-trained? Give one of --run RUN, --pair NAME and --baseline FILE.")
    path, name = (baseline, "") if baseline is not None else _baseline_of(run, pair)
    first, second = load_network(path, architecture), load_network(retrained, architecture)
    said = second.card.get("baseline_sha256")
    if said is not None and said != first.sha256:
        raise FilterlensError(
            f"'{retrained}' was made from another baseline than '{path}': the hash on its card differs. "
            "Give the one that was re-trained."
        )
    network = ModelPair(first.network, second.network, scale=second.scale, name=name, facts={
        "architecture": second.architecture, "options": second.options,
    })  # fmt: skip
    card = {"holds": RETRAINED, **_training(second.card)}
    return Adapter.of(network, [_changed(network, retrained)], card | _writer())


def _of_run(
    run: Path, names: Sequence[str], percent: float, method: str | None, architecture: str | None, moved: Moved
) -> tuple[ModelPair, list[Selection], dict[str, Any]]:
    facts = require_run(run)
    rankings = load_attributions(run / SCORES)
    if method is not None and method not in rankings:
        raise unknown("method of this run", method, rankings)
    ranking = rankings[method or next(iter(rankings))]
    scores = _scores(ranking.method, ranking.settings, facts["images"]) | {"created": facts.get("created")}
    return reopen_pair(run, architecture, moved), [ranking.select(name, percent) for name in names], scores


def _of_shipped(pair: str, names: Sequence[str], percent: float) -> tuple[ModelPair, list[Selection], dict[str, Any]]:
    from filterlens.diagnosis.found_filters import load_found_filters
    from filterlens.models.pretrained import filters_file

    network = open_pair(pair, None, None)
    found = load_found_filters(filters_file(pair), network)
    selections = found.selections(network, percent)
    for name in names:
        if name not in selections:
            raise unknown(f"degradation of '{pair}'", name, selections)
    said = found.provenance
    scores = _scores(str(said.get("method")), said.get("settings", {}), said.get("discovery_images", ()))
    return network, [selections[name] for name in names], scores


def _baseline_of(run: Path | None, pair: str | None) -> tuple[Path, str]:
    """Return the file of a run's or a shipped pair's baseline, and the pair's name."""
    from filterlens.models.pretrained import pair_files

    if run is None:
        return pair_files(str(pair))[0], str(pair)
    facts = require_run(run)["pair"]
    if facts.get("name"):
        return pair_files(facts["name"])[0], facts["name"]
    return checkpoint_of(run, "baseline"), ""


def _changed(pair: ModelPair, path: Path) -> Selection:
    """Select the filters that differ between both networks; whatever else differs cannot be carried."""
    change = pair.change != 0
    filters = pair.pool(change.float()) > 0
    beyond = change & ~pair.weight_mask(filters)
    if beyond.any():
        names = [name for name, values in pair.unflatten(beyond).items() if values.any()]
        raise FilterlensError(
            f"'{path}' changed more than filters: {len(names)} parameters such as '{names[0]}'. An adapter carries "
            "filters alone; `filterlens retrain` leaves all else as it is."
        )
    return Selection(pair.space, filters.nonzero().flatten().to(torch.int64), "re-trained")


def _scores(method: str, settings: Mapping[str, Any], images: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Say how the filters were found, in a few words: of the images only how many, and a hash over all of them."""
    hashes = sorted(str(image.get("sha256")) for image in images)
    return {
        "method": method,
        "settings": {key: settings[key] for key in _KEPT if key in settings},
        "images": {"count": len(hashes), "sha256": hashlib.sha256(json.dumps(hashes).encode()).hexdigest()},
    }


def _training(card: Mapping[str, Any]) -> dict[str, Any]:
    """Say how filters were re-trained, from the checkpoint's own card; nothing of a card that says otherwise."""
    settings, trained = ({} if not isinstance(card.get(key), Mapping) else card[key] for key in ("settings", "trained"))
    coins = settings.get("degradations")
    return {
        "degradations": [str(coin[0]) for coin in coins if isinstance(coin, list) and coin]
        if isinstance(coins, list)
        else [],
        "trained": {key: value for key, value in trained.items() if key != "indices_sha256"},
        "training": {key: settings[key] for key in _TRAINING if key in settings},
    }


def _writer() -> dict[str, Any]:
    """Say what wrote it, without the command line, whose paths are nobody else's business."""
    said = provenance()
    return {key: said[key] for key in ("filterlens", "created", "versions")}
