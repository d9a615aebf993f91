# SPDX-License-Identifier: Apache-2.0
"""DAN against the published counts, its definition written down a second time, and the way it is trained."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from filterlens.errors import UsageError
from filterlens.models.architectures import build
from filterlens.models.checkpoints import load_network, save_network
from filterlens.models.dan import DAN, cosine_basis
from filterlens.pair import ModelPair
from tests.models.two_branches import SMALL, random_network

Weights = Mapping[str, Tensor]


@pytest.mark.parametrize(
    ("scale", "parameters", "published"),
    [(2, 4_181_799, 4.18e6), (4, 4_329_511, 4.33e6)],
)
def test_the_parameter_counts_are_the_published_ones(scale: int, parameters: int, published: float) -> None:
    count = sum(parameter.numel() for parameter in DAN(scale).parameters())
    assert count == parameters
    assert count == pytest.approx(published, rel=0.01)


def conv(x: Tensor, weights: Weights, name: str, stride: int = 1) -> Tensor:
    weight = weights[f"{name}.weight"]
    return F.conv2d(x, weight, weights[f"{name}.bias"], stride=stride, padding=weight.shape[-1] // 2)


def lrelu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def block(x: Tensor, condition: Tensor, weights: Weights, name: str) -> Tensor:
    y = torch.cat([x, condition], 1)
    y = conv(lrelu(conv(y, weights, f"{name}.conv1")), weights, f"{name}.conv2")
    squeezed = lrelu(conv(y.mean((2, 3), keepdim=True), weights, f"{name}.attention.reduce"))
    return x + y / (1 + torch.exp(-conv(squeezed, weights, f"{name}.attention.expand")))


def restored(x: Tensor, code: Tensor, weights: Weights, blocks: int, steps: list[int]) -> Tensor:
    y = conv(x, weights, "restorer.head")
    maps = torch.ones(*x.shape[-2:], dtype=x.dtype) * code[:, :, None, None]
    for number in range(blocks):
        y = block(y, maps, weights, f"restorer.body.{number}")
    y = conv(y, weights, "restorer.fusion")
    for number, step in enumerate(steps):
        y = F.pixel_shuffle(conv(y, weights, f"restorer.upconvs.{number}"), step)
    return conv(y, weights, "restorer.conv_last")


def estimated(image: Tensor, x: Tensor, weights: Weights, blocks: int, scale: int) -> Tensor:
    y = conv(x, weights, "estimator.head_lr")
    condition = conv(image, weights, "estimator.head_hr", stride=scale)
    for number in range(blocks):
        y = block(y, condition, weights, f"estimator.body.{number}")
    return conv(y, weights, "estimator.out").mean((2, 3))


def published_loops(x: Tensor, weights: Weights, steps: list[int], loops: int, detached: bool) -> tuple[Tensor, Tensor]:
    """Return the last image and the last code; ``detached`` cuts the graph between the branches."""
    scale = int(np.prod(steps))
    code = weights["initial_code"].expand(len(x), -1)
    for _ in range(loops):
        image = restored(x, code.detach() if detached else code, weights, SMALL["dan"]["blocks"], steps)
        code = estimated(
            image.detach() if detached else image, x, weights, SMALL["dan"]["estimator_blocks"], scale=scale
        )
    return image, code


@pytest.mark.parametrize(("scale", "steps"), [(2, [2]), (3, [3]), (4, [2, 2])])
@pytest.mark.parametrize("size", [(8, 8), (9, 13)])
def test_it_computes_its_definition(scale: int, steps: list[int], size: tuple[int, int]) -> None:
    network = random_network("dan", scale=scale)
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    image, code = published_loops(x, network.state_dict(), steps, network.loops, detached=False)
    unrolled = network.unroll(x)
    assert len(unrolled.images) == len(unrolled.codes) == network.loops
    torch.testing.assert_close(network(x), image, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(unrolled.images[-1], image, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(unrolled.codes[-1], code, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("detached", [False, True])
def test_gradients_flow_through_all_loops_or_as_published_within_the_last(detached: bool) -> None:
    network = random_network("dan")
    x = torch.rand(2, 3, 9, 8, dtype=torch.float64)
    weights = {name: value.detach().requires_grad_(True) for name, value in network.state_dict().items()}
    names = [name for name, _ in network.named_parameters()]
    image, code = published_loops(x, weights, [2], network.loops, detached)
    expected = torch.autograd.grad(image.abs().sum() + code.abs().sum(), [weights[name] for name in names])
    unrolled = network.unroll(x, detached=detached)
    (unrolled.images[-1].abs().sum() + unrolled.codes[-1].abs().sum()).backward()
    for name, wanted in zip(names, expected, strict=True):
        found = network.get_parameter(name).grad
        assert found is not None and bool(found.any()), name
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")


def test_detached_loops_compute_the_same_but_teach_the_estimator_by_its_code_alone() -> None:
    network = random_network("dan")
    x = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    free, cut = network.unroll(x), network.unroll(x, detached=True)
    for first, second in zip([*free.images, *free.codes], [*cut.images, *cut.codes], strict=True):
        assert torch.equal(first, second)
    cut.images[-1].sum().backward()
    assert all(parameter.grad is None for parameter in network.estimator.parameters())
    free.images[-1].sum().backward()
    assert all(parameter.grad is not None for parameter in network.estimator.parameters())


def test_without_gradients_detached_loops_build_no_graph() -> None:
    with torch.no_grad():
        unrolled = random_network("dan").unroll(torch.rand(1, 3, 8, 8, dtype=torch.float64), detached=True)
    assert not unrolled.images[-1].requires_grad and not unrolled.codes[-1].requires_grad


def test_the_first_code_is_that_of_the_delta_kernel_under_whatever_basis() -> None:
    network = DAN(features=8, blocks=1, estimator_blocks=1, code=4, kernel=7)
    delta = torch.zeros(1, 7, 7)
    delta[0, 3, 3] = 1
    torch.testing.assert_close(network.initial_code, network.encode(delta))
    basis = torch.randn(49, 4)
    kept = network.basis
    network.set_basis(basis)
    assert network.basis is kept and torch.equal(network.basis, basis)
    torch.testing.assert_close(network.initial_code, network.encode(delta))
    torch.testing.assert_close(network.initial_code[0], basis[24])


def test_a_code_is_the_projection_of_the_kernel_on_the_basis() -> None:
    network = DAN(features=8, blocks=1, estimator_blocks=1, code=4, kernel=5)
    kernels = torch.rand(3, 5, 5)
    codes = [[float((kernel.flatten() * column).sum()) for column in network.basis.T] for kernel in kernels]
    torch.testing.assert_close(network.encode(kernels), torch.tensor(codes))


def test_a_fresh_basis_is_orthonormal_and_always_the_same() -> None:
    basis = cosine_basis(21, 10).double()
    torch.testing.assert_close(basis.T @ basis, torch.eye(10, dtype=torch.float64), rtol=0, atol=1e-6)
    assert torch.equal(DAN(features=8, blocks=1).basis, DAN(features=8, blocks=1).basis)


def test_a_basis_of_another_shape_is_refused() -> None:
    with pytest.raises(UsageError, match=r"basis of \(441, 9\) does not fit: \(441, 10\) is expected"):
        DAN(features=8, blocks=1).set_basis(torch.zeros(441, 9))


@pytest.mark.parametrize(("code", "kernel"), [(10, 20), (10, 3), (0, 21)])
def test_a_kernel_without_centre_or_a_code_longer_than_it_is_refused(code: int, kernel: int) -> None:
    with pytest.raises(UsageError, match=f"code of {code} numbers for kernels {kernel} wide"):
        DAN(features=8, blocks=1, code=code, kernel=kernel)


def test_a_pair_on_disk_keeps_the_basis_and_runs_as_the_networks_do(tmp_path: Path) -> None:
    networks = [build("dan", **SMALL["dan"]) for _ in range(2)]
    basis = torch.linalg.qr(torch.randn(49, 4)).Q
    for number, network in enumerate(networks):
        network.set_basis(basis)  # type: ignore[operator]
        save_network(tmp_path / f"{number}.safetensors", network, "dan", SMALL["dan"], {})
    assert torch.equal(load_network(tmp_path / "0.safetensors").network.basis, basis)  # type: ignore[arg-type]
    pair = ModelPair.load(tmp_path / "0.safetensors", tmp_path / "1.safetensors")
    x = torch.rand(2, 3, 9, 8)
    with torch.no_grad():
        torch.testing.assert_close(pair.run(pair.baseline, x), networks[0](x), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(pair.run(pair.target, x), networks[1](x), rtol=1e-4, atol=1e-5)
