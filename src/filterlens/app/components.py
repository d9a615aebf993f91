# SPDX-License-Identifier: Apache-2.0
"""The page's own components: the viewer, the map of all filters, the photographs, and the verdict.

Each is an HTML template with a style and a script, all inside the package; its value comes from the server.
"""

import base64
import io
from collections.abc import Sequence
from typing import Any

import gradio as gr
import torch
from PIL import Image
from torch import Tensor

from filterlens.app import words
from filterlens.app.look import asset, asset_path, colours
from filterlens.app.studio import Explanation, Studio
from filterlens.data.photographs import PHOTOGRAPHS, photograph
from filterlens.diagnosis.found_filters import filter_count
from filterlens.execution.bounded import PictureSoFar
from filterlens.filters import ranking
from filterlens.report.labels import function_of

THUMBNAIL = 200  # side in pixels
SHOWN = 5.0  # percent of the filters whose ranks and shares the page gets


def _component(name: str, value: Any, **properties: Any) -> gr.HTML:
    """Return a component of the files ``name.html``, ``name.js`` and, where there is one, ``name.css``."""
    if asset_path(f"{name}.css").exists():
        properties["css_template"] = asset(f"{name}.css")
    return gr.HTML(
        value, html_template=asset(f"{name}.html"), js_on_load=asset(f"{name}.js"), apply_default_css=False,
        elem_id=name, **properties,
    )  # fmt: skip


def viewer(value: dict[str, Any] | None) -> gr.HTML:
    """Return input and result behind one divider; values come from :func:`view`, :func:`progress` or :func:`failed`."""
    return _component("viewer", value)


def view(
    before: str,
    after: str,
    size: tuple[int, int],
    small: tuple[int, int],
    facts: str,
    file: str,
    controls: Sequence[Any],
) -> dict[str, Any]:
    """Return what the page shows.

    Args:
        before: Address of the network's input.
        after: Address of the result.
        size: Width and height of the result.
        small: Width and height of the input.
        facts: Text below the picture.
        file: Name under which the result is saved.
        controls: Controls for which the picture was made: if they have changed, the page marks it as an earlier one.
    """
    return {
        "before": before,
        "after": after,
        "width": size[0],
        "height": size[1],
        "input": f"input {small[0]}×{small[1]}",
        "result": f"result {size[0]}×{size[1]}",
        "facts": facts,
        "file": file,
        "controls": list(controls),
    }


def progress(so_far: PictureSoFar, controls: Sequence[Any]) -> dict[str, Any]:
    """Return how far a large picture is; the page keeps showing the last one."""
    return {"done": so_far.done, "total": so_far.total, "controls": list(controls)}


def failed(controls: Sequence[Any]) -> dict[str, Any]:
    """Return that there is no picture for these controls."""
    return {"failed": True, "controls": list(controls)}


def filter_map(studio: Studio) -> gr.HTML:
    """Return the map: every filter as one cell, the functions in colour.

    A click on a function in its legend fires ``select`` with ``{"degradation": …}``.
    """
    most = filter_count(len(studio.pair.space), SHOWN)
    names = studio.degradations
    return _component(
        "map",
        None,
        total=len(studio.pair.space),
        layers=[
            [layer.parameter, layer.out_channels, layer.in_channels, layer.row] for layer in studio.pair.space.layers
        ],
        functions=[
            {
                "degradation": name,
                "title": function_of(name),
                "verb": words.labels(names)[name],
                "colour": colours(names)[name],
                "ranking": packed(studio.found.rankings[name][:most].to(torch.int32)),
            }
            for name in names
        ],
    )


def map_value(explanation: Explanation | None, controls: Sequence[Any]) -> dict[str, Any]:
    """Return what an input uses, for which the page had these controls; the rest the map reads from the page itself."""
    value: dict[str, Any] = {"controls": list(controls), "used": None}
    if explanation is not None:
        best = ranking(explanation.shares)[: filter_count(len(explanation.shares), SHOWN)]
        value["used"] = {
            "percent": explanation.percent,
            "filters": packed(best.to(torch.int32)),
            "shares": packed(explanation.shares[best].float()),
        }
    return value


def packed(numbers: Tensor) -> str:
    """Return a tensor of 4-byte numbers as base64, little-endian, which a page unpacks at once."""
    values = numbers.contiguous().numpy()
    return base64.b64encode(values.astype(values.dtype.newbyteorder("<")).tobytes()).decode("ascii")


def photographs(first: str) -> gr.HTML:
    """Return the photographs that ship, and a button to send another; the value is the name of the chosen one.

    A picture of the visitor has another value, which the server gives it. Sending one fires ``upload`` with
    ``{"path": …}`` or ``{"error": …}``.
    """
    pictures = [{"name": name, "picture": _thumbnail(name)} for name in PHOTOGRAPHS]
    return _component("photographs", first, pictures=pictures)


def verdict() -> gr.HTML:
    """Return the verdict's component: its value has ``html``, the ``controls`` it is about, and maybe ``adapters``.

    Until a verdict on the present input comes it says that it is looking. ``adapters`` is the share of the filters for
    which the buttons below give adapters.
    """
    return _component("verdict", None)


def _thumbnail(name: str) -> str:
    image = Image.fromarray(photograph(name).permute(1, 2, 0).contiguous().numpy())
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
