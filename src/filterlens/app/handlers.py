# SPDX-License-Identifier: Apache-2.0
"""The handlers that run when something on the page changes."""

import contextlib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import gradio as gr
from torch import Tensor

from filterlens.app import words
from filterlens.app.components import failed, map_value, progress, view
from filterlens.app.scene import Scene, make_scene, read_upload
from filterlens.app.scratch import Shelf, remove_upload, safe_name
from filterlens.app.session import UPLOAD, Controls, Session
from filterlens.app.studio import Studio
from filterlens.app.words import plain_text, unknown_html, verdict_html
from filterlens.data.images import to_uint8
from filterlens.data.photographs import photograph
from filterlens.errors import FilterlensError

_photograph = cache(photograph)


class Handlers:
    """The page's events as functions; what they know of a visitor is in the session.

    Args:
        studio: The studio that computes.
        shelf: The place of the pictures that the page loads.
    """

    def __init__(self, studio: Studio, shelf: Shelf) -> None:
        self.studio, self.shelf = studio, shelf

    def first_view(self, *chosen: Any) -> dict[str, Any]:
        """Make the picture that the page opens with, before anyone asks: it warms everything up, too."""
        session, controls = Session(), Controls.of(chosen, self.studio.degradations)
        scene = self._scene(session, controls)
        (*_, last) = self.studio.restoring(scene, controls.strengths, controls.percent)
        assert last.picture is not None
        return self._view(session, controls, last.picture, chosen)

    def want(self, session: Session, *values: Any) -> None:
        """Note what the page shows now, so that work on anything else is given up."""
        session.want(values[-1], values[:-1])

    def render(self, session: Session, *values: Any) -> Iterator[tuple[Any, Any]]:
        """Make the input and restore it: yields what viewer and verdict show; ends early when outdated."""
        *chosen, moment = values
        with told():
            try:
                for shown in self._rendered(session, moment, chosen):
                    yield shown, gr.skip()
            except Exception:
                yield failed(chosen), {"controls": list(chosen), "html": unknown_html(), "failed": True}
                raise

    def _rendered(self, session: Session, moment: float, chosen: Sequence[Any]) -> Iterator[Any]:
        controls = Controls.of(chosen, self.studio.degradations)
        scene = self._scene(session, controls)
        for so_far in self.studio.restoring(scene, controls.strengths, controls.percent):
            if session.is_outdated(moment, chosen):
                yield gr.skip()  # without a last word the page would show nothing
                return
            if so_far.picture is None:
                yield progress(so_far, chosen)
            else:
                shown = self._view(session, controls, so_far.picture, chosen)
                session.shown = tuple(chosen)
                yield shown

    def explain(self, session: Session, *values: Any) -> Iterator[tuple[Any, ...]]:
        """After the picture: what the input has, and the adapters; each only when it changed."""
        *chosen, moment = values
        nothing = [gr.skip()] * len(self.studio.degradations)
        with told():
            controls = Controls.of(chosen, self.studio.degradations)
            for ready in self._explained(session, moment, chosen):
                if not ready:  # between two of these gradio looks whether the page is still open
                    yield gr.skip(), gr.skip(), *nothing
            if session.scene is None or session.explained is not session.scene or session.shown != tuple(chosen):
                yield gr.skip(), gr.skip(), *nothing
                return
            said = {"controls": list(chosen), "html": _verdict(session)}
            yield said, map_value(session.explanation, chosen), *nothing
            if session.adapters != controls.percent:
                files = self.adapters(controls.percent)
                session.adapters = controls.percent
                yield said | {"adapters": controls.percent}, gr.skip(), *files

    def adapters(self, percent: float) -> list[Any]:
        """Write one adapter per function, and return what its button becomes."""
        folder = self.shelf.folder
        files = [self.studio.save_adapter(folder, name, percent) for name in self.studio.degradations]
        return [gr.update(value=str(path), interactive=True) for path in files]

    def mask(self, data: gr.EventData, *strengths: float) -> list[Any]:
        """Mask the function that was clicked in the map, or give it back: its slider goes to 0 or to 1."""
        clicked = _said(data, "degradation")
        pairs = zip(self.studio.degradations, strengths, strict=True)
        return [(0.0 if value else 1.0) if name == clicked else gr.skip() for name, value in pairs]

    def receive(self, session: Session, data: gr.EventData) -> str:
        """Take a picture that the visitor sent; return its key."""
        with told():
            if failure := _said(data, "error"):
                raise FilterlensError(f"The picture could not be sent: {failure[:200]}")
            path = self.shelf.received(_said(data, "path"))
            try:
                session.upload = safe_name(path.stem), read_upload(path)
            finally:
                remove_upload(path)
            session.uploads += 1
        return f"{UPLOAD}{session.uploads}"

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
        if session.upload is None or source != f"{UPLOAD}{session.uploads}":
            raise FilterlensError("The picture that you sent is gone. Send it again.")
        return session.upload

    def _view(self, session: Session, controls: Controls, picture: Tensor, chosen: Sequence[Any]) -> dict[str, Any]:
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
            chosen,
        )

    def _explained(self, session: Session, moment: float, chosen: Sequence[Any]) -> Iterator[bool]:
        """Find out what the scene has, patch by patch, unless that is known or the page moved on."""
        scene = session.scene
        if scene is None or session.shown != tuple(chosen) or session.explained is scene:
            return  # without a picture: it is still to come, and this will be asked again after it
        explanation, trouble = None, ""
        try:
            for explanation in self.studio.explaining(scene):
                if session.is_outdated(moment, chosen):
                    return
                yield explanation is not None
        except FilterlensError as error:
            trouble = str(error)
        session.explained, session.explanation, session.trouble = scene, explanation, trouble


def _verdict(session: Session) -> str:
    return unknown_html(session.trouble) if session.explanation is None else verdict_html(session.explanation)


def _said(data: gr.EventData, name: str) -> str | None:
    """Return what an event of the page says of something; None where it says nothing or no text."""
    said = data._data.get(name) if isinstance(data._data, dict) else None
    return said if isinstance(said, str) else None


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Show an error that the visitor can act on in the page, until it is closed; as text, whatever it quotes."""
    try:
        yield
    except FilterlensError as error:
        raise gr.Error(plain_text(str(error)), duration=None, print_exception=False) from error
