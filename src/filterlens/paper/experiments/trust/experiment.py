# SPDX-License-Identifier: Apache-2.0
"""Trust in a ranking: is it stable, does it depend on what was learned, and does it find what carries the function."""

from filterlens.paper.experiment import Claim, Experiment, Outcome, Table, images_text, targets_text
from filterlens.paper.experiments.trust.curves import curve_claims, curve_panels, curve_tables, measure_curves
from filterlens.paper.experiments.trust.randomisation import (
    randomisation_claims,
    randomisation_panels,
    randomisation_table,
    randomise,
)
from filterlens.paper.experiments.trust.settings import TrustSettings
from filterlens.paper.experiments.trust.stability import (
    agreement_table,
    growth_panel,
    growth_table,
    measure_stability,
    stability_claims,
)
from filterlens.paper.laboratory import Laboratory
from filterlens.report.figures import Panel


def run(laboratory: Laboratory, settings: TrustSettings) -> Outcome:
    """Measure stability, randomise, and draw the curves of removal, for every pair."""
    claims: list[Claim] = []
    tables: list[Table] = []
    panels: list[Panel] = []
    for name in laboratory.common.pairs[: settings.pairs]:
        stability = measure_stability(laboratory, settings, name)
        claims += stability_claims(name, stability)
        tables += [agreement_table(name, stability), *growth_table(name, stability)]
        panels += growth_panel(name, stability)
        steps = randomise(laboratory, settings, name)
        claims += randomisation_claims(name, steps, stability)
        tables.append(randomisation_table(name, steps))
        panels += randomisation_panels(name, steps)
        curves = measure_curves(laboratory, settings, name)
        claims += curve_claims(name, curves)
        tables += curve_tables(name, curves)
        panels += curve_panels(name, curves)
    return Outcome(tuple(claims), tuple(tables), tuple(panels), _TEXT, _specification(laboratory, settings))


def _specification(laboratory: Laboratory, settings: TrustSettings) -> dict[str, str]:
    common = laboratory.common
    pairs = common.pairs[: settings.pairs]
    fewer = f"at most {settings.judged} images per pair, spread evenly"
    return {
        "target models": f"{targets_text(common)}; seeds of noise, numerics and randomisation: the shipped one",
        "found on": images_text(common.find),
        "checked on": f"seeds of noise, numerics and randomisation: at most {settings.checked} of these",
        "curves judged on": "; ".join(f"{name}: {images_text(common.judged_on(name))}" for name in pairs)
        + f"; {fewer}",
        "quadrature": f"adaptive with the tolerance {common.tolerance:g}; randomisation: Gauss-Legendre with "
        f"{settings.randomised_nodes} nodes on both sides",
        "seed": str(common.seed),
        "intervals": "of agreements: lowest and highest; of areas: 95 % bootstrap over images and target models",
    }


_TEXT = (
    "**Stability.** One thing is changed at a time, and the ranking before is compared with the one after: the share "
    "of the top filters that both have, and Spearman's rank correlation over all filters. Two random rankings share "
    "p % of their top p % and correlate by 0. The image sets are disjoint, so no image speaks for both sides.",
    "**Randomisation** (after Adebayo et al., *Sanity checks for saliency maps*, 2018). Layers of the target are "
    "randomised from the last one on, and the filters of the *remaining* layers are ranked anew. *Weights*: the "
    "target's weights and biases of a layer are shuffled within it. *Changes*: what fine-tuning changed there is "
    "shuffled, so that the network still works but this layer has lost what it learned in fine-tuning. A ranking that "
    "did not look at what the network computes would stay: the change of the weights does so by construction. The "
    "control, FAIG's scores shuffled within every layer, shows what knowing the layers alone is worth.",
    "**Faithfulness.** The first p % of a ranking get the baseline's values and the removal of the own function is "
    "measured (1: gone, and nothing else happened). The area is taken over log p and divided by the width, values "
    "clipped to [0, 1]. Filters are found on other images than those on which they are judged. Removal looks at the "
    "own function alone: what a ranking breaks besides, and so what the elimination in FAIG is for, is seen on other "
    "inputs, by cross damage and preservation on the page on masking.",
)

EXPERIMENT = Experiment(
    "trust",
    "Trust in a ranking",
    "stability over images, seeds and numerics; randomised layers; removal from 0.1 to 20 % of the filters",
    TrustSettings,
    run,
)
