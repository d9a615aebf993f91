# SPDX-License-Identifier: Apache-2.0
"""Exact tiles: a large image in parts whose outputs, cut to their cores, are those of the whole image.

Each tile is run with a halo as wide as the receptive field reaches, so pixels beyond it cannot change the core.
A sum over all output pixels is then the sum over the tiles' cores, and so is its gradient.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from filterlens.errors import UsageError

MULTIPLES = (1, 2, 4, 8, 16)
THICKNESS = MULTIPLES[-1]
LENGTHS = (144, 288)  # of the strips on which a network is tried, the next if its halo does not fit


@dataclass(frozen=True)
class Span:
    """One tile along one axis, in LR pixels: the core ``[start, stop)`` inside the window ``[first, last)``."""

    start: int
    stop: int
    first: int
    last: int


@dataclass(frozen=True)
class Tile:
    """One part of an image: a core, and the window around it that the network must see."""

    rows: Span
    columns: Span

    @classmethod
    def whole(cls, height: int, width: int) -> "Tile":
        """Return a whole LR image as one tile."""
        return cls(Span(0, height, 0, height), Span(0, width, 0, width))

    def window(self, images: Tensor) -> Tensor:
        """Cut what the network must see out of LR images ``(…, h, w)``; a view."""
        return images[..., self.rows.first : self.rows.last, self.columns.first : self.columns.last]

    def place(self, images: Tensor, scale: int = 1) -> Tensor:
        """Cut the core out of whole images: LR ``(…, h, w)``, or HR ``(…, h·scale, w·scale)``; a view."""
        rows, columns = (slice(span.start * scale, span.stop * scale) for span in (self.rows, self.columns))
        return images[..., rows, columns]

    def core(self, outputs: Tensor, scale: int = 1) -> Tensor:
        """Cut the core out of what the network made of the window; a view."""
        rows, columns = (
            slice((span.start - span.first) * scale, (span.stop - span.first) * scale)
            for span in (self.rows, self.columns)
        )
        return outputs[..., rows, columns]

    @property
    def pixels(self) -> int:
        """LR pixels of the window."""
        return (self.rows.last - self.rows.first) * (self.columns.last - self.columns.first)


@dataclass(frozen=True)
class Tiling:
    """How a network may be tiled.

    Attributes:
        halo: LR pixels around a core that can change it.
        multiple: Windows begin at multiples of this many LR pixels (networks that reduce inside need it).
    """

    halo: int
    multiple: int = 1

    @property
    def margin(self) -> int:
        """LR pixels that a window adds on each side of its core: the halo, up to the next multiple."""
        return -(-self.halo // self.multiple) * self.multiple

    @property
    def least(self) -> int:
        """Side of the smallest tile that always fits, in LR pixels."""
        return 2 * self.margin + self.multiple

    def split(self, height: int, width: int, most_pixels: int) -> list[Tile]:
        """Partition an LR image into tiles whose windows have at most ``most_pixels``, with the least work in all.

        Raises:
            UsageError: Even the smallest tile with its halo is larger.
        """
        return self.cut(Tile.whole(height, width), height, width, most_pixels)

    def cut(self, tile: Tile, height: int, width: int, most_pixels: int) -> list[Tile]:
        """Partition the core of one tile of an LR image ``(height, width)``; as :meth:`split`."""
        if tile.pixels <= most_pixels:
            return [tile]
        fitting = [
            (down.total * across.total, down, across)
            for down, across in product(self._cuts(tile.rows, height), self._cuts(tile.columns, width))
            if down.widest * across.widest <= most_pixels
        ]
        if not fitting:
            raise UsageError(
                f"A tile of {most_pixels} LR pixels is too small: an output of this network sees up to {self.halo} "
                f"pixels to each side. Allow tiles of {self.least} x {self.least} LR pixels at least."
            )
        _, down, across = min(fitting, key=lambda choice: choice[0])
        return [Tile(*spans) for spans in product(down.spans, across.spans)]

    def _cuts(self, span: Span, length: int) -> list["_Cut"]:
        """Return the ways to cut a core on an axis of that length into equal ones, one for every number of parts."""
        core = span.stop - span.start
        counts = {-(-core // side) for side in range(1, core + 1)}
        steps = {-(-core // (count * self.multiple)) * self.multiple for count in counts}
        return [_Cut.of(self._spans(span, length, step)) for step in sorted(steps, reverse=True)]

    def _spans(self, span: Span, length: int, step: int) -> list[Span]:
        """Cut a core into cores of ``step`` pixels with their windows; the last may be shorter."""
        stops = [(start, min(start + step, span.stop)) for start in range(span.start, span.stop, step)]
        return [
            Span(start, stop, max(0, start - self.margin), min(stop + self.margin, length)) for start, stop in stops
        ]


@dataclass(frozen=True)
class _Cut:
    """An axis in tiles: their spans, the longest window, and the sum of all windows."""

    spans: Sequence[Span]
    widest: int
    total: int

    @classmethod
    def of(cls, spans: Sequence[Span]) -> "_Cut":
        lengths = [span.last - span.first for span in spans]
        return cls(spans, max(lengths), sum(lengths))


@torch.enable_grad()  # whoever asks may be restoring
def tiling_of(network: nn.Module, scale: int, channels: int = 3) -> Tiling | None:
    """Find out how a network may be tiled, by trying it in float64 on strips of random pixels.

    Args:
        network: LR ``(1, C, h, w)`` → HR ``(1, C', h·scale, w·scale)``; it is copied.
        scale: HR size over LR size.
        channels: Channels C of its input.

    Returns:
        None where tiles cannot be exact: an output sees more than 111 pixels to a side, what it sees depends on where
        it lies, or the network refuses strips of 16 x 144 pixels.
    """
    probe = copy.deepcopy(network).to("cpu", torch.float64).eval().requires_grad_(False)
    across = _tiling_along(-1, probe, scale, channels)
    down = None if across is None else _tiling_along(-2, probe, scale, channels)  # strips take time
    if across is None or down is None:
        return None
    return Tiling(max(across.halo, down.halo), max(across.multiple, down.multiple))


def _tiling_along(axis: int, probe: nn.Module, scale: int, channels: int) -> Tiling | None:
    """Find the halo from gradients, then the multiple by cutting a strip at both ends and comparing the outputs."""
    for length in LENGTHS:
        strip = strip_along(axis, length, channels).requires_grad_(True)
        output = tried(probe, strip, scale)
        if output is None:
            return None
        halo = _halo(axis, strip, output, scale)
        if 2 * (halo + 2 * MULTIPLES[-1]) < length:  # leaves some core for every multiple
            break
    else:
        return None
    for multiple in MULTIPLES:  # the window's ends are no multiples of more: a coarser grid would be noticed
        first, last = multiple, length - multiple
        cut = tried(probe, strip.detach().narrow(axis, first, last - first), scale)
        if cut is None:
            continue
        tiling = Tiling(halo, multiple)
        start, size = tiling.margin * scale, (last - first - 2 * tiling.margin) * scale
        expected = output.detach().narrow(axis, first * scale + start, size)
        if torch.allclose(cut.narrow(axis, start, size), expected, rtol=1e-9, atol=1e-12):
            return tiling
    return None


def strip_along(axis: int, length: int, channels: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return a strip of random pixels in [0, 1], always the same ones, of that length along one axis."""
    generator = torch.Generator().manual_seed(0)
    strip = torch.rand(1, channels, THICKNESS, length, generator=generator, dtype=dtype)
    return strip.transpose(axis, -1).contiguous()


def tried(probe: nn.Module, images: Tensor, scale: int) -> Tensor | None:
    """Return the output; None where the network refuses that size, whichever way it says so, or cuts borders off."""
    try:
        output: Tensor = probe(images.clone())  # some networks write into it
    except Exception:
        return None
    return output if output.shape[-2:] == (images.shape[-2] * scale, images.shape[-1] * scale) else None


def _halo(axis: int, strip: Tensor, output: Tensor, scale: int) -> int:
    """Return how far outputs on one side of the middle see beyond it, in LR pixels, the larger of both sides."""
    middle = strip.shape[axis] // 2
    before = torch.arange(output.shape[axis]) < middle * scale
    before = before if axis == -1 else before.unsqueeze(1)
    weights = torch.rand(output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    reach = 0
    for side in (before, ~before):
        (gradient,) = torch.autograd.grad(output, strip, weights * side, retain_graph=True)
        seen = gradient.transpose(axis, -1).flatten(0, -2).count_nonzero(0).nonzero().flatten().tolist()
        if seen:
            reach = max(reach, seen[-1] + 1 - middle if side is before else middle - seen[0])
    return reach
