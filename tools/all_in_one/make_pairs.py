# SPDX-License-Identifier: Apache-2.0
"""Write folders of image pairs: crops of photographs, and the same crops with noise, with rain, in low light.

python -m tools.all_in_one.make_pairs PHOTOS… --out runs/all-in-one/pairs [--side 256] [--crops 2]

It writes OUT/gt, OUT/noise, OUT/rain and OUT/dark, whose files have the same names. Whoever reads them knows nothing of
how they were made.
"""

import argparse
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from filterlens.data.images import read_image, to_float, to_uint8, write_image
from filterlens.data.listing import find_images


def uniform(low: float, high: float, generator: Generator) -> float:
    """Draw one number."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def noise(image: Tensor, generator: Generator) -> Tensor:
    """Add Gaussian noise of σ = 0.1 to ``(1, 3, H, W)`` in [0, 1]."""
    return image + 0.1 * torch.randn(image.shape, generator=generator)


def rain(image: Tensor, generator: Generator) -> Tensor:
    """Draw streaks of one direction and of a few lengths over ``(1, 3, H, W)`` in [0, 1], as bright as they cover."""
    angle = math.radians(uniform(-30, 30, generator))
    covered = torch.zeros_like(image[:, :1])
    for _ in range(2):  # near and far drops
        length = uniform(7, 25, generator)
        drops = (torch.rand(covered.shape, generator=generator) < uniform(0.002, 0.008, generator)).float()
        drops = drops * torch.rand(covered.shape, generator=generator).add(0.5)
        covered = covered + F.conv2d(drops, _streak(length, angle, uniform(0.5, 0.9, generator)), padding="same")
    covered = (covered * uniform(0.35, 0.7, generator)).clamp(0, 0.85)
    return image + covered * (0.95 - image)


def _streak(length: float, angle: float, width: float) -> Tensor:
    """Return a soft line ``(1, 1, k, k)`` with a peak of 1; the angle is measured from the vertical."""
    half = math.ceil(length / 2 + 2)
    y, x = torch.meshgrid(*(torch.arange(-half, half + 1.0),) * 2, indexing="ij")
    along = (x * math.sin(angle) + y * math.cos(angle)).abs()
    across = x * math.cos(angle) - y * math.sin(angle)
    line = (-((across / width) ** 2) / 2).exp() * (0.5 + (length / 2 - along)).clamp(0, 1)
    return (line / line.max())[None, None]


def dark(image: Tensor, generator: Generator) -> Tensor:
    """Take light away from ``(1, 3, H, W)`` in [0, 1]: a darker curve, 0.3 of it, and a little noise."""
    return 0.3 * image**1.2 + 0.01 * torch.randn(image.shape, generator=generator)


FUNCTIONS: dict[str, Callable[[Tensor, Generator], Tensor]] = {"noise": noise, "rain": rain, "dark": dark}


def crops(folders: list[Path], side: int, count: int, generator: Generator) -> Iterator[tuple[str, Tensor]]:
    """Yield name and ``(3, side, side)`` uint8, ``count`` random crops of every photograph that is large enough."""
    for file in (file for folder in folders for file in find_images(folder).images):
        image = read_image(file)
        height, width = (size - side for size in image.shape[-2:])
        if min(height, width) < 0:
            continue
        for number in range(count):
            top, left = int(uniform(0, height + 1, generator)), int(uniform(0, width + 1, generator))
            yield f"{file.parent.name}-{file.stem}-{number}", image[:, top : top + side, left : left + side]


def write_pairs(images: Iterable[tuple[str, Tensor]], out: Path, generator: Generator) -> int:
    """Write every image ``(3, H, W)`` uint8 clean and degraded, and return their number."""
    for name in ("gt", *FUNCTIONS):
        (out / name).mkdir(parents=True, exist_ok=True)
    number = 0
    for name, image in images:
        write_image(out / "gt" / f"{name}.png", image)
        for function, degrade in FUNCTIONS.items():
            write_image(out / function / f"{name}.png", to_uint8(degrade(to_float(image), generator)))
        number += 1
    return number


def main() -> None:
    """Read the arguments and write the pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+", help="folders of photographs")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pairs")
    parser.add_argument("--side", type=int, default=256, help="pixels of a crop's side")
    parser.add_argument("--crops", type=int, default=2, help="crops of one photograph")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(arguments.seed)
    taken = crops(arguments.photos, arguments.side, arguments.crops, generator)
    number = write_pairs(taken, arguments.out, generator)
    print(f"{number} crops with {len(FUNCTIONS)} degraded images each, in {arguments.out}")


if __name__ == "__main__":
    main()
