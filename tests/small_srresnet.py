# SPDX-License-Identifier: Apache-2.0
"""A narrow SRResNet and a target some way from it, as modules and as checkpoints; always the same weights."""

import torch

from filterlens.attribution.result import Attribution, save_attributions
from filterlens.files import write_json
from filterlens.jobs.pairs import describe_pair
from filterlens.models.checkpoints import save_network
from filterlens.models.one_branch import SRResNet
from filterlens.pair import ModelPair


def small_networks(**options):
    """Return a baseline and a target; ``options`` are those of the network."""
    torch.manual_seed(0)
    baseline, target = SRResNet(**options), SRResNet(**options)
    with torch.no_grad():
        for old, new in zip(baseline.parameters(), target.parameters(), strict=True):
            new.copy_(old + 0.5 * new)
    return baseline, target


def save_small_pair(folder, **options):
    """Write both networks as ``baseline.safetensors`` and ``target.safetensors``."""
    for role, network in zip(("baseline", "target"), small_networks(**options), strict=True):
        save_network(folder / f"{role}.safetensors", network, "srresnet", options, {"role": role})


def save_made_up_run(folder, names, settings):
    """Write two narrow networks and a run folder ``run`` with made-up scores for the named degradations."""
    options = {"scale": 2, "features": 4, "blocks": 1}
    torch.manual_seed(0)
    files = [folder / f"{role}.safetensors" for role in ("baseline", "target")]
    for file in files:
        save_network(file, SRResNet(**options), "srresnet", options, {})
    pair = ModelPair.load(*files)
    scores = {name: torch.rand(len(pair.space)) for name in names}
    save_attributions(folder / "run/scores.safetensors", [Attribution("faig", pair.space, scores)])
    write_json(folder / "run/run.json", {"pair": describe_pair(pair), "settings": settings})
