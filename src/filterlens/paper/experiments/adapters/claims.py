# SPDX-License-Identifier: Apache-2.0
"""What is claimed of adapters, and what became of it."""

from collections.abc import Callable, Iterator

from filterlens.evaluation.statistics import Estimate
from filterlens.paper.experiments.adapters.results import ADDED, REMOVED, RETRAINED, Adapted
from filterlens.paper.outcome import Claim, Verdict
from filterlens.report.labels import fixed

SMALL = 0.03  # of the checkpoint
HALF = 0.5  # of the way from baseline to target
ONE = 1.0  # percent


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
    if any(found.has(RETRAINED, kind, ONE) for kind in found.kinds):
        yield _retrained(found)


def _size(found: Adapted) -> Claim:
    shares = {
        (whose, kind): found.share(whose, kind, percent) for whose, kind, percent in found.sizes if percent == ONE
    }
    largest = max(shares, key=lambda key: shares[key])
    whose = "re-trained" if largest[0] == RETRAINED else "the target's"
    size, whole = found.sizes[(*largest, ONE)], found.checkpoints[largest[0]]
    return Claim(
        f"{found.name}: an adapter with 1 % of the filters is smaller than 3 % of the checkpoint",
        "filterlens",
        Verdict.of([share < SMALL for share in shares.values()]),
        f"largest of {len(shares)}: {largest[1]} ({whose} values), {size:,.0f} of {whole:,.0f} bytes, "
        f"{100 * shares[largest]:.2f} %",
    )


def _half(found: Adapted, what: str, enough: Callable[[float], bool], text: str, reason: str) -> Claim:
    checks, words = [], []
    for kind in found.kinds:
        way = found.way(what, kind, ONE)
        baseline, value, target = (
            found.reference("baseline", kind), found.quality(what, kind, ONE), found.reference("target", kind),
        )  # fmt: skip
        numbers = f"{kind}: baseline {fixed(baseline.mean)}, this {fixed(value.mean)}, target {fixed(target.mean)} dB"
        if way is None:
            words.append(f"{numbers} (the target gains nothing, so there is no way to measure)")
            continue
        checks.append(enough(way.mean))
        words.append(f"{numbers}, {_percent(way)} of the way")
    failed = f". {reason}" if reason and not all(checks) else ""
    return Claim(text, "filterlens", Verdict.of(checks), "; ".join(words) + failed)


def _retrained(found: Adapted) -> Claim:
    checks, words = [], []
    for kind in found.kinds:
        if found.has(RETRAINED, kind, ONE):
            copied, trained = (found.quality(what, kind, ONE) for what in (ADDED, RETRAINED))
            checks.append(trained.mean > copied.mean)
            words.append(f"{kind}: re-trained {fixed(trained.mean)}, copied {fixed(copied.mean)} dB")
    return Claim(
        f"{found.name}: at the same 1 % of the filters, re-training in the baseline gives better adapters than copying "
        "the target's values",
        "filterlens",
        Verdict.of(checks),
        "; ".join(words),
    )


def _percent(way: Estimate) -> str:
    text = f"{100 * way.mean:.0f} %".replace("-", "−")
    if way.low is None or way.high is None:
        return text
    return f"{text} [{100 * way.low:.0f}, {100 * way.high:.0f}]".replace("-", "−")
