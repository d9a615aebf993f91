# SPDX-License-Identifier: Apache-2.0
"""Re-training only the found filters of the baseline: how far do their locations alone get it?"""

from collections.abc import Iterator, Sequence

from filterlens.metrics import specification
from filterlens.paper.experiment import Experiment
from filterlens.paper.experiments.retraining.claims import claims
from filterlens.paper.experiments.retraining.results import Retrainings
from filterlens.paper.experiments.retraining.settings import RetrainingSettings
from filterlens.paper.experiments.retraining.study import study
from filterlens.paper.experiments.retraining.tables import panels, tables
from filterlens.paper.laboratory import Laboratory
from filterlens.paper.outcome import Claim, Outcome, Table
from filterlens.paper.words import images_text, seeds_text
from filterlens.report.figures import Panel
from filterlens.report.labels import listed

SMOKE = 500  # steps, below which the order of the arms is that of their first steps


def run(laboratory: Laboratory, settings: RetrainingSettings) -> Outcome:
    """Re-train, judge and compare the arms of every pair."""
    said: list[Claim] = []
    shown: list[Table] = []
    drawn: list[Panel] = []
    studies = [study(laboratory, settings, name) for name in laboratory.common.pairs[: settings.pairs]]
    for found in studies:
        said += claims(found, settings.percent, settings.iterations)
        shown += tables(found)
        drawn += panels(found)
    return Outcome(
        tuple(said),
        tuple(shown),
        tuple(drawn),
        tuple(_text(settings, studies)),
        _specification(laboratory, settings),
        {found.name: _data(found) for found in studies},
    )


def _text(settings: RetrainingSettings, studies: Sequence[Retrainings]) -> Iterator[str]:
    if settings.iterations < SMOKE:
        yield (
            f"**This is a smoke run**: {settings.iterations} steps of {settings.batch} patches show that everything "
            "works, and how fast each arm sets off. They do not show where it arrives, and the claims above are "
            "judged after these steps only; the recipe `cpu` trains longer."
        )
    yield (
        "Filters are found in the target; the *baseline* is then trained on blur alone or on noise alone, and only the "
        "filters at these locations move. Every other weight is frozen: it has no gradient, no optimiser state, and "
        "stays bit-identical. The first layer's filters are trained like any other where they are found; biases are "
        "frozen in all arms, the upper bound included."
    )
    yield (
        "Beside the paper's arms stand what users would try with as many weights: random filters, the last layers, "
        "and a low-rank adapter (LoRA) of all convolutions. All arms of a seed see the same batches. The reference "
        "implementation re-trains the SRCNN-style network only and leaves out its first layer."
    )
    yield _rates_text(settings, studies)


def _rates_text(settings: RetrainingSettings, studies: Sequence[Retrainings]) -> str:
    if not any(found.searched for found in studies):
        return (
            "Learning rates were given, one for each kind of part, and nothing was searched: an arm may do better at "
            "another rate."
        )
    steps = settings.search or settings.iterations
    text = (
        "What a rate does depends on how many weights bear it, so every arm was given every rate of its grid, with the "
        f"first seed and {steps} steps, and took the one with the best PSNR on held-out squares of training images. "
        "Judging images decided nothing."
    )
    edges = [f"{arm.label} on {kind} ({found.name})" for found in studies for arm, kind in found.at_the_edge()]
    if edges:
        text += f" The best rate is at the end of the grid, so that a better one may lie beyond, for {listed(edges)}."
    return text


def _specification(laboratory: Laboratory, settings: RetrainingSettings) -> dict[str, str]:
    common = laboratory.common
    pairs = common.pairs[: settings.pairs]
    fewer = "" if settings.judge_images is None else f" (of these at most {settings.judge_images}, spread evenly)"
    trained = "" if settings.train_images is None else f" (of these at most {settings.train_images}, spread evenly)"
    rates = settings.rates
    grids = (("chosen filters", rates.filters), ("low-rank adapter", rates.low_rank), ("all filters", rates.all))
    return {
        "target models": seeds_text(laboratory),
        "seeds": f"{settings.seeds} per arm; the seed decides patches, noise, the adapter's start and which filters "
        "are random, and each takes the next target model",
        "found on": images_text(common.find),
        "trained on": "; ".join(images_text(wanted) for wanted in common.train) + trained,
        "held out": f"squares of at most {settings.held_out} pixels at the right edge of at most "
        f"{settings.held_out_images} training images, not trained on",
        "judged on": "; ".join(f"{name}: {images_text(common.judged_on(name))}" for name in pairs) + fewer,
        "training": f"L1, Adam, {settings.iterations} steps of {settings.batch} patches of {settings.patch}x"
        f"{settings.patch} HR pixels, warm-up of a twentieth, cosine to zero, {laboratory.fast_precision}",
        "learning rates": "; ".join(f"{name}: {', '.join(f'{rate:g}' for rate in grid)}" for name, grid in grids),
        "PSNR": specification(laboratory.target(pairs[0]).pair.scale),
        "precision of the judged networks": laboratory.judge_precision,
    }


def _data(found: Retrainings) -> dict[str, dict[str, object]]:
    """Return the PSNR of every seed and image, and the loss curves."""
    return {
        f"{arm.label}, trained on {kind}": {
            "psnr": {given: found.psnr[arm, kind, given].tolist() for given in found.inputs},
            "losses": found.losses[arm, kind],
        }
        for kind in found.kinds
        for arm in found.arms
    }


EXPERIMENT = Experiment(
    "retraining",
    "Re-training only the found filters",
    "the baseline re-trained at the found locations; against random ones, last layers, LoRA and all filters",
    RetrainingSettings,
    run,
)
