# SPDX-License-Identifier: Apache-2.0
"""Sentences that several pages share."""

from filterlens.paper.laboratory import Laboratory
from filterlens.paper.settings import ImageChoice


def images_text(wanted: ImageChoice) -> str:
    """Say which images a set is."""
    parts = [wanted.set]
    if wanted.only:
        parts.append(f"only {', '.join(wanted.only)}")
    if wanted.images is not None:
        parts.append(f"at most {wanted.images} images, spread evenly")
    if wanted.crop is not None:
        each = "the central square" if wanted.squares == 1 else f"{wanted.squares} squares each"
        parts.append(f"{each} of {wanted.crop}x{wanted.crop} HR pixels")
    return ", ".join(parts)


def seeds_text(laboratory: Laboratory) -> str:
    """Say how many target models there are and where they come from."""
    common = laboratory.common
    if common.training != "card":
        return f"{common.targets} per pair, baseline and targets trained by the recipe '{common.training}'"
    if common.targets == 1:
        return "1 per pair, the shipped one (no spread over seeds)"
    return f"{common.targets} per pair: the shipped one and {common.targets - 1} fine-tuned from the shipped baseline"
