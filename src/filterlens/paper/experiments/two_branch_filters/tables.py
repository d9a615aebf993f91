# SPDX-License-Identifier: Apache-2.0
"""Tables: where the found filters lie, what every branch contributes, and what is left without it."""

from collections.abc import Iterator, Sequence

from filterlens.evaluation.damage import Edit
from filterlens.metrics import specification
from filterlens.models.branches import DEGRADATION
from filterlens.paper.experiment import Cell, Table
from filterlens.paper.experiments.two_branch_filters.branches import KINDS
from filterlens.paper.experiments.two_branch_filters.edits import FAIG, RANDOM
from filterlens.paper.experiments.two_branch_filters.study import Study
from filterlens.paper.experiments.two_branch_filters.swaps import BASELINE, TARGET
from filterlens.report.labels import function_of, method_label

SPREAD = "Mean ± sd over target models, [95 % bootstrap interval over images and target models]."
Row = tuple[Cell, ...]


def tables(
    studies: Sequence[Study], percents: Sequence[float], kinds: Sequence[str], inputs: Sequence[str]
) -> list[Table]:
    """Return all tables of the page.

    Args:
        studies: One per two-branch network.
        percents: Shares of the filters.
        kinds: The degradations whose functions are looked for.
        inputs: On which the edits are judged.
    """
    return [
        _networks(studies, inputs),
        _where(studies, percents, kinds),
        _contributions(studies, kinds),
        *(each for study in studies for each in (_swaps(study, inputs), _quality(study, inputs))),
        _own_and_cross(studies, kinds, inputs),
        _depths(studies, percents, kinds),
    ]


def _networks(studies: Sequence[Study], inputs: Sequence[str]) -> Table:
    rows: list[Row] = []
    for study in studies:
        for network, _, judged in study.networks:
            for role in (BASELINE, TARGET):
                rows.append((f"{network.label}, {role}", *(judged.quality(role, kind) for kind in inputs)))
        rows.append((f"{study.label}, gain", *(study.swapped.gain(kind) for kind in inputs)))
    return Table(
        "networks",
        "PSNR in dB of the networks on the judged images",
        ("network", *inputs),
        tuple(rows),
        f"{SPREAD} The gain is paired over images. Baselines have the target's running statistics.",
        digits=4,
    )


def _where(studies: Sequence[Study], percents: Sequence[float], kinds: Sequence[str]) -> Table:
    names = studies[0].branches.names
    rows: list[Row] = []
    for study in studies:
        shares = study.shares
        rows.append(
            (study.label, "all filters", *(float(shares.everything @ shares.inside(name)) for name in names), 1.0)
        )
        for percent in percents:
            for kind in kinds:
                key = (percent, kind)
                found = (shares.share(key, name) for name in names)
                row = f"{function_of(kind)}, top {percent:g} %"
                rows.append((study.label, row, *found, shares.enrichment(key, DEGRADATION)))
    return Table(
        "where",
        "Shares of the found filters per branch",
        ("network", "filters", *names, f"{DEGRADATION} branch, times chance"),
        tuple(rows),
        f"{SPREAD} The filters are found anew for every draw. By chance, found filters would lie as all filters do.",
    )


def _contributions(studies: Sequence[Study], kinds: Sequence[str]) -> Table:
    rows: list[Row] = []
    for study in studies:
        found, branches = study.contributions, study.branches
        for kind in kinds:
            for name in branches.names:
                mine = branches.parameters(name)
                share = float(mine.double().mean())
                parts = [found.share(kind, name, each) if each in found.kinds_of(name) else None for each in KINDS]
                row = (found.share(kind, name), *parts, found.gain(kind, name))
                rows.append((study.label, function_of(kind), name, share, *row))
    heads = (
        "of all parameters",
        "of the magnitudes",
        *(f"of that: {each}" for each in KINDS),
        "of the fall of the loss",
    )
    return Table(
        "contributions",
        "What every branch contributes, all parameters counted",
        ("network", "function", "branch", *heads),
        tuple(rows),
        f"{SPREAD} Magnitudes are the absolute contributions of single weights on one kind of input, nothing "
        "eliminated; the columns of the four kinds of parameters add up to theirs. The last column adds the signed "
        "contributions: over all branches they are the fall of the loss from baseline to target (completeness), so a "
        "branch may have less than nothing or more than all of it; a dash stands where the loss did not fall.",
    )


