# SPDX-License-Identifier: Apache-2.0
"""The files of a re-training: whose they are, whether they are whole, and how new ones take their place."""

import contextlib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from filterlens.editing.retrain import ROLE
from filterlens.errors import FilterlensError, UsageError
from filterlens.files import read_json
from filterlens.models.checkpoints import read_content
from filterlens.record import Record
from filterlens.training.checkpointing import is_of, is_state

JOB = "retrain"
_LARGEST = 64 << 20  # bytes of a JSON that is read


class _Trained(BaseModel):
    model_config = ConfigDict(extra="allow")
    part: str


class _Finished(BaseModel):
    """What the JSON of a finished re-training holds at least."""

    model_config = ConfigDict(extra="allow")
    run: str
    weights: str
    trained: _Trained
    trained_weights: int
    psnr: dict[str, dict[str, float]]
    judged_on: list[str]
    losses: list[tuple[int, float]]
    seconds: float


class Place:
    """Where a re-training writes its network, the JSON beside it, and its state.

    A training with ``--fresh`` has a state of another name, so that the old files stay until the new network is whole.

    Args:
        path: Of the network, a ``.safetensors`` file.

    Raises:
        UsageError: A network lies there that was not re-trained.
        FilterlensError: A file lies there that filterlens did not write.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.json = path, path.with_suffix(".json")
        self._states = path.with_suffix(".state.pt"), path.with_suffix(".fresh.state.pt")
        self.state = self._states[0]
        self._record = Record(path.parent, JOB)
        if not set(self._record.names) & set(self._names):
            self._refuse_network()
            self._record.adopt([file.name for file in self._files if _looks_ours(file)])
        self._record.check(self._names)

    @property
    def _files(self) -> tuple[Path, ...]:
        return (self.path, self.json, *self._states)

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(file.name for file in self._files)

    def begin(self, fingerprint: str, fresh: bool) -> dict[str, Any] | None:
        """Choose the state from which the training goes on; return the record of one that is finished.

        Raises:
            UsageError: Another re-training is there, and ``fresh`` was not asked for.
            FilterlensError: The JSON of a finished training is damaged.
        """
        usual, anew = self._states
        if fresh or is_of(anew, fingerprint):
            if not is_of(anew, fingerprint):
                self._record.remove([anew.name])
            self.state = anew
            return None
        if self.path.exists():
            if card_of(self.path).get("fingerprint") != fingerprint:
                raise UsageError(
                    f"'{self.path}' is of another re-training. Give another --output, or --fresh to replace it."
                )
            if self.json.exists() and not usual.exists():
                return self._finished()
        return None

    def writing(self, fingerprint: str) -> contextlib.AbstractContextManager[None]:
        """Record the files while the block writes them."""
        return self._record.writing(*self._names, made_of=fingerprint)

    def drop_states(self) -> None:
        """Delete the states of a training that is whole."""
        for state in self._states:
            state.unlink(missing_ok=True)

    def _finished(self) -> dict[str, Any]:
        try:
            if self.json.stat().st_size > _LARGEST:
                raise ValueError("it is too large")
            record: dict[str, Any] = read_json(self.json)
            _Finished.model_validate(record)
        except (FilterlensError, OSError, ValueError, TypeError, RecursionError) as error:
            place = ".".join(map(str, error.errors()[0]["loc"])) if isinstance(error, ValidationError) else ""
            said = f"{place or 'its content'} is wrong" if isinstance(error, ValidationError) else "it cannot be read"
            raise FilterlensError(
                f"'{self.json}' is not what a re-training writes ({said[:100]}). Give --fresh to train again."
            ) from error
        return record

    def _refuse_network(self) -> None:
        """Say more of a network than of other files: it is easily named by mistake."""
        if self.path.is_file() and not _looks_ours(self.path):
            raise UsageError(
                f"'{self.path}' is no re-trained baseline and will not be overwritten. Give another --output."
            )


def card_of(path: Path) -> dict[str, Any]:
    """Return the card of a re-trained network; empty where it has none."""
    card = read_content(path)[1].get("card")
    return card if isinstance(card, dict) else {}


def _looks_ours(path: Path) -> bool:
    """Whether a file of an earlier version's folder, which kept no record, is what a re-training writes there."""
    if path.is_symlink() or not path.is_file():
        return False
    try:
        if path.suffix == ".safetensors":
            return card_of(path).get("role") == ROLE
        if path.suffix == ".pt":
            return is_state(path)
        return path.stat().st_size < _LARGEST and {"filterlens", "trained"} <= set(read_json(path))
    except (FilterlensError, OSError, ValueError, TypeError, RecursionError):
        return False
