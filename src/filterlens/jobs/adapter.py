# SPDX-License-Identifier: Apache-2.0
"""The jobs of ``filterlens adapter``: export adapters from a pair, apply them to a base, merge and describe them."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from filterlens.attribution.result import load_attributions
from filterlens.degradations import parse_degradations
from filterlens.editing.adapt import adapt, end_of
from filterlens.editing.adapter import ROLES, VALUES, Adapter, adapter_bytes, load_adapter, weights_hash
from filterlens.editing.merge import PICKLED, SAFETENSORS, container_bytes, container_of, in_types, replaced, same
from filterlens.errors import FilterlensError, UsageError, unknown
from filterlens.files import whole_file
from filterlens.filters import Selection
from filterlens.jobs.pairs import AS_IT_LAY, RunPair, checkpoint_of
from filterlens.models.checkpoints import LoadedNetwork, load_network, read_content
from filterlens.pair import ModelPair
from filterlens.progress import Note, silent
from filterlens.run.folder import SCORES, provenance, require_run

FOUND, RETRAINED = "found filters", "re-trained filters"
_KEPT = (
    "protocol", "resampler", "objective", "loss", "quadrature", "tolerance", "nodes", "contrast", "contrasted_with",
    "precision", "seed",
)  # fmt: skip
_TRAINING = ("iterations", "learning_rate", "batch", "patch", "seed", "resampler")
STRONGEST = 100.0  # beyond it nothing is left of any picture
_MERGE_WRITER = ("filterlens", "created")


def found_adapter(
    degradations: Sequence[str],
    percent: float = 1.0,
    *,
    run: Path | None = None,
    pair: str | None = None,
    method: str | None = None,
    reopening: RunPair = AS_IT_LAY,
) -> Adapter:
    """Take the filters that were found for one or more degradations, with the target's values.

    Args:
        degradations: For which, as they are written or called in the run; several give one adapter with all their
            filters.
        percent: Share of the network's filters, for each of them.
        run: Run folder of ``filterlens attribute``.
        pair: Instead, a shipped pair with its rankings (the top 5 %).
        method: Method whose ranking of the run to use; default: the first.
        reopening: New paths of the run's checkpoints and the user's own code, where the folder cannot know them.

    Raises:
        UsageError: Both or neither of run and pair, nothing to take, or an unknown name.
        FilterlensError: The run folder or its checkpoints are not there or changed.
    """
    if (run is None) == (pair is None):
        raise UsageError("Where are the scores? Give --run RUN, or --pair NAME for a pair that ships.")
    if not degradations:
        raise UsageError("Whose filters? Give --degradation, for example --degradation blur:2.")
    network, selections, scores = (
        _of_run(run, degradations, percent, method, reopening)
        if run is not None
        else _of_shipped(str(pair), list(parse_degradations(degradations)), percent)
    )
    card = {
        "holds": FOUND,
        "degradations": [each.name for each in selections],
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
        architecture: The architecture of checkpoints that do not say it themselves.

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
    run: Path, given: Sequence[str], percent: float, method: str | None, reopening: RunPair
) -> tuple[ModelPair, list[Selection], dict[str, Any]]:
    facts = require_run(run)
    rankings = load_attributions(run / SCORES)
    if method is not None and method not in rankings:
        raise unknown("method of this run", method, rankings)
    ranking = rankings[method or next(iter(rankings))]
    selections = [ranking.select(name, percent) for name in given]
    names = [each.name for each in selections]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"Degradation '{twice[0]}' is given twice. Leave one out.")
    scores = _scores(ranking.method, ranking.settings, facts["images"]) | {"created": facts.get("created")}
    said = facts["settings"].get("inputs", {})
    if known := {each.name: _without_paths(said[each.name]) for each in selections if each.name in said}:
        scores["inputs"] = known
    return reopening.open(run), selections, scores


def _without_paths(said: Any) -> Any:
    """Return what a run says of a degradation, without its folders, which are private."""
    pairs = said.get("pairs") if isinstance(said, Mapping) else None
    return {"pairs": pairs["count"]} if isinstance(pairs, Mapping) and "count" in pairs else said


def _of_shipped(pair: str, names: Sequence[str], percent: float) -> tuple[ModelPair, list[Selection], dict[str, Any]]:
    from filterlens.diagnosis.found_filters import shipped_filters

    network, found = shipped_filters(pair)
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
    hashes = sorted(_hash_of(image) for image in images)
    return {
        "method": method,
        "settings": {key: settings[key] for key in _KEPT if key in settings},
        "images": {"count": len(hashes), "sha256": hashlib.sha256(json.dumps(hashes).encode()).hexdigest()},
    }


def _hash_of(image: Mapping[str, Any]) -> str:
    """Return the hash of an image, or of both of a pair."""
    lowered = image.get("lq")
    sides = (image, lowered) if isinstance(lowered, Mapping) else (image,)
    return " ".join(str(side.get("sha256")) for side in sides)


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
    """Say what wrote it, without the command line, whose paths are private."""
    said = provenance()
    return {key: said[key] for key in ("filterlens", "created", "versions")}


@dataclass(frozen=True)
class AdapterUse:
    """An adapter's file and its strength, written ``deblur.safetensors=0.8``; without a strength it is 1."""

    path: Path
    strength: float = 1.0

    @classmethod
    def parse(cls, text: str) -> "AdapterUse":
        """Read what the user wrote; what follows the last ``=`` is the strength if it is a number."""
        path, equals, strength = text.rpartition("=")
        if not equals or Path(text).is_file():
            return cls(Path(text))
        try:
            number = float(strength)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or abs(number) > STRONGEST:
            raise UsageError(
                f"'{strength}' in '{text}' is not a strength: a number from {-STRONGEST:g} to {STRONGEST:g}. "
                "Write FILE=NUMBER, for example deblur.safetensors=0.8."
            )
        return cls(Path(path), number)


