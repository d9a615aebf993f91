# SPDX-License-Identifier: Apache-2.0
"""What the classifier says of the input, and why, as bars."""

from jinja2 import Environment

from filterlens.app import words
from filterlens.app.assets import asset
from filterlens.app.colours import colours
from filterlens.jobs.studio.explanation import Explanation
from filterlens.report.labels import percent_text, whole_percent


def unknown_html(reason: str = "") -> str:
    """Return what stands there for an input of which nothing can be said."""
    return _render(sentence=f"Nothing can be said of this input. {reason}".strip(), bars=[], unseen="", reason="")


def verdict_html(explanation: Explanation) -> str:
    """Return the verdict: a sentence, one bar per degradation with its threshold, and what a bar means."""
    verdict = explanation.verdict
    colour = colours(list(verdict.scores))
    bars = [
        {
            "name": words.plain(name),
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
        sentence=words.verdict_sentence(verdict),
        bars=bars,
        unseen=words.unseen_sentence(verdict),
        reason=reason,
    )


def _render(**values: object) -> str:
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(asset("verdict.html.j2"))
    return template.render(**values)
