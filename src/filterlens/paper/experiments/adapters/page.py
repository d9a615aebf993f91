# SPDX-License-Identifier: Apache-2.0
"""The page on adapters: quality of a base with 0.5 to 10 % of the filters as a file, and size of the file."""

from collections.abc import Callable, Iterator, Sequence

from filterlens.metrics import specification
from filterlens.paper import drawing
from filterlens.paper.experiment import (
    Cell,
    Claim,
    Experiment,
    Outcome,
    Part,
    Row,
    Table,
    Verdict,
    common_rows,
    images_text,
)
from filterlens.paper.experiments.adapters.measure import (
    ADDED,
    BASELINE,
    CLEAN,
    REMOVED,
    RETRAINED,
    TARGET,
    Adapted,
    AdapterSettings,
    Network,
    measure,
)
from filterlens.paper.laboratory import Laboratory
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import fixed, function_of, method_label, percent_interval, percent_text

WAYS = {ADDED: "baseline + adapter", RETRAINED: "baseline + re-trained adapter", REMOVED: "target − function"}
SMOKE = 500  # steps, below which re-training shows only that it works
SMALL = 0.03  # of the checkpoint
HALF = 0.5  # of the way from baseline to target
ONE = 1.0  # percent


def run(laboratory: Laboratory, settings: AdapterSettings) -> Outcome:
    """Make, file, judge and weigh the adapters of every pair."""
    said: list[Claim] = []
    shown: list[Table] = []
    drawn: list[Panel] = []
    for name in laboratory.common.pairs[: settings.pairs]:
        found = measure(laboratory, settings, name)
        said += claims(found)
        shown += _tables(found, specification(laboratory.targets(name)[0].pair.scale))
        drawn += _panels(found)
    text = tuple(_text(settings))
    return Outcome(tuple(said), tuple(shown), tuple(drawn), text, _specification(laboratory, settings))


def claims(found: Adapted) -> Iterator[Claim]:
    """Judge size, the adapter on the baseline, its absence in the target, and re-training."""
    yield _size(found)
    yield _half(
        found, ADDED, lambda way: way >= HALF,
        f"{found.name}: the target's 1 % of filters, put into the baseline, bring at least half of the target's gain",
        "Copied filters are only a part of what fine-tuning changed together; where this fails, an adapter for a "
        "baseline wants re-trained filters",
    )  # fmt: skip
    yield _half(
        found, REMOVED, lambda way: way <= HALF,
        f"{found.name}: the same file at strength 0 takes at least half of the gain out of the target", "",
    )  # fmt: skip
    retrained = [kind for kind in found.kinds if found.has(Network(RETRAINED, kind, ONE))]
    if retrained:
        yield _retrained(found, retrained)


def _size(found: Adapted) -> Claim:
    shares = {network: found.share(network) for network in found.sizes if network.percent == ONE}
    largest = max(shares, key=lambda network: shares[network])
    whose = "re-trained" if largest.what == RETRAINED else "the target's"
    return Claim(
        f"{found.name}: an adapter with 1 % of the filters is smaller than 3 % of the checkpoint",
        "filterlens",
        Verdict.of([share < SMALL for share in shares.values()]),
        f"largest of {len(shares)}: {largest.kind} ({whose} values), {found.sizes[largest]:,.0f} of "
        f"{found.checkpoints[largest.what]:,.0f} bytes, {100 * shares[largest]:.2f} %",
    )


def _half(found: Adapted, what: str, enough: Callable[[float], bool], text: str, reason: str) -> Claim:
    def judged(kind: str) -> Part:
        network = Network(what, kind, ONE)
        baseline, this, target = (fixed(found.quality(each, kind).mean) for each in (BASELINE, network, TARGET))
        numbers = f"{kind}: baseline {baseline}, this {this}, target {target} dB"
        way = found.way(network)
        if way is None:
            return [], f"{numbers} (the target gains nothing, so there is no way to measure)"
        return [enough(way.mean)], f"{numbers}, {percent_interval(way, signs=False)} of the way"

    parts = [judged(kind) for kind in found.kinds]
    missed = any(not check for checks, _ in parts for check in checks)
    return Claim.of(text, "filterlens", parts, end=f". {reason}" if reason and missed else "")


def _retrained(found: Adapted, kinds: Sequence[str]) -> Claim:
    def judged(kind: str) -> Part:
        copied, trained = (found.quality(Network(what, kind, ONE), kind).mean for what in (ADDED, RETRAINED))
        return [trained > copied], f"{kind}: re-trained {fixed(trained)}, copied {fixed(copied)} dB"

    return Claim.of(
        f"{found.name}: at the same 1 % of the filters, re-training in the baseline gives better adapters than copying "
        "the target's values",
        "filterlens",
        map(judged, kinds),
    )


