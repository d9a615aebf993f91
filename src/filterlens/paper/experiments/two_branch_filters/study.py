# SPDX-License-Identifier: Apache-2.0
"""Everything that is measured on one two-branch network and on the one-branch network beside it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from filterlens.attribution.result import Attribution
from filterlens.data.samples import Sample
from filterlens.evaluation.damage import Edit
from filterlens.filters import Selection
from filterlens.paper.experiment import is_above
from filterlens.paper.experiments.two_branch_filters.branches import Branches
from filterlens.paper.experiments.two_branch_filters.contributions import Contributions, contributions_of
from filterlens.paper.experiments.two_branch_filters.edits import FAIG, RANDOM, mean_answers, swaps_of
from filterlens.paper.experiments.two_branch_filters.networks import Network, Peer
from filterlens.paper.experiments.two_branch_filters.settings import TwoBranchSettings
from filterlens.paper.experiments.two_branch_filters.shares import Shares, shares_of
from filterlens.paper.experiments.two_branch_filters.swaps import Swapped, swap
from filterlens.paper.images import evenly
from filterlens.paper.judged import Judged, judge, selections_of
from filterlens.paper.laboratory import Laboratory, TargetModel

LEARNT = 0.2  # dB that fine-tuning must have gained for certain: a function that was not learnt sits nowhere


@dataclass(frozen=True, eq=False)
class Study:
    """One two-branch network.

    Attributes:
        peer: The networks.
        kinds: The degradations whose functions are looked for.
        percent: Share of the filters that is replaced, the smallest of the page.
        shares: Where the found filters lie.
        one_shares: The same in the one-branch network.
        contributions: Of all parameters.
        swapped: What is left with branches or filters of the baseline.
        judged: Own and cross damage of the found filters, as on the page of the masking.
        one_judged: The same in the one-branch network.
    """

    peer: Peer
    kinds: Sequence[str]
    percent: float
    shares: Shares
    one_shares: Shares | None
    contributions: Contributions
    swapped: Swapped
    judged: Judged
    one_judged: Judged | None

    @property
    def label(self) -> str:
        """Name of the two-branch network."""
        return self.peer.two.label

    @property
    def branches(self) -> Branches:
        """Of the two-branch network."""
        return self.peer.two.branches

    @property
    def learnt(self) -> list[str]:
        """The degradations that fine-tuning taught the network to undo: a gain that is neither small nor uncertain."""
        gains = {kind: self.swapped.gain(kind) for kind in self.kinds}
        return [kind for kind, gain in gains.items() if gain.mean >= LEARNT and is_above(gain)]

    @property
    def networks(self) -> Iterator[tuple[Network, Shares, Judged]]:
        """Both networks with where their filters lie and what those do."""
        yield self.peer.two, self.shares, self.judged
        if self.peer.one is not None and self.one_shares is not None and self.one_judged is not None:
            yield self.peer.one, self.one_shares, self.one_judged


def study(laboratory: Laboratory, settings: TwoBranchSettings, peer: Peer) -> Study:
    """Measure everything on one peer."""
    judging = evenly(laboratory.judging(peer.two.setting), settings.judge_images)
    finding = evenly(laboratory.finding, settings.all_parameters_images)
    percent, two, one = min(settings.percents), peer.two, peer.one
    found = _found(laboratory, two)
    answers = mean_answers(laboratory, two.branches, two.models, laboratory.finding)
    swaps = [
        (model, swaps_of(model, two.branches, each, percent, answer))
        for model, each, answer in zip(two.models, found, answers, strict=True)
    ]
    return Study(
        peer,
        laboratory.common.degradations,
        percent,
        shares_of(laboratory, two.branches, two.models, settings.percents, settings.draws),
        None if one is None else shares_of(laboratory, one.branches, one.models, settings.percents, settings.draws),
        contributions_of(laboratory, two.branches, two.models, finding),
        swap(laboratory, swaps, judging),
        _judged(laboratory, two, found, percent, judging),
        None if one is None else _judged(laboratory, one, _found(laboratory, one), percent, judging),
    )


def _found(laboratory: Laboratory, network: Network) -> list[Mapping[str, Attribution]]:
    return [laboratory.attribute(model, [FAIG, RANDOM], laboratory.finding) for model in network.models]


def _judged(
    laboratory: Laboratory,
    network: Network,
    found: Sequence[Mapping[str, Attribution]],
    percent: float,
    samples: Sequence[Sample],
) -> Judged:
    kinds = laboratory.common.degradations
    edited: list[tuple[TargetModel, Mapping[Edit, Selection]]] = [
        (model, selections_of(each, [percent], kinds)) for model, each in zip(network.models, found, strict=True)
    ]
    return judge(laboratory, edited, samples, precision="fp32")  # what passes through the network is rounded too much
