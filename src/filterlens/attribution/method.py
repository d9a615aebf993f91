# SPDX-License-Identifier: Apache-2.0
"""The base of all attribution methods, and of those that measure gradients of single images."""

import contextlib
import copy
import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from filterlens.attribution.engine import Engine
from filterlens.attribution.path import TOP, top_filters
from filterlens.attribution.quadrature import Adaptive, Quadrature
from filterlens.attribution.result import Attribution, Completeness
from filterlens.attribution.settings import AttributeSettings, Rule
from filterlens.data.images import center_crop
from filterlens.data.samples import Images, PairedSample, Sample
from filterlens.degradations.given import AnyDegradations
from filterlens.degradations.inputs import Channels, Example, GivenPairs, Inputs, example_of, inputs_of, part_of_pair
from filterlens.degradations.value import AnyDegradation
from filterlens.errors import FilterlensError, UsageError
from filterlens.execution.hardware import resolve_precision
from filterlens.pair import ModelPair
from filterlens.plugins import METHODS, package_of
from filterlens.progress import SILENT, Progress
from filterlens.showing.bars import AnyProgress
from filterlens.work.store import NOTHING_KEPT, Step, Store

CHECK_SIDE = 64  # LR pixels of the crop on which precisions are compared
CHECK_NODES = Quadrature("gauss-legendre", 3)
LEAST_OVERLAP = 0.97
MOST_ROUNDING = 2.0  # times the tolerance: beyond it no number of nodes makes the integral exact enough


@dataclass(frozen=True)
class DegradedImage:
    """One image with one degradation: the item of an attribution's work.

    Attributes:
        sample: The image.
        degradation: The degradation.
        input: Name of the degradation.
    """

    sample: Sample
    degradation: AnyDegradation
    input: str

    def __str__(self) -> str:
        return f"{self.sample.name}, {self.input}"

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Add the image's name to errors; errors of reading it name it already."""
        try:
            yield
        except FilterlensError as error:
            known = (f"'{self.sample.name}'", f"'{self.sample.path}'")
            if any(name in str(error) for name in known):
                raise
            raise type(error)(f"Image '{self.sample.name}' with '{self.input}': {error}") from error


