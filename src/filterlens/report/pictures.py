# SPDX-License-Identifier: Apache-2.0
"""Pictures side by side: whole, a telling crop enlarged, and where an edit changed the output."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from filterlens.errors import FilterlensError
from filterlens.report.figures import data_address
from filterlens.report.labels import percent_text
from filterlens.run.facts import KeptPicture
from filterlens.run.reading import Judgement, RunData

WHOLE = 400
"""Longest side of an embedded picture, in pixels."""
WINDOW = 72
"""Side of the enlarged crop, in pixels of the HR image."""
ENLARGE = 4
AMPLIFICATIONS = (32, 16, 8, 4, 2, 1)

Pixels = NDArray[np.float32]


CONTROL = "random"
"""The method whose edit is shown next to the first method's, for comparison."""


@dataclass(frozen=True)
class PictureColumn:
    """One column of a row: the picture, its crop and, for an edited network, its difference from the target."""

    title: str
    note: str
    alt: str
    whole: str
    crop: str
    difference: str | None
    kind: str


@dataclass(frozen=True)
class PictureRow:
    """One image under one degradation; ``box`` is the crop's left, top, width and height in percent of the picture."""

    image: str
    input: str
    columns: tuple[PictureColumn, ...]
    box: tuple[float, float, float, float]
    amplification: int


def picture_rows(run: RunData) -> tuple[PictureRow, ...]:
    """Build a row per degradation and image: at most two images each, one if there are more than three degradations.

    Returns:
        The rows; none if the run was judged without pictures.

    Raises:
        FilterlensError: A picture cannot be read, or two pictures that belong together differ in size.
    """
    judged = run.judgement
    if judged is None:
        return ()
    most = 2 if len(run.degradations) <= 3 else 1
    rows = []
    for name in (each for each in run.inputs if each in run.degradations):
        images = list(dict.fromkeys(picture.image for picture in judged.pictures if picture.input == name))
        rows += [row for image in images[:most] if (row := _row(run, judged, image, name))]
    return tuple(rows)


def _row(run: RunData, judged: Judgement, image: str, name: str) -> PictureRow | None:
    chosen = _chosen(run, judged, image, name)
    target = next((picture for picture in chosen if picture.what == "target"), None)
    if target is None:
        return None
    pixels = {picture: _read(run.folder / picture.file) for picture in chosen}
    reference = pixels[target]
    own = next((p for p in chosen if p.masked == name), None)
    other = own or next((p for p in chosen if p.what in ("baseline", "truth")), target)
    corner = telling_window(_difference(pixels[other], reference, other))
    edits = [_difference(pixels[p], reference, p) for p in chosen if p.masked]
    amplification = amplification_for(edits)
    columns = tuple(_column(p, name, pixels[p], reference, corner, amplification) for p in chosen)
    height, width = reference.shape[:2]
    side_y, side_x = min(WINDOW, height), min(WINDOW, width)
    box = (100 * corner[1] / width, 100 * corner[0] / height, 100 * side_x / width, 100 * side_y / height)
    return PictureRow(image, name, columns, box, amplification)


def _chosen(run: RunData, judged: Judgement, image: str, name: str) -> list[KeptPicture]:
    """Pick a row's pictures in reading order: input, baseline, target, own edit, other edits, random edit, truth."""
    here = [picture for picture in judged.pictures if (picture.image, picture.input) == (image, name)]
    edits = [picture for picture in here if picture.what == "masked" and picture.method == run.method]
    percent = min((picture.percent or 0 for picture in edits), default=0)
    edits = [picture for picture in edits if (picture.percent or 0) == percent]
    control = [p for p in here if p.method == CONTROL != run.method and p.masked == name and p.percent == percent]
    by_what = {picture.what: picture for picture in here if picture.what != "masked"}
    own = [picture for picture in edits if picture.masked == name]
    others = [picture for picture in edits if picture.masked not in (name, None)]
    before = [by_what[what] for what in ("input", "baseline", "target") if what in by_what]
    return before + own + others[:3] + control[:1] + [by_what[what] for what in ("truth",) if what in by_what]


