# SPDX-License-Identifier: Apache-2.0
"""Degradations: the effects, the chain that a user writes as ``blur:2+noise:0.1``, and mixtures for training."""

from filterlens.degradations.blur import GaussianBlur, MotionBlur
from filterlens.degradations.jpeg import Jpeg
from filterlens.degradations.mixture import Coin, Degraded, Mixture, representatives
from filterlens.degradations.noise import GaussianNoise, PoissonNoise
from filterlens.degradations.pipeline import Degradation, parse_degradations
from filterlens.degradations.ranges import BlurRange, NoiseRange, parse_range
from filterlens.degradations.resample import downsample
from filterlens.degradations.value import AnyDegradation, OwnDegradation, Pairs

__all__ = [
    "AnyDegradation",
    "BlurRange",
    "Coin",
    "Degradation",
    "Degraded",
    "GaussianBlur",
    "GaussianNoise",
    "Jpeg",
    "Mixture",
    "MotionBlur",
    "NoiseRange",
    "OwnDegradation",
    "Pairs",
    "PoissonNoise",
    "downsample",
    "parse_degradations",
    "parse_range",
    "representatives",
]
