# SPDX-License-Identifier: Apache-2.0
"""Tables 1 and 2: the effect of replacing found filters with the baseline's on their own and the other function."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, permutations

from pydantic import field_validator

from filterlens.evaluation.function_distance import FUNCTION_DISTANCE, REFERENCE_DISTANCE
from filterlens.evaluation.statistics import Estimate
from filterlens.metrics import specification
from filterlens.paper import drawing
from filterlens.paper.experiment import Cell, Claim, Experiment, Outcome, Part, Row, Table, common_rows
from filterlens.paper.judged import NETWORKS, View, view_of
from filterlens.paper.laboratory import Laboratory
from filterlens.paper.published import MASKING, TEST_SETS
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import function_of, method_label
from filterlens.run.tables import Edit
from filterlens.settings import Percent, Settings

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

    @field_validator("methods")
    @classmethod
    def _ranked_ones_are_there(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        if missing := [name for name in ORDER if name not in methods]:
            raise ValueError(f"{', '.join(missing)} must be among the methods: the paper's order is judged on them")
        return methods


def run(laboratory: Laboratory, settings: MaskingSettings) -> Outcome:
    """Find, replace and judge for every pair, on held-out images and, as the paper, on the same ones."""
    tables: list[Table] = []
    claims: list[Claim] = []
    panels: list[Panel] = []
    for name in laboratory.common.pairs:
        models, judging = laboratory.targets(name), laboratory.judging(name)
        ways = {HELD_OUT: laboratory.finding} | ({SAME: judging} if settings.same_images else {})
        for way, finding in ways.items():
            found = [laboratory.attribute(model, settings.methods, finding) for model in models]
            view = view_of(laboratory, models, found, settings.percents, judging)
            view = replace(view, percent=min(settings.percents))
            tables += _tables(view, settings, way)
            if way == HELD_OUT:
                tables.insert(0, _networks(view, models[0].pair.scale))
                claims += [_order(view), _own_above_cross(view)]
                panels += _panels(view, settings)
            elif laboratory.common.judged_on(name).set == TEST_SETS.get(name):
                claims += _size_as_published(view)
    return Outcome(tuple(claims), tuple(tables), tuple(panels), _TEXT, _specification(laboratory))


def _tables(view: View, settings: MaskingSettings, way: str) -> Iterator[Table]:
    where = "found on other images than judged" if way == HELD_OUT else "found and judged on the same images"
    note = "Mean ± sd over target models, [95 % bootstrap interval over images]. Larger: more of the function is gone."
    for metric, reference in (("true gray", False), ("reference metric (blue)", True)):
        columns = ["method"]
        for kind in view.degradations:
            for percent in settings.percents:
                columns.append(f"{kind}, {percent:g} %")
                if reference and (view.name, kind, percent) in MASKING:
                    columns.append("paper")
        rows = [tuple(_own_row(view, method, settings.percents, reference=reference)) for method in settings.methods]
        stem = f"own-{view.name}-{way}-{'reference' if reference else 'gray'}"
        yield Table(stem, f"{view.name}, own damage x 1000, {metric}; {where}", columns, rows, note)
    labels = {method: method_label(method) for method in settings.methods}
    for stem, title, value, note in (
        ("share", "removal of the own function, preservation of the rest", view.judged.share,
         "Own input: share removed; other inputs: share kept. 1 is ideal; both fall when a network merely breaks."),
        ("cross", "own and cross damage x 1000, true gray", view.judged.distance,
         "Columns with the own input hold own damage, all others cross damage."),
    ):  # fmt: skip
        head = f"{view.name}, {view.percent:g} %: {title}; {where}"
        yield Table(f"{stem}-{view.name}-{way}", head, ("method", *view.heads), view.rows(labels, value), note)


def _networks(view: View, scale: int) -> Table:
    rows: list[Row] = [(each, *(view.judged.quality(each, kind) for kind in view.inputs)) for each in NETWORKS]
    note = f"Mean over images ({specification(scale)}), ± sd over target models."
    title = f"{view.name}: PSNR in dB of both networks on the judged images"
    return Table(f"networks-{view.name}", title, ("network", *view.inputs), rows, note, digits=4)


def _own_row(view: View, method: str, percents: Sequence[float], *, reference: bool) -> Iterator[Cell]:
    yield method_label(method)
    for kind in view.degradations:
        for percent in percents:
            yield view.judged.distance(Edit(method, percent, kind), kind, reference=reference)
            if reference and (view.name, kind, percent) in MASKING:
                published = MASKING[view.name, kind, percent].get(method)
                yield None if published is None else str(published)


def _panels(view: View, settings: MaskingSettings) -> Iterator[Panel]:
    for kind in view.degradations:
        values = {method_label(method): _damage(view, method, kind) for method in settings.methods}
        title = f"{view.name}: own damage on {kind}, {view.percent:g} % replaced"
        yield drawing.bars(f"own-{view.name}-{safe_name(kind)}", title, values, "distance × 10³")


def _damage(view: View, method: str, masked: str, kind: str | None = None) -> Estimate:
    """Return own damage, or cross damage on another input, in true gray."""
    return view.judged.distance(view.edit(method, masked), kind or masked)


def _order(view: View) -> Claim:
    def judged(kind: str) -> Part:
        means = {method: _damage(view, method, kind).mean for method in ORDER}
        steps = [means[better] > means[worse] for better, worse in pairwise(ORDER)]
        written = " ".join(
            f"{'>' if step else '≤'} {method_label(method)} {means[method]:.3g}"
            for step, method in zip(steps, ORDER[1:], strict=True)
        )
        return steps, f"{kind}: {method_label(ORDER[0])} {means[ORDER[0]]:.3g} {written}"

    return Claim.of(
        f"{view.name}: at {view.percent:g} % FAIG destroys its own function more than IG, IG more than the changed "
        "filters, those more than random ones",
        "paper, tables 1 and 2",
        map(judged, view.degradations),
        end=" (own damage x 1000, true gray, unseen images)",
    )


def _own_above_cross(view: View) -> Claim:
    def judged(masked: str, kind: str) -> Part:
        own, cross = (_damage(view, "faig", masked, given).mean for given in (masked, kind))
        return [own > 3 * cross], f"{function_of(masked)} filters: own {own:.3g}, on {kind} {cross:.3g}"

    return Claim.of(
        f"{view.name}: the filters found by FAIG destroy their own function and hardly the other one "
        "(own above 3 × cross)",
        "paper, section 4",
        [judged(masked, kind) for masked, kind in permutations(view.degradations, 2)],
    )


def _size_as_published(view: View) -> Iterator[Claim]:
    parts: list[Part] = []
    for kind in view.degradations:
        published = MASKING.get((view.name, kind, view.percent), {}).get("faig")
        if published is not None:
            ours = view.judged.distance(view.edit("faig", kind), kind, reference=True).mean
            parts.append(([0.5 <= ours / published.mean <= 2], f"{kind}: {ours:.3g} here, {published} in the paper"))
    if parts:
        yield Claim.of(
            f"{view.name}: FAIG's own damage at {view.percent:g} % is of the published size (within a factor of two), "
            "found and judged on the same images, reference metric",
            "paper, tables 1 and 2",
            parts,
            "other networks, trained shorter",
            "the same test set",
        )


def _specification(laboratory: Laboratory) -> dict[str, str]:
    return common_rows(laboratory.common) | {
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
