# SPDX-License-Identifier: Apache-2.0
"""The page on re-training only the found filters of the baseline: how much do their locations alone achieve?"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from filterlens.evaluation.statistics import over_seeds, two_level_mean
from filterlens.metrics import specification
from filterlens.paper import drawing
from filterlens.paper.experiment import (
    Cell,
    Claim,
    Experiment,
    Outcome,
    Table,
    Verdict,
    above,
    images_text,
    targets_text,
)
from filterlens.paper.experiments.retraining.measure import BOUND, Arm, Retrainings, RetrainingSettings, study
from filterlens.paper.laboratory import Laboratory
from filterlens.paper.published import RETRAINING, RETRAINING_BOUND
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import count, fixed, function_of, listed, method_label, whole_percent

SMOKE = 500  # steps, below which the order of the arms is that of their first steps
HALF = 0.5
PAPER = "paper, re-training"


def run(laboratory: Laboratory, settings: RetrainingSettings) -> Outcome:
    """Re-train, judge and compare the arms of every pair."""
    studies = [study(laboratory, settings, name) for name in laboratory.common.pairs[: settings.pairs]]
    return Outcome(
        tuple(claim for found in studies for claim in claims(found, settings.percent, settings.iterations)),
        tuple(table for found in studies for table in tables(found)),
        tuple(panel for found in studies for panel in panels(found)),
        tuple(_text(settings, studies)),
        _specification(laboratory, settings),
        {found.name: _data(found) for found in studies},
    )


def claims(found: Retrainings, percent: float, steps: int) -> Iterator[Claim]:
    """Judge all claims of one pair.

    Args:
        found: The trainings.
        percent: Share of the filters that was trained.
        steps: Length of every training.
    """
    after = f"{found.name}, after {steps:,} steps"
    yield from (_best_locations(found, kind, after) for kind in found.kinds)
    if len(found.kinds) > 1:
        yield _own_locations(found, after)
    yield _way(found, percent, after)
    if rivals := [arm for arm in found.arms if not arm.found_for and arm != BOUND]:
        yield from (_against_others(found, kind, rivals, after) for kind in found.kinds)


def _best_locations(found: Retrainings, kind: str, after: str) -> Claim:
    """FAIG's own locations against those of every other method for the same degradation."""
    own = Arm("faig", kind)
    rivals = [arm for arm in found.arms if arm.found_for == kind and arm != own]
    return Claim(
        f"{after}, {kind}: among the {function_of(kind)} locations, those found by FAIG re-train best",
        PAPER,
        Verdict.of([found.better(own, rival, kind) for rival in rivals]),
        f"{_ranked(found, own, rivals, kind, lambda arm: method_label(arm.part))} ({_sample(found)})",
    )


def _own_locations(found: Retrainings, after: str) -> Claim:
    """FAIG's own locations against those that it found for the other degradations."""
    decisions, words = [], []
    for kind in found.kinds:
        own = Arm("faig", kind)
        rivals = [Arm("faig", other) for other in found.kinds if other != kind]
        decisions += [found.better(own, rival, kind) for rival in rivals]
        ranked = _ranked(found, own, rivals, kind, lambda arm: f"{function_of(arm.found_for)} locations")
        words.append(f"{kind}: {ranked}")
    return Claim(
        f"{after}: on its own degradation, each function's locations re-train better than the other function's",
        PAPER,
        Verdict.of(decisions),
        f"{'; '.join(words)} (locations found by FAIG; {_sample(found)})",
    )


def _way(found: Retrainings, percent: float, after: str) -> Claim:
    decisions, words = zip(*(_way_on(found, kind) for kind in found.kinds), strict=True)
    return Claim(
        f"{after}: {percent:g} % of the filters, those found by FAIG, reach more than half of what re-training "
        "all filters gains",
        "filterlens",
        Verdict.of(decisions),
        f"{'; '.join(words)} ({_sample(found)})",
    )


def _way_on(found: Retrainings, kind: str) -> tuple[bool | None, str]:
    arm, way = Arm("faig", kind), found.way(Arm("faig", kind), kind)
    if way is None:
        return None, f"{kind}: re-training all filters gains nothing, so there is no way to measure"
    interval = "" if way.low is None or way.high is None else f" [{fixed(way.low)}, {fixed(way.high)}]"
    start, bound = found.reference("baseline", kind).mean, found.quality(BOUND, kind).mean
    trained, every = (count(found.trained[each, kind].weights[0]) for each in (arm, BOUND))
    text = (
        f"{kind}: {trained} weights of {every} reach {whole_percent(way.mean)}{interval} of the way from "
        f"{fixed(start)} to {fixed(bound)} dB"
    )
    if further := [each.label for each in found.arms if found.better(each, BOUND, kind)]:
        return None, f"{text}, which is no upper bound yet: {listed(further)} got further"
    return None if way.low is None else above(way, HALF), text