def _tables(found: Adapted, judged: str) -> Iterator[Table]:
    """Yield the quality on own and on clean inputs, the way to the target, and the sizes."""

    def rows(cells: Callable[[str, float], Sequence[Cell]]) -> list[Row]:
        return [
            (kind, percent_text(percent), *cells(kind, percent)) for kind in found.kinds for percent in found.percents
        ]

    def adapted(kind: str, percent: float, cell: Callable[[Network], Cell]) -> list[Cell]:
        networks = [Network(what, kind, percent) for what in WAYS]
        return [cell(network) if found.has(network) else None for network in networks]

    def quality(kind: str, percent: float, given: str) -> list[Cell]:
        between = adapted(kind, percent, lambda network: found.quality(network, given))
        return [found.quality(BASELINE, given), *between, found.quality(TARGET, given)]

    yield Table(
        f"quality-{found.name}",
        f"{found.name}: adapters on their own degradation",
        ("input", "filters", "baseline", *WAYS.values(), "target"),
        rows(lambda kind, percent: quality(kind, percent, kind)),
        f"PSNR in dB ({judged}), mean over images, ± sd over target models where there are several. *Baseline + "
        "adapter*: strength 1 of a file with the target's values at the filters found for the degradation. "
        "*Re-trained*: the same filters, trained in the baseline on that degradation alone. *Target − function*: the "
        "first file at strength 0 on the target.",
        digits=4,
    )
    yield Table(
        f"way-{found.name}",
        f"{found.name}: how far from baseline to target, on their own degradation",
        ("input", "filters", *WAYS.values()),
        rows(lambda kind, percent: adapted(kind, percent, found.way)),
        "Of the dB by which the target is better than the baseline, summed over all images: 0 is the baseline, 1 the "
        "target [95 % bootstrap interval over images]. A dash: nothing re-trained, or the target is no better.",
    )
    yield Table(
        f"clean-{found.name}",
        f"{found.name}: the same networks on clean inputs",
        ("adapter of", "filters", "baseline", *WAYS.values(), "target"),
        rows(lambda kind, percent: quality(kind, percent, CLEAN)),
        f"PSNR in dB ({judged}).",
        digits=4,
    )
    yield _sizes(found)


def _sizes(found: Adapted) -> Table:
    holds = {ADDED: "target's values", RETRAINED: "re-trained"}
    networks = [Network(what, kind, percent) for kind in found.kinds for percent in found.percents for what in holds]
    return Table(
        f"sizes-{found.name}",
        f"{found.name}: sizes of the files",
        ("adapter of", "share of the filters", "holds", "filters", "bytes", "of the checkpoint", "checkpoint, bytes"),
        tuple(
            (
                each.kind, percent_text(each.percent), holds[each.what], found.filters[each.kind, each.percent],
                round(found.sizes[each]), f"{100 * found.share(each):.2f} %", round(found.checkpoints[each.what]),
            )
            for each in networks
            if each in found.sizes
        ),
        "Bytes of the safetensors file: indices, both ends of every filter, card. The checkpoint is that of the "
        "network for which the adapter stands, as safetensors, in half precision where that loses nothing.",
    )  # fmt: skip


def _panels(found: Adapted) -> Iterator[Panel]:
    """Draw what every network gains over the share of the filters, one figure per degradation."""
    for kind in found.kinds:
        curves = []
        for what, label in WAYS.items():
            made = [network for each in found.percents if found.has(network := Network(what, kind, each))]
            if made:
                at, gains = [network.percent for network in made], [found.gain(network) for network in made]
                curves.append(drawing.Line.of(label, at, gains))
        whole = found.quality(TARGET, kind).mean - found.quality(BASELINE, kind).mean
        edges = [found.percents[0], found.percents[-1]]
        curves.append(drawing.Line("target", edges, [whole, whole], dashed=True))
        yield drawing.lines(
            f"{found.name}-{safe_name(kind)}",
            f"{found.name}: adapters for {function_of(kind)}",
            curves,
            "share of the filters in the adapter, %",
            f"PSNR on {kind}, dB above the baseline",
        )


def _text(settings: AdapterSettings) -> Iterator[str]:
    yield (
        "Every adapter was written to a file and read back before it was judged. On the baseline, strength 1 sets the "
        "filters that were found in the target to the target's values and leaves all else, biases included, as it is; "
        "on the target, strength 0 sets them to the baseline's."
    )
    yield (
        "The filters of a target were fine-tuned together with all others, so nothing promises that a few of them work "
        "in the baseline. Re-trained adapters hold the same locations, trained in the baseline on one degradation, as "
        "`filterlens retrain` does it and `filterlens adapter export --retrained` writes it."
    )
    if settings.retrained and settings.iterations < SMOKE:
        yield (
            f"**The re-training is a smoke run**: {settings.iterations} steps of {settings.batch} patches show that it "
            "works, not where it arrives."
        )


def _specification(laboratory: Laboratory, settings: AdapterSettings) -> dict[str, str]:
    common = laboratory.common
    rows = common_rows(common, common.pairs[: settings.pairs])
    trained = (
        f"{', '.join(f'{each:g} %' for each in settings.retrained)} of the filters, {settings.iterations} steps of "
        f"{settings.batch} patches, rate {settings.learning_rate:g}, on {'; '.join(map(images_text, common.train))}"
        if settings.retrained
        else "nothing"
    )
    return {
        "target models": rows["target models"],
        "filters": f"found by {method_label(settings.method)} on {rows['found on']}",
        "judged on": rows["judged on"],
        "re-trained": trained,
        "precision of the judged networks": laboratory.judge_precision,
        "seed of the noise": str(common.seed),
    }


EXPERIMENT = Experiment(
    "adapters",
    "Adapters: 1 % of the filters as a file",
    "quality of baseline and target with small adapters, and the sizes of the files",
    AdapterSettings,
    run,
)
