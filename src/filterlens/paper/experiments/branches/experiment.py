# SPDX-License-Identifier: Apache-2.0
"""One branch against two: DAN and DASR beside plain networks of equal computation, trained by one recipe."""

from collections.abc import Iterator

from filterlens.execution.hardware import resolve_precision
from filterlens.metrics import specification
from filterlens.paper.experiment import Experiment, Outcome, images_text
from filterlens.paper.experiments.branches.claims import claims, sentence
from filterlens.paper.experiments.branches.figures import panels
from filterlens.paper.experiments.branches.judging import PRECISION
from filterlens.paper.experiments.branches.settings import BranchesSettings
from filterlens.paper.experiments.branches.study import Study, study
from filterlens.paper.experiments.branches.tables import tables
from filterlens.paper.laboratory import Laboratory
from filterlens.paper.peers.arms import Setting, arms_of, published_arms, settings_of
from filterlens.paper.peers.settings import PeerSettings, Steps
from filterlens.report.labels import listed

SMOKE = 1000  # steps on degraded inputs, below which no arm is near its end
PUBLISHED_SCALES = (2, 4)


def run(laboratory: Laboratory, settings: BranchesSettings) -> Outcome:
    """Train, judge, and compare."""
    peers = laboratory.common.peers
    trained = arms_of(peers)
    published = [(scale, published_arms(scale)) for scale in PUBLISHED_SCALES]
    found = study(laboratory, settings)
    sizes = [(f"here, x{peers.scale}", trained), *((f"published, x{scale}", arms) for scale, arms in published)]
    return Outcome(
        tuple(claims(found, trained, published)),
        tuple(tables(found, sizes)),
        tuple(panels(found)),
        tuple(_text(peers, found)),
        _specification(laboratory, settings),
        _data(found),
    )


def _text(peers: PeerSettings, found: Study) -> Iterator[str]:
    yield "Does one branch match two? " + " ".join(
        f"**{compared.setting.name}**: {sentence(compared)}." for compared in found.compared
    )
    yield knowledge(found)
    if peers.target.iterations < SMOKE:
        yield (
            f"**This is a smoke run**: {peers.target.iterations} steps of {peers.batch} patches on degraded inputs "
            "show that everything works. They do not show which arm is better; longer recipes train on."
        )
    if peers.dan or peers.dasr:
        yield (
            "The networks are smaller than the published ones, both arms of a peer by the same factor: "
            f"DAN has {_changed(peers.dan)}, DASR {_changed(peers.dasr)}; each SRResNet has its peer's width and is as "
            "deep as its multiply-adds allow. What holds for small networks and short trainings need not hold for "
            "large ones; the recipe `full` trains the published sizes."
        )
    yield (
        "One recipe trains both arms of a setting: the same images, patches, degradations, steps, rates and seeds. "
        "Three things are the peers' own: DAN also learns the code of the blur kernel, which the training knows; "
        "DASR's encoder learns by contrast, with steps of its own on top of the common ones; and since they lack the "
        "skip that SRResNet has, they begin as an upsampler, their degradation branches blind to brightness. That "
        "start was chosen in short trials; SRResNet's is the usual one."
    )
    yield (
        "The paper does not say on which images, at which scale, with which noise, and in which channel it compared "
        "the arms. Chosen here, and changed in the recipe: the scale, the noise level, the images, and the channel, "
        "which are stated below; the blur ranges and test kernels are those of DAN's first setting (isotropic, tested "
        "with Gaussian8) and of DASR (isotropic; anisotropic with noise), and DAN's noise is that of DASR."
    )


def knowledge(found: Study) -> str:
    """Say which degradation branches know anything of the degradation, and what follows where they do not."""
    asked = [(f"DAN's estimator of the kernel in {codes.setting.name}", codes.knows) for codes in found.codes]
    asked += [
        (f"DASR's encoder of the {probe.question.name} in {probe.setting.name}", probe.knows) for probe in found.probes
    ]
    knowing = [name for name, knows in asked if knows]
    ignorant = [name for name, knows in asked if not knows]
    against = "(DAN against a constant code, DASR against random weights)"
    text = f"What the degradation branches have learnt {against}: "
    text += f"{listed(knowing)} can say more than without looking." if knowing else "none has learnt its task."
    if not ignorant:
        return text
    not_so = f"Not so {listed(ignorant)}: there, the" if knowing else "The"
    return (
        f"{text} {not_so} two-branch network restores without knowing the degradation, and the comparison says nothing "
        "of what such knowledge is worth."
    )


def _changed(size: dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in size.items()) or "the published size"


def _specification(laboratory: Laboratory, settings: BranchesSettings) -> dict[str, str]:
    common = laboratory.common
    peers = common.peers
    tasks = settings_of(peers)
    seeds = peers.seeds or common.targets
    fewer = "" if settings.judge_images is None else f" (of these at most {settings.judge_images}, spread evenly)"
    return {
        "scale": f"x{peers.scale}",
        "seeds": f"{seeds} per arm and setting; "
        + ("one baseline per arm" if peers.shared_baseline else "each with a baseline of its own"),
        "trained on": "; ".join(images_text(wanted) for wanted in common.train),
        "trained for": "; ".join(f"{task.name}: {_coins(task)}" for task in tasks),
        "judged on": images_text(common.judged_on("*")) + fewer,
        "tests": "; ".join(f"{task.name}: {', '.join(task.tests)}" for task in tasks),
        "baseline": f"clean inputs, {_stage(peers.baseline, peers)}",
        "target": f"from the baseline, {_stage(peers.target, peers)}",
        "contrast": f"{peers.contrast.baseline_iterations} and {peers.contrast.target_iterations} further steps of "
        f"DASR's encoder alone, queue {peers.contrast.queue}, momentum {peers.contrast.momentum:g}, temperature "
        f"{peers.contrast.temperature:g}",
        "training": f"L1, Adam, moving average {peers.ema:g}, {resolve_precision('auto', laboratory.device)}",
        "PSNR": f"{specification(peers.scale, settings.channel)}; RGB and Y are both in the tables",
        "precision of the judged networks": f"{PRECISION}, since bfloat16 rounds more where no skip carries the image",
        "probe": f"logistic regression, fitted on {settings.probe_squares} squares of {settings.probe_patch} HR pixels "
        f"from each of at most {settings.probe_images} training images, asked about as many from each judging image",
    }


def _coins(task: Setting) -> str:
    return " and ".join(text for text, _ in task.degradations)


def _stage(steps: Steps, peers: PeerSettings) -> str:
    return (
        f"{steps.iterations:,} steps of {peers.batch} patches of {peers.patch}x{peers.patch} HR pixels, rate up to "
        f"{steps.learning_rate:g}, cosine"
    )


def _data(found: Study) -> dict[str, object]:
    """Return the PSNR of every seed, image and test, and the training curves."""
    return {
        compared.setting.name: {
            "tests": list(compared.setting.tests),
            "psnr": {f"{who}, {channel}": values.tolist() for (who, channel), values in compared.psnr.items()},
            "losses": {who: found.losses[compared.setting.name, who] for who in compared.arms},
        }
        for compared in found.compared
    }


EXPERIMENT = Experiment(
    "branches",
    "One branch against two branches",
    "DAN and DASR against plain networks of equal computation, trained by one recipe; and whether the peers work",
    BranchesSettings,
    run,
)
