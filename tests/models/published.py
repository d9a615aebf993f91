# SPDX-License-Identifier: Apache-2.0
"""DAN v1 and DASR under the parameter names of their published checkpoints, written from those names."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def holder(**children: nn.Module) -> nn.Module:
    """A module that only gives its children names."""
    module = nn.Module()
    for name, child in children.items():
        module.add_module(name, child)
    return module


def same(into: int, out: int, size: int = 3, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(into, out, size, padding=size // 2, bias=bias)


def shuffles(features: int, scale: int) -> list[nn.Module]:
    steps = [2, 2] if scale == 4 else [scale]
    return [each for step in steps for each in (same(features, features * step**2), nn.PixelShuffle(step))]


# --- DAN: Restorer.*, Estimator.*, encoder, init_kernel, init_ker_map -----------------------------------------------


def dan_block(features: int, conditions: int) -> nn.Module:
    narrow = features // 16
    attention = nn.Sequential(same(features, narrow, 1), nn.LeakyReLU(0.2), same(narrow, features, 1), nn.Sigmoid())
    both = features + conditions
    return holder(body=nn.Sequential(same(both, both), nn.LeakyReLU(0.2), same(both, features), holder(body=attention)))


def run_dan_block(block: nn.Module, x: Tensor, condition: Tensor) -> Tensor:
    first, activation, second, attention = block.body
    y = second(activation(first(torch.cat([x, condition], 1))))
    return x + y * attention.body(F.adaptive_avg_pool2d(y, 1))


class PublishedDAN(nn.Module):
    def __init__(self, scale: int, features: int = 64, blocks: int = 40, estimator_blocks: int = 5) -> None:
        super().__init__()
        half = features // 2
        self.Restorer = holder(
            head=same(3, features),
            body=nn.Sequential(*(dan_block(features, 10) for _ in range(blocks))),
            fusion=same(features, features),
            upscale=nn.Sequential(*shuffles(features, scale), same(features, 3)),
        )
        self.Estimator = holder(
            head_LR=nn.Conv2d(3, half, 1),
            head_HR=nn.Conv2d(3, half, 9, stride=scale, padding=4),
            body=nn.Sequential(*(dan_block(half, half) for _ in range(estimator_blocks))),
            out=same(half, 10),
        )
        kernel = torch.zeros(1, 21, 21)
        kernel[0, 10, 10] = 1
        self.register_buffer("encoder", torch.randn(1, 441, 10))
        self.register_buffer("init_kernel", kernel)
        self.register_buffer("init_ker_map", self.encoder[:, 220].clone())

    def forward(self, x: Tensor) -> Tensor:
        code = self.init_ker_map.expand(len(x), -1)
        for _ in range(4):
            y = self.Restorer.head(x)
            for block in self.Restorer.body:
                y = run_dan_block(block, y, code[:, :, None, None] * torch.ones_like(x[:, :1]))
            image = self.Restorer.upscale(self.Restorer.fusion(y))
            y, condition = self.Estimator.head_LR(x), self.Estimator.head_HR(image)
            for block in self.Estimator.body:
                y = run_dan_block(block, y, condition)
            code = self.Estimator.out(y).mean((2, 3))
        return image


# --- DASR: G.*, E.encoder_q.*, E.encoder_k.*, E.queue, E.queue_ptr ---------------------------------------------------


def degradation_aware(features: int) -> nn.Module:
    narrow = features // 8
    return holder(
        kernel=nn.Sequential(
            nn.Linear(features, features, bias=False), nn.LeakyReLU(0.1), nn.Linear(features, 9 * features, bias=False)
        ),
        conv=same(features, features, 1),
        ca=holder(
            conv_du=nn.Sequential(
                same(features, narrow, 1, False), nn.LeakyReLU(0.1), same(narrow, features, 1, False), nn.Sigmoid()
            )
        ),
    )


def dasr_block(features: int) -> nn.Module:
    aware = {f"da_conv{number}": degradation_aware(features) for number in (1, 2)}
    return holder(**aware, conv1=same(features, features), conv2=same(features, features))


def run_aware(module: nn.Module, x: Tensor, degradation: Tensor) -> Tensor:
    samples = []
    for image, each in zip(x, degradation, strict=True):
        kernels = module.kernel(each).view(len(image), 1, 3, 3)
        mixed = module.conv(F.leaky_relu(F.conv2d(image[None], kernels, padding=1, groups=len(image)), 0.1))
        samples.append(mixed + image * module.ca.conv_du(each[None, :, None, None]))
    return torch.cat(samples)


def run_dasr_block(block: nn.Module, x: Tensor, degradation: Tensor) -> Tensor:
    y = F.leaky_relu(run_aware(block.da_conv1, x, degradation), 0.1)
    y = F.leaky_relu(block.conv1(y), 0.1)
    y = F.leaky_relu(run_aware(block.da_conv2, y, degradation), 0.1)
    return x + block.conv2(y)


def mean_shift(sign: int) -> nn.Conv2d:
    shift = nn.Conv2d(3, 3, 1).requires_grad_(False)
    shift.weight.copy_(torch.eye(3)[:, :, None, None])
    shift.bias.copy_(sign * 255 * torch.tensor([0.4488, 0.4371, 0.4040]))
    return shift


def encoder(features: int) -> nn.Module:
    layers: list[nn.Module] = []
    into = 3
    for factor, stride in ((1, 1), (1, 1), (2, 2), (2, 1), (4, 2), (4, 1)):
        out = factor * features
        layers += [nn.Conv2d(into, out, 3, stride, 1), nn.BatchNorm2d(out), nn.LeakyReLU(0.1)]
        into = out
    head = nn.Sequential(nn.Linear(into, into), nn.LeakyReLU(0.1), nn.Linear(into, into))
    return holder(E=nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1)), mlp=head)


class PublishedDASR(nn.Module):
    def __init__(self, scale: int, features: int = 64, groups: int = 5, blocks: int = 5) -> None:
        super().__init__()
        group = [
            holder(body=nn.Sequential(*(dasr_block(features) for _ in range(blocks)), same(features, features)))
            for _ in range(groups)
        ]
        self.G = holder(
            sub_mean=mean_shift(-1),
            add_mean=mean_shift(1),
            head=nn.Sequential(same(3, features)),
            compress=nn.Sequential(nn.Linear(4 * features, features, bias=False), nn.LeakyReLU(0.1)),
            body=nn.Sequential(*group, same(features, features)),
            tail=nn.Sequential(nn.Sequential(*shuffles(features, scale)), same(features, 3)),
        )
        self.E = holder(encoder_q=encoder(features), encoder_k=encoder(features))
        self.E.register_buffer("queue", torch.randn(4 * features, 64))
        self.E.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """From pixels on 0 to 255 to pixels on 0 to 255."""
        degradation = self.G.compress(self.E.encoder_q.E(x).flatten(1))
        y = shallow = self.G.head(self.G.sub_mean(x))
        *groups, last = self.G.body
        for group in groups:
            *blocks, end = group.body
            before = y
            for block in blocks:
                y = run_dasr_block(block, y, degradation)
            y = before + end(y)
        return self.G.add_mean(self.G.tail(last(y) + shallow))
