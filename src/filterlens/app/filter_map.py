# SPDX-License-Identifier: Apache-2.0
"""The map: every filter of the network as one cell, layer by layer, with the functions in colour."""

import base64
from collections.abc import Sequence
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from filterlens.app import words
from filterlens.app.assets import asset
from filterlens.app.colours import colours
from filterlens.diagnosis.found_filters import filter_count
from filterlens.filters import ranking
from filterlens.jobs.studio.explanation import Explanation
from filterlens.jobs.studio.studio import Studio
from filterlens.report.labels import function_of

SHOWN = 5.0  # percent of the filters whose ranks and shares the page gets


def filter_map(studio: Studio) -> gr.HTML:
    """Return the component; clicking a function in its legend fires ``select`` with ``{"degradation": …}``."""
    most = filter_count(len(studio.pair.space), SHOWN)
    names = studio.degradations
    return gr.HTML(
        None,
        html_template=asset("map.html"),
        css_template=asset("map.css"),
        js_on_load=asset("map.js"),
        apply_default_css=False,
        elem_id="map",
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
