# SPDX-License-Identifier: Apache-2.0
"""The settings of an attribution: one class for Python keywords, command options and the record in run.json."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias, get_args

from pydantic import BeforeValidator, PlainValidator, model_validator
from pydantic_core import PydanticKnownError

from filterlens.arguments import real_number, seed_number
from filterlens.attribution.quadrature import RULES, Adaptive, Quadrature
from filterlens.errors import UsageError, unknown
from filterlens.settings import Real, Settings, Shown, Whole

Word = Literal["truth", "target", "baseline"]
if TYPE_CHECKING:
    from torch import Tensor

    from filterlens.attribution.objectives import Objective

    AnyObjective: TypeAlias = Word | Objective | Callable[[Tensor, Tensor], Tensor]
else:  # help is written without PyTorch
    AnyObjective = Any
Rule = Quadrature | Adaptive
RULE_NAMES = (Adaptive.rule, *RULES)


@dataclass(frozen=True)
class Conventions:
    """Choices that decide the numbers: how inputs are made and how integrals are computed.

    Attributes:
        name: ``default``, or ``reference`` for the reference implementation's choices.
        resampler: Filter of the down-sampling.
        multiple: Number that divides the sides of the cut HR images, in addition to the scale.
        parameter_rule: Rule of integrals on the parameter path (FAIG).
        input_rule: Rule of integrals on the input path (IG).
        precision: Meaning of ``auto``; None lets the hardware decide.
    """

    name: str
    resampler: str = "bicubic"
    multiple: int = 1
    parameter_rule: Rule = field(default_factory=Adaptive)
    input_rule: Quadrature = field(default_factory=lambda: Quadrature("gauss-legendre", 8))
    precision: str | None = None


CONVENTIONS = {
    "default": Conventions("default"),
    # Bilinear although called bicubic; 100 nodes counted from the target; images cut to multiples of 12; float32.
    "reference": Conventions("reference", "bilinear", 12, Quadrature("right", 100), Quadrature("left", 100), "fp32"),
}


def _memory(value: Any) -> float | None:
    return None if value is None else real_number(value, "memory in GiB", above=0)


def _objective(value: Any) -> Any:
    """Return one of the three words, or an objective; a word keeps the error of a word."""
    words = get_args(Word)
    if isinstance(value, str) and value not in words:
        raise PydanticKnownError("literal_error", {"expected": " or ".join(map(repr, words))})
    return value


class AttributeSettings(Settings):
    """How filters are ranked.

    Attributes:
        protocol: default, or reference: the reference implementation's choices exactly.
        objective: Reference of the attributed distance: truth (as in the paper), target or baseline.
        loss: The attributed distance: squared (as in the paper), l1, charbonnier, psnr (in dB) or lpips.
        contrast: With three or more degradations: against the mean or the max of the others.
        quadrature: adaptive (as many nodes as each image needs), gauss-legendre, midpoint, trapezoid, left or right.
        nodes: Fixed number of gradients per image and degradation.
        tolerance: Largest error of the integrals, as a share of the change; nodes are added until it is met.
        precision: auto (bf16 where the hardware is good at it), fp32 or bf16.
        seed: Seed of noise and random choices; the same seed gives the same result.
        channels: as-they-are, or y: colour images become luma (ITU-R BT.601, 16 to 235) for a network of one channel.
        memory: Memory for activations in GiB; larger images are cut into exact tiles.
    """

    protocol: Literal["default", "reference"] = "default"
    objective: Annotated[AnyObjective, PlainValidator(_objective)] = "truth"
    loss: Literal["squared", "l1", "charbonnier", "psnr", "lpips"] = "squared"
    contrast: Literal["mean", "max"] = "mean"
    quadrature: Annotated[str | Rule | None, Shown("adaptive")] = None
    nodes: Whole | None = None
    tolerance: Annotated[Real | None, Shown("0.01")] = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: Annotated[int, BeforeValidator(seed_number)] = 0
    channels: Literal["as-they-are", "y"] = "as-they-are"
    memory: Annotated[float | None, BeforeValidator(_memory), Shown("half of what is free, at most 4")] = None

    @model_validator(mode="before")
    @classmethod
    def _objective_in_words(cls, given: Any) -> Any:
        """Write an objective that two words say as these, so that one objective has one record."""
        value = given.get("objective") if isinstance(given, dict) else None
        if value is None or isinstance(value, str):
            return given
        from filterlens.attribution.objectives import LOSSES, as_objective

        objective = as_objective(value)
        named = next((name for name, each in LOSSES.items() if type(objective) is each), None)
        if named is None or objective.facts != LOSSES[named](to=objective.to).facts:
            return given | {"objective": objective}
        if given.get("loss", named) != named:
            raise UsageError(f"loss = {given['loss']} contradicts the objective {objective}: leave one of them out.")
        return given | {"objective": objective.to, "loss": named}

    @model_validator(mode="after")
    def _objective_is_one(self) -> Self:
        if not isinstance(self.objective, str) and self.loss != type(self).model_fields["loss"].default:
            raise UsageError(f"The objective '{self.objective}' is a loss of its own: leave out loss = {self.loss}.")
        if self.objective != "truth" or self.loss != "squared":
            _ = self.attributed
        return self

    @model_validator(mode="after")
    def _rule_is_one(self) -> Self:
        self.rule(self.conventions.parameter_rule)
        return self

    @property
    def conventions(self) -> Conventions:
        """The protocol's choices."""
        return CONVENTIONS[self.protocol]

    @property
    def attributed(self) -> "Objective":
        """The objective that the settings name."""
        from filterlens.attribution.objectives import as_objective

        return as_objective(self.objective, self.loss)

    def rule(self, usual: Rule) -> Rule:
        """Return the rule of an integral.

        Args:
            usual: Rule to use where nothing is set; ``nodes`` alone keeps its fixed rule, or else takes Gauss-Legendre.

        Raises:
            UsageError: The three settings contradict each other, or the nodes or the tolerance are not legal.
        """
        if isinstance(self.quadrature, Rule):
            if self.nodes is not None or self.tolerance is not None:
                raise UsageError(f"The rule '{self.quadrature}' has its own nodes: leave out nodes and tolerance.")
            return self.quadrature
        if self.quadrature is not None and self.quadrature not in RULE_NAMES:
            raise unknown("quadrature", self.quadrature, RULE_NAMES)
        fixed = self.nodes is not None or self.quadrature not in (None, Adaptive.rule)
        if fixed and self.tolerance is not None:
            raise UsageError("--tolerance is for adaptive nodes; with a fixed rule or --nodes it has no meaning.")
        if self.nodes is not None and self.quadrature == Adaptive.rule:
            raise UsageError("--nodes is for fixed rules; adaptive ones take --tolerance.")
        if fixed:
            like = usual if isinstance(usual, Quadrature) else Quadrature()
            return Quadrature(self.quadrature or like.rule, like.nodes if self.nodes is None else self.nodes)
        if self.tolerance is not None:
            return Adaptive(self.tolerance)
        return Adaptive() if self.quadrature else usual

    @property
    def is_adaptive(self) -> bool:
        """Whether adaptive nodes are requested."""
        return self.quadrature == Adaptive.rule or isinstance(self.quadrature, Adaptive) or self.tolerance is not None

    def changed(self) -> set[str]:
        """Return the names of the settings that are not at their defaults."""
        return {name for name, each in type(self).model_fields.items() if getattr(self, name) != each.default}

    def only(self, names: Collection[str]) -> Self:
        """Return the settings with all but the named ones at their defaults."""
        return type(self)(**{name: getattr(self, name) for name in self.changed() & set(names)})
