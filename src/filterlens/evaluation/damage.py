# SPDX-License-Identifier: Apache-2.0
"""The own/cross damage matrix: the effect of replacing filters on their own function and on every other."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from filterlens.arguments import seed_number
from filterlens.data.samples import Sample
from filterlens.degradations.inputs import Inputs, example_of
from filterlens.degradations.value import AnyDegradation
from filterlens.editing.dial import substituted
from filterlens.errors import UsageError
from filterlens.evaluation.function_distance import function_distance, preservation, reference_distance, removal
from filterlens.filters import Selection
from filterlens.metrics import psnr, ssim
from filterlens.pair import ModelPair
from filterlens.pixels import require_finite
from filterlens.progress import SILENT, Progress
from filterlens.run.tables import Damage, DamageSummary, Edit, NetworkQuality, Quality

_MEANS = {field.name for field in fields(Damage)} & {field.name for field in fields(DamageSummary)} - {"edit", "input"}


class Ends(NamedTuple):
    """One degraded image ``(1, 3, h, w)``, and the outputs of baseline and target for it."""

    image: str
    input: str
    lowered: Tensor
    baseline: Tensor
    target: Tensor


class Keeper(NamedTuple):
    """Wants to see outputs: ``wants`` chooses edits, ``keep(image, input, what, edit, pixels)`` receives them."""

    wants: Callable[[Edit], bool]
    keep: Callable[[str, str, str, Edit | None, Tensor], None]


@torch.no_grad()
def measure_damage(
    pair: ModelPair,
    selections: Mapping[Edit, Selection],
    samples: Sequence[Sample] | Inputs,
    inputs: Mapping[str, AnyDegradation] | None = None,
    *,
    donors: Mapping[Edit, Tensor] | None = None,
    resampler: str = "bicubic",
    multiple: int = 1,
    seed: int = 0,
    precision: str = "fp32",
    keeper: Keeper | None = None,
    progress: Progress = SILENT,
) -> tuple[list[Damage], list[Quality]]:
    """Judge every edit on every input of every image. Equal selections are computed once.

    Args:
        pair: Baseline and target.
        selections: Edit → filters to replace.
        samples: HR images to judge on, or all inputs with their images.
        inputs: Name → degradation of the inputs, where they share the images.
        donors: Edit → flat parameters whose filters take the place of the target's; by default the baseline's do.
        resampler: Interpolation of the down-sampling.
        multiple: Number that divides the sides of the cut images, in addition to the scale.
        seed: Seed of the noise.
        precision: Precision in which the networks run.
        keeper: Receiver of pictures, or None.
        progress: Receiver of the progress bar.

    Returns:
        One :class:`Damage` per edit, input and image; one :class:`Quality` per network, input and image.

    Raises:
        FilterlensError: A network's output is not finite.
    """
    groups, seed = _equal_edits(selections, donors or {}), seed_number(seed)
    damages: list[Damage] = []
    qualities: list[Quality] = []
    given = samples if isinstance(samples, Inputs) else Inputs.of(samples, inputs or {})
    how: dict[str, Any] = {"multiple": multiple, "resampler": resampler, "seed": seed, "precision": precision}
    with progress.bar("judge", sum(map(len, given.samples.values())) * len(groups)) as bar:
        for sample, name in given:
            bar.describe(f"judge, {sample.name}, {name}")
            truth, ends = judged_input(pair, sample, given.degradations[name], name, **how)
            networks = {"baseline": ends.baseline, "target": ends.target}
            for role, output in networks.items():
                qualities.append(Quality(role, name, sample.name, *_quality(output, truth, pair.scale)))
            if keeper:
                for what, pixels in {"input": ends.lowered, "truth": truth, **networks}.items():
                    keeper.keep(sample.name, name, what, None, pixels)
            for edits, selection, donor in groups:
                output = pair.run(_edited(pair, selection, donor), ends.lowered, precision)
                require_finite(output, _named(edits[0]), sample.name, name)
                damages += _damage(edits, ends, output, truth, pair.scale)
                if keeper:
                    for edit in filter(keeper.wants, edits):
                        keeper.keep(sample.name, name, "masked", edit, output)
                bar.advance()
    return damages, qualities


def judged_input(
    pair: ModelPair,
    sample: Sample,
    degradation: AnyDegradation,
    name: str,
    *,
    multiple: int = 1,
    resampler: str = "bicubic",
    seed: int = 0,
    precision: str = "fp32",
) -> tuple[Tensor, Ends]:
    """Degrade an image, and run baseline and target on it.

    Args:
        pair: Baseline and target.
        sample: The image.
        degradation: Degradation of the image.
        name: Name of the degradation.
        multiple: Number that divides the sides of the cut image, in addition to the scale.
        resampler: Interpolation of the down-sampling.
        seed: Seed of the noise.
        precision: Precision in which the networks run.

    Returns:
        The truth ``(1, C, H, W)``, on the pair's device, and the ends.

    Raises:
        FilterlensError: An output is not finite.
        UsageError: There is no truth.
    """
    truth, lowered = example_of(
        sample, degradation, pair.scale, multiple=multiple, seed=seed, resampler=resampler, like=pair.target
    )
    if truth is None:
        raise UsageError(
            f"Image '{sample.name}' of the pairs '{name}' has no truth, by which PSNR and SSIM judge. Give the clean "
            "images too."
        )
    baseline, target = (pair.run(vector, lowered, precision) for vector in (pair.baseline, pair.target))
    require_finite(baseline, "the baseline", sample.name, name)
    require_finite(target, "the target", sample.name, name)
    return truth, Ends(sample.name, name, lowered, baseline, target)


def _damage(edits: Sequence[Edit], ends: Ends, output: Tensor, truth: Tensor, crop: int) -> list[Damage]:
    """Judge the output ``(1, 3, H, W)`` of edits that replace the same filters; ``crop`` border pixels do not count."""
    distances = float(function_distance(output, ends.target)), float(reference_distance(output, ends.target))
    quality = _quality(output, truth, crop)
    squares = {
        True: removal(output, ends.baseline, ends.target),
        False: preservation(output, ends.baseline, ends.target),
    }
    return [
        Damage(edit, ends.input, ends.image, *distances, *quality, *squares[edit.masked == ends.input])
        for edit in edits
    ]


def _named(edit: Edit) -> str:
    """Say in words which network an edit makes."""
    return f"the target without the first {edit.percent:g} % that '{edit.method}' ranks for '{edit.masked}'"


def _quality(output: Tensor, truth: Tensor, crop: int) -> tuple[float, float]:
    return float(psnr(output, truth, crop=crop)), float(ssim(output, truth, crop=crop))


def _edited(pair: ModelPair, selection: Selection, donor: Tensor | None) -> Tensor:
    """Return flat parameters of the target with the selected filters of a donor, or of the baseline."""
    if donor is None:
        return substituted(pair, selection)
    return torch.where(pair.weight_mask(selection.mask), donor, pair.target)


def _equal_edits(
    selections: Mapping[Edit, Selection], donors: Mapping[Edit, Tensor]
) -> list[tuple[list[Edit], Selection, Tensor | None]]:
    groups: dict[tuple[bytes, int], tuple[list[Edit], Selection, Tensor | None]] = {}
    for edit, selection in selections.items():
        donor = donors.get(edit)
        key = selection.mask.numpy().tobytes(), id(donor)
        groups.setdefault(key, ([], selection, donor))[0].append(edit)
    return list(groups.values())


def summarise_damage(damages: Iterable[Damage]) -> list[DamageSummary]:
    """Average over images, keeping the order of edits and inputs; removal and preservation are pooled over pixels."""
    cells: dict[tuple[Edit, str], list[Damage]] = {}
    for damage in damages:
        cells.setdefault((damage.edit, damage.input), []).append(damage)
    return [_cell(edit, name, rows) for (edit, name), rows in cells.items()]


def _cell(edit: Edit, name: str, rows: list[Damage]) -> DamageSummary:
    means = {column: _mean([getattr(row, column) for row in rows]) for column in _MEANS}
    whole = sum(row.scale for row in rows)
    ratio = 1 - sum(row.residual for row in rows) / whole if whole else None
    own = edit.masked == name
    return DamageSummary(edit, name, **means, removal=ratio if own else None, preservation=None if own else ratio)


def summarise_quality(qualities: Iterable[Quality]) -> list[NetworkQuality]:
    """Average over images: one row per network and input."""
    cells: dict[tuple[str, str], list[Quality]] = {}
    for quality in qualities:
        cells.setdefault((quality.network, quality.input), []).append(quality)
    return [
        NetworkQuality(*key, psnr=_mean([row.psnr for row in rows]), ssim=_mean([row.ssim for row in rows]))
        for key, rows in cells.items()
    ]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
