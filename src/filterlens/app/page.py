# SPDX-License-Identifier: Apache-2.0
"""The page: which components there are, where they stand, and what they start."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
from markupsafe import Markup, escape

from filterlens.app import words
from filterlens.app.controls import LEAST_QUALITY, MOST_BLUR, MOST_NOISE, first_handling
from filterlens.app.filter_map import filter_map
from filterlens.app.handlers import Handlers
from filterlens.app.photographs import photographs
from filterlens.app.seen import seen
from filterlens.app.session import Session
from filterlens.app.viewer import viewer
from filterlens.jobs.studio.scene import NO_JPEG, Handling
from filterlens.report.labels import percent_text

FIRST = "chelsea"
MOST_STRENGTH = 1.5
HOUR = 3600
_STAMP = "(...all) => window.filterlens.note(all)"


@dataclass(frozen=True, eq=False)
class _Parts:
    """The components that events read and write."""

    session: Any
    viewer: Any
    strengths: list[Any]
    percent: Any
    shipped: Any
    lowered: Any
    degrading: list[Any]
    verdict: Any
    map: Any
    adapters: list[Any]
    moment: Any

    @property
    def controls(self) -> list[Any]:
        """In the order that :class:`filterlens.app.controls.Controls` reads."""
        return [self.shipped, self.lowered, *self.degrading, self.percent, *self.strengths]


def build_page(handlers: Handlers) -> gr.Blocks:
    """Return the page; whoever launches it gives theme and style."""
    with gr.Blocks(title="filterlens", analytics_enabled=False, delete_cache=(HOUR, 24 * HOUR)) as page:
        _connect(page, handlers, _lay_out(handlers))
    return page


def _lay_out(handlers: Handlers) -> _Parts:
    studio = handlers.studio
    session = gr.State(Session(), delete_callback=handlers.shelf.clear)
    moment = gr.Number(0, visible=False)
    head = Markup('<p class="kicker">filterlens · {}</p><h1>{}</h1><p>{}</p>').format(
        studio.pair.name or "your pair", words.HEADLINE, words.lead(studio.degradations, studio.pair.scale)
    )
    gr.HTML(head, elem_id="head")
    with gr.Row(equal_height=False, elem_id="main"):
        with gr.Column(scale=7, min_width=320):
            shown = viewer(_first_view(handlers))
            verdict = _verdict()
            adapters = _adapters(handlers)
        with gr.Column(scale=5, min_width=320):
            strengths, percent = _strengths(handlers)
            shipped, lowered, degrading = _picture(first_handling(studio.degradations))
    with gr.Column(elem_classes="card", elem_id="map-card"):
        _title(
            "Every filter of the network",
            "One cell is one filter, one square one layer: rows are output channels, columns input channels. "
            "Point at a cell for its address and score. Click a function to mask its filters.",
        )
        layers = filter_map(studio)
    return _Parts(
        session,
        shown,
        strengths,
        percent,
        shipped,
        lowered,
        degrading,
        verdict,
        layers,
        adapters,
        moment,
    )


def _first_view(handlers: Handlers) -> dict[str, Any]:
    """Return what the page opens with; the same as all controls say at first."""
    studio = handlers.studio
    first = first_handling(studio.degradations)
    degrading = first.blur, first.noise, first.quality
    return handlers.first_view(FIRST, False, *degrading, _first_percent(handlers), *[1.0] * len(studio.degradations))


def _first_percent(handlers: Handlers) -> float:
    percents = handlers.studio.percents
    return 1.0 if 1.0 in percents else percents[0]


def _title(title: str, hint: str = "") -> None:
    gr.HTML(f"<h2>{title}</h2>" + (f'<p class="hint">{hint}</p>' if hint else ""))


def _strengths(handlers: Handlers) -> tuple[list[Any], Any]:
    names = handlers.studio.degradations
    with gr.Column(elem_classes="card", elem_id="strengths"):
        _title("Strength", "1: as trained. 0: taken out. Above 1: overdone.")
        sliders = [
            gr.Slider(0, MOST_STRENGTH, 1, step=0.05, label=label, elem_classes="strength", elem_id=f"strength-{index}")
            for index, label in enumerate(words.labels(names).values())
        ]
        percents = [(percent_text(each), each) for each in handlers.studio.percents]
        percent = gr.Radio(
            percents,
            value=_first_percent(handlers),
            label="Share of all filters that belongs to each",
            elem_id="percent",
        )
    return sliders, percent


def _verdict() -> Any:
    with gr.Column(elem_classes="card", elem_id="seen"):
        _title("What the network sees in the input")
        return seen()


def _picture(first: Handling) -> tuple[Any, Any, list[Any]]:
    with gr.Column(elem_classes="card", elem_id="picture"):
        _title("Picture")
        shipped = photographs(FIRST)
        lowered = gr.Checkbox(False, label="It is small or degraded already: restore it as it is", elem_id="lowered")
        degrading = [
            gr.Slider(0, MOST_BLUR, first.blur, step=0.1, label="Blur it (σ in pixels)", elem_id="blur"),
            gr.Slider(
                0, MOST_NOISE, first.noise, step=0.005, label="Add noise (σ, share of the range)", elem_id="noise"
            ),
            gr.Slider(
                LEAST_QUALITY, NO_JPEG, first.quality, step=1, label="JPEG quality (100: no JPEG)", elem_id="jpeg"
            ),
        ]
    return shipped, lowered, degrading


def _adapters(handlers: Handlers) -> list[Any]:
    with gr.Column(elem_classes="card", elem_id="adapters"):
        base = f"{escape(handlers.studio.pair.name)}/target" if handlers.studio.pair.name else "TARGET"
        _title(
            "Take a function with you",
            f"Its filters as a small file: <code>filterlens restore IN OUT --base {base} --adapter FILE=0.4</code>",
        )
        with gr.Row():
            return [
                gr.DownloadButton(words.title(name), interactive=False, size="sm", elem_id=f"adapter-{index}")
                for index, name in enumerate(handlers.studio.degradations)
            ]


def _connect(page: gr.Blocks, handlers: Handlers, parts: _Parts) -> None:
    """Tie events to handlers; everything that computes waits in one line, as it shares the processor."""
    inputs = [parts.session, *parts.controls, parts.moment]
    changes = [each.change for each in parts.controls]
    alone = {"concurrency_id": "network", "concurrency_limit": 1}
    gr.on(
        changes, handlers.want, inputs, None, js=_STAMP, queue=False, show_progress="hidden", api_visibility="private",
        trigger_mode="multiple",
    )  # fmt: skip
    gr.on(
        [page.load, *changes], handlers.render, inputs, [parts.viewer, parts.verdict], js=_STAMP,
        trigger_mode="always_last", show_progress="hidden", api_visibility="private", **alone,
    ).then(
        handlers.explain, inputs, [parts.verdict, parts.map, *parts.adapters], js=_STAMP, show_progress="hidden",
        api_visibility="private", **alone,
    )  # fmt: skip
    quiet = {"show_progress": "hidden", "api_visibility": "private", "trigger_mode": "multiple"}
    parts.map.select(handlers.mask, parts.strengths, parts.strengths, **quiet)
    for each in (parts.shipped, parts.viewer):
        each.upload(handlers.receive, parts.session, parts.shipped, **quiet)
    parts.lowered.change(
        lambda lowered: [gr.update(interactive=not lowered)] * len(parts.degrading),
        parts.lowered,
        parts.degrading,
        **quiet,
    )
