# SPDX-License-Identifier: Apache-2.0
"""The photographs that ship, to choose from, and a button to send one of one's own."""

import base64
import io

import gradio as gr
from PIL import Image

from filterlens.app.assets import asset
from filterlens.data.photographs import PHOTOGRAPHS, photograph

SIDE = 200  # of a thumbnail, in pixels


def photographs(first: str) -> gr.HTML:
    """Return the component; its value is the name of the chosen photograph.

    A picture of the visitor has another value, which the server gives it. Sending one fires ``upload`` with
    ``{"path": …}`` or ``{"error": …}``.
    """
    pictures = [{"name": name, "picture": _thumbnail(name)} for name in PHOTOGRAPHS]
    return gr.HTML(
        first,
        html_template=asset("photographs.html"),
        css_template=asset("photographs.css"),
        js_on_load=asset("photographs.js"),
        apply_default_css=False,
        elem_id="photographs",
        pictures=pictures,
    )


def _thumbnail(name: str) -> str:
    image = Image.fromarray(photograph(name).permute(1, 2, 0).contiguous().numpy())
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
