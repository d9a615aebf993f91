# SPDX-License-Identifier: Apache-2.0
"""Train baseline and target of the small all-in-one network on folders of image pairs.

python -m tools.all_in_one.train --clean GT --pairs noise=LQ,GT --pairs rain=LQ,GT --out runs/all-in-one

The baseline learns to hand clean images on, the target, which starts from it, to restore each kind of pair (and,
sometimes, to leave a clean image alone). The names of the pairs are only written down. A training that was stopped
goes on from its last state.
"""

import argparse
import copy
import json
import math
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Generator, Tensor, nn

from filterlens.data.images import read_image
from filterlens.data.listing import find_images
from tools.all_in_one.network import Restorer

Pairs = list[tuple[Tensor, Tensor]]  # degraded and clean (3, H, W), uint8
EMA = 0.999
KEEP_EVERY = 250  # steps


def read_pairs(lowered: Path, clean: Path) -> Pairs:
    """Read two folders whose files have the same names."""
    pairs = []
    for file in find_images(clean).images:
        truth = read_image(file)
        pairs.append((truth if lowered == clean else read_image(lowered / file.name), truth))
    return pairs


def batch(sets: list[Pairs], shares: list[float], size: int, side: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw patches ``(size, 3, side, side)`` in [0, 1], degraded and clean, mirrored and turned at random."""

    def drawn(below: int) -> int:
        return int(torch.randint(below, (), generator=generator))

    inputs, truths = [], []
    for kind in torch.multinomial(torch.tensor(shares), size, replacement=True, generator=generator).tolist():
        both = torch.stack(sets[kind][drawn(len(sets[kind]))])
        top, left = (2 * drawn((length - side) // 2 + 1) for length in both.shape[-2:])
        both = both[..., top : top + side, left : left + side]
        both = both.flip(-1) if drawn(2) else both  # not upside down: rain falls
        inputs.append(both[0])
        truths.append(both[1])
    batches = torch.stack(inputs), torch.stack(truths)
    lowered, clean = (each.float().div(255).contiguous(memory_format=torch.channels_last) for each in batches)
    return lowered, clean


def rate(step: int, steps: int, peak: float, warmup: int = 100) -> float:
    """Return the learning rate: a linear warm-up, then half a cosine."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def train(
    network: nn.Module,
    sets: list[Pairs],
    shares: list[float],
    kept: Path,
    *,
    steps: int,
    peak: float,
    side: int,
    size: int,
) -> nn.Module:
    """Train with L1 and Adam; return the averaged network. ``kept`` is the file of the state."""
    network = network.to(memory_format=torch.channels_last)
    average = copy.deepcopy(network)
    optimiser = torch.optim.Adam(network.parameters(), lr=peak, betas=(0.9, 0.99))
    first = 0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        first = int(state["step"])
    began, total = time.perf_counter(), 0.0
    for step in range(first, steps):
        inputs, truths = batch(sets, shares, size, side, torch.Generator().manual_seed(step))
        optimiser.param_groups[0]["lr"] = rate(step, steps, peak)
        loss = (network(inputs) - truths).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += float(loss.detach())
        decay = min(EMA, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, now in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
        if (step + 1) % KEEP_EVERY == 0 or step + 1 == steps:
            speed = (step + 1 - first) / (time.perf_counter() - began)
            print(f"{kept.stem} {step + 1}/{steps}: L1 {total / KEEP_EVERY:.4f}, {speed:.2f} steps/s", flush=True)
            total = 0.0
            state = {"network": network, "average": average, "optimiser": optimiser}
            unfinished = kept.with_suffix(".part")
            torch.save({"step": step + 1} | {name: each.state_dict() for name, each in state.items()}, unfinished)
            unfinished.replace(kept)
    return average


def save(network: nn.Module, path: Path, facts: dict[str, object]) -> None:
    """Write the weights at 16 bits, with what was done as the file's metadata."""
    state = network.state_dict().items()
    weights = {name: value.half().contiguous(memory_format=torch.contiguous_format) for name, value in state}
    save_file(weights, path, {"training": json.dumps(facts)})


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", type=Path, required=True, help="folder of clean images")
    parser.add_argument("--pairs", action="append", required=True, metavar="NAME=LQ,GT", help="folders; repeat it")
    parser.add_argument("--out", type=Path, required=True, help="folder of the networks and of the states")
    parser.add_argument("--steps", type=int, nargs=2, default=(1500, 6000), metavar=("BASELINE", "TARGET"))
    parser.add_argument("--rates", type=float, nargs=2, default=(1e-3, 1e-3), metavar=("BASELINE", "TARGET"))
    parser.add_argument("--patch", type=int, default=48, help="pixels of a patch's side; an even number")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--clean-share", type=float, default=0.25, help="clean images among the target's")
    parser.add_argument("--note", default="", help="anything about the training that the options do not say")
    arguments = parser.parse_args()
    named = dict(each.split("=", 1) for each in arguments.pairs)
    clean = read_pairs(arguments.clean, arguments.clean)
    degraded = [read_pairs(*map(Path, folders.split(","))) for folders in named.values()]
    arguments.out.mkdir(parents=True, exist_ok=True)
    patches = {"side": arguments.patch, "size": arguments.batch}
    stages = [{"steps": steps, "peak": rate} for steps, rate in zip(arguments.steps, arguments.rates, strict=True)]
    states = [arguments.out / f"{role}-state.pt" for role in ("baseline", "target")]

    torch.manual_seed(0)
    baseline = train(Restorer(), [clean], [1.0], states[0], **stages[0], **patches)
    facts: dict[str, object] = patches | {"images": len(clean)} | ({"note": arguments.note} if arguments.note else {})
    save(baseline, arguments.out / "baseline.safetensors", facts | stages[0])
    shares = [arguments.clean_share] + [(1 - arguments.clean_share) / len(degraded)] * len(degraded)
    target = train(copy.deepcopy(baseline), [clean, *degraded], shares, states[1], **stages[1], **patches)
    facts["shares"] = dict(zip(("clean", *named), shares, strict=True))
    save(target, arguments.out / "target.safetensors", facts | stages[1])


if __name__ == "__main__":
    main()
