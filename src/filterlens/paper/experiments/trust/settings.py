# SPDX-License-Identifier: Apache-2.0
"""What decides the page on trust: which rankings, how many splits, nodes, layers and points."""

from filterlens.paper.settings import Percent, Positive, Settings


class TrustSettings(Settings):
    """Settings of the trust in a ranking.

    Attributes:
        pairs: At most so many of the common pairs.
        percent: The top filters whose agreement is measured.
        stable_methods: Rankings whose stability over image sets is measured.
        splits: At most so many ways to split the discovery images, per size of the part.
        checked: At most so many discovery images for what needs new gradients (seeds, quadrature, precision,
            randomisation).
        noise_seeds: Further seeds of the noise.
        fine: Nodes of the fixed rule that others are compared with.
        nodes: Nodes of coarser fixed rules.
        randomised_methods: Rankings that the randomisation check is done on.
        randomised_nodes: Nodes of the fixed rule in the randomisation check.
        depths: Shares of the layers that are randomised, from the last layer on.
        kinds: Kinds of randomisation; see :data:`filterlens.attribution.randomised.KINDS`.
        curve_methods: Rankings whose faithfulness is measured.
        curve_percents: Points of the curves.
        judged: At most so many images to judge the curves on.
        level: Of removal that the fewest filters must reach.
    """

    pairs: Positive | None = None
    percent: Percent = 1.0
    stable_methods: tuple[str, ...] = ("faig", "faig-no-elimination", "taylor", "ig")
    splits: Positive = 20
    checked: Positive = 2
    noise_seeds: tuple[int, ...] = (1, 2)
    fine: Positive = 24
    nodes: tuple[Positive, ...] = (12, 6, 3)
    randomised_methods: tuple[str, ...] = ("faig", "taylor", "ig", "change-absolute")
    randomised_nodes: Positive = 8
    depths: tuple[float, ...] = (0.01, 0.25, 0.5, 0.75)
    kinds: tuple[str, ...] = ("weights", "changes")
    curve_methods: tuple[str, ...] = ("faig", "faig-no-elimination", "ig", "taylor", "change-absolute", "random")
    curve_percents: tuple[Percent, ...] = (0.1, 0.2, 0.35, 0.6, 1, 1.7, 3, 5, 10, 20)
    judged: Positive = 8
    level: float = 0.9