def _against_others(found: Retrainings, kind: str, rivals: Sequence[Arm], after: str) -> Claim:
    """Compare FAIG's own locations with what users would try at the same number of weights."""

    def name(arm: Arm) -> str:
        return f"FAIG's {function_of(kind)} locations" if arm.found_for else arm.label

    own = Arm("faig", kind)
    best = max((own, *rivals), key=lambda arm: found.quality(arm, kind).mean)
    sure = all(found.better(best, other, kind) for other in (own, *rivals) if other != best)
    return Claim(
        f"{after}, {kind}: with as many trained weights, FAIG's locations beat {listed([name(arm) for arm in rivals])}",
        "filterlens",
        Verdict.of([found.better(own, rival, kind) for rival in rivals]),
        f"{'Best' if sure else 'Ahead, though not decided'}: {name(best)}. "
        f"{_ranked(found, own, rivals, kind, name)} ({_sample(found)})",
    )


def _ranked(found: Retrainings, own: Arm, rivals: Sequence[Arm], kind: str, name: Callable[[Arm], str]) -> str:
    arms = sorted((own, *rivals), key=lambda arm: -found.quality(arm, kind).mean)
    ranks = ", ".join(f"{name(arm)} {fixed(found.quality(arm, kind).mean)}" for arm in arms)
    undecided = [name(rival) for rival in rivals if found.better(own, rival, kind) is None]
    return f"{ranks} dB" + (f" (against {listed(undecided)} not decided)" if undecided else "")


def _sample(found: Retrainings) -> str:
    seeds, images = found.psnr(BOUND, found.kinds[0]).shape
    trainings = "1 training each, whose spread is not known" if seeds == 1 else f"{seeds} seeds"
    return f"{trainings}; {images} images"


def tables(found: Retrainings) -> Iterator[Table]:
    """Yield the paper's table, one table per degradation with everything, the paired differences, and the rates."""
    seeds, images = found.psnr(BOUND, found.kinds[0]).shape
    trainings = "One training (no spread over seeds)" if seeds == 1 else f"Mean ± sd over {seeds} seeds"
    yield paper_table(found, f"{trainings}, on {images} images")
    for kind in found.kinds:
        yield _everything(found, kind, trainings)
    yield _differences(found)
    if any(trained.searched for trained in found.trained.values()):
        yield _rates(found)


def paper_table(found: Retrainings, sample: str = "") -> Table:
    """Return the table in the paper's layout: a row of ours per input, and the published one below it."""
    located = [arm for arm in found.arms if arm.found_for]
    rows: list[tuple[Cell, ...]] = []
    for kind in found.kinds:
        means = [found.quality(arm, kind) for arm in (BOUND, *located)]
        rows.append((f"{kind}, here", *means))
        if kind in RETRAINING_BOUND:
            cells = [RETRAINING.get((kind, arm.found_for), {}).get(arm.part) for arm in located]
            published = [RETRAINING_BOUND[kind], *cells]
            rows.append((f"{kind}, paper", *(None if cell is None else str(cell) for cell in published)))
    return Table(
        f"psnr-{found.name}",
        f"{found.name}: PSNR in dB after re-training only the found filters of the baseline, as in the paper's table",
        ("input", BOUND.label, *(arm.label for arm in located)),
        tuple(rows),
        f"{sample}. Changes of the weights have one ranking for "
        "all degradations, so both of their columns are the same training. The paper's row is of the SRCNN-style "
        "network, on the authors' own schedule and images: differences between columns can be compared with ours, "
        "levels cannot. What the paper calls absolute change is the relative one in the reference implementation.",
        digits=4,
    )


