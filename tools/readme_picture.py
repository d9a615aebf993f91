# SPDX-License-Identifier: Apache-2.0
"""Draw the README's picture from the demo's run folder.

filterlens demo && python tools/readme_picture.py runs/demo docs/images/demo.png --image chelsea
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

TITLES = {"blur:2": "blurred", "noise:0.1": "noisy"}
NAMES = {"blur:2": "deblurring", "noise:0.1": "denoising"}


def columns(entries: list[dict[str, Any]], name: str) -> list[tuple[str, Path]]:
    """Return (title, file) for one input: input, target, without its own filters, without the other's, truth."""
    other = next(each for each in TITLES if each != name)
    found = {(entry["what"], entry["masked"]): Path(entry["file"]) for entry in entries if entry["method"] != "random"}
    control = next(Path(entry["file"]) for entry in entries if entry["method"] == "random")
    return [
        (f"input, {TITLES[name]}", found["input", None]),
        ("network's output", found["target", None]),
        (f"without its\n{NAMES[name]} filters", found["masked", name]),
        (f"without its\n{NAMES[other]} filters", found["masked", other]),
        ("without as many\nrandom filters", control),
        ("ground truth", found["truth", None]),
    ]


def kept(run: Path, name: str, masked: str, method: str = "faig") -> str:
    """Return what the edit removed or kept, in percent, as measured over the judged images."""
    with (run / "damage.csv").open(newline="", encoding="utf-8") as stream:
        row = next(
            row
            for row in csv.DictReader(stream)
            if (row["method"], float(row["percent"]), row["masked"], row["input"]) == (method, 1, masked, name)
        )
    own = masked == name
    return f"{float(row['removal' if own else 'preservation']):.1%} {'removed' if own else 'kept'}"


def draw(run: Path, image: str, crop: int) -> Figure:
    """Draw two rows of crops."""
    entries = [entry for entry in json.loads((run / "pictures.json").read_text()) if entry["image"] == image]
    figure = Figure(figsize=(12.6, 5.0), dpi=120, layout="constrained")
    axes = figure.subplots(2, 6)
    for row, name in zip(axes, TITLES, strict=True):
        other = next(each for each in TITLES if each != name)
        captions = ("", "", kept(run, name, name), kept(run, name, other), kept(run, name, name, "random"), "")
        cells = columns([entry for entry in entries if entry["input"] == name], name)
        for axis, (title, file), caption in zip(row, cells, captions, strict=True):
            picture = Image.open(run / file)
            size = crop * picture.width // 256
            left, top = (picture.width - size) // 2, (picture.height - size) // 2
            axis.imshow(picture.crop((left, top, left + size, top + size)), interpolation="nearest")
            axis.set_title(title, fontsize=11)
            axis.set_xlabel(caption, fontsize=10)
            axis.set_xticks([])
            axis.set_yticks([])
    figure.suptitle(
        "1 % of the filters carry deblurring, another 1 % denoising (SRResNet ×2, found on other photographs)"
    )
    return figure


def main() -> None:
    """Read the arguments and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--image", default="chelsea")
    parser.add_argument("--crop", type=int, default=160, help="side of the central crop in HR pixels of 256")
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    draw(arguments.run, arguments.image, arguments.crop).savefig(arguments.output)


if __name__ == "__main__":
    main()
