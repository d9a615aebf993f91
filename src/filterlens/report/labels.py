# SPDX-License-Identifier: Apache-2.0
"""Labels: readable names and numbers."""

import math
from collections.abc import Callable

from filterlens.evaluation.statistics import Estimate

METHODS = {
    "faig": "FAIG",
    "faig-no-elimination": "FAIG without elimination",
    "goal-directed": "goal-directed",
    "ig": "IG (input path)",
    "change-absolute": "absolute change",
    "change-relative": "relative change",
    "taylor": "Taylor",
    "random": "random",
    "random-layer-matched": "random, same layers",
    "random-magnitude-matched": "random, same change",
}
FUNCTIONS = {"blur": "deblurring", "motion": "motion deblurring", "noise": "denoising", "jpeg": "JPEG repair"}
ARCHITECTURES = {
    "srresnet": "SRResNet",
    "srcnn-style": "SRCNN-style network",
    "srcnn_style": "SRCNN-style network",
    "dan": "DAN",
    "dasr": "DASR",
}


def method_label(method: str) -> str:
    """Return the name of a method for people; an unknown one keeps its own."""
    return METHODS.get(method, method)


def architecture_label(architecture: str) -> str:
    """Return the name of an architecture for people; an unknown one keeps its own."""
    return ARCHITECTURES.get(architecture, architecture)


def shortened(layer: str, most: int = 20) -> str:
    """Return a layer's name, without parts of its middle where it is long: ``restorer.groups…ca.2``."""
    if len(layer) <= most:
        return layer
    parts = layer.split(".")
    cuts = [(head, tail) for head in range(1, len(parts)) for tail in range(1, len(parts) - head)]
    texts = [f"{'.'.join(parts[:head])}…{'.'.join(parts[-tail:])}" for head, tail in cuts]
    return max((text for text in texts if len(text) <= most), key=len, default=f"{layer[: most - 1]}…")


def function_of(degradation: str) -> str:
    """Return what a network does against a degradation: ``blur:2`` is answered by *deblurring*.

    Nothing is read into a name that a user gave: what is called ``rain`` is *restoration of inputs with 'rain'*.
    """
    if not is_written(degradation):
        return f"restoration of inputs with '{degradation}'"
    if "+" in degradation:
        return f"restoration of {degradation}"
    return FUNCTIONS.get(degradation.split(":")[0], f"restoration of {degradation}")


def degraded(degradation: str) -> str:
    """Say what an input is: ``degraded by blur:2``, ``input with 'rain'``."""
    return f"degraded by {degradation}" if is_written(degradation) else f"input with '{degradation}'"


def is_written(degradation: str) -> bool:
    """Whether a name is a written degradation, which has its strength after a colon, and no name of the user's."""
    return ":" in degradation or degradation == "clean"


def percent_text(percent: float) -> str:
    """Write a proportion that is already in percent: ``1 %``, ``0.5 %``."""
    return f"{percent:g} %"


def count(number: float) -> str:
    """Write a count with thousands separated: ``151,936``."""
    return f"{int(number):,}"


def significant(number: float | None, digits: int = 3) -> str:
    """Write a number with about ``digits`` significant digits: ``6.68``, ``0.134``, ``104``; a dash for none."""
    if number is None or math.isnan(number):
        return "–"
    if math.isinf(number):
        return "∞" if number > 0 else "−∞"
    if number == 0:
        return "0"
    if abs(number) < 1e-3:
        mantissa, exponent = f"{number:.{digits - 1}e}".split("e")
        return _minus(f"{mantissa}e{int(exponent)}")
    places = max(0, digits - 1 - math.floor(math.log10(abs(number))))
    return _minus(f"{number:,.{places}f}")


def fixed(number: float | None, places: int = 2) -> str:
    """Write a number with fixed places: ``25.31``; a dash for none."""
    if number is None or not math.isfinite(number):
        return significant(number)
    text = f"{number:,.{places}f}"
    return _minus(text if float(text.replace(",", "")) else text.lstrip("-"))


def unrounded(number: float | None) -> str:
    """Write R or P with two places, or three where two would claim a perfect 1: 0.998 is ``0.998``."""
    text = fixed(number)
    return fixed(number, 3) if text == "1.00" and number is not None and number < 1 else text


def whole_percent(part: float) -> str:
    """Write a fraction as percent without promising more than was measured: 0.97 is ``97 %``, 0.9996 is ``99.96 %``."""
    percent = 100 * part
    places = 0 if percent <= 99 or percent >= 100 else 2 if percent > 99.9 else 1
    text = f"{percent:.{places}f}"
    return _minus(f"{text if float(text) else '0'} %")


def percent_interval(share: Estimate, *, signs: bool = True) -> str:
    """Write a fraction with its interval as percent: ``51 % [48 %, 55 %]``, or without signs in it; a dash for none."""
    if math.isnan(share.mean):
        return significant(None)
    ends = [whole_percent(end) for end in (share.low, share.high) if end is not None]
    inside = ", ".join(end if signs else end.removesuffix(" %") for end in ends)
    return f"{whole_percent(share.mean)} [{inside}]" if ends else whole_percent(share.mean)


def signed(number: float) -> str:
    """Write a difference with its sign and two places: ``+0.30``."""
    return f"+{fixed(number)}" if number > 0 else fixed(number)


def with_interval(estimate: Estimate, write: Callable[[float], str] = fixed, unit: str = "") -> str:
    """Write a number and, where it has one, its interval: ``0.30 dB [0.10, 0.50]``."""
    text = f"{write(estimate.mean)}{unit}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{write(estimate.low)}, {write(estimate.high)}]"


def times(ratio: float) -> str:
    """Write how many times one thing is another: ``52×``, ``1.8×``."""
    return f"{significant(ratio, 2)}×"


def listed(items: list[str]) -> str:
    """Join names as a sentence does: ``a, b and c``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def _minus(text: str) -> str:
    return text.replace("-", "−")