def _swaps(study: Study, inputs: Sequence[str]) -> Table:
    swapped = study.swapped
    rows: list[Row] = [
        (
            edit,
            *(swapped.removed(edit, kind) for kind in study.kinds),
            *(swapped.kept(edit, kind) for kind in inputs),
        )
        for edit in swapped.edits
        if edit not in (BASELINE, TARGET)
    ]
    return Table(
        f"swaps-{study.peer.two.stem}",
        f"{study.label}: parts of the target put back to the baseline",
        (
            "put back",
            *(f"removed of {function_of(kind)} (R on {kind})" for kind in study.kinds),
            *(f"kept on {kind} (P)" for kind in inputs),
        ),
        tuple(rows),
        f"{SPREAD} R = 1 − ‖E − B‖² / ‖T − B‖², P = 1 − ‖E − T‖² / ‖B − T‖², pooled over all pixels, unrounded, in "
        "float32: R = 1 is the baseline's output, P = 1 the target's; both are below 0 where the network is broken.",
    )


def _quality(study: Study, inputs: Sequence[str]) -> Table:
    swapped = study.swapped
    rows: list[Row] = []
    for edit in swapped.edits:
        left = (swapped.gain_left(edit, kind) if kind in study.learnt else None for kind in study.kinds)
        rows.append((edit, *(swapped.psnr(edit, kind) for kind in inputs), *left))
    scale = study.peer.two.models[0].pair.scale
    return Table(
        f"quality-{study.peer.two.stem}",
        f"{study.label}: PSNR in dB of the same networks, and what is left of the gain",
        ("put back", *inputs, *(f"left of the gain, {function_of(kind)}" for kind in study.kinds)),
        tuple(rows),
        f"{specification(scale)}. {SPREAD} Left of the gain: (edited − baseline) / (target − baseline) in dB; a dash "
        "where the function was not learnt.",
        digits=4,
    )


def _own_and_cross(studies: Sequence[Study], kinds: Sequence[str], inputs: Sequence[str]) -> Table:
    rows: list[Row] = []
    for study in studies:
        for network, _, judged in study.networks:
            for method in (FAIG, RANDOM):
                for masked in kinds:
                    edit = Edit(method, study.percent, masked)
                    row = f"{method_label(method)}, {function_of(masked)}"
                    cells = ((judged.distance(edit, kind), judged.share(edit, kind)) for kind in inputs)
                    rows.append((network.label, row, *(cell for both in cells for cell in both)))
    percent = studies[0].percent
    heads = (head for kind in inputs for head in (f"{kind}: distance", "R or P"))
    return Table(
        "cross",
        f"Own and cross damage of the found {percent:g} %",
        ("network", "filters replaced", *heads),
        tuple(rows),
        f"{SPREAD} Function distance x 1000 (true gray) to the target's output; beside it the removal R on the own "
        "input, the preservation P on every other. As on the page of the masking, here in float32.",
    )


def _depths(studies: Sequence[Study], percents: Sequence[float], kinds: Sequence[str]) -> Table:
    rows: list[Row] = [
        (network.label, *(shares.depth((percent, kind)) for percent in percents for kind in kinds), shares.chance_depth)
        for study in studies
        for network, shares, _ in study.networks
    ]
    heads = (f"{function_of(kind)}, top {percent:g} %" for percent in percents for kind in kinds)
    return Table(
        "depth",
        "Mean relative depth of the found filters (0: first layer, 1: last)",
        ("network", *heads, "all filters"),
        tuple(rows),
        f"{SPREAD} In two-branch networks among the layers outside the degradation branch.",
    )


def layer_rows(study: Study) -> Iterator[dict[str, object]]:
    """Yield the shares per layer and branch of both networks, for the file beside the page."""
    for network, shares, _ in study.networks:
        branches = shares.branches
        for number, (layer, branch) in enumerate(branches.groups):
            found = {
                f"{kind}, {percent:g} %": float(table[:, number].mean())
                for (percent, kind), table in shares.found.items()
            }
            yield {
                "network": network.label,
                "layer": branches.space.layers[layer].name,
                "branch": branches.names[branch],
                "of all filters": float(shares.everything[number]),
                **found,
            }
