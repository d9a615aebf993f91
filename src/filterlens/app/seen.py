# SPDX-License-Identifier: Apache-2.0
"""The place where the verdict on the input stands."""

from typing import Any

import gradio as gr

from filterlens.app.assets import asset


def seen() -> gr.HTML:
    """Return the component; its value has ``html``, the ``controls`` it was made for, and maybe ``adapters``.

    Until a verdict on the present input comes it says that it is looking. ``adapters`` is the share of the filters for
    which the buttons below give adapters.
    """
    value: dict[str, Any] | None = None
    return gr.HTML(
        value,
        html_template=asset("verdict.html"),
        js_on_load=asset("verdict.js"),
        apply_default_css=False,
        elem_id="verdict",
    )
