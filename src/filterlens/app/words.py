# SPDX-License-Identifier: Apache-2.0
"""The words of the page: labels, sentences, and the verdict on an input as bars."""

from collections.abc import Mapping, Sequence

from jinja2 import Environment
from markupsafe import Markup, escape

from filterlens.app.look import asset, colours
from filterlens.app.studio import Explanation
from filterlens.diagnosis.classify import Verdict
from filterlens.report.labels import function_of, is_written, listed, percent_text, whole_percent

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
    kind = degradation.partition(":")[0] if _is_one_effect(degradation) else ""
    return _VERBS.get(kind, f"Undo {degradation}")


def picture_hint(degradations: Sequence[str]) -> Markup:
    """Say which degradations the page cannot make, since a run knows them by pairs or a function; empty for none."""
    names = [f"'{name}'" for name in degradations if not is_written(name)]
    if not names:
        return Markup()
    return Markup("{} cannot be made here: send a picture that has it, and restore it as it is.").format(listed(names))


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


def unknown_html(reason: str = "") -> str:
    """Return the text for an input without a verdict."""
    return _render(sentence=f"Nothing can be said of this input. {reason}".strip(), bars=[], unseen="", reason="")


def verdict_html(explanation: Explanation) -> str:
    """Return the verdict: a sentence, one bar per degradation with its threshold, and what a bar means."""
    verdict = explanation.verdict
    colour = colours(list(verdict.scores))
    bars = [
        {
            "name": plain(name),
            "degradation": name,
            "colour": colour[name],
            "score": round(100 * score, 1),
            "text": whole_percent(score),
            "threshold": round(100 * explanation.thresholds[name], 1),
            "limit": whole_percent(explanation.thresholds[name]),
            "present": name in verdict.present,
        }
        for name, score in verdict.scores.items()
    ]
    reason = (
        f"Fine-tuning changed what the network does to this input. Take the {percent_text(explanation.percent)} of the "
        "filters that carry most of that change: each bar is the share of them that is among the filters found for a "
        "degradation. From the mark on, the input is said to have it. No ground truth is needed."
    )
    return _render(
        sentence=verdict_sentence(verdict),
        bars=bars,
        unseen=unseen_sentence(verdict),
        reason=reason,
    )


def _render(**values: object) -> str:
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(asset("verdict.html.j2"))
    return template.render(**values)


def plain(degradation: str) -> str:
    """Return a degradation as people say it: ``blur:2`` is *blur*."""
    names = {
        "blur": "blur",
        "motion": "motion blur",
        "noise": "noise",
        "poisson": "photon noise",
        "jpeg": "JPEG artefacts",
    }
    return names.get(degradation.partition(":")[0], degradation) if _is_one_effect(degradation) else degradation


def _is_one_effect(degradation: str) -> bool:
    return is_written(degradation) and "+" not in degradation


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
