# SPDX-License-Identifier: Apache-2.0
"""The input of the network: a picture, degraded or as it is."""

import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from filterlens.data.images import crop_to_multiple, read_image, to_float
from filterlens.degradations import Degradation
from filterlens.degradations.blur import GaussianBlur
from filterlens.degradations.jpeg import Jpeg
from filterlens.degradations.noise import GaussianNoise
from filterlens.diagnosis.overlap import LEAST_SIDE
from filterlens.errors import FilterlensError, UsageError

MOST_PIXELS = 16_000_000  # of a result: half a minute on two cores
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM")  # nothing that Pillow hands to other programs
NO_JPEG = 100


@dataclass(frozen=True)
class Handling:
    """The processing of a picture before the network sees it.

    Attributes:
        lowered: The picture is what the network gets; nothing happens to it.
        blur: σ of a Gaussian in HR pixels; 0 for none.
        noise: σ as a fraction of the range; 0 for none.
        quality: JPEG quality, 1 to 100; 100 for none.
    """

    lowered: bool = False
    blur: float = 0.0
    noise: float = 0.0
    quality: int = NO_JPEG

    @property
    def degradation(self) -> Degradation:
        """The same as a degradation.

        Raises:
            UsageError: A strength is not legal.
        """
        return Degradation(
            blur=GaussianBlur(self.blur) if self.blur else None,
            noise=GaussianNoise(self.noise) if self.noise else None,
            jpeg=Jpeg(int(self.quality)) if self.quality != NO_JPEG else None,
        )


@dataclass(frozen=True, eq=False)
class Scene:
    """A network's input, with the truth where it is known.

    Attributes:
        name: The name of the picture.
        degradation: Degradation applied to it, as ``blur:2``; None where it is used as it came.
        image: LR ``(1, 3, h, w)`` in [0, 1].
        truth: HR ``(1, 3, h·s, w·s)``, or None.
    """

    name: str
    degradation: str | None
    image: Tensor
    truth: Tensor | None


def make_scene(name: str, picture: Tensor, handling: Handling, scale: int) -> Scene:
    """Degrade a picture, or take it as it is.

    Args:
        name: The name of the picture.
        picture: ``(3, H, W)`` uint8.
        handling: Processing of the picture.
        scale: HR size over LR size.

    Raises:
        UsageError: The picture is too small or would become too large.
    """
    enlarged = scale if handling.lowered else 1
    height, width = picture.shape[-2:]
    _check_pixels(name, width * enlarged, height * enlarged)
    least = LEAST_SIDE * scale // enlarged
    if min(height, width) < least:
        raise UsageError(f"'{name}' has {width}×{height} pixels; the app needs at least {least}×{least}.")
    if handling.lowered:
        return Scene(name, None, to_float(picture), None)
    truth = to_float(crop_to_multiple(picture, scale))
    return Scene(name, str(handling.degradation), handling.degradation.apply(truth, scale), truth)


def read_upload(path: Path) -> Tensor:
    """Read a file that a visitor sent as RGB ``(3, H, W)`` uint8; kind and size are checked before it is decoded.

    Raises:
        FilterlensError: It is not an image, damaged, or too large; the message has its name, not its path.
    """
    _check_pixels(path.name, *_header(path))
    try:
        return read_image(path)
    except FilterlensError as error:
        raise type(error)(str(error).replace(str(path), path.name)) from None


def _header(path: Path) -> tuple[int, int]:
    """Return width and height as the file's header says.

    Raises:
        FilterlensError: It is of no kind that the app takes.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                return image.size
    except Image.DecompressionBombError:
        raise _too_large(f"'{path.name}' has more pixels than any photograph") from None
    except Exception:  # Pillow's readers raise many kinds
        raise FilterlensError(
            f"'{path.name}' is not an image that the app reads. Send a picture as {', '.join(FORMATS)}."
        ) from None


def _check_pixels(name: str, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise _too_large(f"'{name}' means a result of {width}×{height} pixels")


def _too_large(what: str) -> UsageError:
    return UsageError(
        f"{what}; the app takes {MOST_PIXELS // 10**6} megapixels at most. Use a smaller picture, or "
        "`filterlens restore`, which takes any size."
    )
