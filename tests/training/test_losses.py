# SPDX-License-Identifier: Apache-2.0
"""What DAN and DASR learn from: losses and momentum contrast against their formulas, trainings that resume exactly."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from filterlens.degradations.kernel_code import kernel_basis
from filterlens.degradations.ranges import BlurRange
from filterlens.errors import UsageError
from filterlens.models.checkpoints import load_network
from filterlens.models.dan import DAN
from filterlens.models.dasr import DASR
from filterlens.training.batches import Batch
from filterlens.training.losses import ContrastiveLoss, KernelCodeLoss, MomentumContrast, loss_for
from filterlens.training.recipe import Contrast, Recipe
from filterlens.training.trainer import train
from tests.training.small import Killed, Killer, small_recipe

CPU = torch.device("cpu")
SMALL = {
    "dan": {"features": 16, "blocks": 1, "estimator_blocks": 1, "loops": 2, "kernel": 7, "code": 4},
    "dasr": {"features": 8, "groups": 1, "blocks": 1},
}
RANGES = [["blur:0.4..2,kernel=7", 1.0], ["noise:0..0.1", 1.0]]


def recipe_of(architecture: str, **changes: Any) -> Recipe:
    stage = {"iterations": 6, "learning_rate": 1e-3}
    more: dict[str, Any] = {
        "network": SMALL[architecture],
        "target": stage | {"degradations": RANGES},
        "start": "identity",
    }
    if architecture == "dasr":
        more["contrast"] = {"target_iterations": 3, "queue": 16}
    return small_recipe(architecture=architecture, **(more | changes))


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    truth, lowered, keys = (torch.rand(2, 3, side, side, generator=generator) for side in (16, 8, 8))
    return Batch(truth, lowered, BlurRange((0.4, 2.0), kernel=7).draw(2, generator), keys)


def network_of(architecture: str) -> nn.Module:
    torch.manual_seed(0)
    return DAN(**SMALL["dan"]) if architecture == "dan" else DASR(**SMALL["dasr"])


def test_dan_learns_from_the_last_image_and_the_last_code() -> None:
    dan, given = network_of("dan"), batch()
    assert isinstance(dan, DAN) and given.kernels is not None
    with torch.no_grad():
        code = dan.initial_code.expand(2, -1)
        for _ in range(2):
            image = dan.restorer(given.lowered, code)
            code = dan.estimator(image, given.lowered)
    wanted = torch.einsum("bij,ijc->bc", given.kernels, dan.basis.view(7, 7, 4))
    expected = (image - given.truth).abs().mean() + (code - wanted).abs().mean()
    torch.testing.assert_close(KernelCodeLoss(dan, "fp32")(given).detach(), expected)


def test_narrower_kernels_have_the_code_of_the_same_kernel_in_a_wider_frame() -> None:
    dan, given = network_of("dan"), batch()
    narrow = BlurRange((0.5, 0.6), kernel=5).draw(2, torch.Generator().manual_seed(1))
    framed = torch.zeros(2, 7, 7)
    framed[:, 1:6, 1:6] = narrow
    loss = loss_for(dan, recipe_of("dan"), "target", "fp32")
    torch.testing.assert_close(loss(given._replace(kernels=narrow)), loss(given._replace(kernels=framed)))


def test_clean_batches_have_the_code_of_the_delta_kernel() -> None:
    dan, given = network_of("dan"), batch()
    delta = torch.zeros(2, 7, 7)
    delta[:, 3, 3] = 1
    loss = KernelCodeLoss(dan, "fp32")  # type: ignore[arg-type]
    torch.testing.assert_close(loss(given._replace(kernels=None)), loss(given._replace(kernels=delta)))


def test_dasr_learns_from_l1_and_a_weighted_contrast() -> None:
    dasr, given = network_of("dasr"), batch()
    loss = ContrastiveLoss(dasr, "fp32", Contrast(queue=16, weight=0.5), 0, seed=0)  # type: ignore[arg-type]
    other = ContrastiveLoss(network_of("dasr"), "fp32", Contrast(queue=16), 3, seed=0)  # type: ignore[arg-type]
    other.encoder_alone = True
    l1 = (dasr.train()(given.lowered) - given.truth).abs().mean()
    torch.testing.assert_close(loss(given), l1 + 0.5 * other(given))


def test_dasr_needs_two_patches_of_every_image() -> None:
    loss = loss_for(network_of("dasr"), recipe_of("dasr"), "target", "fp32")
    with pytest.raises(UsageError, match="two patches"):
        loss(batch()._replace(keys=None))


@pytest.mark.parametrize("architecture", ["dan", "dasr"])
def test_gradients_reach_every_trainable_parameter(architecture: str) -> None:
    network = network_of(architecture)
    loss = loss_for(network, recipe_of(architecture), "target", "fp32")
    loss(batch()).backward()
    trained = {name: weight.grad for name, weight in loss.named_parameters() if weight.requires_grad}
    assert [name for name, gradient in trained.items() if gradient is None or not gradient.any()] == []


def test_while_dasrs_encoder_learns_alone_the_restorer_stays() -> None:
    network = network_of("dasr")
    loss = loss_for(network, recipe_of("dasr"), "target", "fp32")
    loss.encoder_alone = True
    loss(batch()).backward()
    moved = {name.split(".")[0] for name, weight in network.named_parameters() if weight.grad is not None}
    assert moved == {"encoder"}


@pytest.mark.parametrize("architecture", ["dan", "dasr"])
@pytest.mark.parametrize("step", [8, 10])
def test_a_killed_training_resumes_bit_identical(
    tmp_path: Path, noise_images: list[Tensor], architecture: str, step: int
) -> None:
    recipe = recipe_of(architecture, checkpoint_every=2)
    train(recipe, noise_images, tmp_path / "straight", device=CPU)
    with pytest.raises(Killed):
        train(recipe, noise_images, tmp_path / "killed", device=CPU, progress=Killer(step=step))
    train(recipe, noise_images, tmp_path / "killed", device=CPU)
    straight, killed = (load_network(tmp_path / name / "target.safetensors").network for name in ("straight", "killed"))
    torch.testing.assert_close(killed.state_dict(), straight.state_dict(), rtol=0, atol=0)


def test_a_trained_dan_keeps_the_basis_of_its_own_blurs(tmp_path: Path, noise_images: list[Tensor]) -> None:
    files = train(recipe_of("dan"), noise_images, tmp_path, device=CPU)
    expected = kernel_basis(BlurRange((0.4, 2.0), kernel=7), 4, seed=0)
    for path in files.values():
        found = load_network(path)
        assert found.architecture == "dan" and found.options == {"scale": 2} | SMALL["dan"]
        torch.testing.assert_close(found.network.get_buffer("basis"), expected)


def test_a_trained_dasr_file_holds_the_network_alone(tmp_path: Path, noise_images: list[Tensor]) -> None:
    files = train(recipe_of("dasr"), noise_images, tmp_path, device=CPU)
    names = set(load_network(files["target"]).network.state_dict())
    assert not [name for name in names if "queue" in name or "key_" in name or "projection" in name]


def test_the_encoders_steps_have_a_cosine_of_their_own() -> None:
    recipe = recipe_of("dasr")
    rates = [recipe.rate("target", step) for step in range(6)]
    assert rates[0] == pytest.approx(1e-3) and rates[2] < rates[1] < rates[0]
    rest = recipe.target.model_copy(update={"iterations": 3})
    assert rates[3:] == [rest.rate(step) for step in range(3)]
    assert [recipe.rate("baseline", step) for step in range(6)] == [recipe.baseline.rate(step) for step in range(6)]


DIMENSION, QUEUE = 4, 6


class Encoder(nn.Module):
    """Means of the channels, mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(3, DIMENSION)

    def forward(self, patches: Tensor) -> Tensor:
        mixed: Tensor = self.mix(patches.mean((2, 3)))
        return mixed


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(1)
    return Encoder()