class Method(ABC):
    """A way to score every filter of a pair for each degradation.

    Args:
        pair: Baseline and target.
        settings: Settings that the method takes; None takes ``given``.
        **given: Settings as keywords: fields of :class:`filterlens.attribution.settings.AttributeSettings`.

    Raises:
        UsageError: A setting that the method does not take, or a value that is not legal.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    takes: ClassVar[frozenset[str]] = frozenset({"protocol", "precision", "seed", "channels", "memory"})

    def __init__(self, pair: ModelPair, settings: AttributeSettings | None = None, **given: Any) -> None:
        settings = AttributeSettings.of(given, self.name) if settings is None else settings
        if idle := sorted(self.idle(settings)):
            raise UsageError(
                f"{idle[0]} = {getattr(settings, idle[0])} means nothing to {self.name}, which takes "
                f"{', '.join(sorted(self.takes))}."
            )
        self.pair = pair
        self.settings = settings
        self.conventions = settings.conventions
        own = self.conventions.precision
        chosen = own if settings.precision == "auto" and own else settings.precision
        resolved = resolve_precision(chosen, pair.device)
        # float64 pairs compute in their own type
        self.precision = resolved if pair.dtype.itemsize == 4 else "fp32"
        self.may_fall_back = chosen == "auto" and self.precision != "fp32"

    def __repr__(self) -> str:
        given = "".join(f", {name}={getattr(self.settings, name)!r}" for name in sorted(self.settings.changed()))
        return f"{type(self).__name__}({self.pair!r}{given})"

    @classmethod
    def idle(cls, settings: AttributeSettings) -> set[str]:
        """Return the names of changed settings that have no effect on the method."""
        return settings.changed() - cls.takes

    @abstractmethod
    def attribute(
        self,
        images: Images | Inputs | None = None,
        degradations: AnyDegradations = None,
        *,
        pairs: GivenPairs | None = None,
        progress: AnyProgress = False,
        store: Store = NOTHING_KEPT,
    ) -> Attribution:
        """Score every filter for each degradation.

        Args:
            images: Clean HR images, in any form that :func:`filterlens.data.samples.as_samples` takes: a folder,
                paths, tensors, arrays, a dataset; or all :class:`Inputs` read already. None where there are pairs.
            degradations: Degradations to find filters for: written, functions, or name → either, for example
                ``{"blur": "blur:2", "rain": add_rain}``.
            pairs: Name → pairs of what the network gets and the truth, for example ``{"rain": (lq, gt)}``, in any
                form that :func:`filterlens.data.pairs.as_pairs` takes.
            progress: True for bars in the notebook or terminal at hand, or a receiver of bars.
            store: Store that keeps the measurements of single images and shares them among processes; by default
                this process computes one after the other, and nothing is kept.

        Returns:
            Scores ``(filters,)`` per degradation, with settings and completeness.
        """

    def record(self, **more: Any) -> dict[str, Any]:
        """Return what decided the scores, for the record.

        That includes every changed setting but the memory, and the package of a method that is not ours.
        """
        shared = {"protocol": self.conventions.name, "resampler": self.conventions.resampler}
        known = shared | {"precision": self.precision, "seed": self.settings.seed} | more
        if plugin := package_of(METHODS, self.name, type(self)):
            known["package"] = str(plugin)
        changed = self.settings.changed() - {"memory"}
        return known | {name: getattr(self.settings, name) for name in sorted(changed) if name not in known}

    def inputs(
        self,
        images: Images | Inputs | None,
        degradations: AnyDegradations,
        pairs: GivenPairs | None = None,
        progress: Progress = SILENT,
    ) -> Inputs:
        """Read images, degradations and pairs as :meth:`attribute` takes them."""
        if isinstance(images, Inputs):
            return images
        return inputs_of(images, degradations, pairs, channels=self.channels, note=progress.note)

    @property
    def channels(self) -> Channels:
        """How many channels the networks take and return."""
        return channels_of(self.pair, self.settings.channels)

    @property
    def multiple(self) -> int:
        """The number that divides the sides of HR images."""
        return math.lcm(self.pair.scale, self.conventions.multiple)

    def truth_of(self, sample: Sample) -> Tensor:
        """Return the HR image ``(1, 3, H, W)`` as this method sees it, on the pair's device."""
        return sample.truth(self.multiple).to(self.pair.device, self.pair.dtype)

    def degraded(self, truth: Tensor, degradation: AnyDegradation) -> Tensor:
        """Return the LR input of one degradation."""
        resampler = self.conventions.resampler
        return degradation.apply(truth, self.pair.scale, seed=self.settings.seed, resampler=resampler)

    def example(self, image: DegradedImage) -> Example:
        """Return truth and LR input of an image with a degradation, on the pair's device."""
        with image.named():
            return example_of(
                image.sample,
                image.degradation,
                self.pair.scale,
                multiple=self.conventions.multiple,
                seed=self.settings.seed,
                resampler=self.conventions.resampler,
                like=self.pair.target,
            )

    def results(
        self,
        images: Sequence[DegradedImage],
        compute: Callable[[DegradedImage, Any, Step], dict[str, Any]],
        *,
        prepare: Callable[[DegradedImage], Any] = lambda image: None,
        steps: int,
        progress: Progress,
        store: Store,
    ) -> Iterator[dict[str, Any]]:
        """Return results of images with degradations; see :meth:`filterlens.work.store.Store.stream`."""
        settings = self.record()

        @cache  # each image is read once
        def content(sample: Sample) -> str:
            return sample.fingerprint()  # a pair's is of both its images

        def decides(image: DegradedImage) -> list[Any]:
            how = image.degradation.fingerprint or _hash_of(self.example(image).lowered)
            return [self.pair.identity, settings, content(image.sample), how]

        return store.stream(
            self.name,
            images,
            decides,
            compute,
            prepare=prepare,
            cost=lambda image: image.sample.pixels(),
            steps=steps,
            progress=progress,
        )

    def engine_in(self, precision: str, progress: Progress = SILENT) -> Engine:
        """Return the engine that computes outputs and gradients of the pair in a precision."""
        memory = self.settings.memory
        return Engine(self.pair, precision, memory=None if memory is None else memory * 2**30, note=progress.note)


