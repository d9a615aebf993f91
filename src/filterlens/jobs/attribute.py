# SPDX-License-Identifier: Apache-2.0
"""The attribution job: images and a pair in, a run folder with the rankings out."""

import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from filterlens.attribution.method import channels_of
from filterlens.attribution.methods import attribute_with, known_methods, refuse_idle
from filterlens.attribution.objectives import Objective
from filterlens.attribution.result import Attribution, save_attributions
from filterlens.attribution.settings import AttributeSettings
from filterlens.data.samples import Images
from filterlens.degradations.added import added_in
from filterlens.degradations.given import AnyDegradations
from filterlens.degradations.inputs import GivenPairs, Inputs, names_of
from filterlens.diagnosis.distribution import distribution
from filterlens.errors import FilterlensError
from filterlens.files import folder_lock, write_json
from filterlens.jobs.inputs import usable_inputs
from filterlens.jobs.pairs import describe_pair
from filterlens.models.complexity import receptive_field
from filterlens.pair import ModelPair
from filterlens.plugins import METHODS, Plugin, named_in, recorded
from filterlens.progress import SILENT, Progress
from filterlens.run.folder import (
    DISTRIBUTION,
    FILTERS,
    PARTIAL,
    RESULTS_OF,
    RUN,
    SCORES,
    SCORES_AS_TEXT,
    open_run_folder,
    placed,
    provenance,
    refuse_strangers,
)
from filterlens.run.rows import write_rows
from filterlens.run.tables import SelectionShare
from filterlens.version import __version__
from filterlens.work.processes import Processes
from filterlens.work.store import Store

FILES = (SCORES, SCORES_AS_TEXT, FILTERS, DISTRIBUTION, RUN)
PERCENTS = (1.0, 3.0, 5.0, 10.0)
ENOUGH = 48  # LR pixels of an image that no receptive field needs more of
SHOWN = 8  # names of weights without filters in one note


