# SPDX-License-Identifier: Apache-2.0
"""DAN, a two-branch network: a restorer that needs the blur kernel's code, and an estimator of that code, in turns."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.fft import idctn
from torch import Tensor, nn

from filterlens.errors import UsageError
from filterlens.models.one_branch import shuffle_steps

REDUCTION = 16
SLOPE = 0.2


class Unrolled(NamedTuple):
    """The results of every loop.

    Attributes:
        images: One HR image ``(B, 3, H·scale, W·scale)`` per loop, the last one is the result.
        codes: The kernel code ``(B, code)`` estimated from each of them.
    """

    images: list[Tensor]
    codes: list[Tensor]


class ChannelAttention(nn.Module):
    """x times one weight per channel, computed from the channels' means (squeeze and excitation)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        narrow = max(1, features // REDUCTION)
        self.reduce = nn.Conv2d(features, narrow, 1)
        self.expand = nn.Conv2d(narrow, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, features, H, W)`` to the same shape."""
        means = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.expand(F.leaky_relu(self.reduce(means), SLOPE)))


class ConditionalBlock(nn.Module):
    """x + attention(conv(LeakyReLU(conv([x, condition])))): a residual block that reads a second input."""

    def __init__(self, features: int, conditions: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features + conditions, features + conditions, 3, 1, 1)
        self.conv2 = nn.Conv2d(features + conditions, features, 3, 1, 1)
        self.attention = ChannelAttention(features)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map ``(B, features, H, W)`` and ``(B, conditions, H, W)`` to the shape of the first."""
        y = F.leaky_relu(self.conv1(torch.cat((x, condition), 1)), SLOPE)
        change: Tensor = self.attention(self.conv2(y))
        return x + change


