# SPDX-License-Identifier: Apache-2.0
"""Checks of handlers' arguments before gradio sees them: a forged call is refused in one line, without a trace."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import gradio as gr
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from filterlens.app.asgi import RequestError
from filterlens.app.scratch import is_file_in

_Text = Annotated[str, Field(max_length=4096)]
_Scalar = None | bool | int | float | _Text
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
_LARGEST = 1e15  # of a number: milliseconds since 1970 are 1e12


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class _Call(_Strict):
    data: list[_Scalar] = Field(max_length=64)
    event_data: Annotated[dict[_Name, _Scalar], Field(max_length=8)] | _Scalar = None
    fn_index: int
    trigger_id: int | None = None
    session_hash: _Name


class _Cancel(_Strict):
    session_hash: _Name
    fn_index: int
    event_id: _Name


class _Reset(_Strict):
    event_id: _Name


_Kind = TypeVar("_Kind", bound=_Strict)


class Calls:
    """Checks calls of a page's handlers.

    Args:
        page: The page.
        uploads: Folder of the files that a call may name.
    """

    def __init__(self, page: gr.Blocks, uploads: Path) -> None:
        self._uploads = uploads
        self._functions: Mapping[int, Any] = page.fns
        self._triggers = {0, *page.blocks}  # 0: the page itself

    def direct(self, body: bytes) -> tuple[str, bytes]:
        """Check a call of a handler that does not wait in a line; return its session and what of it is handed on.

        Raises:
            RequestError: It is none that the page makes.
        """
        return self._checked(body, queue=False)

    def queued(self, body: bytes) -> tuple[str, bytes]:
        """Check a call of a handler that waits in a line; as :meth:`direct`."""
        return self._checked(body, queue=True)

    def cancelled(self, body: bytes) -> tuple[str, bytes]:
        """Check what gives up a call; as :meth:`direct`."""
        cancel = _read(_Cancel, body)
        return cancel.session_hash, cancel.model_dump_json().encode()

    def reset(self, body: bytes) -> tuple[None, bytes]:
        """Check what forgets a call; as :meth:`direct`, but it names no session."""
        return None, _read(_Reset, body).model_dump_json().encode()

    def _checked(self, body: bytes, queue: bool) -> tuple[str, bytes]:
        call = _read(_Call, body)
        function = self._functions.get(call.fn_index)
        if function is None or function.queue is not queue:
            raise RequestError(400, f"This page has no such function {call.fn_index}.")
        if call.trigger_id is not None and call.trigger_id not in self._triggers:
            raise RequestError(400, f"This page has no part {call.trigger_id} that could start a function.")
        if len(call.data) != len(function.inputs):
            raise RequestError(400, f"That function takes {len(function.inputs)} values, not {len(call.data)}.")
        for component, value in zip(function.inputs, call.data, strict=True):
            if not _fits(component, value):
                raise RequestError(
                    400, f"{component.label or type(component).__name__} does not take {str(value)[:40]!r}."
                )
        path = call.event_data.get("path") if isinstance(call.event_data, dict) else None
        if path is not None and not is_file_in(str(path), [self._uploads]):
            raise RequestError(400, "No picture arrived. Choose a file again.")
        return call.session_hash, call.model_dump_json().encode()


def _read(kind: type[_Kind], body: bytes) -> _Kind:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:80]
        raise RequestError(400, f"This call is not one of the page's: {place or 'body'}: {first['msg']}.") from None


def _fits(component: Any, value: Any) -> bool:
    """Whether a component of the page can have that value."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match component:
        case gr.State():
            return value is None
        case gr.Slider():
            return is_number and component.minimum <= value <= component.maximum
        case gr.Radio():
            return is_number and value in [choice for _, choice in component.choices]
        case gr.Checkbox():
            return isinstance(value, bool)
        case gr.Number():
            return is_number and abs(value) <= _LARGEST
        case _:
            return isinstance(value, str)