def attribute_to_folder(
    pair: ModelPair,
    images: Images | None,
    degradations: AnyDegradations,
    output: Path,
    *,
    pairs: GivenPairs | None = None,
    methods: Sequence[str] = ("faig",),
    settings: AttributeSettings | None = None,
    allow_small: bool = False,
    strict: bool = False,
    force: bool = False,
    replace_other: bool = False,
    processes: Processes | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Rank every filter for each degradation and write the run folder.

    Args:
        pair: Baseline and target, on the device that computes.
        images: Clean HR images; None where all degradations are given as pairs.
        degradations: Degradations to find filters for: written, functions, or name → either.
        output: The run folder.
        pairs: Name → pairs of what the network gets and the truth.
        methods: Names of methods; ``filters.csv`` holds the first one's ranking.
        settings: Settings of the methods.
        allow_small: Accept images smaller than the network's receptive field.
        strict: Stop at the first image that cannot be used; otherwise it is left out and named in ``run.json``.
        force: Replace the ranking in the folder, and all results made from it.
        replace_other: Replace another ranking, but keep the same one where it is finished.
        processes: Processes that share the work; None is this one alone. The first one writes and reports.
        progress: Receiver of bars and notes.

    Returns:
        The content of ``run.json``.

    Raises:
        FilterlensError: No image can be used, or one cannot and ``strict`` is set; the folder cannot be written, or
            another job is at work there.
        UsageError: An unknown method, degradation or setting, or a setting that no method takes; or the folder holds
            another ranking, or files of others.
    """
    methods = known_methods(methods)
    names_of(None, degradations, pairs)  # a mistake is told before anything is read
    settings = settings or AttributeSettings()
    refuse_idle(settings, methods)
    refuse_strangers(output)
    started = time.monotonic()
    store = Store(output / PARTIAL, processes, progress)
    with folder_lock(output, "ranking") if store.leads else contextlib.nullcontext():
        field = None if allow_small else receptive_field(pair.on_images(pair.target), pair.channels_in)
        check = partial(_check_size, field=field, scale=pair.scale)
        channels = channels_of(pair, settings.channels)
        usable = usable_inputs(images, degradations, pairs, channels, store.progress, strict=strict, check=check)
        written = [str(each) for each in usable.inputs.degradations.values()]
        plugins = [*named_in(METHODS, methods), *added_in(written)]
        made_of = _made_of(pair.identity, usable.inputs, methods, settings, plugins)
        record, finished = open_run_folder(output, made_of, force=force, replace_other=replace_other)
        if finished is not None:
            store.progress.note(f"'{output}' holds this very ranking already; --force computes it again")
            if store.leads:  # the run may have been killed after its last file
                record.settle(FILES)
            store.clear()
            return finished
        _note_doubts(pair, usable.described, field, store.progress)
        found = attribute_with(methods, pair, usable.inputs, None, settings, progress=store.progress, store=store)
        facts = _facts(pair, list(found.values()), usable.inputs, output, settings, store.processes.size) | {
            "images": [image | _placed(image, output) for image in usable.described],
            **usable.record,
            **recorded(plugins),
            "seconds": round(time.monotonic() - started, 2),
            "made_of": made_of,
        }
        if store.leads:
            record.remove(record.of_jobs(*RESULTS_OF))  # so that a new ranking never stands next to an old proof
            with record.writing(*FILES):
                _write(output, list(found.values()), facts)
        store.clear()
    return facts


def _facts(
    pair: ModelPair,
    found: Sequence[Attribution],
    inputs: Inputs,
    output: Path,
    settings: AttributeSettings,
    processes: int,
) -> dict[str, Any]:
    """Return what ``run.json`` says of pair, settings and completeness."""
    first = found[0]
    own = inputs.facts
    return provenance() | {
        "pair": describe_pair(pair, output),
        "settings": dict(first.settings)
        | {
            "methods": [each.method for each in found],
            "degradations": list(inputs.degradations),
            **({"inputs": own} if own else {}),
            "device": str(pair.device),
            "objective": settings.attributed.to,
            "processes": processes,
            "threads": torch.get_num_threads(),
        },
        "images": [],
        "completeness": [
            {"method": each.method, **asdict(entry), "gap": entry.gap} for each in found for entry in each.completeness
        ],
        "completeness_gap": first.completeness_gap if first.completeness else None,
    }


def _write(output: Path, found: Sequence[Attribution], facts: dict[str, Any]) -> None:
    """Write the run folder; ``run.json`` comes last, so that a folder that has one is whole."""
    save_attributions(output / SCORES, found)
    found[0].to_csv(output / FILTERS)
    write_rows(output / DISTRIBUTION, SelectionShare, _distribution(found))
    write_json(output / RUN, facts)


def _made_of(
    network: str,
    inputs: Inputs,
    methods: Sequence[str],
    settings: AttributeSettings,
    plugins: Sequence[Plugin] = (),
) -> str:
    """Hash everything that decides a ranking. Run folders hold this hash: the form of what is hashed stays.

    A setting that is added later counts where it is not at its default, so that older folders are still recognised.
    Where a function of the user's cannot be told from others, the hash is never the same twice.
    """
    hows = {name: each.fingerprint for name, each in inputs.degradations.items()}
    if None in hows.values():
        return secrets.token_hex(32)
    samples, degradations = inputs.all_samples, list(inputs.degradations)
    own = [{name: how for name, how in hows.items() if how != name}] if inputs.facts else []
    contents = [sample.fingerprint() for sample in samples]
    names = [sample.name for sample in samples]
    conditions, rule = {"protocol", "precision", "seed", "memory"}, {"quadrature", "nodes", "tolerance"}
    how = settings.model_dump(include={"objective", "contrast"} | (settings.changed() - conditions - rule))
    if isinstance(settings.objective, Objective):
        how["objective"] = {"to": settings.objective.to, **settings.objective.facts}
    if rule & settings.changed():
        how["quadrature"] = settings.rule(settings.conventions.parameter_rule)
    given = settings.model_dump(include=conditions)
    decides = [__version__, network, contents, names, degradations, methods, how, given, *own]
    decides += [recorded(plugins)] if plugins else []
    text = json.dumps(decides, default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _placed(image: dict[str, Any], output: Path) -> dict[str, str]:
    return placed(image["path"], output) if "path" in image else {}


def _check_size(image: dict[str, Any], field: int | None, scale: int) -> None:
    """Refuse an image that is mostly border to the network.

    The outer part of a large receptive field hardly counts, so no more than ``ENOUGH`` LR pixels are required.
    """
    side = _lr_side(image, scale)
    if field is not None and side < min(field, ENOUGH):
        raise FilterlensError(
            f"Image '{image['name']}' is {image['width']}x{image['height']}, that is {side} LR pixels at "
            f"x{scale}, smaller than the network's receptive field of {field}: its scores would be mostly "
            f"border. Use images of at least {min(field, ENOUGH) * scale} pixels, or allow it with "
            "--allow-small."
        )


def _lr_side(image: dict[str, Any], scale: int) -> int:
    """Return the shorter side in LR pixels; of pairs without truth only LQ is known."""
    return int(min(image["width"], image["height"])) // (1 if image.get("truth") is False else scale)


def _note_doubts(pair: ModelPair, described: Sequence[dict[str, Any]], field: int | None, progress: Progress) -> None:
    """Say which images hold less than the network could see, and which weights are no filters."""
    sides = [_lr_side(image, pair.scale) for image in described]
    if field is not None and (small := [side for side in sides if side < field]):
        progress.note(
            f"{len(small)} of {len(sides)} images are smaller than the network's receptive field of {field} LR pixels "
            f"(the smallest has {min(small)}): their borders count for more than those of large ones"
        )
    if left_out := pair.space.left_out:
        more = f" and {len(left_out) - SHOWN} more (run.json names them)" if len(left_out) > SHOWN else ""
        progress.note(f"not attributed, since they are no filters: {', '.join(left_out[:SHOWN])}{more}")


def _distribution(attributions: Iterable[Attribution]) -> Iterator[SelectionShare]:
    for each in attributions:
        for degradation in each.degradations:
            for percent in PERCENTS:
                for share in distribution(each.select(degradation, percent)):
                    yield SelectionShare(each.method, degradation, percent, share)
