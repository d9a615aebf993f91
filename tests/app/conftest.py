# SPDX-License-Identifier: Apache-2.0
"""A studio around a small random pair, and the app's handlers on it."""

import shutil

import pytest
import torch

from filterlens.app.studio import Studio
from filterlens.diagnosis.found_filters import FoundFilters
from filterlens.filters import ranking
from filterlens.pair import ModelPair
from tests.small_srresnet import small_networks

DEGRADATIONS = ("blur:2", "noise:0.1")


@pytest.fixture(scope="package")
def studio():
    return small_studio()


def small_studio():
    """A narrow SRResNet with random rankings."""
    pair = ModelPair(*small_networks(features=8, blocks=2), name="small")
    generator = torch.Generator().manual_seed(1)
    rankings = {name: ranking(torch.rand(len(pair.space), generator=generator)) for name in DEGRADATIONS}
    return SmallStudio(pair, FoundFilters(rankings))


class SmallStudio(Studio):
    """Its adapters are no real ones: the pair is none that ships."""

    def save_adapter(self, folder, degradation, percent):
        path = folder / f"{degradation.replace(':', '-')}-{percent:g}.safetensors"
        path.write_bytes(b"an adapter")
        return path


@pytest.fixture(scope="session")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("there is no Chromium on the PATH")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
