# SPDX-License-Identifier: Apache-2.0
"""What the comparison says of the paper's first claim, and whether the two-branch networks are worth comparing with."""

from collections.abc import Iterator, Sequence

from filterlens.paper.experiment import Claim, Verdict, is_above
from filterlens.paper.experiments.branches.codes import Codes
from filterlens.paper.experiments.branches.probe import BASELINE, TRAINED, UNTRAINED, Probed
from filterlens.paper.experiments.branches.results import FLOOR, ONE, TWO, Compared
from filterlens.paper.experiments.branches.study import Study
from filterlens.paper.peers.arms import PEERS, Arm
from filterlens.paper.published import PEER_PARAMETERS
from filterlens.report.labels import count, fixed, listed, whole_percent

PAPER = "paper, one branch against two"
OWN = "filterlens"
SIMILAR = 0.1  # multiply-adds that differ by less count as equal
EQUAL = 0.01  # parameters that differ by less are the published ones


def claims(found: Study, trained: Sequence[Arm], published: Sequence[tuple[int, Sequence[Arm]]]) -> Iterator[Claim]:
    """Judge all claims.

    Args:
        found: What was measured.
        trained: The arms trained here.
        published: Scale → the arms in published sizes.
    """
    yield from (_matches(compared) for compared in found.compared)
    yield _is_no_worse(found.compared)
    yield _cost(trained, published)
    yield _parameters(published)
    yield from _kernel_claims(found.codes)
    yield _separates(found.probes)
    yield _beats_bicubic(found.compared)


def verdict_of(answer: bool | None) -> Verdict:
    """Turn yes, no, not decided into a verdict."""
    return Verdict.OPEN if answer is None else Verdict.HOLDS if answer else Verdict.FAILS


def _matches(compared: Compared) -> Claim:
    arms = compared.arms
    return Claim(
        f"{compared.setting.name}: one branch ({arms[ONE].label}) matches two ({arms[TWO].label}) within "
        f"{compared.margin:g} dB",
        PAPER,
        verdict_of(compared.matches),
        f"{sentence(compared)} ({_sample(compared)})",
    )


def sentence(compared: Compared) -> str:
    """Say in one plain sentence whether one branch matches two in a setting."""
    gain, margin = compared.gain, f"±{compared.margin:g} dB"
    levels = " against ".join(f"{fixed(compared.quality(who).mean)} dB with {who}" for who in (ONE, TWO))
    text = f"{levels}, {compared.channel.upper()}: one − two = {signed(gain.mean)} dB{_interval(gain.low, gain.high)}"
    if not compared.is_decidable:
        return f"{text}; one training of each does not tell a difference of branches from one of seeds"
    if compared.matches:
        return f"{text}, wholly inside {margin}: one branch matches two"
    if compared.matches is None:
        return f"{text}, which reaches over the edge of {margin}: not decided"
    return f"{text}, wholly outside {margin}: one branch is {'better' if gain.mean > 0 else 'worse'}"


def _is_no_worse(every: Sequence[Compared]) -> Claim:
    answers = [compared.is_no_worse for compared in every]
    words = [
        f"{compared.setting.name} {signed(compared.gain.mean)}{_interval(compared.gain.low, compared.gain.high)} "
        f"({'yes' if answer else 'no' if answer is False else 'not decided'})"
        for compared, answer in zip(every, answers, strict=True)
    ]
    decided = [answer for answer in answers if answer is not None]
    verdict = Verdict.of(decided)
    if verdict is Verdict.HOLDS and len(decided) < len(answers):
        verdict = Verdict.PARTLY
    return Claim(
        f"In no setting is one branch more than {every[0].margin:g} dB below two branches",
        OWN,
        verdict,
        f"one − two in dB: {'; '.join(words)}",
    )


def _cost(trained: Sequence[Arm], published: Sequence[tuple[int, Sequence[Arm]]]) -> Claim:
    checks, words = [], []
    for size, arms in (("here", trained), *((f"published size, x{scale}", arms) for scale, arms in published)):
        for peer in PEERS:
            two, one = sorted((arm for arm in arms if arm.peer == peer), key=lambda arm: not arm.has_two_branches)
            ratio = one.complexity.multiply_adds / two.complexity.multiply_adds
            checks.append(abs(ratio - 1) <= SIMILAR)
            words.append(f"{one.label} has {100 * ratio:.1f} % of {two.label}'s ({size})")
    return Claim(
        f"Both arms compute equally much: their multiply-adds differ by at most {whole_percent(SIMILAR)}",
        OWN,
        Verdict.of(checks),
        "; ".join(words),
    )


