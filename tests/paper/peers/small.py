# SPDX-License-Identifier: Apache-2.0
"""Peers that train in a second."""

from filterlens.paper.peers.settings import PeerSettings, Steps
from filterlens.training.recipe import Contrast

SMALL = PeerSettings(
    seeds=2,
    dan={"features": 8, "blocks": 1, "estimator_blocks": 1, "loops": 2},
    dasr={"features": 8, "groups": 1, "blocks": 1},
    baseline=Steps(iterations=2, learning_rate=1e-3),
    target=Steps(iterations=3, learning_rate=1e-3),
    contrast=Contrast(target_iterations=2, queue=8, momentum=0.5),
    batch=2,
    patch=16,
    ema=0.5,
    checkpoint_every=1,
)
