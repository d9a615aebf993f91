# SPDX-License-Identifier: Apache-2.0
"""Tables 1 and 2: what replacing the found filters by the baseline's does to their own and to the other function."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from filterlens.data.samples import Sample
from filterlens.evaluation.damage import Edit
from filterlens.evaluation.function_distance import FUNCTION_DISTANCE, REFERENCE_DISTANCE
from filterlens.evaluation.statistics import Estimate
from filterlens.metrics import specification
from filterlens.paper import drawing
from filterlens.paper.experiment import Cell, Claim, Experiment, Outcome, Table, Verdict, images_text, targets_text
from filterlens.paper.judged import Judged, judge, selections_of
from filterlens.paper.laboratory import Laboratory, TargetModel
from filterlens.paper.published import MASKING, TEST_SETS
from filterlens.paper.settings import Percent, Settings
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import function_of, method_label

ORDER = ("faig", "ig", "change-relative", "random")  # as the paper ranks them, best first
HELD_OUT, SAME = "held-out", "same"


class MaskingSettings(Settings):
    """Settings of the masking tables.

    Attributes:
        percents: Shares of the filters that are replaced.
        methods: What ranks the filters.
        same_images: Also find and judge on the same images, as the paper does.
    """

    percents: tuple[Percent, ...] = (1.0, 3.0, 5.0, 10.0)
    methods: tuple[str, ...] = (
        "faig", "goal-directed", "faig-no-elimination", "ig", "taylor", "change-relative", "change-absolute", "random",
        "random-layer-matched", "random-magnitude-matched",
    )  # fmt: skip
    same_images: bool = True


def run(laboratory: Laboratory, settings: MaskingSettings) -> Outcome:
    """Find, replace and judge for every pair, on held-out images and, as the paper, on the same ones."""
    tables: list[Table] = []
    claims: list[Claim] = []
    panels: list[Panel] = []
    for name in laboratory.common.pairs:
        models, judging = laboratory.targets(name), laboratory.judging(name)
        ways = {HELD_OUT: laboratory.finding} | ({SAME: judging} if settings.same_images else {})
        for way, finding in ways.items():
            judged = _judged(laboratory, settings, models, finding, judging)
            tables += _tables(laboratory, settings, name, way, judged)
            if way == HELD_OUT:
                tables.insert(0, _networks(laboratory, name, judged))
                claims += [_order(laboratory, settings, name, judged), _own_above_cross(laboratory, name, judged)]
                panels += _panels(laboratory, settings, name, judged)
            elif claim := _same_as_held_out(laboratory, name, judged):
                claims.append(claim)
    return Outcome(tuple(claims), tuple(tables), tuple(panels), _TEXT, _specification(laboratory, settings))


def _judged(
    laboratory: Laboratory,
    settings: MaskingSettings,
    models: Sequence[TargetModel],
    finding: Sequence[Sample],
    judging: Sequence[Sample],
) -> Judged:
    edited = []
    for model in models:
        found = laboratory.attribute(model, settings.methods, finding)
        edited.append((model, selections_of(found, settings.percents, laboratory.common.degradations)))
    return judge(laboratory, edited, judging)


def _tables(laboratory: Laboratory, settings: MaskingSettings, name: str, way: str, judged: Judged) -> Iterator[Table]:
    where = "found on other images than judged" if way == HELD_OUT else "found and judged on the same images"
    kinds = laboratory.common.degradations
    note = "Mean ± sd over target models, [95 % bootstrap interval over images]. Larger: more of the function is gone."
    for metric, reference in (("true gray", False), ("reference metric (blue)", True)):
        columns = ["method"]
        for kind in kinds:
            for percent in settings.percents:
                columns.append(f"{kind}, {percent:g} %")
                if reference and (name, kind, percent) in MASKING:
                    columns.append("paper")
        rows = [
            tuple(_own_row(judged, name, method, kinds, settings.percents, reference=reference))
            for method in settings.methods
        ]
        stem = f"own-{name}-{way}-{'reference' if reference else 'gray'}"
        yield Table(stem, f"{name}, own damage x 1000, {metric}; {where}", tuple(columns), tuple(rows), note)
    percent = min(settings.percents)
    heads = tuple(f"{masked} filters, {kind} input" for masked in kinds for kind in laboratory.inputs)
    note = "Own input: share removed; other inputs: share kept. 1 is ideal; both fall when a network merely breaks."
    for title, stem, value in (
        ("removal of the own function, preservation of the rest", "share", judged.share),
        ("own and cross damage x 1000, true gray", "cross", judged.distance),
    ):
        cells: list[tuple[Cell, ...]] = []
        for method in settings.methods:
            row = [value(Edit(method, percent, masked), kind) for masked in kinds for kind in laboratory.inputs]
            cells.append((method_label(method), *row))
        yield Table(
            f"{stem}-{name}-{way}",
            f"{name}, {percent:g} %: {title}; {where}",
            ("method", *heads),
            tuple(cells),
            note if stem == "share" else "Columns with the own input hold own damage, all others cross damage.",
        )


def _networks(laboratory: Laboratory, name: str, judged: Judged) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (network, *(judged.quality(network, kind) for kind in laboratory.inputs)) for network in ("baseline", "target")
    ]
    note = f"Mean over images ({specification(laboratory.targets(name)[0].pair.scale)}), ± sd over target models."
    title = f"{name}: PSNR in dB of both networks on the judged images"
    return Table(f"networks-{name}", title, ("network", *laboratory.inputs), tuple(rows), note, digits=4)


def _own_row(
    judged: Judged, name: str, method: str, kinds: Sequence[str], percents: Sequence[float], *, reference: bool
) -> Iterator[Cell]:
    yield method_label(method)
    for kind in kinds:
        for percent in percents:
            yield judged.distance(Edit(method, percent, kind), kind, reference=reference)
            if reference and (name, kind, percent) in MASKING:
                published = MASKING[name, kind, percent].get(method)
                yield None if published is None else str(published)


def _panels(laboratory: Laboratory, settings: MaskingSettings, name: str, judged: Judged) -> Iterator[Panel]:
    percent = min(settings.percents)
    for kind in laboratory.common.degradations:
        values = {
            method_label(method): judged.distance(Edit(method, percent, kind), kind) for method in settings.methods
        }
        title = f"{name}: own damage on {kind}, {percent:g} % replaced"
        yield drawing.bars(f"own-{name}-{safe_name(kind)}", title, values, "distance × 10³")


def _order(laboratory: Laboratory, settings: MaskingSettings, name: str, judged: Judged) -> Claim:
    percent = min(settings.percents)
    checks, words = [], []
    for kind in laboratory.common.degradations:
        means = {method: judged.distance(Edit(method, percent, kind), kind).mean for method in ORDER}
        steps = [means[better] > means[worse] for better, worse in pairwise(ORDER)]
        checks += steps
        written = " ".join(
            f"{'>' if step else '≤'} {method_label(method)} {means[method]:.3g}"
            for step, method in zip(steps, ORDER[1:], strict=True)
        )
        words.append(f"{kind}: {method_label(ORDER[0])} {means[ORDER[0]]:.3g} {written}")
    return Claim(
        f"{name}: at {percent:g} % FAIG destroys its own function more than IG, IG more than the changed filters, "
        "those more than random ones",
        "paper, tables 1 and 2",
        Verdict.of(checks),
        "; ".join(words) + " (own damage x 1000, true gray, unseen images)",
    )


def _own_above_cross(laboratory: Laboratory, name: str, judged: Judged) -> Claim:
    checks, words = [], []
    for masked in laboratory.common.degradations:
        edit = Edit("faig", min(each.percent for each in judged.edits), masked)
        own = judged.distance(edit, masked).mean
        for kind in laboratory.common.degradations:
            if kind != masked:
                cross = judged.distance(edit, kind).mean
                checks.append(own > 3 * cross)
                words.append(f"{function_of(masked)} filters: own {own:.3g}, on {kind} {cross:.3g}")
    return Claim(
        f"{name}: the filters found by FAIG destroy their own function and hardly the other one (own above 3 × cross)",
        "paper, section 4",
        Verdict.of(checks),
        "; ".join(words),
    )


def _same_as_held_out(laboratory: Laboratory, name: str, judged: Judged) -> Claim | None:
    if laboratory.common.judged_on(name).set != TEST_SETS.get(name):
        return None
    percent = min(each.percent for each in judged.edits)
    words, checks = [], []
    for kind in laboratory.common.degradations:
        published = MASKING.get((name, kind, percent), {}).get("faig")
        if published is None:
            continue
        ours: Estimate = judged.distance(Edit("faig", percent, kind), kind, reference=True)
        checks.append(0.5 <= ours.mean / published.mean <= 2)
        words.append(f"{kind}: {ours.mean:.3g} here, {published} in the paper")
    if not words:
        return None
    return Claim(
        f"{name}: FAIG's own damage at {percent:g} % is of the published size (within a factor of two), "
        "found and judged on the same images, reference metric",
        "paper, tables 1 and 2",
        Verdict.of(checks),
        "; ".join(words) + "; other networks, trained shorter; the same test set",
    )


def _specification(laboratory: Laboratory, settings: MaskingSettings) -> dict[str, str]:
    common = laboratory.common
    return {
        "target models": targets_text(laboratory.common),
        "found on": images_text(common.find),
        "judged on": "; ".join(f"{name}: {images_text(common.judged_on(name))}" for name in common.pairs),
        "distance": f"{FUNCTION_DISTANCE}; reference: {REFERENCE_DISTANCE}",
        "removal, preservation": "squared distances of unrounded outputs, pooled over all pixels of all images",
    }


_TEXT = (
    "The top filters of every ranking get the baseline's values; everything else, biases included, stays the target's. "
    "The function distance to the target's output says how much changed. It grows, too, when a network merely breaks; "
    "removal and preservation do not.",
    "The controls: FAIG without elimination, Taylor (one gradient at the target), the changes of the weights, random "
    "filters, and random filters with FAIG's own layers or with the sizes of change of FAIG's own filters.",
)

EXPERIMENT = Experiment(
    "masking",
    "Masking the found filters (tables 1 and 2)",
    "own and cross damage of every method, on unseen and on the same images",
    MaskingSettings,
    run,
)
