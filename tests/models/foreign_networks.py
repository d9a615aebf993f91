# SPDX-License-Identifier: Apache-2.0
"""Small networks of spandrel's architectures with random weights, and pairs of them in files."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from filterlens.models.foreign import spandrel

SWIN = {"img_size": 32, "window_size": 8, "embed_dim": 12, "num_heads": [2], "depths": [2], "upscale": 2}
SMALL: dict[str, tuple[str, dict[str, object]]] = {
    "ESRGAN": ("ESRGAN", {"num_filters": 8, "num_blocks": 1, "scale": 4}),
    "RCAN": ("RCAN", {"scale": 2, "n_resgroups": 1, "n_resblocks": 2, "n_feats": 8, "reduction": 4}),
    "SwinIR": ("SwinIR", SWIN | {"upsampler": "pixelshuffledirect"}),
    "OmniSR": ("OmniSR", {"num_feat": 8, "up_scale": 2}),
    "SPAN": ("SPAN", {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 8, "upscale": 2}),
    "Compact": ("Compact", {"num_feat": 8, "num_conv": 3, "upscale": 1}),
    "DAT": ("DAT", {"img_size": 32, "split_size": [8, 8], "depth": [2], "embed_dim": 32, "num_heads": [2]}),
    "HAT": ("HAT", SWIN | {"window_size": 16, "squeeze_factor": 6, "upsampler": "pixelshuffle"}),
    "DnCNN": ("DnCNN", {"in_nc": 1, "out_nc": 1, "nc": 8, "nb": 9, "act_mode": "R"}),
    "SAFMN": ("SAFMN", {"dim": 8, "n_blocks": 2, "ffn_scale": 2.0, "upscaling_factor": 2}),
    "PLKSR": ("PLKSR", {"dim": 8, "n_blocks": 2, "kernel_size": 5, "split_ratio": 0.5, "upscaling_factor": 2}),
    "Swin2SR": ("Swin2SR", SWIN | {"upsampler": "pixelshuffledirect"}),
    "NAFNet": ("NAFNet", {"width": 4, "middle_blk_num": 1, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]}),
}  # fmt: skip
SCALES = {"ESRGAN": 4, "Compact": 1, "DnCNN": 1, "NAFNet": 1}
"""Of those that do not upscale by 2."""


def network_of(name: str, seed: int = 0) -> nn.Module:
    """Build a small network of an architecture with random weights."""
    spandrel()
    kind, options = SMALL[name]
    build: Callable[..., nn.Module] = getattr(import_module(f"spandrel.architectures.{name}"), kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(**options).eval()


def write_pair(name: str, folder: Path, change: float = 0.2) -> tuple[Path, Path]:
    """Write a baseline as safetensors, and a target near it as people publish them, a ``.pth`` with ``params_ema``."""
    network, paths = network_of(name), (folder / "baseline.safetensors", folder / "target.pth")
    save_file({key: value.clone().contiguous() for key, value in network.state_dict().items()}, paths[0])
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            weight += change * weight.abs().mean() * torch.randn(weight.shape, generator=generator)
    torch.save({"params_ema": network.state_dict()}, paths[1])
    return paths