def load_base(text: str, architecture: str | None = None) -> LoadedNetwork:
    """Load the network that adapters are put on: a checkpoint, or ``NAME`` or ``NAME/target`` of a shipped pair.

    Args:
        text: File or name.
        architecture: The architecture of a checkpoint that does not say it itself.

    Raises:
        FilterlensError: There is no such file, or it is not a checkpoint.
        UsageError: Neither a file nor a shipped network; the nearest name is quoted.
    """
    from filterlens.models.pretrained import pair_files, pair_names

    name, _, role = text.partition("/")
    shipped = {each: dict(zip(ROLES, pair_files(each), strict=True)) for each in pair_names()}
    if not Path(text).is_file() and name in shipped:
        if (role or ROLES[0]) not in ROLES:
            raise unknown(f"network of '{name}'", role, ROLES)
        return load_network(shipped[name][role or ROLES[0]])
    if not Path(text).exists() and not Path(text).suffix and "/" not in text:
        raise unknown("base (neither a file nor a shipped network)", text, shipped)
    return load_network(Path(text), architecture)


def adapted_network(
    base: str,
    adapters: Sequence[str],
    *,
    architecture: str | None = None,
    any_base: bool = False,
    note: Note = silent,
) -> nn.Module:
    """Build the network that ``--base`` and ``--adapter`` describe.

    Args:
        base: See :func:`load_base`.
        adapters: Adapters, each as ``FILE=STRENGTH``.
        architecture: See :func:`load_base`.
        any_base: Take a base that is neither end of an adapter, too.
        note: Told when that was so.

    Raises:
        UsageError: See :func:`load_base` and :meth:`AdapterUse.parse`.
        FilterlensError: An adapter cannot be read, or does not belong to the base or to another adapter.
    """
    uses = [AdapterUse.parse(text) for text in adapters]
    return put_on(load_base(base, architecture), uses, any_base=any_base, note=note)


def put_on(
    base: LoadedNetwork,
    uses: Sequence[AdapterUse],
    *,
    any_base: bool = False,
    note: Note = silent,
) -> nn.Module:
    """Put adapters on a base; arguments as for :func:`adapted_network`."""
    loaded = [load_adapter(use.path) for use in uses]
    names = [str(use.path) for use in uses]
    pairs = [(adapter, use.strength) for adapter, use in zip(loaded, uses, strict=True)]
    network = adapt(base.network, pairs, any_base=any_base, names=names)
    hashed = weights_hash(base.network)
    for adapter, name in zip(loaded, names, strict=True):
        if end_of(adapter, hashed) is None:
            note(f"warning: '{base.path}' is not the base that '{name}' was taken from; its differences are added")
    return network


