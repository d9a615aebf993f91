# SPDX-License-Identifier: Apache-2.0
"""The arms (which network) and the settings (trained for which degradations, judged on which)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from filterlens.arguments import written
from filterlens.degradations.blur import GaussianBlur
from filterlens.errors import UsageError
from filterlens.models.architectures import build
from filterlens.models.complexity import Complexity, complexity, matched_blocks
from filterlens.paper.peers.settings import LEVELS, PeerSettings

PEERS = ("dan", "dasr")
FEATURES = 64  # of both published networks
LABELS = {"dan": "DAN", "dasr": "DASR"}
WIDEST = {"dan": {2: 4.0, 4: 4.0}, "dasr": {2: 2.0, 4: 4.0}}  # peer → scale → greatest σ in training, in HR pixels
GAUSSIAN8 = {2: (0.8, 1.6), 3: (1.35, 2.4), 4: (1.8, 3.2)}  # scale → least and greatest σ in HR pixels
STEPS = (1, 2, 3, 4)  # test kernels are at quarters of the greatest width


@dataclass(frozen=True)
class Arm:
    """One network of the comparison.

    Attributes:
        name: ``dan``, ``dasr``, ``srresnet as dan`` or ``srresnet as dasr``.
        peer: The two-branch network whose settings it is trained in.
        architecture: A name of :data:`filterlens.models.architectures.ARCHITECTURES`.
        network: Options of the architecture other than the scale.
        complexity: Parameters and multiply-adds.
    """

    name: str
    peer: str
    architecture: str
    network: dict[str, int] = field(hash=False)
    complexity: Complexity = field(hash=False)

    @property
    def has_two_branches(self) -> bool:
        """Whether it is the peer itself."""
        return self.architecture == self.peer

    @property
    def label(self) -> str:
        """Its name in tables."""
        return LABELS[self.peer] if self.has_two_branches else f"SRResNet-{self.network['blocks']}"


@dataclass(frozen=True)
class Setting:
    """A column of the paper's table.

    Attributes:
        name: ``DAN blur``, ``DAN blur+noise``, ``DASR blur`` or ``DASR blur+noise``.
        peer: ``dan`` or ``dasr``.
        degradations: Coins of the training: written range and probability.
        tests: Written degradations on which the trained networks are judged.
    """

    name: str
    peer: str
    degradations: tuple[tuple[str, float], ...]
    tests: tuple[str, ...]


def arms_of(peers: PeerSettings) -> list[Arm]:
    """Return both arms of both peers, each peer followed by its one-branch network."""
    sizes = {"dan": peers.dan, "dasr": peers.dasr}
    return [arm for peer in PEERS for arm in both_arms(peer, peers.scale, sizes[peer])]


def published_arms(scale: int) -> list[Arm]:
    """Return the same arms with the peers in their published sizes."""
    return [arm for peer in PEERS for arm in both_arms(peer, scale, {})]


def both_arms(peer: str, scale: int, size: Mapping[str, int]) -> tuple[Arm, Arm]:
    """Return a two-branch network, and the SRResNet of its width that comes nearest to it in multiply-adds."""
    two = Arm(peer, peer, peer, dict(size), _complexity(peer, scale, tuple(sorted(size.items()))))
    one = _one_branch(scale, size.get("features", FEATURES), two.complexity.multiply_adds)
    options = tuple(sorted(one.items()))
    return two, Arm(f"srresnet as {peer}", peer, "srresnet", one, _complexity("srresnet", scale, options))


def settings_of(peers: PeerSettings) -> list[Setting]:
    """Return the four settings; what the paper does not say of them is chosen here, and said on the page."""
    scale = peers.scale
    noise = (f"noise:0..{written(round(peers.training_noise / LEVELS, 4))}", 1.0)
    strength = f"+noise:{written(round(peers.test_noise / LEVELS, 4))}"
    sharpest, widest = 0.2, {peer: WIDEST[peer][scale] for peer in PEERS}
    round_blur = {peer: (f"blur:{sharpest}..{written(widest[peer])}", 1.0) for peer in PEERS}
    oval = written(widest["dasr"])
    oval_blur = (f"blur:{sharpest}..{oval},sigma_y={sharpest}..{oval},angle=0..180", 1.0)
    eight = tuple(gaussian8(scale))
    return [
        Setting("DAN blur", "dan", (round_blur["dan"],), eight),
        Setting("DAN blur+noise", "dan", (round_blur["dan"], noise), tuple(test + strength for test in eight)),
        Setting("DASR blur", "dasr", (round_blur["dasr"],), widths(scale)),
        Setting("DASR blur+noise", "dasr", (oval_blur, noise), tuple(test + strength for test in ovals(scale))),
    ]


def gaussian8(scale: int) -> list[str]:
    """Return the eight isotropic blurs (21 pixels wide) on which IKC and DAN are judged: σ in even steps.

    Source: Gu et al., CVPR 2019 ("Gaussian8"); Luo et al., NeurIPS 2020, setting 1.

    Example:
        >>> gaussian8(4)[:2], gaussian8(4)[-1]
        (['blur:1.8', 'blur:2'], 'blur:3.2')

    Raises:
        UsageError: The set is not defined at this scale.
    """
    if scale not in GAUSSIAN8:
        raise UsageError(f"Gaussian8 is not defined at scale = {scale}. Legal: {', '.join(map(str, GAUSSIAN8))}.")
    low, high = GAUSSIAN8[scale]
    return [str(GaussianBlur(round(low + (high - low) * step / 7, 6))) for step in range(8)]


def widths(scale: int) -> tuple[str, ...]:
    """Return DASR's noise-free test degradations: widths 0, 0.6, 1.2, 1.8 at x2, and twice that at x4."""
    wide = [written(round(0.3 * scale * step, 2)) for step in range(len(STEPS))]
    return ("clean", *(f"blur:{width}" for width in wide[1:]))


def ovals(scale: int) -> tuple[str, ...]:
    """Return four anisotropic kernels, half as wide across, at quarters of the greatest width and turned by 45°."""
    greatest = WIDEST["dasr"][scale]
    long = [round(greatest * step / len(STEPS), 3) for step in STEPS]
    return tuple(
        f"blur:{written(width)},sigma_y={written(width / 2)},angle={written(45 * turn)}"
        for turn, width in enumerate(long)
    )


@cache
def _complexity(architecture: str, scale: int, options: tuple[tuple[str, int], ...]) -> Complexity:
    return complexity(build(architecture, scale=scale, **dict(options)))


@cache
def _one_branch(scale: int, features: int, multiply_adds: float) -> dict[str, int]:
    return {"features": features, "blocks": matched_blocks(multiply_adds, scale, features)}
