# SPDX-License-Identifier: Apache-2.0
"""The re-training job: the found filters of a run folder, trained alone in the baseline."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from filterlens.attribution.method import channels_of
from filterlens.attribution.result import Attribution, load_attributions
from filterlens.data.pair_patches import PairSets
from filterlens.degradations import Degradation
from filterlens.degradations.inputs import GivenPairs
from filterlens.degradations.pipeline import CLEAN
from filterlens.degradations.randomness import derive_seed
from filterlens.editing.low_rank import LowRank
from filterlens.editing.retrain import ROLE, fingerprint_of, retrain, save_retrained
from filterlens.editing.retrain_settings import RetrainSettings
from filterlens.editing.trained_part import AllFilters, LastLayers, SelectedFilters, TrainedPart, weights_in
from filterlens.errors import FilterlensError, UsageError, quoted, unknown
from filterlens.execution.hardware import resolve_device, resolve_precision
from filterlens.files import check_writable, folder_lock, read_json, write_json
from filterlens.filters import FilterSpace, Selection
from filterlens.jobs.pairs import AS_IT_LAY, RunPair
from filterlens.jobs.training_images import HeldOut, ReadImages, read_images, said_of
from filterlens.jobs.training_pairs import TrainingPairs, read_pairs
from filterlens.models.checkpoints import read_content
from filterlens.pair import ModelPair
from filterlens.progress import SILENT, Progress
from filterlens.record import Record, check_output_folder
from filterlens.run.facts import is_of_pairs
from filterlens.run.folder import SCORES, provenance, require_run
from filterlens.training.checkpointing import is_of, is_state
from filterlens.training.validation import CROP, psnr_of_pairs, psnr_per_degradation

JOB = "retrain"
_LARGEST = 64 << 20  # bytes of a JSON that is read
WEIGHTS = "retrained.safetensors"
PARTS: dict[str, Callable[[Selection, int], TrainedPart]] = {
    "found": lambda found, _: SelectedFilters(found),
    "random": lambda found, seed: SelectedFilters(_random(found, seed)),
    "all": lambda _, __: AllFilters(),
    "last-layers": lambda found, _: LastLayers(weights_in(found)),
    "low-rank": lambda found, _: LowRank(weights_in(found)),
}


def retrain_to_folder(
    run: Path,
    settings: RetrainSettings,
    images: Path | None,
    *,
    pairs: GivenPairs | None = None,
    percent: float = 1.0,
    part: str = "found",
    found_for: str | None = None,
    validation: Path | None = None,
    output: Path | None = None,
    reopening: RunPair = AS_IT_LAY,
    device: str = "auto",
    precision: str = "auto",
    fresh: bool = False,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Re-train filters of a run's baseline and measure what it brought; resumes a killed re-training.

    An image that cannot be read is left out; the JSON lists it.

    Args:
        run: Run folder of ``filterlens attribute``; its first method's ranking is used.
        settings: Settings of the training; see :func:`filterlens.editing.retrain_settings.settings_for`.
        images: Folder of HR training images; None with ``pairs``.
        pairs: The name of one degradation → its LQ and GT images, on which alone is trained; the settings are those of
            ``clean`` then. Every 20th scene is held out.
        percent: Share of the filters.
        part: ``found``, or at the same number of weights ``random``, ``last-layers``, ``low-rank``; or ``all``.
        found_for: Degradation whose filters are trained; by default the one that they are trained on.
        validation: Folder of HR images for the PSNR; None holds out every 20th training image.
        output: A ``.safetensors`` file, or a folder for ``retrained.safetensors``; by default the run folder.
        reopening: New paths of the run's checkpoints and the user's own code, where the folder cannot know them.
        device: ``auto``, ``cpu``, ``cuda``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        fresh: Start over, and replace an earlier result when the new one is whole; killed before, it goes on.
        progress: Receiver of bars and notes.

    Returns:
        What is also written as JSON next to the weights: part, settings, losses, PSNR of the baseline, the re-trained
        network and the target, with provenance.

    Raises:
        UsageError: An illegal setting, or ``output`` holds another re-training.
        FilterlensError: No run folder, unreadable or too small images, or the loss diverged.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("A re-training runs in one process. Start it without torchrun or accelerate launch.")
    about = require_run(run)
    path = _weights_path(output or run)
    check_writable(path.parent)
    name = _trained_on(settings, images, pairs)
    pair = reopening.open(run)
    trained = _part(run, part, found_for or name, percent, settings.seed)
    where = resolve_device(device)
    chosen = resolve_precision(precision, where)
    held_out = HeldOut.of([images] if images else [], validation)
    with folder_lock(path.parent, "re-training", path.name):
        place = Place(path)
        of_pairs = TrainingPairs()
        training, judging = ReadImages(), ReadImages()
        if held_out.training or held_out.judging:
            training, judging = read_images(held_out, progress, chosen=validation is not None)
        if pairs:
            channels = channels_of(pair, about["settings"].get("channels"))
            of_pairs = read_pairs(pairs, pair.scale, progress, channels=channels)
            training, judging = of_pairs.completed(training, judging)
        fingerprint = fingerprint_of(pair, trained, settings, training.pixels, chosen, of_pairs.training)
        finished = place.begin(fingerprint, fresh)
        if finished is not None:
            progress.note(f"already trained, {path}")
            return finished
        judge = _Judge(pair, settings, judging, where, of_pairs.judging)
        progress.note(f"{len(training.paths)} training images, {len(judging.paths)} for the PSNR, {where}, {chosen}")
        psnr = judge.of_pair()  # first, so that images which cannot be degraded stop no finished training
        began = time.monotonic()
        with place.writing(fingerprint):
            result = retrain(
                pair,
                trained,
                settings,
                training.pixels,
                pairs=of_pairs.training,
                state=place.state,
                device=where,
                precision=chosen,
                names=training.names,
                fingerprint=fingerprint,
                progress=progress,
            )
            seconds = round(time.monotonic() - began, 1)
            psnr["retrained"] = judge.psnr(result.parameters)
            record = {
                **provenance(),
                "run": str(run),
                **result.card(),
                "losses": result.losses,
                "psnr": psnr,
                "training_images": {"pairs": of_pairs.facts}
                if pairs
                else {"folder": str(images), "count": len(training.paths)},
                "judged_on": judging.names,
                **said_of(training, judging),
                "seconds": seconds,
                "weights": str(path),
            }
            save_retrained(path, pair, result, {"psnr": psnr, "training_images": record["training_images"]})
            write_json(path.with_suffix(".json"), record)
            place.drop_states()  # last: whoever finds no state finds a whole result
    return record


class _Judge:
    """Measures networks of a pair on held-out images."""

    def __init__(
        self, pair: ModelPair, settings: RetrainSettings, images: ReadImages, where: torch.device, pairs: PairSets
    ) -> None:
        self._pair, self._settings, self._images, self._where = pair, settings, images, where
        own = Degradation.parse(_name(settings))
        self._degradations = {str(own): own, str(Degradation()): Degradation()}
        self._pairs = pairs

    def of_pair(self) -> dict[str, dict[str, float]]:
        return {"baseline": self.psnr(self._pair.baseline), "target": self.psnr(self._pair.target)}

    def psnr(self, parameters: Tensor) -> dict[str, float]:
        """Return input → mean PSNR in dB of the images' centres; nothing without images."""
        network, scale = self._pair.on_images(parameters).to(self._where), self._pair.scale
        values = psnr_of_pairs(network, self._pairs, scale=scale, crop=CROP)
        if not self._images.pixels or self._pair.channels_in != self._pair.channels_out:
            return values
        return values | psnr_per_degradation(
            network,
            self._images.pixels,
            self._degradations,
            scale=scale,
            resampler=self._settings.resampler,
            seed=self._settings.seed,
            crop=CROP,
            names=self._images.names,
        )


