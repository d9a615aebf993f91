# SPDX-License-Identifier: Apache-2.0
"""The page on the boundary: where a network stops helping, and whether that can be predicted without ground truth."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from filterlens.evaluation.statistics import Estimate, rank_correlation
from filterlens.metrics import specification
from filterlens.paper import drawing
from filterlens.paper.experiment import Cell, Claim, Experiment, Outcome, Table, Verdict, images_text, targets_text
from filterlens.paper.experiments.boundary.measure import (
    BOTH,
    CHANGE,
    HELPS,
    OVERLAP,
    PREDICTORS,
    BoundarySettings,
    Predictor,
    Skill,
    Study,
    Sweep,
    advantage,
    choices_of,
    mean_gain_error,
    skill,
    study_of,
    worst_input,
)
from filterlens.paper.laboratory import Laboratory
from filterlens.report.figures import MARKERS, Panel, Theme, safe_name

FALLS = 0.1  # how much lower the overlap must be where the network does not help: a tenth of the input's filters
ENOUGH_CORRELATION, ENOUGH_AUC = 0.7, 0.9


def run(laboratory: Laboratory, settings: BoundarySettings) -> Outcome:
    """Sweep, read the overlap scores without ground truth, and predict the gain on unseen images."""
    tables: list[Table] = []
    claims: list[Claim] = []
    panels: list[Panel] = []
    kinds = laboratory.common.degradations
    names = settings.pairs or laboratory.common.pairs[:1]
    for name in names:
        study = study_of(laboratory, settings, name)
        skills = {each: skill(study, each) for each in PREDICTORS}
        claims += [
            falls_claim(study, name, kinds),
            predicts_claim(study, name, skills[OVERLAP]),
            better_claim(study, name, skills[OVERLAP], skills[CHANGE]),
            adds_claim(study, name, skills[BOTH], skills[CHANGE]),
        ]
        panels += [
            _scatter(study, name, OVERLAP, "the overlap score", "overlap score"),
            _scatter(study, name, CHANGE, "the size of the change", "log₁₀ of the mean squared change"),
            *(_sweep_panel(study, each, name, kinds) for each in study.sweeps),
        ]
        tables += [_predictors(study, name, skills), _within(study, name), _sweeps(study, name, kinds)]
    return Outcome(tuple(claims), tuple(tables), tuple(panels), _TEXT, _specification(laboratory, settings, names))


def falls_claim(study: Study, name: str, degradations: Sequence[str]) -> Claim:
    """Compare the overlap where the network helps with that where it does not, sweep by sweep.

    A sweep in which it never helps is compared with the trained inputs; one in which it always helps says nothing.
    """
    judged = study.judged
    trained = judged.at(judged.overlap, degradations).ravel()
    checks, words = [], []
    for sweep in study.sweeps:
        overlap, gain = (judged.at(values, sweep.inputs.values()) for values in (judged.overlap, judged.gain))
        helped, not_helped = overlap[gain > HELPS], overlap[~(gain > HELPS)]
        if not len(not_helped) or not (len(helped) or len(trained)):
            words.append(f"{sweep.name}: {'nothing to compare with' if len(not_helped) else 'always helps'}")
            continue
        high, low = float(np.mean(helped if len(helped) else trained)), float(np.mean(not_helped))
        checks.append(high - low >= FALLS)
        where = f"where it helps {high:.2f}" if len(helped) else f"never helps, trained inputs {high:.2f}"
        words.append(f"{sweep.name}: {where}, elsewhere {low:.2f}")
    return Claim(
        f"{name}: the overlap score falls where the network stops helping (by {FALLS:g} or more, in every sweep)",
        "authors' talk, outlook; filterlens",
        Verdict.of(checks),
        f"mean overlap, gain above against at most {HELPS:g} dB: " + "; ".join(words),
    )


def predicts_claim(study: Study, name: str, overlap: Skill) -> Claim:
    """Judge rank correlation and area under the curve of the overlap score against what was asked of it."""
    text, said, gained = worst_input(study, OVERLAP)
    asked = ((overlap.spearman.mean, ENOUGH_CORRELATION), (overlap.auc.mean, ENOUGH_AUC))
    checks = [value >= enough for value, enough in asked if math.isfinite(value)]
    return Claim(
        f"{name}: without ground truth, the overlap score predicts the gain "
        f"(rank correlation ≥ {ENOUGH_CORRELATION:g}, AUC of a gain above {HELPS:g} dB ≥ {ENOUGH_AUC:g})",
        "filterlens",
        Verdict.of(checks),
        f"rank correlation {overlap.spearman}, AUC {overlap.auc}; the calibrated gain is off by {overlap.error} dB on "
        f"unseen images, always saying the mean gain by {mean_gain_error(study)} dB; "
        f"furthest off on {text}: {said:.1f} dB predicted, {gained:.1f} dB gained",
    )


def better_claim(study: Study, name: str, ours: Skill, cheap: Skill) -> Claim:
    """Set the overlap score against the cheap competitor: how much the fine-tuning changes the output."""
    checks, against = _against(ours, cheap)
    as_good = [measure for measure, better in checks.items() if not better]
    said = f"; the size of the change alone predicts as well or better by {' and '.join(as_good)}" if as_good else ""
    return Claim(
        f"{name}: the overlap score predicts the gain better than the size of the change alone, which costs two passes",
        "filterlens",
        Verdict.of(checks.values()),
        f"{against}; difference of the rank correlations {advantage(study, OVERLAP, CHANGE)}{said}",
    )


def adds_claim(study: Study, name: str, joint: Skill, cheap: Skill) -> Claim:
    """Ask whether overlap scores know something that the size of the change does not."""
    checks, against = _against(joint, cheap)
    return Claim(
        f"{name}: joined with the size of the change, the overlap scores predict the gain better than that size alone",
        "filterlens",
        Verdict.of(checks.values()),
        f"{against}; difference of the rank correlations {advantage(study, BOTH, CHANGE)}",
    )


def _against(first: Skill, second: Skill) -> tuple[dict[str, bool], str]:
    """Return measure → whether the first is better by it, and all measures in words."""
    checks = {
        "rank correlation": first.spearman.mean > second.spearman.mean,
        "AUC": first.auc.mean > second.auc.mean,
        "error": first.error.mean < second.error.mean,
    }
    return checks, (
        f"rank correlation {first.spearman.mean:.2f} against {second.spearman.mean:.2f}, "
        f"AUC {first.auc.mean:.2f} against {second.auc.mean:.2f}, "
        f"error {first.error.mean:.2f} against {second.error.mean:.2f} dB"
    )


def _predictors(study: Study, name: str, skills: Mapping[Predictor, Skill]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (each.label, own.spearman, own.auc, own.accuracy, own.error) for each, own in skills.items()
    ]
    rows.append(("none: the mean gain on the images of discovery", None, None, None, mean_gain_error(study)))
    return Table(
        f"predictors-{name}",
        f"{name}: predicting the gain without ground truth, over all inputs of the unseen images",
        ("predictor", "rank correlation", f"AUC, gain > {HELPS:g} dB", "balanced accuracy", "error of the gain, dB"),
        tuple(rows),
        "Thresholds and fits (isotonic for a single number, least squares for several) are those of the images of "
        f"discovery. The network helps in {np.mean(study.judged.gain > HELPS):.0%} of the unseen cases. Mean ± sd over "
        "target models [95 % bootstrap interval over images].",
    )


def _within(study: Study, name: str) -> Table:
    scores = [predictor.fitted(study)[0] for predictor in PREDICTORS]
    rows = []
    for sweep in study.sweeps:
        gains, *known = (study.judged.at(each, sweep.inputs.values()) for each in (study.judged.gain, *scores))
        correlations = (
            float(np.mean([rank_correlation(a.ravel(), b.ravel()) for a, b in zip(each, gains, strict=True)]))
            for each in known
        )
        rows.append((sweep.name, gains[0].size, f"{np.mean(gains > HELPS):.0%}", *correlations))
    return Table(
        f"within-{name}",
        f"{name}: rank correlation with the gain within one kind of degradation",
        ("kind", "cases", "helped", *(each.label for each in PREDICTORS)),
        tuple(rows),
        "A dash stands where all cases of a kind have the same score.",
    )


def _sweeps(study: Study, name: str, kinds: Sequence[str]) -> Table:
    judged = study.judged
    rows: list[tuple[Cell, ...]] = []
    for sweep in study.sweeps:
        for text in sweep.inputs.values():
            ends = (study.mean(values, text).mean for values in (judged.baseline, judged.target))
            overlaps = (study.mean(judged.overlaps[..., place], text) for place in range(len(kinds)))
            rows.append((
                sweep.name, text, "yes" if text in kinds else "", *ends, study.mean(judged.gain, text), *overlaps,
                study.mean(1000 * judged.change, text).mean,
            ))  # fmt: skip
    return Table(
        f"sweeps-{name}",
        f"{name}: every input of the unseen images",
        ("kind", "input", "trained", "baseline, dB", "target, dB", "gain, dB", *(f"overlap, {kind}" for kind in kinds),
         "change x 1000"),
        tuple(rows),
        "Mean [95 % bootstrap interval over images]. The overlap is found without ground truth.",
    )  # fmt: skip


def _scatter(study: Study, name: str, predictor: Predictor, over: str, xlabel: str) -> Panel:
    """Draw the gain of every judged case over what predicts it."""
    groups, ends = {}, (predictor.columns(study.judged)[..., 0], study.judged.gain)
    for sweep in study.sweeps:
        x, gains = (study.judged.at(each, sweep.inputs.values()).ravel().tolist() for each in ends)
        groups[sweep.name] = x, gains
    title = f"{name}: gain over {over}"
    return drawing.scatter(f"scatter-{name}-{predictor.name}", title, groups, xlabel, "gain over the baseline, dB")


def _sweep_panel(study: Study, sweep: Sweep, name: str, degradations: Sequence[str]) -> Panel:
    """Draw the gain (left axis) and the overlap with every degradation's filters (right axis) over the strength."""
    x, texts, judged = list(sweep.inputs), list(sweep.inputs.values()), study.judged
    gain = [study.mean(judged.gain, text) for text in texts]
    overlaps = {
        kind: [study.mean(judged.overlaps[..., place], text) for text in texts]
        for place, kind in enumerate(degradations)
    }
    trained, limits = sweep.trained(degradations), _gain_limits(study)

    def draw(axes: Axes, theme: Theme) -> None:
        right = axes.twinx()
        _curve(axes, x, gain, "gain, dB (left)", theme, 0, "-")
        for index, (kind, values) in enumerate(overlaps.items(), 1):
            _curve(right, x, values, f"overlap, {kind} (right)", theme, index, "--")
        axes.axhline(HELPS, color=theme.cycle[6], linewidth=1, linestyle=":", label=f"helps: {HELPS:g} dB (left)")
        if trained is not None:
            axes.axvline(trained, color=theme.text, linewidth=1, linestyle=":")
            axes.annotate(" trained", (trained, 0.01), xycoords=("data", "axes fraction"), color=theme.text, fontsize=8)
        if sweep.log:
            axes.set_xscale("log")
        axes.set_ylim(*limits)
        right.set_ylim(0, 1)
        axes.set_xlabel(sweep.axis)
        axes.set_ylabel("gain over the baseline, dB")
        right.set_ylabel("overlap score", color=theme.text, fontsize=10)
        right.tick_params(colors=theme.text, labelsize=9, length=0, pad=6)
        for side, spine in right.spines.items():
            spine.set_visible(side == "right")
            spine.set_color(theme.grid)

    said = f"gain from {gain[0].mean:.2f} to {gain[-1].mean:.2f} dB; " + "; ".join(
        f"overlap with the filters for {kind} from {each[0].mean:.2f} to {each[-1].mean:.2f}"
        for kind, each in overlaps.items()
    )
    title = f"{name}, {sweep.name}: what the network gains, and the overlap score"
    return Panel(f"sweep-{name}-{safe_name(sweep.name)}", title, f"Curves over {sweep.axis}: {said}.", draw,
                 size=(5.4, 4.2), legend=True)  # fmt: skip