def channels_of(pair: ModelPair, said: str | None) -> Channels:
    """Return the channels of a pair's networks; ``said`` is the setting ``channels``, None where a record has none."""
    return Channels(pair.channels_in, pair.channels_out, said == "y")


@dataclass(frozen=True, eq=False)
class Measurement:
    """The contribution of an image with a degradation to the scores.

    Attributes:
        magnitudes: Magnitude of every filter, ``(filters,)`` float64 on the CPU.
        completeness: Exactness of the integral, for methods on the parameter path.
    """

    magnitudes: Tensor
    completeness: Completeness | None = None

    def to_keep(self) -> dict[str, Any]:
        """Return the form that a store keeps; without the image's name, since equal images share a measurement."""
        facts = None if self.completeness is None else asdict(self.completeness)
        return {"magnitudes": self.magnitudes, "completeness": facts and {**facts, "image": ""}}

    @classmethod
    def kept(cls, kept: dict[str, Any], image: DegradedImage) -> "Measurement":
        """Return the measurement of an image from the form that a store keeps."""
        facts = kept["completeness"]
        return cls(kept["magnitudes"], facts and Completeness(**{**facts, "image": image.sample.name}))


def finite(values: Tensor) -> Tensor:
    """Return the result of a measurement, if it is finite.

    Raises:
        FilterlensError: It is not.
    """
    if not values.isfinite().all():
        raise FilterlensError(
            "the scores are not finite, as the network overflows between baseline and target. Try --precision fp32, "
            "and check that the two belong together."
        )
    return values


