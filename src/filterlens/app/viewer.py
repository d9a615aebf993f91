# SPDX-License-Identifier: Apache-2.0
"""The picture: input and result behind one divider, and a lens on both."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from filterlens.app.assets import asset
from filterlens.jobs.studio.restoration import Step


def viewer(value: dict[str, Any] | None) -> gr.HTML:
    """Return the component; its value is what :func:`view`, :func:`progress` or :func:`failed` makes."""
    return gr.HTML(
        value,
        html_template=asset("viewer.html"),
        css_template=asset("viewer.css"),
        js_on_load=asset("viewer.js"),
        apply_default_css=False,
        elem_id="viewer",
    )


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
        facts: What is said below the picture.
        file: Name under which the result is saved.
        controls: What the picture was made for: the page marks it as an earlier one where they are others now.
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


def progress(step: Step, controls: Sequence[Any]) -> dict[str, Any]:
    """Return how far a large picture is; the page keeps showing the last one."""
    return {"done": step.done, "total": step.total, "controls": list(controls)}


def failed(controls: Sequence[Any]) -> dict[str, Any]:
    """Return that there is no picture for these controls."""
    return {"failed": True, "controls": list(controls)}