def _read(path: Path) -> Pixels:
    """Return the picture as ``(H, W, 3)`` in [0, 1]."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"), dtype=np.float32) / np.float32(255)
    except (OSError, ValueError) as error:
        raise FilterlensError(f"Cannot read the picture '{path}': {error}.") from error


def _difference(pixels: Pixels, reference: Pixels, picture: KeptPicture) -> Pixels:
    """Return the absolute difference ``(H, W)``, mean over the channels."""
    if pixels.shape != reference.shape:
        sizes = f"{pixels.shape[1]}×{pixels.shape[0]} instead of {reference.shape[1]}×{reference.shape[0]}"
        raise FilterlensError(f"The picture '{picture.file}' has another size than the target's: {sizes}.")
    difference: Pixels = np.abs(pixels - reference).mean(axis=2)
    return difference


def telling_window(difference: Pixels, side: int = WINDOW) -> tuple[int, int]:
    """Find the window with the largest sum of differences, by summed areas.

    Args:
        difference: ``(H, W)``, not negative.
        side: The window's side in pixels; a smaller image is taken whole.

    Returns:
        Its top and left pixel.
    """
    height, width = difference.shape
    side_y, side_x = min(side, height), min(side, width)
    sums = np.pad(difference.astype(np.float64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    areas = sums[side_y:, side_x:] - sums[:-side_y, side_x:] - sums[side_y:, :-side_x] + sums[:-side_y, :-side_x]
    top, left = np.unravel_index(int(areas.argmax()), areas.shape)
    return int(top), int(left)


def amplification_for(differences: list[Pixels]) -> int:
    """Choose the largest factor of a row that leaves all but 0.5 % of the strongest difference map unclipped."""
    strongest = max((float(np.quantile(each, 0.995)) for each in differences), default=1.0)
    return next((factor for factor in AMPLIFICATIONS if factor * strongest <= 1), 1)


def _column(
    picture: KeptPicture, name: str, pixels: Pixels, target: Pixels, corner: tuple[int, int], amplification: int
) -> PictureColumn:
    title, note = _words(picture, name)
    difference = _map(_difference(pixels, target, picture), amplification) if picture.masked else None
    own = picture.masked == name and picture.method != CONTROL
    kind = "input" if picture.what == "input" else "own" if own else picture.what
    alt = f"{picture.image}: {title}{f', {note}' if note else ''}"
    crop = _crop(pixels, corner, target.shape[0] / pixels.shape[0], target.shape)
    return PictureColumn(title, note, alt, _photo(pixels, keep=picture.what == "input"), crop, difference, kind)


def _words(picture: KeptPicture, name: str) -> tuple[str, str]:
    if picture.method == CONTROL:
        return "Target, random filters replaced", f"{percent_text(picture.percent or 0)}, as many"
    if picture.masked:
        whose = "own" if picture.masked == name else "other"
        return f"Target, {whose} filters replaced", f"{percent_text(picture.percent or 0)} for {picture.masked}"
    return {
        "input": ("Input", name),
        "baseline": ("Baseline", "before fine-tuning"),
        "target": ("Target", "after fine-tuning"),
        "truth": ("Ground truth", ""),
    }.get(picture.what, (picture.what, ""))


def _crop(pixels: Pixels, corner: tuple[int, int], ratio: float, whole: tuple[int, ...]) -> str:
    """Cut the window out of a picture ``ratio`` times smaller than the HR image; enlarge by nearest neighbour."""
    side_y, side_x = min(WINDOW, whole[0]), min(WINDOW, whole[1])
    top, left = round(corner[0] / ratio), round(corner[1] / ratio)
    height, width = max(1, round(side_y / ratio)), max(1, round(side_x / ratio))
    cut = _image(pixels[top : top + height, left : left + width])
    return _encoded(cut.resize((side_x * ENLARGE, side_y * ENLARGE), Image.Resampling.NEAREST), "png")


def _photo(pixels: Pixels, *, keep: bool) -> str:
    """Encode a whole picture, shrunk to :data:`WHOLE`; a kept one is never resampled unless it is larger."""
    image = _image(pixels)
    image.thumbnail((WHOLE, WHOLE), Image.Resampling.LANCZOS)
    return _encoded(image, "jpeg", quality=92 if keep else 88)


def _map(difference: Pixels, amplification: int) -> str:
    colours = colormaps["inferno"](np.clip(difference * amplification, 0, 1))[..., :3]
    image = _image(np.asarray(colours, dtype=np.float32))
    image.thumbnail((WHOLE, WHOLE), Image.Resampling.BOX)
    return _encoded(image, "jpeg", quality=85)


def _image(pixels: Pixels) -> Image.Image:
    return Image.fromarray((pixels * 255).round().astype(np.uint8))


def _encoded(image: Image.Image, kind: str, **options: int) -> str:
    stream = io.BytesIO()
    image.save(stream, format=kind.upper(), optimize=True, **options)
    return data_address(stream.getvalue(), kind)