def _everything(found: Retrainings, kind: str, trainings: str) -> Table:
    """Return all arms trained on one degradation: cost, rate, PSNR on every input, way to the upper bound."""
    start, target = ([found.reference(role, given) for given in found.inputs] for role in ("baseline", "target"))
    rows: list[tuple[Cell, ...]] = [
        ("nothing trained (baseline)", 0, None, *start, 0.0),
        ("full target", None, None, *target, None),
    ]
    for arm in found.arms:
        trained, quality = found.trained[arm, kind], [found.quality(arm, kind, given) for given in found.inputs]
        weights = trained.weights[0] if len(set(trained.weights)) == 1 else over_seeds(trained.weights)
        rows.append((arm.label, weights, f"{trained.rate:g}", *quality, found.way(arm, kind)))
    others = listed([given for given in found.inputs if given != kind])
    return Table(
        f"arms-{found.name}-{safe_name(kind)}",
        f"{found.name}, trained on {kind} alone: every arm on every input",
        ("trained", "weights", "learning rate", *(f"PSNR on {given}" for given in found.inputs),
         "way to the upper bound"),
        tuple(rows),
        f"PSNR in dB. {trainings}. The columns of {others} show what is forgotten, or comes "
        "along, next to the baseline's row. Way: 0 is the baseline, 1 all filters re-trained, "
        "[95 % bootstrap interval over images].",
        digits=4,
    )  # fmt: skip


def _differences(found: Retrainings) -> Table:
    """Return FAIG's own locations minus every other arm, paired."""
    rows: list[tuple[Cell, ...]] = []
    for kind in found.kinds:
        own = Arm("faig", kind)
        for arm in found.arms:
            if arm != own:
                compared = found.compare(own, arm, kind)
                decided = {True: "better", False: "worse", None: "not decided"}[found.better(own, arm, kind)]
                rows.append((kind, arm.label, compared.difference, compared.p, decided))
    return Table(
        f"differences-{found.name}",
        f"{found.name}: FAIG's own locations against every other arm, on the degradation trained on",
        ("trained on", "other arm", "FAIG's own minus this, dB", "p", "FAIG's own are"),
        tuple(rows),
        "Paired over images, averaged over seeds: mean ± sd over images [95 % bootstrap interval]; p of the sign-flip "
        "permutation test. Decided where the interval does not cover 0, p is below 0.05, and all seeds agree.",
    )


def _rates(found: Retrainings) -> Table:
    searched = {place: trained for place, trained in found.trained.items() if trained.searched}
    rates = sorted({rate for trained in searched.values() for rate in trained.searched})
    rows: list[tuple[Cell, ...]] = []
    for (arm, kind), trained in searched.items():
        tried = {rate: "diverged" if value is None else value for rate, value in trained.searched.items()}
        rows.append((kind, arm.label, *(tried.get(rate) for rate in rates), f"{trained.rate:g}"))
    return Table(
        f"rates-{found.name}",
        f"{found.name}: how the learning rates were chosen",
        ("trained on", "arm", *(f"{rate:g}" for rate in rates), "chosen"),
        tuple(rows),
        "PSNR in dB on squares of training images that were held out; no judging image was looked at.",
        digits=4,
    )


def panels(found: Retrainings) -> Iterator[Panel]:
    """Draw the gain of every arm over the baseline, and loss curves, per degradation."""
    for kind in found.kinds:
        stem = f"{found.name}-{safe_name(kind)}"
        start = found.references["baseline", kind]
        gains = {
            arm.label: two_level_mean(found.psnr(arm, kind) - start, resamples=found.resamples) for arm in found.arms
        }
        title = f"{found.name}: re-trained on {kind}, gain over the baseline on {kind}"
        yield drawing.bars(f"gain-{stem}", title, gains, "PSNR, dB above the baseline", width=7.2)
        curves = []
        for arm in found.arms:
            if not arm.found_for or arm.part in ("faig", "random"):
                steps, losses = np.array(found.trained[arm, kind].losses, dtype=np.float64).transpose(2, 0, 1)
                curves.append(drawing.Line(arm.label, steps[0].tolist(), losses.mean(0).tolist()))
        yield drawing.lines(f"loss-{stem}", f"{found.name}: loss on {kind}", curves, "step", "L1, mean of the steps "
                            "since the point before", size=(7.2, 4.6))  # fmt: skip


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
    searched = [(found.name, *place, each) for found in studies for place, each in found.trained.items()
                if each.searched]  # fmt: skip
    if not searched:
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
    edges = [f"{arm.label} on {kind} ({name})" for name, arm, kind, trained in searched
             if trained.rate in (min(trained.searched), max(trained.searched))]  # fmt: skip
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
        "target models": targets_text(laboratory.common),
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
            "psnr": {given: found.psnr(arm, kind, given).tolist() for given in found.inputs},
            "losses": found.trained[arm, kind].losses,
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
