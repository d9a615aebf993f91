# SPDX-License-Identifier: Apache-2.0
"""What cannot fit into memory is refused before anything is allocated, and what fits never is."""

import pytest
import torch

from filterlens.errors import UsageError
from filterlens.settings import shipped_recipes
from filterlens.training import memory
from filterlens.training.memory import demand_of
from filterlens.training.recipe import load_recipe
from tests.training.small import small_recipe

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", shipped_recipes("training"))
def test_every_shipped_recipe_fits_into_8_gib(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_in_all", lambda _: 8 << 30)
    demand_of(load_recipe(name)).check(CPU)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch": 65_536, "patch": 256}, "batch = 65536 with patch = 256 needs about"),
        ({"patch": 8192, "batch": 64}, "batch = 64 with patch = 8192"),
        ({"batch": 2048, "patch": 128}, "batch = 2048 with patch = 128"),
    ],
    ids=str,
)
def test_what_cannot_fit_is_refused_with_the_setting_and_the_limit(
    changes: dict[str, int], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "memory_in_all", lambda _: 16 << 30)
    with pytest.raises(UsageError, match=words) as caught:
        demand_of(small_recipe(**changes)).check(CPU)
    assert "but cpu has 16 GiB" in str(caught.value)


def test_a_network_beyond_every_memory_is_refused_with_its_options() -> None:
    with pytest.raises(UsageError, match=r"a network of features = 4096, blocks = 1000: .*far more numbers or layers"):
        demand_of(small_recipe(network={"features": 4096, "blocks": 1000}))


def test_what_is_counted_is_less_than_what_a_step_keeps() -> None:
    """Every layer's output is kept for the gradient: counted by hand for a plain chain."""
    recipe = small_recipe(architecture="srcnn-style", patch=32, batch=4)
    network = memory.shape_of(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 1), torch.nn.Conv2d(8, 5, 1)))
    demand = memory.Demand("test", network, 4, 32, 2)
    outputs = 4 * 16 * 16 * (8 + 5)
    assert demand.samples == 2 * outputs + 4 * 32 * 32 * memory.PATCH_BYTES
    assert demand.weights == 5 * 4 * (3 * 8 + 8 + 8 * 5 + 5)
    assert demand_of(recipe, processes=2).batch == 2


def test_several_processes_share_the_batch_and_a_given_network_is_measured_as_it_is() -> None:
    given = torch.nn.Conv2d(3, 3, 3)
    demand = demand_of(small_recipe(batch=8), 4, given)
    assert (demand.batch, demand.weights) == (2, 5 * 4 * (81 + 3))
    assert given.weight.device.type == "cpu"