class GradientMethod(Method):
    """A method whose scores come from gradients of single images with single degradations."""

    rule: Rule

    def __init__(self, pair: ModelPair, settings: AttributeSettings | None = None, **given: Any) -> None:
        super().__init__(pair, settings, **given)
        self.overlap_with_fp32: float | None = None
        self.rounding: float | None = None
        self.engine = self.engine_in(self.precision)

    @abstractmethod
    def prepare(self, image: DegradedImage) -> Any:
        """Read and degrade."""

    @abstractmethod
    def measure(self, image: DegradedImage, prepared: Any, step: Step) -> Measurement:
        """Compute the magnitudes of one image with one degradation; ``step`` is called after every gradient."""

    def rounding_of(self, prepared: Any, engines: Sequence[Engine]) -> float:
        """Return how much of the loss's change on the path is rounding of the first engine against the second."""
        return 0.0

    def measure_images(
        self, inputs: Inputs, progress: Progress = SILENT, store: Store = NOTHING_KEPT
    ) -> Iterator[tuple[Measurement, ...]]:
        """Return the measurements of one image after the other, one per degradation; they must share their images."""
        measured = (each for _, each in self.measure_inputs(inputs, progress, store))
        return zip(*[measured] * len(inputs.degradations), strict=True)

    def measure_inputs(
        self, inputs: Inputs, progress: Progress = SILENT, store: Store = NOTHING_KEPT
    ) -> Iterator[tuple[str, Measurement]]:
        """Return the name and the measurement of every input, in the order of :class:`Inputs`."""
        self._settle_precision(inputs, progress, store)
        images = [DegradedImage(sample, inputs.degradations[name], name) for sample, name in inputs]
        kept = self.results(
            images,
            lambda image, prepared, step: self.measure(image, prepared, step).to_keep(),
            prepare=self.prepare,
            steps=self.rule.nodes,
            progress=progress,
            store=store,
        )
        return zip((image.input for image in images), map(Measurement.kept, kept, images), strict=True)

    def magnitudes(self, contributions: Tensor) -> Tensor:
        r"""Sum \|·\| of a flat vector over each filter's slice: ``(filters,)`` float64 on the CPU.

        Raises:
            FilterlensError: A sum is not finite.
        """
        return finite(self.pair.pool(contributions.abs()).to("cpu", torch.float64))

    def record(self, **more: Any) -> dict[str, Any]:
        """Return what decided the scores, for the record."""
        known = {"overlap_with_fp32": self.overlap_with_fp32, "rounding_of_bf16": self.rounding}
        checked = {name: value for name, value in known.items() if value is not None}
        return super().record(**checked, **more)

    def _settle_precision(self, inputs: Inputs, progress: Progress, store: Store) -> None:
        """Compare bfloat16 with float32 on a crop of one image, and fall back where the ranking would differ.

        Also fall back where adaptive nodes would follow its rounding, which differs from node to node.
        """
        self.engine = self.engine_in(self.precision, progress)
        if not self.may_fall_back or self.precision == "fp32":
            return
        first = {name: samples[0] for name, samples in inputs.samples.items()}
        sample = next(iter(first.values()))
        contents = dict.fromkeys(each.fingerprint() for each in first.values())
        hows = [each.fingerprint for each in inputs.degradations.values()]
        identity = [self.pair.identity, self.record(), *contents, hows]
        keep = store if None not in hows else NOTHING_KEPT
        crops = self._crops(inputs)
        overlap = keep.one(f"{self.name}-precision", identity, lambda: self._overlap(crops), SILENT)
        self.overlap_with_fp32 = overlap
        if overlap < LEAST_OVERLAP:
            self._fall_back(
                progress,
                f"on '{sample.name}' the top {TOP:.0%} in {self.precision} overlaps with that in fp32 by only "
                f"{overlap:.1%}",
            )
        elif isinstance(self.rule, Adaptive):
            rounding = keep.one(f"{self.name}-rounding", identity, lambda: self._rounding(crops), SILENT)
            if rounding > MOST_ROUNDING * self.rule.tolerance:
                self.rounding = rounding
                self._fall_back(
                    progress,
                    f"on '{sample.name}' {self.precision} rounds the loss by {rounding:.1%} of its change on the path, "
                    f"with a tolerance of {self.rule.tolerance:g}",
                )

    def _fall_back(self, progress: Progress, reason: str) -> None:
        progress.note(f"warning: {reason}: computing in fp32")
        self.precision = "fp32"
        self.engine = self.engine_in(self.precision, progress)

    def _overlap(self, crops: Sequence[DegradedImage]) -> float:
        """Return the smallest overlap of the top filters in this precision with those in float32."""
        overlaps = []
        for crop in crops:
            tops = []
            for precision in (self.precision, "fp32"):
                trial = copy.copy(self)
                trial.rule, trial.engine = CHECK_NODES, self.engine_in(precision)
                tops.append(top_filters(trial.measure(crop, self.prepare(crop), lambda: None).magnitudes))
            overlaps.append(float((tops[0] & tops[1]).sum() / tops[0].sum()))
        return min(overlaps)

    def _rounding(self, crops: Sequence[DegradedImage]) -> float:
        """Return the largest share of the loss's change that is rounding in this precision."""
        engines = [self.engine_in(precision) for precision in (self.precision, "fp32")]
        return max(self.rounding_of(self.prepare(crop), engines) for crop in crops)

    def _crops(self, inputs: Inputs) -> list[DegradedImage]:
        """Return the centre of the first image of every degradation."""
        side = max(self.multiple, CHECK_SIDE * self.pair.scale // self.multiple * self.multiple)
        found = []
        for name, degradation in inputs.degradations.items():
            sample = inputs.samples[name][0]
            crop: Sample = Sample(sample.name, partial(self._centre, sample, side))
            if isinstance(sample, PairedSample):
                scale = self.pair.scale
                crop = part_of_pair(sample, scale, self.multiple, sample.name, partial(_centre_of, side // scale))
            found.append(DegradedImage(crop, degradation, name))
        return found

    def _centre(self, sample: Sample, side: int) -> Tensor:
        return center_crop(self.truth_of(sample), side).cpu()


def _centre_of(side: int, image: Tensor, unit: int) -> Tensor:
    """Return the central square of ``side`` LR pixels of ``(C, H, W)``, of which ``unit`` pixels are one of LR."""
    top, left = (max(0, (length // unit - side) // 2) * unit for length in image.shape[-2:])
    return image[..., top : top + side * unit, left : left + side * unit]


def _hash_of(image: Tensor) -> str:
    return hashlib.sha256(image.cpu().contiguous().numpy().tobytes()).hexdigest()
