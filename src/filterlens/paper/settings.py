# SPDX-License-Identifier: Apache-2.0
"""The settings that experiments share: which pairs, how many target models, which images, which two-branch peers."""

from typing import Literal

from filterlens.paper.peers.settings import PeerSettings
from filterlens.settings import Positive, Seed, Settings, Share


class ImageChoice(Settings):
    """Some images, whole or cut into squares.

    Attributes:
        set: ``photographs`` (the shipped ones), a set of the data catalogue (``set14``), or a folder.
        only: Names of images (file stems); empty takes all.
        images: Largest number of images, spread evenly over the set in the order of names.
        crop: Side of the squares in HR pixels; None takes whole images.
        squares: Number of squares cut from every image, spread evenly over it.
    """

    set: str
    only: tuple[str, ...] = ()
    images: Positive | None = None
    crop: Positive | None = None
    squares: Positive = 1

    @property
    def whole(self) -> "ImageChoice":
        """The same images, not cut into squares."""
        return self.model_copy(update={"crop": None, "squares": 1})


class Common(Settings):
    """Settings that all experiments share.

    Attributes:
        pairs: Shipped pairs; the first one serves experiments that need a single network.
        targets: Target models per pair, fine-tuned from one baseline with different seeds; the first ships.
        training: Training of further targets: ``card`` (as the shipped one) or a training recipe, which also trains
            a baseline of its own.
        train: Image sets for every training (further targets, re-training of filters, calibration).
        find: Images on which filters are found.
        judge: Images on which they are judged: pair → images; ``*`` stands for any other pair.
        degradations: Degradations for which the pairs were fine-tuned.
        precision: Precision of attributions.
        judge_precision: Precision of the judged networks.
        tolerance: Tolerance of the integrals on the parameter path.
        seed: Seed of noise and random methods.
        resamples: Draws of every bootstrap.
        peers: The two-branch networks, and the one-branch network that each is compared with.
    """

    pairs: tuple[str, ...] = ("srresnet-x2", "srcnn-style-x2")
    targets: Positive = 1
    training: str = "card"
    train: tuple[ImageChoice, ...]
    find: ImageChoice
    judge: dict[str, ImageChoice]
    degradations: tuple[str, ...] = ("blur:2", "noise:0.1")
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    judge_precision: Literal["auto", "fp32", "bf16"] = "fp32"
    tolerance: Share = 0.01
    seed: Seed = 0
    resamples: Positive = 2000
    peers: PeerSettings = PeerSettings()

    def judged_on(self, pair: str) -> ImageChoice:
        """Return the images on which a pair is judged."""
        return self.judge.get(pair) or self.judge["*"]
