# SPDX-License-Identifier: Apache-2.0
"""Write the tables of docs/all-in-one.md: what the shipped network can do, and whether its three functions lie apart.

python -m tools.all_in_one.judge --find DIR --judge DIR --page docs/all-in-one.md

Both folders are as tools.all_in_one.make_pairs writes them. No number on the page is typed by hand.
"""

import argparse
import itertools
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from filterlens import FAIG, PSNR, Adapter, GoalDirected, ModelPair, adapt, damage
from filterlens.attribution.image_free import LayerMatchedRandom
from filterlens.attribution.result import Attribution
from filterlens.data.all_in_one import all_in_one
from filterlens.data.images import read_image, to_float
from filterlens.data.listing import find_images
from filterlens.diagnosis.distribution import distribution, overlap
from filterlens.evaluation.damage_table import DamageTable
from filterlens.evaluation.function_distance import removal
from filterlens.metrics import psnr
from filterlens.run.tables import DamageSummary
from tools.all_in_one.network import Restorer

FUNCTIONS = {"noise": "denoising", "rain": "deraining", "dark": "brightening"}
ADAPTERS = "goal-directed"  # the ranking that adapters are made of
PERCENTS = (1.0, 3.0)
BETWEEN = re.compile(r"(<!-- figures -->\n).*?(<!-- end figures -->)", re.DOTALL)
Lines = Iterator[str]


def shipped_pair() -> ModelPair:
    """Return the shipped networks as a pair."""
    networks = []
    for role in ("baseline", "target"):
        network = Restorer()
        network.load_state_dict(load_file(all_in_one() / f"{role}.safetensors"))
        networks.append(network.eval())
    return ModelPair(*networks, name="all-in-one")


def rankings(pair: ModelPair, pairs: Mapping[str, tuple[str, str]]) -> dict[str, Attribution]:
    """Return the rankings that are judged; random filters lie in the layers of FAIG's."""
    found = {
        "FAIG": FAIG(pair).attribute(pairs=pairs),
        "FAIG, PSNR": FAIG(pair, objective=PSNR()).attribute(pairs=pairs),
        ADAPTERS: GoalDirected(pair).attribute(pairs=pairs),
    }
    return found | {"random": LayerMatchedRandom(pair, like=found["FAIG"]).attribute(pairs=pairs)}


def images_of(folder: Path) -> list[Path]:
    """Return the clean images of a folder of pairs."""
    return find_images(folder / "gt").images


def pairs_in(folder: Path) -> dict[str, tuple[str, str]]:
    """Return function → folders of degraded and of clean images."""
    return {name: (str(folder / name), str(folder / "gt")) for name in FUNCTIONS}


@torch.no_grad()
def mean_psnr(networks: Mapping[str, nn.Module | None], folder: Path) -> dict[str, dict[str, float]]:
    """Return network → input → mean PSNR in dB over the images; None stands for the input itself."""
    found: dict[str, dict[str, float]] = {}
    files = images_of(folder)
    for what, network in networks.items():
        for kind in (*FUNCTIONS, "gt"):
            inputs = (to_float(read_image(folder / kind / file.name)) for file in files)
            outputs = (lowered if network is None else network(lowered) for lowered in inputs)
            values = [
                float(psnr(output, to_float(read_image(file)), crop=0))
                for output, file in zip(outputs, files, strict=True)
            ]
            found.setdefault(what, {})[kind] = sum(values) / len(values)
    return found


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Lines:
    """Yield a table in Markdown."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def quality(pair: ModelPair, adapters: Mapping[str, Adapter], folder: Path) -> Lines:
    """Yield the PSNR of both networks, and of both with an adapter."""
    baseline, target = pair.network(pair.baseline), pair.network(pair.target)
    networks: dict[str, nn.Module | None] = {"the input itself": None, "baseline": baseline, "target": target}
    networks |= {f"target, {name} adapter at 0": adapt(target, [(each, 0)]) for name, each in adapters.items()}
    networks |= {f"baseline, {name} adapter at 1": adapt(baseline, [(each, 1)]) for name, each in adapters.items()}
    found = mean_psnr(networks, folder)
    rows = [
        [what, *("identical" if value == float("inf") else f"{value:.2f}" for value in values.values())]
        for what, values in found.items()
    ]
    yield from table(["network", *FUNCTIONS, "clean"], rows)


def matrix(judged: DamageTable, percent: float) -> Lines:
    """Yield the own/cross matrix at one percentage."""
    cells: dict[tuple[str, str], list[DamageSummary]] = {}
    for row in judged.rows:
        if row.edit.percent == percent:
            cells.setdefault((row.edit.method, row.edit.masked), []).append(row)
    rows = [[method, FUNCTIONS[masked], *map(_cell, each)] for (method, masked), each in cells.items()]
    yield f"### {percent:g} % of the filters replaced\n"
    yield from table(["method", "filters for", *(f"{name} input" for name in judged.inputs)], rows)


def _cell(row: DamageSummary) -> str:
    if row.removal is not None:
        return f"**{row.removal:.1%} removed** · {row.distance:.2f}"
    return f"{row.preservation:.1%} kept · {row.distance:.2f}"


def places(found: Attribution) -> Lines:
    """Yield where the filters of each function lie, and what the sets have in common."""
    chosen = {name: found.select(name, PERCENTS[0]) for name in FUNCTIONS}
    shares = {name: distribution(each) for name, each in chosen.items()}
    layers = next(iter(shares.values()))
    rows = [
        [
            layer.layer,
            *(f"{each[place].share:.1%}" for each in shares.values()),
            f"{layer.filters / len(found.space):.1%}",
        ]
        for place, layer in enumerate(layers)
    ]
    yield f"Share of every layer in the {PERCENTS[0]:g} % of filters that {found.method} finds for a function:\n"
    yield from table(["layer", *FUNCTIONS.values(), "all filters"], rows)
    words = []
    for first, second in itertools.combinations(FUNCTIONS, 2):
        both = overlap(chosen[first], chosen[second])
        words.append(f"{FUNCTIONS[first]} and {FUNCTIONS[second]} {both.share:.1%}")
    yield f"What two sets have in common (sets by chance: {PERCENTS[0]:g} %): {'; '.join(words)}.\n"


@torch.no_grad()
def biases(pair: ModelPair, folder: Path) -> Lines:
    """Yield how much of each function goes when all biases, and nothing else, are the baseline's."""
    ends = [pair.unflatten(vector) for vector in (pair.baseline, pair.target)]
    mixed = {name: (ends[0] if name.endswith("bias") else ends[1])[name] for name in ends[0]}
    edited = pair.flatten(mixed)
    sums = {name: [0.0, 0.0] for name in FUNCTIONS}
    for name, file in itertools.product(FUNCTIONS, images_of(folder)):
        lowered: Tensor = to_float(read_image(folder / name / file.name))
        outputs = (pair.run(vector, lowered) for vector in (edited, pair.baseline, pair.target))
        for place, value in enumerate(removal(*outputs)):
            sums[name][place] += value
    words = [f"{FUNCTIONS[name]} {1 - rest / whole:.1%}" for name, (rest, whole) in sums.items()]
    count = sum(value.numel() for name, value in ends[0].items() if name.endswith("bias"))
    yield f"All {count} biases back to the baseline's, no filter touched, remove: {'; '.join(words)}.\n"


