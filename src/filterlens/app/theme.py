# SPDX-License-Identifier: Apache-2.0
"""How the page looks. System fonts and styles that ship: nothing is loaded from elsewhere."""

from collections.abc import Iterable

import gradio as gr

from filterlens.app.assets import asset

FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
MONOSPACED = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")


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


def style(colours: Iterable[str]) -> str:
    """Return the page's own rules; the strength sliders have the colours of their functions."""
    own = [f"#strength-{index} {{ --slider-color: {colour}; }}" for index, colour in enumerate(colours)]
    return "\n".join([asset("page.css"), *own])
