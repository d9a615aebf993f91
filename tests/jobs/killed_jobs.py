# SPDX-License-Identifier: Apache-2.0
"""Small jobs to be killed, in a process of their own: ``python -m tests.jobs.killed_jobs NAME HOME MOST``."""

import shutil
import sys
from pathlib import Path

import torch

from filterlens import ModelPair
from filterlens.data.images import write_image
from filterlens.editing.retrain_settings import settings_for
from filterlens.evaluation.settings import MaskSettings
from filterlens.jobs.attribute import attribute_to_folder
from filterlens.jobs.classify import filters_of_run
from filterlens.jobs.degrade import degrade_folder
from filterlens.jobs.image_folder import Rules
from filterlens.jobs.mask import mask_to_folder
from filterlens.jobs.restore import restore_folder
from filterlens.jobs.retrain import retrain_to_folder
from filterlens.jobs.train import train_to_folder
from filterlens.models.one_branch import SRResNet
from filterlens.report.build import build_report
from filterlens.training.recipe import validated
from tests.kills import Job, check
from tests.small_srresnet import save_small_pair

CPU = torch.device("cpu")
DEGRADATIONS = ["blur:1", "noise:0.1"]
NETWORK = {"scale": 2, "features": 2, "blocks": 1}


class Jobs:
    """The jobs, on a few small images in a folder."""

    def __init__(self, home: Path) -> None:
        self.home, self.images, self.run = home, home / "images", home / "run"
        dice = torch.Generator().manual_seed(0)
        for name in ("0.png", "deep/1.png"):
            (self.images / name).parent.mkdir(parents=True, exist_ok=True)
            write_image(self.images / name, torch.randint(0, 256, (3, 36, 40), generator=dice, dtype=torch.uint8))
        save_small_pair(home, **NETWORK)

    @property
    def pair(self) -> ModelPair:
        return ModelPair.load(self.home / "baseline.safetensors", self.home / "target.safetensors")

    def restore(self, folder: Path) -> None:
        torch.manual_seed(0)
        restore_folder(self.images, folder, SRResNet(**NETWORK).eval(), device=CPU, rules=Rules(recursive=True))

    def degrade(self, folder: Path) -> None:
        degrade_folder(self.images, folder, DEGRADATIONS, rules=Rules(recursive=True))

    def attribute(self, folder: Path) -> None:
        attribute_to_folder(self.pair, self.images, DEGRADATIONS, folder, allow_small=True)

    def mask(self, folder: Path) -> None:
        mask_to_folder(folder, self.images, MaskSettings(percents=[10]), pair=self.pair)

    def report(self, folder: Path) -> None:
        build_report(folder)

    def classify(self, folder: Path) -> None:
        filters_of_run(folder, 10.0, CPU)

    def train(self, folder: Path) -> None:
        stage = {"iterations": 2, "learning_rate": 1e-3}
        settings = {"name": "tiny", "patch": 16, "batch": 1, "ema": 0.5, "network": {"features": 2, "blocks": 1}}
        settings |= {"baseline": stage, "target": stage, "checkpoint_every": 1}
        train_to_folder(validated(settings, "tiny"), [self.images], folder, device="cpu", precision="fp32")

    def retrain(self, folder: Path) -> None:
        settings = settings_for("blur:1", iterations=2, batch=1, patch=16, checkpoint_every=1)
        retrain_to_folder(folder, settings, self.images, percent=10, device="cpu", precision="fp32")


def main(name: str, home: Path, most: int) -> None:
    """Kill one job many times; see :func:`tests.kills.check`."""
    torch.set_num_threads(1)
    jobs = Jobs(home)
    job: Job = getattr(jobs, name)

    def run_folder(folder: Path) -> None:
        shutil.copytree(jobs.run, folder)

    if name in ("mask", "report", "classify", "retrain"):
        jobs.attribute(jobs.run)
        if name == "report":
            jobs.mask(jobs.run)
        print(check(job, home / "kills", run_folder, most))
    else:
        print(check(job, home / "kills", most=most))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
