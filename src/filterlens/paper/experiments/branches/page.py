# SPDX-License-Identifier: Apache-2.0
"""The page on one branch against two: DAN and DASR next to plain networks of equal computation, by one recipe."""

from collections.abc import Iterator, Sequence

import numpy as np

from filterlens.degradations import Degradation
from filterlens.evaluation.statistics import Estimate
from filterlens.execution.hardware import resolve_precision
from filterlens.metrics import CHANNELS, specification
from filterlens.paper import drawing
from filterlens.paper.experiment import (
    Cell,
    Claim,
    Experiment,
    Outcome,
    Part,
    Row,
    Table,
    Verdict,
    images_text,
    is_above,
)
from filterlens.paper.experiments.branches.knowledge import (
    BASELINE,
    CONSTANT,
    DELTA,
    TRAINED,
    UNTRAINED,
    Codes,
    Probed,
)
from filterlens.paper.experiments.branches.measure import (
    FLOOR,
    ONE,
    PRECISION,
    TWO,
    BranchesSettings,
    Compared,
    Study,
    measure,
)
from filterlens.paper.laboratory import Laboratory
from filterlens.paper.peers.arms import Arm, Setting, arms_of, published_arms, settings_of
from filterlens.paper.peers.settings import PeerSettings, Steps
from filterlens.paper.published import BRANCHES, PEER_PARAMETERS, PEER_QUALITY
from filterlens.report.figures import Panel, safe_name
from filterlens.report.labels import count, fixed, listed, signed, whole_percent, with_interval

PAPER = "paper, one branch against two"
OWN = "filterlens"
SIMILAR = 0.1  # multiply-adds that differ by less count as equal
EQUAL = 0.01  # parameters that differ by less are the published ones
SMOKE = 1000  # steps on degraded inputs, below which no arm is near its end
PUBLISHED_SCALES = (2, 4)
PUBLISHED = "published"
ENCODERS = (TRAINED, BASELINE, UNTRAINED)
INTERVALS = "Intervals are 95 %, bootstrap over images and seeds"
PAIRED = f"{INTERVALS}; both arms restore the same images, and learnt from the same patches."
SHOWN = tuple(reversed(CHANNELS))  # Y first, as the peers' papers have it
ANSWERS = {True: "yes", False: "no", None: "not decided"}

Sizes = Sequence[tuple[str, int, Sequence[Arm]]]  # here or published, scale, arms: each peer and its one branch


def run(laboratory: Laboratory, settings: BranchesSettings) -> Outcome:
    """Train, judge, and compare."""
    peers = laboratory.common.peers
    found = measure(laboratory, settings)
    published = ((PUBLISHED, scale, published_arms(scale)) for scale in PUBLISHED_SCALES)
    sizes = [("here", peers.scale, arms_of(peers)), *published]
    return Outcome(
        tuple(claims(found, sizes)),
        tuple(_tables(found, sizes)),
        tuple(_panels(found)),
        tuple(_text(peers, found)),
        _specification(laboratory, settings),
        {
            compared.setting.name: {
                "tests": list(compared.setting.tests),
                "psnr": {f"{who}, {channel}": values.tolist() for (who, channel), values in compared.psnr.items()},
                "losses": {who: found.losses[compared.setting.name, who] for who in compared.arms},
            }
            for compared in found.compared
        },
    )


def claims(found: Study, sizes: Sizes) -> Iterator[Claim]:
    """Judge the paper's first claim, and whether the two-branch networks do what their papers say.

    Args:
        found: The measurements.
        sizes: The arms trained here, and those in published sizes.
    """
    yield from (_matches(compared) for compared in found.compared)
    yield _is_no_worse(found.compared)
    yield _cost(sizes)
    yield _parameters(sizes)
    for start, name, source in (
        (DELTA, "the delta kernel's, where it starts", "paper of DAN"),
        (CONSTANT, "the best answer that does not look at the image", OWN),
    ):
        yield _finds_kernels(found.codes, start, name, source)
    yield _separates(found.probes)
    yield _beats_bicubic(found.compared)