def _parameters(published: Sequence[tuple[int, Sequence[Arm]]]) -> Claim:
    checks, words = [], []
    for scale, arms in published:
        for arm in (arm for arm in arms if arm.has_two_branches and (arm.peer, scale) in PEER_PARAMETERS):
            wanted = PEER_PARAMETERS[arm.peer, scale]
            checks.append(abs(arm.complexity.parameters / wanted - 1) <= EQUAL)
            words.append(f"{arm.label} x{scale} has {count(arm.complexity.parameters)}, published {count(wanted)}")
    return Claim(
        f"DAN and DASR have the published numbers of parameters, within {whole_percent(EQUAL)}",
        "papers of DAN and DASR",
        Verdict.of(checks),
        "; ".join(words),
    )


def _kernel_claims(every: Sequence[Codes]) -> Iterator[Claim]:
    for start, name in (("delta", "the delta kernel's, where it starts"),
                        ("constant", "the best answer that does not look at the image")):  # fmt: skip
        checks = [is_above(codes.nearer(test, start)) for codes in every for test in codes.tests]
        yield Claim(
            f"DAN's code is nearer to the true kernel's than {name}, for every test kernel",
            "paper of DAN" if start == "delta" else OWN,
            Verdict.of(checks),
            f"{sum(checks)} of {len(checks)} kernels; of the way to the truth: "
            + "; ".join(f"{codes.setting.name}: {_ways(codes, start)}" for codes in every),
        )


def _ways(codes: Codes, start: str) -> str:
    ways = {test: codes.way(test, start).mean for test in codes.tests}
    least, most = min(ways, key=lambda test: ways[test]), max(ways, key=lambda test: ways[test])
    return f"{whole_percent(ways[least])} ({least}) to {whole_percent(ways[most])} ({most})"


def _separates(every: Sequence[Probed]) -> Claim:
    checks, words = [], []
    for probe in every:
        checks += [is_above(probe.accuracy(TRAINED), probe.chance)]
        checks += [is_above(probe.gain(control)) for control in (UNTRAINED, BASELINE)]
        right = {kind: whole_percent(probe.accuracy(kind).mean) for kind in (TRAINED, UNTRAINED, BASELINE)}
        words.append(
            f"{probe.question.name} in {probe.setting.name}: {right[TRAINED]} right, against {right[UNTRAINED]} with "
            f"random weights, {right[BASELINE]} with the baseline's and {whole_percent(probe.chance)} by chance"
        )
    return Claim(
        "DASR's features separate degradations: a linear probe reads blur and noise better from them than by chance, "
        "from an untrained encoder, and from the baseline's",
        "paper of DASR",
        Verdict.of(checks),
        f"{'; '.join(words)} (squares of {every[0].right[TRAINED].shape[1]} images that the probe was not fitted on)",
    )


def _beats_bicubic(every: Sequence[Compared]) -> Claim:
    gains = {(compared.setting.name, who): compared.difference(who, FLOOR) for compared in every for who in (TWO, ONE)}
    checks = [is_above(gain) for gain in gains.values()]
    weakest = min(gains, key=lambda place: gains[place].mean)
    failed = [f"{who} in {name}" for (name, who), ok in zip(gains, checks, strict=True) if not ok]
    beaten = f"; not above it: {listed(failed)}" if failed else ""
    gain = gains[weakest]
    return Claim(
        f"Every arm beats bicubic upsampling in every setting ({every[0].channel.upper()})",
        OWN,
        Verdict.of(checks),
        f"{sum(checks)} of {len(checks)}; the least gain is that of {weakest[1]} in {weakest[0]}, "
        f"{signed(gain.mean)} dB{_interval(gain.low, gain.high)}{beaten}",
    )


def signed(value: float) -> str:
    """Write a difference with its sign."""
    return f"+{fixed(value)}" if value > 0 else fixed(value)


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{signed(low)}, {signed(high)}]"


def _sample(compared: Compared) -> str:
    trainings = "1 training each" if compared.seeds == 1 else f"{compared.seeds} seeds"
    return f"{trainings}, {compared.images} images, {len(compared.setting.tests)} tests"
