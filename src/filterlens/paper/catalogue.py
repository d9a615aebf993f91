# SPDX-License-Identifier: Apache-2.0
"""All experiments by name, in the order of the pages."""

from filterlens.paper import (
    baselines,
    boundary,
    classification,
    distribution,
    gradients,
    masking,
    modulation,
    retraining,
    three_degradations,
    trust,
)
from filterlens.paper.experiment import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    each.name: each
    for each in (
        masking.EXPERIMENT,
        retraining.EXPERIMENT,
        distribution.EXPERIMENT,
        baselines.EXPERIMENT,
        gradients.EXPERIMENT,
        boundary.EXPERIMENT,
        classification.EXPERIMENT,
        modulation.EXPERIMENT,
        three_degradations.EXPERIMENT,
        trust.EXPERIMENT,
    )
}
