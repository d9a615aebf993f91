# SPDX-License-Identifier: Apache-2.0
"""What the page says."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from filterlens.diagnosis.classify import Verdict
from filterlens.report.labels import function_of, listed

HEADLINE = "Each slider moves 1 % of a restoration network, and one of its abilities with it."
_VERBS = {"blur": "Deblur", "motion": "Deblur motion", "noise": "Denoise", "poisson": "Denoise", "jpeg": "Repair JPEG"}


def lead(degradations: Sequence[str], scale: int) -> Markup:
    """Return the sentences below the headline."""
    functions, first = [function_of(each) for each in degradations], labels(degradations)[degradations[0]]
    start = "This network upscales, and along the way it learnt" if scale > 1 else "This network learnt"
    behind = "each" if len(functions) > 1 else "it"
    text = Markup("{} {}. The filters behind {} are known. Drag <b>{}</b> to 0: only its {} goes.")
    return text.format(start, listed(functions), behind, first, functions[0])


def verb(degradation: str) -> str:
    """Return what a slider is called: ``Deblur``, ``Denoise``."""
    kind = degradation.partition(":")[0]
    return _VERBS.get(kind, f"Undo {degradation}") if "+" not in degradation else f"Undo {degradation}"


def title(degradation: str) -> str:
    """Return the function against a degradation as a heading: ``Deblurring``, ``JPEG repair``."""
    function = function_of(degradation)
    return function[0].upper() + function[1:]


def labels(degradations: Sequence[str]) -> dict[str, str]:
    """Return the sliders' names, with the degradation added where two would be the same."""
    verbs = {name: verb(name) for name in degradations}
    return {name: text if list(verbs.values()).count(text) == 1 else f"{text} ({name})" for name, text in verbs.items()}


def verdict_sentence(verdict: Verdict) -> Markup:
    """Say in one sentence what an input has."""
    if not verdict.present:
        names, text = [plain(each) for each in verdict.scores], Markup("This input looks <b>free of {}</b>{}.")
    else:
        names, text = [plain(each) for each in verdict.present], Markup("This input has <b>{}</b>{}.")
    sure = "" if verdict.confidence is None else f", {100 * verdict.confidence:.0f} % sure"
    return text.format(listed(names), sure)


def unseen_sentence(verdict: Verdict) -> str:
    """Say what cannot be seen beneath what was found; empty where there is nothing to say."""
    if not verdict.unseen:
        return ""
    beneath = listed([plain(each) for each in verdict.present])
    return f"Beneath {beneath}, {listed([plain(each) for each in verdict.unseen])} cannot be seen."


def plain(degradation: str) -> str:
    """Return a degradation as people say it: ``blur:2`` is *blur*."""
    names = {
        "blur": "blur",
        "motion": "motion blur",
        "noise": "noise",
        "poisson": "photon noise",
        "jpeg": "JPEG artefacts",
    }
    return names.get(degradation.partition(":")[0], degradation) if "+" not in degradation else degradation


def stem(name: str, strengths: Mapping[str, float]) -> str:
    """Return the file name of a result: ``astronaut-deblur-0.4-denoise-1``."""
    dials = [f"{text}-{strengths[degradation]:g}" for degradation, text in labels(list(strengths)).items()]
    return "-".join([name, *dials]).lower()


def facts(psnr: float | None) -> str:
    """Return what is said below the picture."""
    return "" if psnr is None else f"{psnr:.2f} dB PSNR against the original"


def plain_text(text: str) -> str:
    """Return a message in one line that a page or a terminal shows as text, whatever it quotes."""
    line = "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))
    return str(escape(line))
