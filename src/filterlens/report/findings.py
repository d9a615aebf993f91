# SPDX-License-Identifier: Apache-2.0
"""The headline findings in plain words, generated from the data; negative results are stated as plainly."""

from dataclasses import dataclass

from filterlens.report.labels import (
    count,
    fixed,
    function_of,
    is_written,
    listed,
    method_label,
    percent_text,
    significant,
    times,
    unrounded,
    whole_percent,
)
from filterlens.run.reading import Judgement, RunData
from filterlens.run.tables import DamageSummary, Edit

MOST = 0.5
"""A function counts as removed, or as kept, from this R or P on."""
LEAST_GAIN = 0.5
"""A function counts as learned from this gain in PSNR on, in dB."""


@dataclass(frozen=True)
class Finding:
    """One headline with its numbers; ``verdict`` is ``holds``, ``fails`` or ``note``."""

    verdict: str
    headline: str
    detail: str


def find(run: RunData) -> tuple[Finding, ...]:
    """Say what the run found: removal and preservation, own against cross, against other methods, held-out images.

    All findings are about the first method at the smallest judged proportion.

    Args:
        run: A run; without a judgement there is nothing to say.
    """
    judged = run.judgement
    if judged is None:
        return ()
    percent = min(
        (row.edit.percent for row in judged.damage if row.edit.method == run.method), default=judged.percents[0]
    )
    owns = [row for d in run.degradations if (row := judged.own(Edit(run.method, percent, d)))]
    if not owns:
        return (_held_out(judged),)
    found = [*_functions(run, judged, owns), *_specificity(judged, owns), *_methods(run, judged, owns)]
    return (*_hardly_learned(run, judged), *found, _held_out(judged))


def _hardly_learned(run: RunData, judged: Judgement) -> list[Finding]:
    """Say for which degradations there was hardly a function to find, before anything is said about its filters."""
    quality = {(each.network, each.input): each.psnr for each in judged.networks}
    gains = {
        name: quality["target", name] - quality["baseline", name]
        for name in run.degradations
        if ("target", name) in quality and ("baseline", name) in quality
    }
    little = {name: gain for name, gain in gains.items() if gain < LEAST_GAIN}
    if not little:
        return []
    headline = f"Fine-tuning hardly taught the network {listed([function_of(name) for name in little])}."
    numbers = "; ".join(
        f"on {name} the target gains {fixed(gain)} dB over the baseline" for name, gain in little.items()
    )
    return [
        Finding("note", headline, f"{numbers[0].upper()}{numbers[1:]}. What follows on it is about next to nothing.")
    ]


def statement(run: RunData) -> str:
    """Say in one sentence what was done."""
    ranked = (
        f"filterlens ranked all {count(run.filters)} filters of the network by how much they contributed to what "
        f"fine-tuning taught it about {listed(list(run.degradations))}"
    )
    if run.judgement is None:
        return f"{ranked}."
    return f"{ranked}, put the original filters back at the highest ranks, and measured which abilities were lost."


def _share(run: RunData, percent: float) -> str:
    replaced = round(run.filters * percent / 100)
    return f"{percent_text(percent)} of the filters ({count(replaced)} of {count(run.filters)})"


def _functions(run: RunData, judged: Judgement, owns: list[DamageSummary]) -> list[Finding]:
    """R on the own and P on the other degradations: a sentence each, or one summary for many degradations."""
    if len(owns) <= 2:
        return [_function(run, judged, own) for own in owns if own.removal is not None]
    single = [(own, _function(run, judged, own)) for own in owns if own.removal is not None]
    if not single:
        return []
    good = sum(finding.verdict == "holds" for _, finding in single)
    numbers = "; ".join(f"{own.edit.masked} R = {fixed(own.removal)}{_lowest(judged, own)}" for own, _ in single)
    percent = percent_text(owns[0].edit.percent)
    return [
        Finding(
            "holds" if good == len(single) else "fails",
            f"For {good} of {len(single)} degradations, {percent} of the filters carry the function.",
            f"Replacing {_share(run, owns[0].edit.percent)} that {method_label(run.method)} ranks for one degradation: "
            f"{numbers}.",
        )
    ]


def _lowest(judged: Judgement, own: DamageSummary) -> str:
    kept = [row.preservation for row in _others(judged, own) if row.preservation is not None]
    return f", lowest P = {fixed(min(kept))}" if kept else ""


def _others(judged: Judgement, own: DamageSummary) -> tuple[DamageSummary, ...]:
    return judged.cross(own.edit)


def _function(run: RunData, judged: Judgement, own: DamageSummary) -> Finding:
    removal = own.removal if own.removal is not None else float("nan")
    function, percent = function_of(own.edit.masked), percent_text(own.edit.percent)
    kept = [row for row in _others(judged, own) if row.preservation is not None]
    preserved = all((row.preservation or 0) >= MOST for row in kept)
    carried = "carry" if removal >= MOST else "carry only a part of"
    headline = f"{percent} of the filters {carried} the {function}"
    headline += "." if preserved else ", but not it alone."
    detail = (
        f"Replacing {_share(run, own.edit.percent)} that {method_label(own.edit.method)} ranks for {own.edit.masked} "
        f"{_removed(removal, function)}{''.join(f' and {_kept(row)}' for row in kept)}{_later(judged, own)}."
    )
    return Finding("holds" if removal >= MOST and preserved else "fails", headline, detail)