def page(find: Path, judge: Path) -> Lines:
    """Yield the lines between the marks of the page."""
    pair = shipped_pair()
    found = rankings(pair, pairs_in(find))
    judged = damage(pair, found, pairs=pairs_in(judge), percent=PERCENTS)
    ranking, own = found["FAIG"], found[ADAPTERS]
    count = len(pair.space)
    weights = pair.target.numel()
    yield f"The network has {weights:,} parameters and {count:,} filters in {len(pair.space.layers)} convolutions."
    finding, judging = len(images_of(find)), len(images_of(judge))
    yield (
        f"Filters were found on {finding} scenes, everything was judged on {judging} others; "
        f"the network was trained on none of them. Completeness gap: at most {ranking.completeness_gap:.2%}.\n"
    )
    yield "## What the network can do\n\nMean PSNR in dB (RGB, 8-bit rounding, nothing cropped):\n"
    adapters, sizes = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name, function in FUNCTIONS.items():
            adapters[function] = Adapter.of(pair, [own.select(name, PERCENTS[0])])
            file = Path(folder) / f"{function}.safetensors"
            adapters[function].save(file)
            sizes.append(f"{function} {file.stat().st_size / 1000:.0f} kB")
    yield from quality(pair, adapters, judge)
    whole = (all_in_one() / "target.safetensors").stat().st_size / 1000
    yield (
        f"The adapters hold {PERCENTS[0]:g} % of the filters, {ADAPTERS}, twice ({', '.join(sizes)}; the network's "
        f"file: {whole:.0f} kB). At 0 on the target they take their function away; at 1 on the baseline, to which "
        "all other filters are strangers, they do not bring it.\n"
    )
    yield "## Own and cross damage\n"
    yield (
        "Share removed of the own function (bold) or kept of the others, and the paper's function distance × 1000. "
        "100 % is ideal for both; a share kept below 0 is farther from the target than the baseline is.\n"
    )
    for percent in PERCENTS:
        yield from matrix(judged, percent)
    yield "## Where the functions lie\n"
    for each in (ranking, own):
        yield from places(each)
    yield from biases(pair, judge)


def main() -> None:
    """Read the arguments and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--find", type=Path, required=True, help="pairs on which the filters are found")
    parser.add_argument("--judge", type=Path, required=True, help="pairs on which everything is judged")
    parser.add_argument("--page", type=Path, required=True, help="the page between whose marks the tables go")
    arguments = parser.parse_args()
    text = "\n".join(page(arguments.find, arguments.judge))
    before = arguments.page.read_text(encoding="utf-8")
    arguments.page.write_text(BETWEEN.sub(lambda marks: f"{marks[1]}{text}\n{marks[2]}", before), encoding="utf-8")


if __name__ == "__main__":
    main()