def _matches(compared: Compared) -> Claim:
    arms = compared.arms
    trainings = "1 training each" if compared.seeds == 1 else f"{compared.seeds} seeds"
    return Claim(
        f"{compared.setting.name}: one branch ({arms[ONE].label}) matches two ({arms[TWO].label}) within "
        f"{compared.margin:g} dB",
        PAPER,
        Verdict.of([compared.matches]),
        f"{sentence(compared)} ({trainings}, {compared.images} images, {len(compared.setting.tests)} tests)",
    )


def sentence(compared: Compared) -> str:
    """Say in one plain sentence whether one branch matches two in a setting."""
    margin = f"±{compared.margin:g} dB"
    levels = " against ".join(f"{fixed(compared.quality(who).mean)} dB with {who}" for who in (ONE, TWO))
    text = f"{levels}, {compared.channel.upper()}: one − two = {with_interval(compared.gain, signed, ' dB')}"
    if not compared.is_decidable:
        return f"{text}; one training of each does not tell a difference of branches from one of seeds"
    if compared.matches:
        return f"{text}, wholly inside {margin}: one branch matches two"
    if compared.matches is None:
        return f"{text}, which reaches over the edge of {margin}: not decided"
    return f"{text}, wholly outside {margin}: one branch is {'better' if compared.gain.mean > 0 else 'worse'}"


def _is_no_worse(every: Sequence[Compared]) -> Claim:
    words = [f"{each.setting.name} {with_interval(each.gain, signed)} ({ANSWERS[each.is_no_worse]})" for each in every]
    return Claim(
        f"In no setting is one branch more than {every[0].margin:g} dB below two branches",
        OWN,
        Verdict.of(each.is_no_worse for each in every),
        f"one − two in dB: {'; '.join(words)}",
    )


def _cost(sizes: Sizes) -> Claim:
    def judged(two: Arm, one: Arm, where: str) -> Part:
        ratio = _cost_ratio(one, two)
        return [abs(ratio - 1) <= SIMILAR], f"{one.label} has {100 * ratio:.1f} % of {two.label}'s ({where})"

    places = {f"published size, x{scale}" if size == PUBLISHED else size: arms for size, scale, arms in sizes}
    return Claim.of(
        f"Both arms compute equally much: their multiply-adds differ by at most {whole_percent(SIMILAR)}",
        OWN,
        [judged(two, one, where) for where, arms in places.items() for two, one in _pairs(arms)],
    )