def written_for(run: Path, degradation: str, pairs: GivenPairs) -> str:
    """Return the written degradation that patches suffer in a re-training on a degradation of a run.

    Args:
        run: The run folder.
        degradation: Name of the degradation.
        pairs: Name → pairs; patches of those suffer nothing more, so they are ``clean``.

    Raises:
        FilterlensError: It is not a run folder.
        UsageError: The run knows the degradation by pairs or a function, and no pairs are given; or pairs of another
            name are.
    """
    if strange := [name for name in pairs if name != degradation]:
        raise UsageError(
            f"--pairs names '{strange[0]}', but --degradation is '{quoted(degradation)}'. Give the degradation's pairs."
        )
    if degradation in pairs:
        return CLEAN
    said = require_run(run)["settings"].get("inputs", {}).get(degradation, degradation)
    if isinstance(said, str):
        return said
    how = "pairs" if is_of_pairs(said) else "a function, which is not imported from a file"
    raise UsageError(f"'{run}' knows '{degradation}' by {how}: give images, --pairs {degradation}=LQ_FOLDER,GT_FOLDER.")


def _trained_on(settings: RetrainSettings, images: Path | None, pairs: GivenPairs | None) -> str:
    """Return the name of what is trained on, and refuse what does not go together."""
    if not pairs:
        if images is None:
            raise UsageError("There is nothing to train on: --images is missing, or --pairs.")
        return _name(settings)
    if images is not None:
        raise UsageError("Pairs bring their own images. Leave --images out.")
    if len(pairs) > 1 or settings.degradations:
        raise UsageError(
            f"A re-training is on one degradation: {', '.join(map(str, pairs))}"
            + (f" and {_name(settings)} were given." if settings.degradations else " were given.")
            + " Give the pairs of one, with the settings of 'clean'."
        )
    return str(next(iter(pairs)))


