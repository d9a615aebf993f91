# SPDX-License-Identifier: Apache-2.0
"""Two processes share a batch and write one result."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from filterlens.data.patches import PatchBank
from filterlens.degradations import Degradation
from filterlens.degradations.randomness import derive_seed
from filterlens.models.architectures import build
from filterlens.models.checkpoints import load_network
from tests.training.two_processes import make_images, make_recipe

SCRIPT = Path(__file__).with_name("two_processes.py")


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this PyTorch lacks gloo, which joins CPUs")
def test_two_processes_train_together_and_write_one_result(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(SCRIPT)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("A batch of 3 cannot be shared by 2 processes.") == 2
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["baseline.safetensors", "log.jsonl", "target.safetensors"]
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    lines = [(entry["stage"], "loss" if "loss" in entry else "psnr") for entry in log]
    assert lines == [(role, kind) for role in ("baseline", "target") for kind in ("loss", "psnr")]
    network, losses = one_step_by_hand()
    assert log[0]["loss"] == pytest.approx(sum(losses) / 2, rel=1e-5)
    assert losses[0] != losses[1]
    trained = load_network(tmp_path / "baseline.safetensors").network.state_dict()
    moved = torch.cat([(trained[name] - value).abs().flatten() for name, value in network.state_dict().items()])
    assert (moved > 1e-5).float().mean() < 0.01  # Adam's first step is a sign: a few tiny gradients may flip


def one_step_by_hand() -> tuple[nn.Module, list[float]]:
    """The first step of the baseline: the gradient is the mean of those of both processes."""
    recipe, cpu = make_recipe(2), torch.device("cpu")
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        network = build("srresnet", scale=2)
    bank, losses = PatchBank(make_images(), recipe.patch, cpu), []
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, betas=recipe.betas)
    for process in range(2):
        generator = torch.Generator().manual_seed(derive_seed(recipe.seed, "baseline", 0, process))
        truth = bank.sample(1, generator)
        loss = (network(Degradation().apply(truth, 2)) - truth).abs().mean()
        (loss / 2).backward()
        losses.append(float(loss.detach()))
    optimizer.step()
    return network, losses