def _pairs(arms: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """Return each two-branch network with its one-branch network."""
    return list(zip(arms[::2], arms[1::2], strict=True))


def _cost_ratio(arm: Arm, two: Arm) -> float:
    return arm.complexity.multiply_adds / two.complexity.multiply_adds


def _parameters(sizes: Sizes) -> Claim:
    parts: list[Part] = []
    for size, scale, arms in sizes:
        for two, _ in _pairs(arms):
            wanted, has = PEER_PARAMETERS.get((two.peer, scale)), two.complexity.parameters
            if size == PUBLISHED and wanted is not None:
                words = f"{two.label} x{scale} has {count(has)}, published {count(wanted)}"
                parts.append(([abs(has / wanted - 1) <= EQUAL], words))
    return Claim.of(
        f"DAN and DASR have the published numbers of parameters, within {whole_percent(EQUAL)}",
        "papers of DAN and DASR",
        parts,
    )


def _finds_kernels(every: Sequence[Codes], start: str, name: str, source: str) -> Claim:
    checks = [is_above(codes.nearer(test, start)) for codes in every for test in codes.tests]
    words = []
    for codes in every:
        ways = {test: codes.way(test, start).mean for test in codes.tests}
        least, most = min(ways, key=lambda test: ways[test]), max(ways, key=lambda test: ways[test])
        ends = " to ".join(f"{whole_percent(ways[test])} ({test})" for test in (least, most))
        words.append(f"{codes.setting.name}: {ends}")
    return Claim(
        f"DAN's code is nearer to the true kernel's than {name}, for every test kernel",
        source,
        Verdict.of(checks),
        f"{sum(checks)} of {len(checks)} kernels; of the way to the truth: {'; '.join(words)}",
    )


def _separates(every: Sequence[Probed]) -> Claim:
    def judged(probe: Probed) -> Part:
        gains = [is_above(probe.gain(control)) for control in (UNTRAINED, BASELINE)]
        right = {encoder: whole_percent(probe.accuracy(encoder).mean) for encoder in ENCODERS}
        return [is_above(probe.accuracy(TRAINED), probe.chance), *gains], (
            f"{probe.question.name} in {probe.setting.name}: {right[TRAINED]} right, against {right[UNTRAINED]} with "
            f"random weights, {right[BASELINE]} with the baseline's and {whole_percent(probe.chance)} by chance"
        )

    return Claim.of(
        "DASR's features separate degradations: a linear probe reads blur and noise better from them than by chance, "
        "from an untrained encoder, and from the baseline's",
        "paper of DASR",
        map(judged, every),
        end=f" (squares of {every[0].right[TRAINED].shape[1]} images that the probe was not fitted on)",
    )


def _beats_bicubic(every: Sequence[Compared]) -> Claim:
    gains = {(compared.setting.name, who): compared.difference(who, FLOOR) for compared in every for who in (TWO, ONE)}
    checks = [is_above(gain) for gain in gains.values()]
    name, least = min(gains, key=lambda place: gains[place].mean)
    failed = [f"{who} in {setting}" for (setting, who), ok in zip(gains, checks, strict=True) if not ok]
    beaten = f"; not above it: {listed(failed)}" if failed else ""
    return Claim(
        f"Every arm beats bicubic upsampling in every setting ({every[0].channel.upper()})",
        OWN,
        Verdict.of(checks),
        f"{sum(checks)} of {len(checks)}; the least gain is that of {least} in {name}, "
        f"{with_interval(gains[name, least], signed, ' dB')}{beaten}",
    )


def _tables(found: Study, sizes: Sizes) -> Iterator[Table]:
    yield settings_table(found.compared)
    yield complexity_table(sizes)
    yield from (_tests(compared) for compared in found.compared)
    yield _code_table(found.codes)
    yield _probe_table(found.probes)


def settings_table(every: Sequence[Compared]) -> Table:
    """Return the paper's table: every setting here in both channels, and as published."""
    rows: list[Row] = []
    for compared in every:
        name = compared.setting.name
        for channel in SHOWN:
            answer = ANSWERS[compared.matches] if channel == compared.channel else None
            rows.append((f"{name}, here, {channel.upper()}", *_levels(compared, channel), answer))
        if name in BRANCHES:
            two, one = BRANCHES[name]
            rows.append((f"{name}, paper", str(two), str(one), None, None, None))
    seeds, images = every[0].seeds, every[0].images
    return Table(
        "settings",
        "One branch against two branches at equal computation: PSNR in dB",
        ("setting", "two branches", "one branch", "one − two [interval]", "bicubic", "matches"),
        rows,
        f"Mean {'± sd over ' + str(seeds) + ' seeds' if seeds > 1 else 'of 1 seed'}, {images} images, all tests of a "
        f"setting. {PAIRED} Matches: the whole interval lies within ±{every[0].margin:g} dB (yes), or outside of it "
        "(no). The paper's levels are of other images, degradations and schedules (none of them published): compare "
        "the two columns of a row, not rows.",
        digits=4,
    )


def _levels(compared: Compared, channel: str, test: str | None = None) -> list[Cell]:
    """Return the PSNR of two branches and of one, their difference, and that of bicubic."""
    two, one, floor = (compared.quality(who, channel, test) for who in (TWO, ONE, FLOOR))
    return [two, one, compared.difference(ONE, TWO, channel, test), floor]


def complexity_table(sizes: Sizes) -> Table:
    """Return parameters and multiply-adds of both arms, as trained here and as published."""
    rows: list[Row] = [
        (
            f"{size}, x{scale}",
            arm.label,
            ", ".join(f"{name} {value}" for name, value in arm.network.items()) or "all published",
            arm.complexity.parameters,
            arm.complexity.multiply_adds / 1000,
            f"{100 * _cost_ratio(arm, two):.1f} %",
        )
        for size, scale, arms in sizes
        for two, one in _pairs(arms)
        for arm in (two, one)
    ]
    published = "; ".join(
        f"{peer.upper()} x{scale} has {count(number)} parameters according to its own paper"
        for (peer, scale), number in PEER_PARAMETERS.items()
    )
    return Table(
        "complexity",
        "What both arms cost",
        ("size", "network", "options", "parameters", "multiply-adds per LR pixel, thousands", "of its peer's"),
        rows,
        "Counted by PyTorch on the networks themselves, not by hand; the SRResNet has the peer's width and the number "
        f"of blocks that comes nearest to the peer in multiply-adds. {published}.",
        digits=4,
    )


def _tests(compared: Compared) -> Table:
    """Return a row per test degradation of a setting."""
    name, published = compared.setting.name, _published(compared)
    rows: list[Row] = []
    for test in (*compared.setting.tests, None):
        levels = [cell for channel in SHOWN for cell in _levels(compared, channel, test)]
        rows.append((test or "all", *levels, *([published.get(test or "")] if published else [])))
    heads = [f"{who}, {channel.upper()}" for channel in SHOWN for who in (TWO, ONE, "one − two", FLOOR)]
    note = " The last column is of the published size and schedule, on the whole of Set14." if published else ""
    return Table(
        f"tests-{safe_name(name.lower())}",
        f"{name}: every test degradation",
        ("test", *heads, *(["two branches in their own paper, Y, Set14"] if published else [])),
        rows,
        f"PSNR in dB. {PAIRED}{note}",
        digits=4,
    )


def _published(compared: Compared) -> dict[str, float]:
    """Return what the peer's own paper says: test → PSNR; nothing where it was judged otherwise."""
    if "noise" in compared.setting.name:
        return {}
    ours = (compared.setting.peer, compared.scale)
    return {test: value for (peer, scale, test), value in PEER_QUALITY.items() if (peer, scale) == ours}


def _code_table(every: Sequence[Codes]) -> Table:
    rows: list[Row] = []
    for codes in every:
        for place, test in enumerate(codes.tests):
            starts = [float(codes.starts[start][:, place].mean()) for start in (DELTA, CONSTANT)]
            ways = [codes.way(test, start) for start in (DELTA, CONSTANT)]
            rows.append((codes.setting.name, test, *starts, codes.distance(test), *ways))
    return Table(
        "codes",
        "Does DAN find the kernel? Distance of its code to the true one",
        ("setting", "test", "delta kernel (start)", "constant", "DAN", "way from the delta", "way from the constant"),
        rows,
        "Distance: mean absolute difference of the numbers of a code; constant: the median code of the kernels that "
        "the training draws, the best that can be said without looking at the image. Way: 1 is the truth, 0 the start, "
        f"below 0 farther than the start. {INTERVALS}.",
    )


def _probe_table(every: Sequence[Probed]) -> Table:
    rows: list[Row] = []
    for probe in every:
        right = [probe.accuracy(encoder) for encoder in ENCODERS]
        gains = [probe.gain(encoder) for encoder in (BASELINE, UNTRAINED)]
        rows.append((probe.setting.name, probe.question.name, probe.chance, *right, *gains))
    named = "; ".join(
        f"{probe.setting.name}, {probe.question.name}: {', '.join(probe.question.classes)}" for probe in every
    )
    return Table(
        "probe",
        "Do DASR's features tell degradations apart? Accuracy of a linear probe on images that it was not fitted on",
        ("setting", "asked", "chance", *ENCODERS, "trained − baseline", "trained − untrained"),
        rows,
        "Baseline: the encoder before it saw any degradation; untrained: random weights, as trainings begin. "
        f"{INTERVALS}. Told apart are {named}.",
    )


def _panels(found: Study) -> Iterator[Panel]:
    """Draw gains over bicubic, codes, probes, and training curves."""
    gains = {each.setting.name: {who: each.difference(who, FLOOR) for who in (TWO, ONE)} for each in found.compared}
    channel = found.compared[0].channel.upper()
    title = "One branch against two at equal computation"
    yield drawing.grouped_bars("gains", title, gains, f"PSNR of {channel}, dB above bicubic")
    yield from (_code_panel(codes) for codes in found.codes)
    right = {
        f"{probe.setting.name},\n{probe.question.name}": {
            f"{encoder} encoder": _percent(probe.accuracy(encoder)) for encoder in ENCODERS
        }
        for probe in found.probes
    }
    chances = sorted({whole_percent(probe.chance) for probe in found.probes})
    title = f"Right answers of a linear probe on DASR's features (by chance {listed(chances)})"
    yield drawing.grouped_bars("probe", title, right, "right answers in %")
    yield from (_losses(found, compared) for compared in found.compared)


def _code_panel(codes: Codes) -> Panel:
    x = [getattr(Degradation.parse(test).blur, "sigma", 0.0) for test in codes.tests]
    curves = [
        drawing.Line("delta kernel (start)", x, codes.starts[DELTA].mean(0).tolist(), dashed=True),
        drawing.Line("best constant", x, codes.starts[CONSTANT].mean(0).tolist(), dashed=True),
        drawing.Line.of("DAN", x, [codes.distance(test) for test in codes.tests]),
    ]
    title = f"{codes.setting.name}: distance of the kernel's code to the truth"
    return drawing.lines(f"codes-{safe_name(codes.setting.name.lower())}", title, curves, "σ of the blur, HR pixels",
                         "mean absolute difference")  # fmt: skip


def _losses(found: Study, compared: Compared) -> Panel:
    name = compared.setting.name
    curves = []
    for who in (TWO, ONE):
        seeds = [curve for curve in found.losses[name, who] if curve]
        shared = min((len(curve) for curve in seeds), default=0)
        steps = [step for step, _ in seeds[0][:shared]] if seeds else []
        mean = np.mean([[loss for _, loss in curve[:shared]] for curve in seeds], axis=0).tolist() if seeds else []
        curves.append(drawing.Line(f"{who} ({compared.arms[who].label})", steps, mean))
    own = {"dan": "the kernel's code", "dasr": "the contrast"}[compared.setting.peer]
    title = f"{name}: training loss of the targets; that of two branches holds {own} beside L1"
    return drawing.lines(f"loss-{safe_name(name.lower())}", title, curves, "step", "loss", size=(5.4, 4.2))


def _percent(estimate: Estimate) -> Estimate:
    low, high = (None if end is None else 100 * end for end in (estimate.low, estimate.high))
    return Estimate(100 * estimate.mean, low, high, n=estimate.n)


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
    common, peers = laboratory.common, laboratory.common.peers
    tasks = settings_of(peers)
    fewer = "" if settings.judge_images is None else f" (of these at most {settings.judge_images}, spread evenly)"

    def coins(task: Setting) -> str:
        return " and ".join(text for text, _ in task.degradations)

    def stage(steps: Steps) -> str:
        return (
            f"{steps.iterations:,} steps of {peers.batch} patches of {peers.patch}x{peers.patch} HR pixels, rate up to "
            f"{steps.learning_rate:g}, cosine"
        )

    return {
        "scale": f"x{peers.scale}",
        "seeds": f"{peers.seeds or common.targets} per arm and setting; "
        + ("one baseline per arm" if peers.shared_baseline else "each with a baseline of its own"),
        "trained on": "; ".join(images_text(wanted) for wanted in common.train),
        "trained for": "; ".join(f"{task.name}: {coins(task)}" for task in tasks),
        "judged on": images_text(common.judged_on("*")) + fewer,
        "tests": "; ".join(f"{task.name}: {', '.join(task.tests)}" for task in tasks),
        "baseline": f"clean inputs, {stage(peers.baseline)}",
        "target": f"from the baseline, {stage(peers.target)}",
        "contrast": f"{peers.contrast.baseline_iterations} and {peers.contrast.target_iterations} further steps of "
        f"DASR's encoder alone, queue {peers.contrast.queue}, momentum {peers.contrast.momentum:g}, temperature "
        f"{peers.contrast.temperature:g}",
        "training": f"L1, Adam, moving average {peers.ema:g}, {resolve_precision('auto', laboratory.device)}",
        "PSNR": f"{specification(peers.scale, settings.channel)}; RGB and Y are both in the tables",
        "precision of the judged networks": f"{PRECISION}, since bfloat16 rounds more where no skip carries the image",
        "probe": f"logistic regression, fitted on {settings.probe_squares} squares of {settings.probe_patch} HR pixels "
        f"from each of at most {settings.probe_images} training images, asked about as many from each judging image",
    }


EXPERIMENT = Experiment(
    "branches",
    "One branch against two branches",
    "DAN and DASR against plain networks of equal computation, trained by one recipe; and whether the peers work",
    BranchesSettings,
    run,
)
