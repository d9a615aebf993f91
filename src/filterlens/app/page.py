# SPDX-License-Identifier: Apache-2.0
"""The page: its components, their places, and the handlers that they start."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from markupsafe import Markup, escape

from filterlens.app import words
from filterlens.app.components import filter_map, photographs, verdict, viewer
from filterlens.app.handlers import Handlers
from filterlens.app.scene import NO_JPEG
from filterlens.app.session import LEAST_QUALITY, MOST_BLUR, MOST_NOISE, Session, first_handling
from filterlens.report.labels import percent_text

FIRST = "chelsea"
MOST_STRENGTH = 1.5
HOUR = 3600
FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
MONOSPACED = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")
_STAMP = "(...all) => window.filterlens.note(all)"


def theme() -> gr.themes.ThemeClass:
    """Return the theme, light and dark."""
    return gr.themes.Base(
        primary_hue="blue", neutral_hue="slate", radius_size="md", font=list(FONT), font_mono=list(MONOSPACED)
    ).set(
        body_background_fill="#f6f7f9",
        body_background_fill_dark="#12161c",
        block_background_fill="#ffffff",
        block_background_fill_dark="#1a1f27",
        block_border_width="1px",
        block_label_text_size="13px",
        block_shadow="none",
    )


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
        """In the order that :class:`filterlens.app.session.Controls` reads."""
        return [self.shipped, self.lowered, *self.degrading, self.percent, *self.strengths]


def build_page(handlers: Handlers) -> gr.Blocks:
    """Return the page; whoever launches it gives theme and style."""
    with gr.Blocks(title="filterlens", analytics_enabled=False, delete_cache=(HOUR, 24 * HOUR)) as page:
        _connect(page, handlers, _lay_out(handlers))
    return page


def _lay_out(handlers: Handlers) -> _Parts:
    studio = handlers.studio
    session = gr.State(Session(), delete_callback=lambda session: handlers.shelf.clear(session.pictures))
    moment = gr.Number(0, visible=False)
    head = Markup('<p class="kicker">filterlens · {}</p><h1>{}</h1><p>{}</p>').format(
        studio.pair.name or "your pair", words.HEADLINE, words.lead(studio.degradations, studio.pair.scale)
    )
    gr.HTML(head, elem_id="head")
    with gr.Row(equal_height=False, elem_id="main"):
        with gr.Column(scale=7, min_width=320):
            shown = viewer(_first_view(handlers))
            seen = _verdict()
            adapters = _adapters(handlers)
        with gr.Column(scale=5, min_width=320):
            strengths, percent = _strengths(handlers)
            shipped, lowered, degrading = _picture(studio.degradations)
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
        seen,
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
        return verdict()


def _picture(degradations: Sequence[str]) -> tuple[Any, Any, list[Any]]:
    first = first_handling(degradations)
    with gr.Column(elem_classes="card", elem_id="picture"):
        _title("Picture", words.picture_hint(degradations))
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