def _curve(
    axes: Axes, x: Sequence[float], values: Sequence[Estimate], label: str, theme: Theme, index: int, style: str
) -> None:
    color = theme.cycle[index]
    low, high = zip(*(each.ends for each in values), strict=True)
    axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    axes.plot(x, [each.mean for each in values], label=label, color=color, marker=MARKERS[index], markersize=4.5,
              linewidth=1.8, linestyle=style)  # fmt: skip


def _gain_limits(study: Study) -> tuple[float, float]:
    """Return limits that hold the gains of all sweeps, so that figures can be compared."""
    means = [study.mean(study.judged.gain, text) for text in study.judged.inputs]
    ends = [end for each in means for end in (each.mean, *each.ends)]
    margin = 0.05 * (max(ends) - min(ends)) + 0.1
    return min(ends) - margin, max(ends) + margin


def _specification(laboratory: Laboratory, settings: BoundarySettings, names: Sequence[str]) -> dict[str, str]:
    find, judge = choices_of(laboratory, settings, names[0])
    common = laboratory.common
    return {
        "target models": targets_text(common) if settings.every_target else "the shipped one (no spread over seeds)",
        "filters found on": images_text(common.find),
        "prediction fitted on": images_text(find),
        "judged on": images_text(judge),
        "PSNR": specification(laboratory.target(names[0]).pair.scale),
        "overlap score": f"top {settings.percent:g} % by FAIG on the input alone, L = ‖F(γ, x) − F(θ, x)‖², "
        "4 Gauss-Legendre nodes; no ground truth",
        "intervals": "images (squares of one photograph count as several) drawn anew; all inputs of an image together",
    }


_TEXT = (
    "Every square is degraded in many ways: by what the network was trained for, weaker and stronger, and by what it "
    "never saw. The gain is the target's PSNR less the baseline's. The overlap score of an input asks which filters "
    "the fine-tuned network uses on it, from the input alone, and how many of them are those found for a trained "
    "degradation.",
    "The cheap competitor needs no attribution: how much does the target's output differ from the baseline's? A "
    "network that is in doubt leaves its input alone, so the size of the change may say as much.",
)

EXPERIMENT = Experiment(
    "boundary",
    "Boundary of ability",
    "gain and overlap score beyond the training range, and predicting the gain without ground truth",
    BoundarySettings,
    run,
)
