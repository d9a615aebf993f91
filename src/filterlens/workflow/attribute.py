# SPDX-License-Identifier: Apache-2.0
"""The attribution job: images and a pair in, a run folder with the rankings out."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from filterlens.attribution.adaptive import Adaptive
from filterlens.attribution.methods import attribute_with
from filterlens.attribution.quadrature import Quadrature
from filterlens.attribution.result import Attribution, save_attributions
from filterlens.data.samples import Images, as_samples
from filterlens.degradations import parse_degradations
from filterlens.diagnosis.distribution import distribution
from filterlens.errors import FilterlensError
from filterlens.files import write_json
from filterlens.models.receptive_field import receptive_field
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Progress
from filterlens.workflow.processes import Alone, Processes
from filterlens.workflow.run_folder import (
    DISTRIBUTION,
    FILTERS,
    PARTIAL,
    RUN,
    SCORES,
    describe_pair,
    drop_results,
    provenance,
    write_table,
)
from filterlens.workflow.shared_runner import SharedRunner, identity_of

PERCENTS = (1.0, 3.0, 5.0, 10.0)
ENOUGH = 48  # LR pixels of an image that no receptive field needs more of
SHOWN = 8  # names of weights without filters in one note


def attribute_to_folder(
    pair: ModelPair,
    images: Images,
    degradations: Sequence[str],
    output: Path,
    *,
    methods: Sequence[str] = ("faig",),
    protocol: str = "default",
    objective: str = "truth",
    contrast: str = "mean",
    quadrature: Quadrature | Adaptive | None = None,
    precision: str = "auto",
    seed: int = 0,
    memory: float | None = None,
    allow_small: bool = False,
    processes: Processes | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Rank every filter for each degradation and write the run folder.

    Args:
        pair: Baseline and target, on the device that shall compute.
        images: HR images.
        degradations: What to find filters for.
        output: The run folder.
        methods: Names of methods; ``filters.csv`` holds the first one's ranking.
        protocol: ``default`` or ``reference``.
        objective: ``truth``, ``target`` or ``baseline``.
        contrast: ``mean`` or ``max`` of the other degradations.
        quadrature: None takes the protocol's.
        precision: ``auto``, ``fp32`` or ``bf16``.
        seed: Of noise and random methods.
        memory: GiB that activations may take; None takes what the device can spare.
        allow_small: Accept images smaller than the network's receptive field.
        processes: Those that share the work; None is this one alone. The first one writes and reports.
        progress: Where bars and notes go.

    Returns:
        What ``run.json`` holds.

    Raises:
        FilterlensError: An image cannot be read or is too small; the folder cannot be written.
        UsageError: An unknown method, degradation or setting.
    """
    started = time.monotonic()
    processes = processes or Alone()
    leads = processes.rank == 0
    if not leads:
        progress = SILENT
    names = list(parse_degradations(degradations))
    samples = as_samples(images)
    described = [sample.provenance() for sample in samples]  # reads every image once: a bad one fails before the work
    if not allow_small:
        _check_sizes(pair, described, progress)
    if left_out := pair.space.left_out:
        more = f" and {len(left_out) - SHOWN} more (run.json names them)" if len(left_out) > SHOWN else ""
        progress.note(f"not attributed, since they are no filters: {', '.join(left_out[:SHOWN])}{more}")
    path_settings: dict[str, Any] = {"objective": objective, "contrast": contrast}
    if quadrature is not None:
        path_settings["quadrature"] = quadrature
    runner = SharedRunner(output / PARTIAL, identity_of(pair), processes)
    found = attribute_with(
        methods,
        pair,
        samples,
        names,
        path_settings=path_settings,
        progress=progress,
        runner=runner,
        protocol=protocol,
        precision=precision,
        seed=seed,
        memory=memory,
    )
    first = next(iter(found.values()))
    facts = provenance() | {
        "pair": describe_pair(pair),
        "settings": dict(first.settings)
        | {
            "methods": list(found),
            "degradations": names,
            "device": str(pair.device),
            "objective": objective,
            "processes": processes.size,
            "threads": torch.get_num_threads(),
        },
        "images": described,
        "completeness": [
            {"method": each.method, **asdict(entry), "gap": entry.gap}
            for each in found.values()
            for entry in each.completeness
        ],
        "completeness_gap": first.completeness_gap if first.completeness else None,
        "seconds": round(time.monotonic() - started, 2),
    }
    if not leads:
        runner.close()
        return facts
    drop_results(output)
    save_attributions(output / SCORES, list(found.values()))
    first.to_csv(output / FILTERS)
    header = ("method", "degradation", "percent", "layer", "position", "filters", "selected", "share")
    write_table(output / DISTRIBUTION, header, _distribution_rows(found.values()))
    write_json(output / RUN, facts)
    runner.close()
    return facts


def _check_sizes(pair: ModelPair, described: Sequence[dict[str, Any]], progress: Progress) -> None:
    """Refuse images that are mostly border to the network, and note those that hold less than it could see.

    The outer part of a large receptive field hardly counts, so nobody is asked for more than ``ENOUGH`` LR pixels.
    """
    field = receptive_field(pair.network(pair.target))
    if field is None:
        return
    sides = [min(image["width"], image["height"]) // pair.scale for image in described]
    for image, side in zip(described, sides, strict=True):
        if side < min(field, ENOUGH):
            raise FilterlensError(
                f"Image '{image['name']}' is {image['width']}x{image['height']}, that is {side} LR pixels at "
                f"x{pair.scale}, smaller than the network's receptive field of {field}: its scores would be mostly "
                f"border. Use images of at least {min(field, ENOUGH) * pair.scale} pixels, or allow it with "
                "--allow-small."
            )
    if small := [side for side in sides if side < field]:
        progress.note(
            f"{len(small)} of {len(sides)} images are smaller than the network's receptive field of {field} LR pixels "
            f"(the smallest has {min(small)}): their borders count for more than those of large ones"
        )


def _distribution_rows(attributions: Iterable[Attribution]) -> Iterator[tuple[object, ...]]:
    for each in attributions:
        for degradation in each.degradations:
            for percent in PERCENTS:
                for entry in distribution(each.select(degradation, percent)):
                    yield (
                        each.method,
                        degradation,
                        percent,
                        entry.layer,
                        entry.position,
                        entry.filters,
                        entry.selected,
                        entry.share,
                    )
