# SPDX-License-Identifier: Apache-2.0
"""
Adapters: two knobs in two small files
======================================

The filters of a function fit into a file that is small next to the network. Put on it, each
file is a knob for its function, and they can be turned independently.
"""

# %%
# Export
# ------
# An adapter holds where the filters are and their values before and after fine-tuning, with a
# card that says which networks it belongs to.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from filterlens import Adapter, Degradation, adapt
from filterlens.data.images import to_float, to_uint8
from filterlens.data.photographs import photograph, square
from filterlens.diagnosis.found_filters import shipped_filters
from filterlens.metrics import psnr
from filterlens.models.pretrained import pair_files

SIDE = 128  # HR pixels

pair, found = shipped_filters("srresnet-x2", "cpu")
chosen = found.selections(pair, 1)
folder = Path(tempfile.mkdtemp())
for degradation, name in {"blur:2": "deblur", "noise:0.1": "denoise"}.items():
    Adapter.of(pair, [chosen[degradation]]).save(folder / f"{name}.safetensors")

deblur, denoise = (
    Adapter.load(folder / f"{name}.safetensors") for name in ("deblur", "denoise")
)
whole = pair_files("srresnet-x2")[1].stat().st_size
for file in sorted(folder.glob("*.safetensors")):
    size = file.stat().st_size
    print(f"{file.name}: {size / 1000:.0f} kB, {size / whole:.1%} of the network's file")

# %%
# Turn
# ----
# Four settings of the two knobs, each on a blurred and on a noisy input. At (1, 1) the
# network is as it was trained.

truth = to_float(square(photograph("astronaut"), SIDE, 325, 105))
inputs = {text: Degradation.parse(text).apply(truth, 2) for text in ("blur:2", "noise:0.1")}
settings = ((1, 1), (0.3, 1), (1, 0.3), (0, 0))
target = pair.network(pair.target)

figure, axes = plt.subplots(2, 4, figsize=(9.6, 5.6), layout="constrained")
for column, (deblurring, denoising) in zip(axes.T, settings, strict=True):
    network = adapt(target, [(deblur, deblurring), (denoise, denoising)])
    for axis, degraded in zip(column, inputs.values(), strict=True):
        with torch.no_grad():
            output = network(degraded)
        axis.imshow(to_uint8(output).permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set_xlabel(f"{float(psnr(output, truth, crop=2)):.1f} dB", fontsize=12)
        axis.set_xticks([])
        axis.set_yticks([])
    column[0].set_title(f"deblur {deblurring:g}\ndenoise {denoising:g}", fontsize=13)
for axis, name in zip(axes[:, 0], inputs, strict=True):
    axis.set_ylabel(f"on {name}", fontsize=13)
plt.show()

# %%
# On the command line: ``filterlens restore IN OUT --base srresnet-x2/target --adapter
# deblur.safetensors=0.5``. More in :doc:`/how-to/adapters`.