def _later(judged: Judgement, own: DamageSummary) -> str:
    """Say at which larger proportion the function is gone, where it is not at the smallest."""
    larger = (judged.own(own.edit._replace(percent=each)) for each in judged.percents if each > own.edit.percent)
    steps = [row for row in larger if row and row.removal is not None]
    if (own.removal or 0) >= MOST or not steps:
        return ""
    enough = next((row for row in steps if (row.removal or 0) >= MOST), steps[-1])
    return f"; at {percent_text(enough.edit.percent)}, R = {unrounded(enough.removal)}"


def _removed(removal: float, function: str) -> str:
    value = f"(R = {unrounded(removal)})"
    if removal < 0:
        return f"does not remove the {function}: it moves the output further from the baseline's {value}"
    if removal > 1:
        return f"removes more than the {function} {value}"
    only = "only " if removal < MOST else ""
    return f"removes {only}{whole_percent(removal)} of the {function} {value}"


def _kept(row: DamageSummary) -> str:
    kept = row.preservation or 0.0
    value, function = f"(P = {unrounded(kept)})", function_of(row.input)
    where = f" on {row.input}" if is_written(row.input) else ""
    if kept < 0:
        return f"destroys the {function}{where} {value}"
    return f"keeps {'only ' if kept < MOST else ''}{whole_percent(kept)} of the {function}{where} {value}"


def _specificity(judged: Judgement, owns: list[DamageSummary]) -> list[Finding]:
    """Compare own with the largest cross damage on the same input, because other inputs have another scale."""
    pairs = [(own, max(others, key=lambda row: row.distance)) for own in owns if (others := judged.cross_on(own.edit))]
    if not pairs:
        return []
    failing = [own.input for own, cross in pairs if cross.distance >= own.distance]
    headline = (
        f"The damage is not specific on {listed(failing)}: filters for another degradation do as much of it."
        if failing
        else "The damage is specific: each degradation suffers most from its own filters."
    )
    sentences = "; ".join(_ratio(own, cross) for own, cross in pairs)
    detail = f"Distance from the target's output at {percent_text(owns[0].edit.percent)}: {sentences}."
    return [Finding("fails" if failing else "holds", headline, detail)]


def _ratio(own: DamageSummary, cross: DamageSummary) -> str:
    numbers = f"{significant(own.distance)} against {significant(cross.distance)}"
    relation = f" ({times(own.distance / cross.distance)})" if cross.distance > 0 else ""
    return f"on {own.input}, its own filters {numbers} of those for {cross.edit.masked}{relation}"


def _methods(run: RunData, judged: Judgement, owns: list[DamageSummary]) -> list[Finding]:
    """Compare own damage with every other method that was judged, and with random filters."""
    name = method_label(run.method)
    sentences, beaten = [], False
    for own in owns:
        others = [own.edit._replace(method=method) for method in run.judged_methods if method != run.method]
        rivals = [row for edit in others if (row := judged.own(edit))]
        if not rivals:
            continue
        best = max(rivals, key=lambda row: row.distance)
        beaten = beaten or best.distance > own.distance
        sentences.append(_contest(judged, own, best, [row for row in rivals if row.edit.method == "random"]))
    if not sentences:
        return []
    headline = (
        f"{name} is not the best method everywhere: another one does more own damage."
        if beaten
        else f"No other method finds filters that matter more than those of {name}."
    )
    percent = percent_text(owns[0].edit.percent)
    detail = f"Own damage at {percent} – {'; '.join(sentences)}."
    return [Finding("fails" if beaten else "holds", headline, detail)]


def _contest(judged: Judgement, own: DamageSummary, best: DamageSummary, chance: list[DamageSummary]) -> str:
    ours = f"{method_label(own.edit.method)} {significant(own.distance)}"
    theirs = f"{method_label(best.edit.method)} {significant(best.distance)}"
    text = f"{own.edit.masked}: {ours}, next {theirs}"
    if best.distance > own.distance:
        text = f"{own.edit.masked}: {theirs}{_price(judged, own, best)} beats {ours}"
    for row in chance:
        less = f", {times(own.distance / row.distance)} less" if 0 < row.distance < own.distance else ""
        text += f", random filters {significant(row.distance)}{less}"
    return text


def _price(judged: Judgement, own: DamageSummary, best: DamageSummary) -> str:
    """Say what the winner costs elsewhere, because a network broken everywhere has a large own damage too."""
    theirs, ours = _others(judged, best), _others(judged, own)
    if not theirs or not ours:
        return ""
    worst, mine = (max(row.distance for row in rows) for rows in (theirs, ours))
    return f" (cross damage {significant(worst)} against {significant(mine)})"


def _held_out(judged: Judgement) -> Finding:
    images = len(judged.about.get("images", []))
    if judged.about.get("held_out"):
        seen = "The one judged image was not" if images == 1 else f"None of the {images} judged images was"
        return Finding("note", "Judged on held-out images.", f"{seen} used to find the filters.")
    seen = "The one judged image was" if images == 1 else f"Some of the {images} judged images were"
    detail = f"{seen} also used to find the filters, so the numbers may flatter the ranking."
    return Finding("note", "Not judged on held-out images.", detail)