def contrast_of(encoder: nn.Module, **settings: float) -> MomentumContrast:
    return MomentumContrast(encoder, DIMENSION, queue=QUEUE, **settings)  # type: ignore[arg-type]


def keys_of(seed: int, count: int = 2) -> Tensor:
    return F.normalize(torch.randn(count, DIMENSION, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_the_loss_is_the_cross_entropy_of_finding_the_own_key_among_the_queue(encoder: Encoder) -> None:
    contrast = contrast_of(encoder, temperature=0.5)
    representation, keys, queue = torch.randn(2, DIMENSION), keys_of(0), contrast.queue.clone()
    projected = contrast.projection(representation).detach()
    expected = 0.0
    for row in range(2):
        query = projected[row] / projected[row].norm()
        own = float(query @ keys[row]) / 0.5
        others = [float(query @ key) / 0.5 for key in queue]
        expected -= math.log(math.exp(own) / (math.exp(own) + sum(map(math.exp, others)))) / 2
    assert float(contrast(representation, keys).detach()) == pytest.approx(expected, rel=1e-5)


def test_the_queue_forgets_its_oldest_keys_first(encoder: Encoder) -> None:
    contrast = contrast_of(encoder)
    batches = [keys_of(seed, 4) for seed in range(3)]
    for keys in batches:
        contrast(torch.randn(4, DIMENSION), keys)
    everything = torch.cat(batches)  # 12 keys for 6 places: key n lies at place n mod 6
    torch.testing.assert_close(contrast.queue, everything[6:])
    assert int(contrast.pointer) == 0


def test_the_key_encoder_follows_the_query_encoder(encoder: Encoder) -> None:
    contrast = contrast_of(encoder, momentum=0.75)
    before = encoder.mix.weight.detach().clone()
    with torch.no_grad():
        encoder.mix.weight += 1
    contrast.encode_keys(encoder, torch.rand(2, 3, 4, 4))
    torch.testing.assert_close(contrast.key_encoder.mix.weight, before + 0.25)  # type: ignore[union-attr]


def test_no_gradient_reaches_keys_queue_or_key_encoder(encoder: Encoder) -> None:
    contrast = contrast_of(encoder)
    patches = torch.rand(2, 3, 4, 4)
    contrast(encoder(patches), contrast.encode_keys(encoder, patches)).backward()
    assert all(
        weight.grad is None for weight in [*contrast.key_encoder.parameters(), *contrast.key_projection.parameters()]
    )
    assert all(weight.grad is not None for weight in [*encoder.parameters(), *contrast.projection.parameters()])


def test_patches_of_one_degradation_are_pulled_together(encoder: Encoder) -> None:
    contrast = contrast_of(encoder, momentum=0.9)
    optimizer = torch.optim.Adam([*encoder.parameters(), *contrast.projection.parameters()], lr=0.02)
    losses = []
    for step in range(200):
        generator = torch.Generator().manual_seed(step)
        colours = torch.rand(2, 3, 1, 1, generator=generator)  # stands for the degradation: what two patches share
        query, key = (colours + 0.02 * torch.randn(2, 3, 4, 4, generator=generator) for _ in range(2))
        loss = contrast(encoder(query), contrast.encode_keys(encoder, key))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    chance = math.log(1 + QUEUE)
    assert sum(losses[-20:]) / 20 < 0.5 * chance < max(losses[:20])


def test_the_callers_random_numbers_stay_as_they_are(encoder: Encoder) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = contrast_of(encoder, seed=5)
    assert torch.equal(torch.rand(1), expected)
    torch.testing.assert_close(contrast_of(encoder, seed=5).state_dict(), first.state_dict(), rtol=0, atol=0)
