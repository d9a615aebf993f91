# SPDX-License-Identifier: Apache-2.0
"""What a user writes: it runs, and a strict type checker finds nothing in it (``tests/test_user_script.py``)."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from filterlens import (
    FAIG,
    AbsoluteChange,
    Adapter,
    Attribution,
    DamageTable,
    Degradation,
    FilterlensError,
    FilterSpace,
    InputIG,
    ModelPair,
    Quadrature,
    Random,
    RelativeChange,
    Selection,
    SquaredDistance,
    Taylor,
    UsageError,
    __version__,
    adapt,
    damage,
    modulate,
    substitute,
)

DEGRADATIONS = ["blur:1", "noise:0.1"]


def rank(pair: ModelPair, images: list[Tensor]) -> dict[str, Attribution]:
    """Rank by several methods."""
    found = FAIG(pair, objective="truth", quadrature=Quadrature("midpoint", 2)).attribute(
        images, DEGRADATIONS, progress=True
    )
    others = [
        AbsoluteChange(pair).attribute(images, DEGRADATIONS),
        InputIG(pair, nodes=2).attribute(images, DEGRADATIONS),
        Random(pair, seed=1).attribute([], DEGRADATIONS),
        RelativeChange(pair).attribute([], DEGRADATIONS),
        Taylor(pair, objective=SquaredDistance("target")).attribute(images, "blur:1"),
    ]
    return {each.method: each for each in [found, *others]}


def look(found: Attribution) -> str:
    """Look at a ranking."""
    best = found.top(3, "blur:1")
    layers: list[str] = [each.address.layer for each in best]
    scores: list[float] = [each.score for each in best]
    axes = found.plot(percent=25)
    axes.set_title("where they lie")
    space: FilterSpace = found.space
    return f"{found} {best} {layers} {scores} {len(space)} {found.completeness_gap:.3f}"


def judge(pair: ModelPair, found: Attribution, images: list[Tensor]) -> Tensor:
    """Prove a ranking."""
    table: DamageTable = damage(pair, found, images, percent=[25, 50], progress=False)
    named: Mapping[str, Selection] = {"blur:1": found.select("blur:1", 25)}
    damage(pair, named, images[0], [Degradation.parse("blur:1"), "clean"], seed=3)
    psnr: float = table.rows[0].psnr
    if find_spec("pandas"):
        print(found.to_pandas().head(), table.to_pandas("networks").head())
    print(table, table.edits[0].masked, psnr)
    return table.matrix("removal")


def edit(pair: ModelPair, selection: Selection) -> list[nn.Module]:
    """Make networks without a function, or with half of it."""
    adapter = Adapter.of(pair, [selection])
    return [
        substitute(pair, selection),
        modulate(pair, selection, 0.5),
        adapt(pair.network(pair.baseline), [(adapter, 1.0)]),
    ]


def main() -> None:
    """Do all of it on a small network."""
    torch.manual_seed(0)
    pair = ModelPair(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1), scale=1)
    images = [torch.rand(3, 32, 32)]
    rankings = rank(pair, images)
    print(__version__, pair, look(rankings["faig"]))
    print(judge(pair, rankings["faig"], images), len(edit(pair, rankings["faig"].select("noise:0.1", 25))))
    try:
        Attribution.load(Path("no-such-file.safetensors"))
    except UsageError:
        raise
    except FilterlensError as error:
        print(error)


if __name__ == "__main__":
    main()
