# SPDX-License-Identifier: Apache-2.0
"""Adapters: how good a base with 0.5 to 10 % of the filters as a file is, and how large the file."""

from collections.abc import Iterator

from filterlens.metrics import specification
from filterlens.paper.experiment import Experiment
from filterlens.paper.experiments.adapters.claims import claims
from filterlens.paper.experiments.adapters.settings import AdapterSettings
from filterlens.paper.experiments.adapters.study import study
from filterlens.paper.experiments.adapters.tables import panels, tables
from filterlens.paper.laboratory import Laboratory
from filterlens.paper.outcome import Claim, Outcome, Table
from filterlens.paper.words import images_text, seeds_text
from filterlens.report.figures import Panel
from filterlens.report.labels import method_label

SMOKE = 500  # steps, below which re-training shows only that it works


def run(laboratory: Laboratory, settings: AdapterSettings) -> Outcome:
    """Make, file, judge and weigh the adapters of every pair."""
    said: list[Claim] = []
    shown: list[Table] = []
    drawn: list[Panel] = []
    for name in laboratory.common.pairs[: settings.pairs]:
        found = study(laboratory, settings, name)
        said += claims(found)
        shown += tables(found, specification(laboratory.targets(name)[0].pair.scale))
        drawn += panels(found)
    text = tuple(_text(settings))
    return Outcome(tuple(said), tuple(shown), tuple(drawn), text, _specification(laboratory, settings))


def _text(settings: AdapterSettings) -> Iterator[str]:
    yield (
        "Every adapter was written to a file and read back before it was judged. On the baseline, strength 1 sets the "
        "filters that were found in the target to the target's values and leaves all else, biases included, as it is; "
        "on the target, strength 0 sets them to the baseline's."
    )
    yield (
        "The filters of a target were fine-tuned together with all others, so nothing promises that a few of them work "
        "in the baseline. Re-trained adapters hold the same locations, trained in the baseline on one degradation, as "
        "`filterlens retrain` does it and `filterlens adapter export --retrained` writes it."
    )
    if settings.retrained and settings.iterations < SMOKE:
        yield (
            f"**The re-training is a smoke run**: {settings.iterations} steps of {settings.batch} patches show that it "
            "works, not where it arrives."
        )


def _specification(laboratory: Laboratory, settings: AdapterSettings) -> dict[str, str]:
    common = laboratory.common
    pairs = common.pairs[: settings.pairs]
    trained = (
        f"{', '.join(f'{each:g} %' for each in settings.retrained)} of the filters, {settings.iterations} steps of "
        f"{settings.batch} patches, rate {settings.learning_rate:g}, on {'; '.join(map(images_text, common.train))}"
        if settings.retrained
        else "nothing"
    )
    return {
        "target models": seeds_text(laboratory),
        "filters": f"found by {method_label(settings.method)} on {images_text(common.find)}",
        "judged on": "; ".join(f"{name}: {images_text(common.judged_on(name))}" for name in pairs),
        "re-trained": trained,
        "precision of the judged networks": laboratory.judge_precision,
        "seed of the noise": str(common.seed),
    }


EXPERIMENT = Experiment(
    "adapters",
    "Adapters: 1 % of the filters as a file",
    "quality of baseline and target with small adapters, and the sizes of the files",
    AdapterSettings,
    run,
)
