# SPDX-License-Identifier: Apache-2.0
"""What happens when something on the page changes."""

import contextlib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import gradio as gr
from torch import Tensor

from filterlens.app import words
from filterlens.app.controls import Controls
from filterlens.app.filter_map import map_value
from filterlens.app.photographs import chosen
from filterlens.app.session import Session
from filterlens.app.shelf import Shelf, safe_name
from filterlens.app.verdict import verdict_html
from filterlens.app.viewer import progress, view
from filterlens.data.images import to_uint8
from filterlens.data.photographs import photograph
from filterlens.errors import FilterlensError
from filterlens.workflow.studio.scene import Scene, make_scene, read_upload
from filterlens.workflow.studio.studio import Studio

UPLOAD = "upload:"
_photograph = cache(photograph)


class Handlers:
    """The page's events as functions; what they know of a visitor is in the session.

    Args:
        studio: Computes.
        shelf: Keeps the pictures that the page loads.
    """

    def __init__(self, studio: Studio, shelf: Shelf) -> None:
        self.studio, self.shelf = studio, shelf

    def first_view(self, *chosen: Any) -> dict[str, Any]:
        """Make the picture that the page opens with, before anyone asks: it warms everything up, too."""
        session, controls = Session(), Controls.of(chosen, self.studio.degradations)
        scene = self._scene(session, controls)
        (*_, last) = self.studio.restoring(scene, controls.strengths, controls.percent)
        assert last.picture is not None
        return self._view(session, controls, last.picture)

    def want(self, session: Session, *values: Any) -> None:
        """Note what the page shows now, so that work on anything else is given up."""
        session.want(values[-1], values[:-1])

    def render(self, session: Session, *values: Any) -> Iterator[tuple[Any, Any]]:
        """Make the input and restore it: yields what the viewer and the map show; ends early when outdated."""
        *chosen, moment = values
        with told():
            controls = Controls.of(chosen, self.studio.degradations)
            scene = self._scene(session, controls)
            for step in self.studio.restoring(scene, controls.strengths, controls.percent):
                if session.is_outdated(moment, chosen):
                    yield gr.skip(), gr.skip()  # without a last word the page would show nothing
                    return
                if step.picture is None:
                    yield progress(step), gr.skip()
                else:
                    shown = self._view(session, controls, step.picture)
                    session.shown = tuple(chosen)
                    yield shown, map_value(controls.percent, controls.strengths)

    def explain(self, session: Session, *values: Any) -> Iterator[tuple[Any, ...]]:
        """After the picture: what the input has, and the adapters; each only when it changed."""
        *chosen, moment = values
        with told():
            controls = Controls.of(chosen, self.studio.degradations)
            nothing = [gr.skip()] * len(self.studio.degradations)
            if not self._explained(session, moment, chosen):
                yield gr.skip(), gr.skip(), *nothing
                return
            assert session.explanation is not None
            shown = map_value(controls.percent, controls.strengths, session.explanation)
            yield verdict_html(session.explanation), shown, *nothing
            if session.adapters != controls.percent:
                yield gr.skip(), gr.skip(), *self.adapters(controls.percent)
                session.adapters = controls.percent

    def adapters(self, percent: float) -> list[Any]:
        """Write one adapter per function, and return what its button becomes."""
        folder = self.shelf.folder
        files = [self.studio.save_adapter(folder, name, percent) for name in self.studio.degradations]
        return [gr.update(value=str(path), interactive=True) for path in files]

    def mask(self, data: gr.EventData, *strengths: float) -> list[Any]:
        """Mask the function that was clicked in the map, or give it back: its slider goes to 0 or to 1."""
        clicked = data._data.get("degradation")
        pairs = zip(self.studio.degradations, strengths, strict=True)
        return [(0.0 if value else 1.0) if name == clicked else gr.skip() for name, value in pairs]

    def pick(self, data: gr.EventData) -> str:
        """Take a photograph that ships."""
        return chosen(data._data)

    def receive(self, session: Session, data: gr.EventData) -> tuple[str, str]:
        """Take a picture that the visitor sent; return its key, and that no photograph is chosen."""
        with told():
            if failure := data._data.get("error"):
                raise FilterlensError(f"The picture could not be sent: {str(failure)[:200]}")
            path = self.shelf.received(data._data.get("path"))
            session.upload = safe_name(path.stem), read_upload(path)
            session.uploads += 1
        return f"{UPLOAD}{session.uploads}", ""

    def _scene(self, session: Session, controls: Controls) -> Scene:
        """Return the session's scene, made anew when picture or handling changed."""
        if session.scene is None or session.key != controls.scene:
            name, pixels = self._picture(session, controls.source)
            scene = make_scene(name, pixels, controls.handling, self.studio.pair.scale)
            session.input = self.shelf.put(session.inputs, f"{name}-input", to_uint8(scene.image))
            session.scene, session.key = scene, controls.scene
        return session.scene

    def _picture(self, session: Session, source: str) -> tuple[str, Tensor]:
        if not source.startswith(UPLOAD):
            return source, _photograph(source)
        if session.upload is None:
            raise FilterlensError("The picture that you sent is gone. Send it again.")
        return session.upload

    def _view(self, session: Session, controls: Controls, picture: Tensor) -> dict[str, Any]:
        assert session.scene is not None
        pixels = to_uint8(picture)
        stem = words.stem(session.scene.name, controls.strengths)
        return view(
            session.input,
            self.shelf.put(session.results, stem, pixels),
            (pixels.shape[2], pixels.shape[1]),
            (session.scene.image.shape[3], session.scene.image.shape[2]),
            words.facts(self.studio.psnr(session.scene, picture)),
            f"{safe_name(stem)}.png",
        )

    def _explained(self, session: Session, moment: float, chosen: Sequence[Any]) -> bool:
        """Find out what the scene has, unless that is known; False when given up."""
        scene = session.scene
        if scene is None or session.shown != tuple(chosen):
            return False  # the picture is still to come, and this will be asked again after it
        if session.explained is scene:
            return True
        for explanation in self.studio.explaining(scene):
            if session.is_outdated(moment, chosen):
                return False
            session.explanation = explanation or session.explanation
        session.explained = scene
        return True


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Show an error that the visitor can act on in the page, until it is closed."""
    try:
        yield
    except FilterlensError as error:
        raise gr.Error(str(error), duration=None, print_exception=False) from error
