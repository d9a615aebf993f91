# SPDX-License-Identifier: Apache-2.0
"""Tables of the page on one branch against two."""

from collections.abc import Iterator, Sequence

from filterlens.metrics import CHANNELS
from filterlens.paper.experiment import Cell, Table
from filterlens.paper.experiments.branches.codes import Codes
from filterlens.paper.experiments.branches.probe import BASELINE, TRAINED, UNTRAINED, Probed
from filterlens.paper.experiments.branches.results import FLOOR, ONE, TWO, Compared
from filterlens.paper.experiments.branches.study import Study
from filterlens.paper.peers.arms import PEERS, Arm
from filterlens.paper.published import BRANCHES, PEER_PARAMETERS, PEER_QUALITY
from filterlens.report.figures import safe_name
from filterlens.report.labels import count

ALONE = "Intervals are 95 %, bootstrap over images and seeds."
INTERVALS = f"{ALONE[:-1]}; both arms restore the same images, and learnt from the same patches."
SHOWN = tuple(reversed(CHANNELS))  # Y first, as the peers' papers have it
ANSWERS = {True: "yes", False: "no", None: "not decided"}


def tables(found: Study, sizes: Sequence[tuple[str, Sequence[Arm]]]) -> Iterator[Table]:
    """Yield all tables.

    Args:
        found: What was measured.
        sizes: What a group of arms is → its arms: those trained here, and the published ones.
    """
    yield columns_table(found.compared)
    yield complexity_table(sizes)
    yield from (_tests(compared) for compared in found.compared)
    yield _codes(found.codes)
    yield _probes(found.probes)


def columns_table(every: Sequence[Compared]) -> Table:
    """Return the paper's table: every setting here in both channels, and as published."""
    rows: list[tuple[Cell, ...]] = []
    for compared in every:
        name = compared.setting.name
        for channel in SHOWN:
            answer = ANSWERS[compared.matches] if channel == compared.channel else None
            who = [compared.quality(each, channel) for each in (TWO, ONE)]
            gain = compared.difference(ONE, TWO, channel)
            rows.append((f"{name}, here, {channel.upper()}", *who, gain, compared.quality(FLOOR, channel), answer))
        if name in BRANCHES:
            two, one = BRANCHES[name]
            rows.append((f"{name}, paper", str(two), str(one), None, None, None))
    seeds, images = every[0].seeds, every[0].images
    return Table(
        "settings",
        "One branch against two branches at equal computation: PSNR in dB",
        ("setting", "two branches", "one branch", "one − two [interval]", "bicubic", "matches"),
        tuple(rows),
        f"Mean {'± sd over ' + str(seeds) + ' seeds' if seeds > 1 else 'of 1 seed'}, {images} images, all tests of a "
        f"setting. {INTERVALS} Matches: the whole interval lies within ±{every[0].margin:g} dB (yes), or outside of it "
        "(no). The paper's levels are of other images, degradations and schedules (none of them published): compare "
        "the two columns of a row, not rows.",
        digits=4,
    )


def complexity_table(sizes: Sequence[tuple[str, Sequence[Arm]]]) -> Table:
    """Return parameters and multiply-adds of both arms, as trained here and as published."""
    rows: list[tuple[Cell, ...]] = []
    for size, arms in sizes:
        for peer in PEERS:
            two, one = sorted((arm for arm in arms if arm.peer == peer), key=lambda arm: not arm.has_two_branches)
            for arm in (two, one):
                ratio = arm.complexity.multiply_adds / two.complexity.multiply_adds
                rows.append(
                    (size, arm.label, _options(arm), arm.complexity.parameters, _thousands(arm), f"{100 * ratio:.1f} %")
                )
    return Table(
        "complexity",
        "What both arms cost",
        ("size", "network", "options", "parameters", "multiply-adds per LR pixel, thousands", "of its peer's"),
        tuple(rows),
        "Counted by PyTorch on the networks themselves, not by hand; the SRResNet has the peer's width and the number "
        "of blocks that comes nearest to the peer in multiply-adds. "
        + "; ".join(
            f"{peer.upper()} x{scale} has {count(number)} parameters according to its own paper"
            for (peer, scale), number in PEER_PARAMETERS.items()
        )
        + ".",
        digits=4,
    )


def _tests(compared: Compared) -> Table:
    """Return a row per test degradation of a setting."""
    name, published = compared.setting.name, _published(compared)
    tests = [*compared.setting.tests, None]
    rows = [
        (test or "all", *_cells(compared, test), *([published.get(test or "")] if published else [])) for test in tests
    ]
    heads = [f"{who}, {channel.upper()}" for channel in SHOWN for who in (TWO, ONE, "one − two", FLOOR)]
    note = " The last column is of the published size and schedule, on the whole of Set14." if published else ""
    return Table(
        f"tests-{safe_name(name.lower())}",
        f"{name}: every test degradation",
        ("test", *heads, *(["two branches in their own paper, Y, Set14"] if published else [])),
        tuple(rows),
        f"PSNR in dB. {INTERVALS}{note}",
        digits=4,
    )


def _cells(compared: Compared, test: str | None) -> Iterator[Cell]:
    for channel in SHOWN:
        yield from (compared.quality(who, channel, test) for who in (TWO, ONE))
        yield compared.difference(ONE, TWO, channel, test)
        yield compared.quality(FLOOR, channel, test)


def _published(compared: Compared) -> dict[str, float]:
    """Return what the peer's own paper says: test → PSNR; nothing where it was judged otherwise."""
    if "noise" in compared.setting.name:
        return {}
    ours = (compared.setting.peer, compared.scale)
    return {test: value for (peer, scale, test), value in PEER_QUALITY.items() if (peer, scale) == ours}


def _codes(every: Sequence[Codes]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for codes in every:
        for place, test in enumerate(codes.tests):
            starts = [float(each[:, place].mean()) for each in (codes.delta, codes.constant)]
            ways = [codes.way(test, start) for start in ("delta", "constant")]
            rows.append((codes.setting.name, test, *starts, codes.distance(test), *ways))
    return Table(
        "codes",
        "Does DAN find the kernel? Distance of its code to the true one",
        ("setting", "test", "delta kernel (start)", "constant", "DAN", "way from the delta", "way from the constant"),
        tuple(rows),
        "Distance: mean absolute difference of the numbers of a code; constant: the median code of the kernels that "
        "the training draws, the best that can be said without looking at the image. Way: 1 is the truth, 0 the start, "
        f"below 0 farther than the start. {ALONE}",
    )


def _probes(every: Sequence[Probed]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    encoders = (TRAINED, BASELINE, UNTRAINED)
    for probe in every:
        right = [probe.accuracy(encoder) for encoder in encoders]
        gains = [probe.gain(encoder) for encoder in (BASELINE, UNTRAINED)]
        rows.append((probe.setting.name, probe.question.name, probe.chance, *right, *gains))
    named = "; ".join(
        f"{probe.setting.name}, {probe.question.name}: {', '.join(probe.question.classes)}" for probe in every
    )
    return Table(
        "probe",
        "Do DASR's features tell degradations apart? Accuracy of a linear probe on images that it was not fitted on",
        ("setting", "asked", "chance", *encoders, "trained − baseline", "trained − untrained"),
        tuple(rows),
        "Baseline: the encoder before it saw any degradation; untrained: random weights, as trainings begin. "
        f"{ALONE} Told apart are {named}.",
    )


def _options(arm: Arm) -> str:
    return ", ".join(f"{name} {value}" for name, value in arm.network.items()) or "all published"


def _thousands(arm: Arm) -> float:
    return arm.complexity.multiply_adds / 1000