def merge_adapters(
    base: str,
    adapters: Sequence[str],
    output: Path,
    *,
    architecture: str | None = None,
    values: str = "exact",
    force: bool = False,
    note: Note = silent,
) -> dict[str, Any]:
    """Write the base with adapters baked in, and say what was written.

    Args:
        base: A checkpoint, or ``NAME`` or ``NAME/target`` of a shipped pair.
        adapters: Adapters, each as ``FILE=STRENGTH``.
        output: ``.safetensors``; or ``.pth``, ``.pt``, ``.ckpt``, under the wrapper of the base (``params`` if the base
            is no such file).
        architecture: The architecture of a base that does not say it itself.
        values: ``exact`` keeps the base's types where the merged weights fit them without loss, and else stores all of
            them in float32; ``fp16`` and ``fp32`` decide for all.
        force: Overwrite the output, and take a base that is neither end of an adapter.
        note: Told when the base was none.

    Raises:
        UsageError: No adapter, an unknown suffix or type, or the output is one of the inputs.
        FilterlensError: An input cannot be read, does not belong, or the output exists.
    """
    if values not in VALUES:
        raise unknown("type of values", values, VALUES)
    uses = [AdapterUse.parse(text) for text in adapters]
    if not uses:
        raise UsageError("Nothing to merge: give --adapter FILE=STRENGTH at least once.")
    check_file_name(output, SAFETENSORS + PICKLED)
    loaded = load_base(base, architecture)
    if output.resolve() in {path.resolve() for path in (loaded.path, *(use.path for use in uses))}:
        raise UsageError(f"'{output}' is an input of this merge. Give another output.")
    network = put_on(loaded, uses, any_base=force, note=note)
    before = container_of(loaded.path, loaded.network)
    tensors = in_types(replaced(before.tensors, loaded.network, network, loaded.path), before.tensors, values)
    said = [{"file": use.path.name, "strength": use.strength} for use in uses]

    def content(writer: Mapping[str, Any]) -> bytes:
        return container_bytes(replace(before, tensors=tensors), output.suffix, {"adapters": said, **writer})

    if output.exists() and not force:
        if content(_writer_of_merge(output)) != output.read_bytes():
            raise exists_already(output)
        note(f"'{output}' holds this very network already")
    else:
        with whole_file(output) as temporary:
            temporary.write_bytes(content({key: provenance()[key] for key in _MERGE_WRITER}))
    return {
        "file": str(output),
        "bytes": output.stat().st_size,
        "adapters": said,
        "changed": sorted(name for name, tensor in tensors.items() if not same(tensor, before.tensors[name])),
    }


def _writer_of_merge(path: Path) -> dict[str, Any]:
    """Return what a merged file says of its writer and time; nothing where it says nothing."""
    if path.suffix not in SAFETENSORS:
        return {}
    try:
        said = read_content(path)[1]["card"]["merged"]
        return {key: said[key] for key in _MERGE_WRITER}
    except (FilterlensError, LookupError, TypeError):
        return {}


def describe_adapter(path: Path) -> dict[str, Any]:
    """Return what a file holds: card, sizes, and how many filters of which weights."""
    adapter = load_adapter(path)
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "filters": len(adapter),
        "weights": {piece.parameter: {"here": len(piece.indices), "of": piece.filters} for piece in adapter.pieces},
        "card": dict(adapter.card),
    }


def check_file_name(path: Path, suffixes: Sequence[str]) -> None:
    """Refuse a name that is no file's, before anything is computed.

    Raises:
        UsageError: Another suffix.
        FilterlensError: It is a folder.
    """
    if path.is_dir():
        raise FilterlensError(f"'{path}' is a folder. Give a file, for example {path / 'deblur.safetensors'}.")
    if path.suffix not in suffixes:
        raise UsageError(f"'{path}' has no known suffix: it ends in {', '.join(suffixes)}.")


def exists_already(path: Path) -> FilterlensError:
    """Build the error for a file of other content that is in the way."""
    return FilterlensError(
        f"'{path}' exists already, and holds something else. Give another name, or --force to overwrite."
    )


def checked_file(adapter: Adapter, path: Path, values: str, *, force: bool, note: Note = silent) -> dict[str, Any]:
    """Write an adapter, unless the file holds this very one already, and describe the file.

    Raises:
        FilterlensError: The file holds something else, and ``force`` is not set; or it cannot be written.
    """
    if path.exists() and not force:
        if not _is_this(path, adapter, values):
            raise exists_already(path)
        note(f"'{path}' holds this very adapter already")
    else:
        adapter.save(path, values)
    return describe_adapter(path)


def _is_this(path: Path, adapter: Adapter, values: str) -> bool:
    """Whether a file holds an adapter, written at whatever time: equal contents are equal bytes."""
    try:
        created = load_adapter(path).card.get("created")
    except FilterlensError:
        return False
    return adapter_bytes(replace(adapter, card={**adapter.card, "created": created}), values) == path.read_bytes()
