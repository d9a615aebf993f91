# SPDX-License-Identifier: Apache-2.0
"""All experiments by name, in the order of the pages."""

from filterlens.paper.experiment import Experiment
from filterlens.paper.experiments.adapters.page import EXPERIMENT as ADAPTERS
from filterlens.paper.experiments.baselines import EXPERIMENT as BASELINES
from filterlens.paper.experiments.boundary.page import EXPERIMENT as BOUNDARY
from filterlens.paper.experiments.branches.page import EXPERIMENT as BRANCHES
from filterlens.paper.experiments.classification.page import EXPERIMENT as CLASSIFICATION
from filterlens.paper.experiments.distribution import EXPERIMENT as DISTRIBUTION
from filterlens.paper.experiments.goal_directed import EXPERIMENT as GOAL_DIRECTED
from filterlens.paper.experiments.gradients import EXPERIMENT as GRADIENTS
from filterlens.paper.experiments.masking import EXPERIMENT as MASKING
from filterlens.paper.experiments.modulation import EXPERIMENT as MODULATION
from filterlens.paper.experiments.retraining.page import EXPERIMENT as RETRAINING
from filterlens.paper.experiments.three_degradations.page import EXPERIMENT as THREE_DEGRADATIONS
from filterlens.paper.experiments.trust.page import EXPERIMENT as TRUST
from filterlens.paper.experiments.two_branch_filters.page import EXPERIMENT as TWO_BRANCH_FILTERS

EXPERIMENTS: dict[str, Experiment] = {
    each.name: each
    for each in (
        MASKING,
        RETRAINING,
        DISTRIBUTION,
        CLASSIFICATION,
        BASELINES,
        GRADIENTS,
        MODULATION,
        THREE_DEGRADATIONS,
        TRUST,
        BOUNDARY,
        GOAL_DIRECTED,
        BRANCHES,
        TWO_BRANCH_FILTERS,
        ADAPTERS,
    )
}