def _name(settings: RetrainSettings) -> str:
    """Write the degradation that every patch suffers."""
    return "+".join(effect for effect, _ in settings.degradations) or str(Degradation())


def _part(run: Path, part: str, found_for: str, percent: float, seed: int) -> TrainedPart:
    if part not in PARTS:
        raise unknown("part to train", part, PARTS)
    ranking: Attribution = next(iter(load_attributions(run / SCORES).values()))
    found = ranking.select(found_for, percent)
    if not len(found):
        raise UsageError(
            f"{percent:g} % of {len(ranking.space)} filters is no filter, so there is nothing to train. "
            f"Give --percent {106 / len(ranking.space):.2g} or more."  # 6 % more than one filter survive the rounding
        )
    return PARTS[part](found, seed)


def _random(found: Selection, seed: int) -> Selection:
    """Draw as many filters as were found."""
    space: FilterSpace = found.space
    generator = torch.Generator().manual_seed(derive_seed(seed, "random filters"))
    return Selection(space, torch.randperm(len(space), generator=generator)[: len(found)], "random")


def _weights_path(output: Path) -> Path:
    """Return the file of the result.

    Raises:
        UsageError: The path names a file or a folder of another kind.
    """
    path = output if output.suffix == ".safetensors" else output / WEIGHTS
    if path.is_dir():
        raise UsageError(f"Output '{output}' is a folder, and its name is that of a .safetensors file.")
    if output.suffix in (".pth", ".pt", ".ckpt", ".json"):
        raise UsageError(f"Output '{output}' is neither a .safetensors file nor a folder.")
    check_output_folder(path.parent)
    return path


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
    """Where a re-training writes its network, the JSON next to it, and its state.

    A training with ``--fresh`` has a state of another name, so that the old files stay until the new network is whole.

    Args:
        path: The network's file, a ``.safetensors`` file.

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
