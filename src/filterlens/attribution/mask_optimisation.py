# SPDX-License-Identifier: Apache-2.0
"""The best set of a given number of filters, as a continuous problem: one weight in [0, 1] per filter, and a budget.

A filter with weight m_i has the value θ_i + m_i (θ̄_i − θ_i): 0 leaves it at the target, 1 puts it back to the baseline.
The weights are m = sigmoid(β s − t) of free numbers s, with t such that Σ m is the budget; Adam moves s down the
gradient of the objective, and β grows, so that m ends near 0 and 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from filterlens.arguments import real_number, whole_number
from filterlens.degradations.randomness import derive_seed
from filterlens.filters import ranking

LOOKS = 4  # how often a ranking is judged on the crops that were kept aside
BISECTIONS = 60
TINY = 1e-30


@dataclass(frozen=True)
class Schedule:
    """How the weights of the filters are optimised.

    Attributes:
        steps: Gradients to follow.
        rate: Step size of Adam on s, in units of log-odds; it falls linearly to a tenth.
        sharpness: β at the end; it grows geometrically from 1.
        momentum: Adam's two decay rates.
        share: Share of the filters, Σ m.
    """

    steps: int = 144
    rate: float = 0.5
    sharpness: float = 3.0
    momentum: tuple[float, float] = (0.8, 0.98)
    share: float = 0.01

    def __post_init__(self) -> None:
        whole_number(self.steps, "steps", 1)
        real_number(self.rate, "rate", above=0)
        real_number(self.sharpness, "sharpness", above=0)
        real_number(self.share, "share of the filters", above=0, below=1)
        for momentum in self.momentum:
            real_number(momentum, "momentum", least=0, below=1)

    def rate_at(self, step: int) -> float:
        """Return the step size at a step, counted from 0."""
        return self.rate * (1 - 0.9 * step / self.steps)

    def sharpness_at(self, step: int) -> float:
        """Return β at a step, counted from 0."""
        return float(self.sharpness ** (step / self.steps))

    @property
    def moments(self) -> list[int]:
        """After how many steps the ranking is judged."""
        return sorted({max(1, self.steps * look // LOOKS) for look in range(1, LOOKS + 1)})

    def budget(self, filters: int) -> int:
        """Return Σ m for a network of that many filters: at least one."""
        return max(1, int(filters * self.share + 1e-9))


def rank_logits(scores: Tensor) -> Tensor:
    """Return the log-odds of the ranks, highest score highest: log((r + ½) / (n − r − ½)), float64 ``(filters,)``.

    Only the order of the scores counts; equal scores are ordered by index, the lower one above.
    """
    count = len(scores)
    order = torch.sort(scores, descending=True, stable=True).indices
    ranks = torch.empty(count, dtype=torch.float64)
    ranks[order] = torch.arange(count - 0.5, 0, -1, dtype=torch.float64)
    return torch.log(ranks / (count - ranks))


def budgeted(logits: Tensor, budget: float) -> Tensor:
    """Return sigmoid(logits − t) with t such that they sum to the budget, found by bisection.

    Args:
        logits: ``(filters,)``.
        budget: Above 0 and below the number of filters.
    """
    margin = math.log(len(logits)) + 40
    low, high = float(logits.min()) - margin, float(logits.max()) + margin
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if float(torch.sigmoid(logits - middle).sum()) > budget:
            low = middle
        else:
            high = middle
    return torch.sigmoid(logits - high)


def through_budget(gradient: Tensor, mask: Tensor) -> Tensor:
    """Turn ∂J/∂m into ∂J/∂s for m = sigmoid(s − t(s)), whose sum t keeps at the budget.

    With w = m (1 − m) it is w_i (g_i − Σ w g / Σ w): only a filter that does more than the others at the margin
    gains weight, at their cost. Without the second term Adam, which sees signs rather than sizes, would raise every
    filter that helps at all.
    """
    slope = mask * (1 - mask)
    return slope * (gradient - (slope * gradient).sum() / (slope.sum() + TINY))


def optimise_mask(
    start: Tensor,
    gradient_at: Callable[[int, Tensor], Tensor],
    schedule: Schedule,
    visit: Callable[[int, Tensor], None] = lambda step, logits: None,
) -> Tensor:
    """Follow the objective's gradient from a ranking to a better one.

    Args:
        start: s to begin with, ``(filters,)``; see :func:`rank_logits`.
        gradient_at: (step, m) → ∂J/∂m ``(filters,)``; it may come from another part of the data at every step.
        schedule: Steps, step size, sharpness, budget.
        visit: Function called after every step with the number of steps done and s.

    Returns:
        s at the end, ``(filters,)`` float64: the higher, the more the filter belongs to the set.
    """
    s = start.double().clone()
    budget = min(schedule.budget(len(s)), len(s) - 1)
    first, second = torch.zeros_like(s), torch.zeros_like(s)
    fast, slow = schedule.momentum
    for step in range(schedule.steps):
        beta = schedule.sharpness_at(step)
        m = budgeted(beta * s, budget)
        descent = through_budget(gradient_at(step, m).double(), m) * beta
        first.lerp_(descent, 1 - fast)
        second.lerp_(descent.square(), 1 - slow)
        mean, spread = first / (1 - fast ** (step + 1)), second / (1 - slow ** (step + 1))
        s -= schedule.rate_at(step) * mean / (spread.sqrt() + TINY)
        visit(step + 1, s)
    return s


def joined(best: Tensor, rest: Tensor, count: int) -> Tensor:
    """Rank the first ``count`` filters of one ranking, and behind them all others as another ranking has them.

    The optimised numbers say which filters belong to the set of the budgeted size; of the filters outside they only say
    that these are not needed, while the one-shot score still says what they would disturb.

    Args:
        best: ``(filters,)``.
        rest: ``(filters,)``.
        count: Number of filters taken from ``best``.

    Returns:
        Log-odds of the places, ``(filters,)`` float64.
    """
    first = ranking(best)[:count]
    inside = torch.zeros(len(best), dtype=torch.bool)
    inside[first] = True
    others = ranking(rest)
    order = torch.cat([first, others[~inside[others]]])
    places = torch.empty(len(best), dtype=torch.float64)
    places[order] = -torch.arange(len(best), dtype=torch.float64)
    return rank_logits(places)


def in_rounds(crops: int, steps: int, key: str) -> list[int]:
    """Return the crop of every step: all of them in a new order each round."""
    generator = torch.Generator().manual_seed(derive_seed("rounds", key))
    rounds = [torch.randperm(crops, generator=generator) for _ in range(-(-steps // crops))]
    order: list[int] = torch.cat(rounds)[:steps].tolist()
    return order
