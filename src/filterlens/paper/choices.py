# SPDX-License-Identifier: Apache-2.0
"""What every section of a recipe is made of: settings that refuse what they do not know, and choices of images."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Percent = Annotated[float, Field(gt=0, le=100)]


class Settings(BaseModel):
    """Settings that refuse what they do not know and never change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageChoice(Settings):
    """Some images, whole or cut into squares.

    Attributes:
        set: ``photographs`` (those that ship), a set of the data catalogue (``set14``), or a folder.
        only: Names of images (file stems); empty takes all.
        images: At most so many, spread evenly over the set in the order of names.
        crop: Side of the squares in HR pixels; None takes whole images.
        squares: How many squares are cut out of every image, spread evenly over it.
    """

    set: str
    only: tuple[str, ...] = ()
    images: Positive | None = None
    crop: Positive | None = None
    squares: Positive = 1