class Restorer(nn.Module):
    """The restoration branch: an image from the LR image and the code of its blur kernel."""

    def __init__(self, scale: int, features: int, blocks: int, code: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, features, 3, 1, 1)
        self.body = nn.ModuleList(ConditionalBlock(features, code) for _ in range(blocks))
        self.fusion = nn.Conv2d(features, features, 3, 1, 1)
        self.upconvs = nn.ModuleList(nn.Conv2d(features, features * s**2, 3, 1, 1) for s in shuffle_steps(scale))
        self.conv_last = nn.Conv2d(features, 3, 3, 1, 1)
        self._steps = shuffle_steps(scale)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Map LR ``(B, 3, H, W)`` and codes ``(B, code)`` to HR ``(B, 3, H·scale, W·scale)``."""
        y = self.head(x)
        maps = _constant_maps(code, y)
        for block in self.body:
            y = block(y, maps)
        y = self.fusion(y)
        for upconv, step in zip(self.upconvs, self._steps, strict=True):
            y = F.pixel_shuffle(upconv(y), step)
        output: Tensor = self.conv_last(y)
        return output


class Estimator(nn.Module):
    """The degradation branch: the code of the blur kernel between an HR image and its LR image."""

    def __init__(self, scale: int, features: int, blocks: int, code: int) -> None:
        super().__init__()
        half = features // 2
        self.head_lr = nn.Conv2d(3, half, 1)
        self.head_hr = nn.Conv2d(3, half, 9, scale, 4)
        self.body = nn.ModuleList(ConditionalBlock(half, half) for _ in range(blocks))
        self.out = nn.Conv2d(half, code, 3, 1, 1)

    def forward(self, image: Tensor, x: Tensor) -> Tensor:
        """Map HR ``(B, 3, H·scale, W·scale)`` and LR ``(B, 3, H, W)`` to codes ``(B, code)``."""
        y, condition = self.head_lr(x), self.head_hr(image)
        for block in self.body:
            y = block(y, condition)
        code: Tensor = self.out(y).mean((2, 3))
        return code


class DAN(nn.Module):
    """DAN v1 (Luo et al. 2020): restorer and estimator take turns, unrolled, with shared weights.

    The first code is that of the delta kernel (no blur). A code is the kernel's projection on a basis, principal
    directions of the kernels that the network is trained for: whoever trains sets it with :meth:`set_basis`. Until
    then it is a fixed orthonormal one, the lowest frequencies of the discrete cosine transform.

    With the defaults: 4,181,799 parameters at x2, 4,329,511 at x4.

    Args:
        scale: 2, 3 or 4.
        features: Channels of the restorer; the estimator has half of them.
        blocks: Conditional blocks of the restorer.
        estimator_blocks: Conditional blocks of the estimator.
        loops: Turns of restorer and estimator.
        code: Numbers in a kernel's code.
        kernel: Width of the kernels, odd.

    Raises:
        UsageError: The kernel has no centre, or a code would be longer than the kernel.
    """

    basis: Tensor
    initial_code: Tensor

    def __init__(
        self,
        scale: int = 2,
        features: int = 64,
        blocks: int = 40,
        estimator_blocks: int = 5,
        loops: int = 4,
        code: int = 10,
        kernel: int = 21,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0 or not 0 < code <= kernel**2:
            raise UsageError(f"A code of {code} numbers for kernels {kernel} wide is not legal: 1 to {kernel}², odd.")
        self.scale, self.loops, self.code, self.kernel = scale, loops, code, kernel
        self.restorer = Restorer(scale, features, blocks, code)
        self.estimator = Estimator(scale, features, estimator_blocks, code)
        self.register_buffer("basis", torch.empty(kernel**2, code))
        self.register_buffer("initial_code", torch.empty(1, code))
        self.set_basis(cosine_basis(kernel, code))

    @torch.no_grad()
    def set_basis(self, basis: Tensor) -> None:
        """Take ``(kernel², code)`` as the basis of the codes, in place, and the delta kernel's code with it.

        Raises:
            UsageError: The basis has another shape.
        """
        if basis.shape != self.basis.shape:
            raise UsageError(f"A basis of {tuple(basis.shape)} does not fit: {tuple(self.basis.shape)} is expected.")
        self.basis.copy_(basis)
        self.initial_code.copy_(self.basis[self.kernel**2 // 2])

    def encode(self, kernels: Tensor) -> Tensor:
        """Return the codes ``(B, code)`` of kernels ``(B, kernel, kernel)``."""
        return kernels.flatten(1) @ self.basis

    def unroll(self, x: Tensor, *, detached: bool = False) -> Unrolled:
        """Run all loops and keep what each computed.

        Args:
            x: LR ``(B, 3, H, W)`` in [0, 1].
            detached: True for training as DAN's authors do it: no gradient flows from one branch into the other, so
                that only the last loop matters; the graph of the earlier ones is not built.
        """
        code = self.initial_code.expand(len(x), -1)
        images, codes = [], []
        for loop in range(self.loops):
            matters = not detached or loop == self.loops - 1
            with torch.set_grad_enabled(torch.is_grad_enabled() and matters):
                images.append(self.restorer(x, code))
                code = self.estimator(images[-1].detach() if detached else images[-1], x)
                codes.append(code)
        return Unrolled(images, codes)

    def forward(self, x: Tensor) -> Tensor:
        """Map LR ``(B, 3, H, W)`` in [0, 1] to HR ``(B, 3, H·scale, W·scale)``; gradients flow through all loops."""
        return self.unroll(x).images[-1]


def cosine_basis(kernel: int, code: int) -> Tensor:
    """Return the ``code`` lowest frequencies of the orthonormal 2-D cosine transform, ``(kernel², code)`` float32."""
    by_frequency = sorted((i * i + j * j, i, j) for i in range(kernel) for j in range(kernel))
    spectra = np.zeros((code, kernel, kernel))
    for spectrum, (_, i, j) in zip(spectra, by_frequency, strict=False):
        spectrum[i, j] = 1
    return torch.from_numpy(idctn(spectra, axes=(1, 2), norm="ortho")).flatten(1).T.float()


def _constant_maps(code: Tensor, like: Tensor) -> Tensor:
    """Spread codes ``(B, code)`` over the pixels, ``(B, code, H, W)``, in the type and layout of the features."""
    code = code.to(like.dtype)
    if like.stride(1) != 1:
        return code[:, :, None, None].expand(-1, -1, *like.shape[-2:])
    # concatenation keeps channels last only where both have it
    return code[:, None, None].expand(-1, *like.shape[-2:], -1).contiguous().permute(0, 3, 1, 2)
