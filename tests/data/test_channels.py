# SPDX-License-Identifier: Apache-2.0
"""The network decides how many channels an image has; colours are never dropped without being asked for."""

import numpy as np
import pytest
import torch
from PIL import Image

from filterlens.data.channels import with_channels
from filterlens.data.samples import Sample, as_samples
from filterlens.data.usable import readable
from filterlens.errors import UsageError
from tests.data.test_forms import LEVELS, close, colours, expected, only
from tests.noting import Noting

GRAY = colours(4)[..., 0]
RGBA = np.dstack([LEVELS, colours(5)[..., 0]])


def basicsr_y(levels):
    """``bgr2ycbcr(img, y_only=True)`` of BasicSR, of a float32 BGR image in [0, 1], in float64."""
    bgr = levels[..., ::-1].astype(np.float64) / 255
    return torch.from_numpy((np.dot(bgr, [24.966, 128.553, 65.481]) + 16.0) / 255)[None, None]


@pytest.fixture
def files(tmp_path):
    for name, levels in {"gray": GRAY, "equal": np.dstack([GRAY] * 3), "colour": LEVELS, "opaque": RGBA}.items():
        Image.fromarray(levels).save(tmp_path / f"{name}.png")
    return tmp_path


def test_gray_in_every_form_is_one_channel(files):
    wanted = expected(GRAY[..., None])
    forms = (
        files / "gray.png", files / "equal.png", GRAY, GRAY[None], GRAY[..., None], np.dstack([GRAY] * 3),
        torch.from_numpy(GRAY), torch.from_numpy(GRAY)[None], torch.from_numpy(GRAY)[None, None], Image.fromarray(GRAY),
        Image.fromarray(GRAY).convert("RGB"), [GRAY / 255], Sample("a", lambda: torch.from_numpy(GRAY)),
    )  # fmt: skip
    for form in forms:
        close(only(form, channels=1), wanted)
        close(only(form), wanted.expand(-1, 3, -1, -1))


def test_colours_are_refused_by_a_gray_network(files):
    for form in (files / "colour.png", LEVELS, Image.fromarray(LEVELS), torch.from_numpy(LEVELS).permute(2, 0, 1)):
        with pytest.raises(
            UsageError, match=r"has colours, but the network takes one channel\. .* y=True \(--channels y\)"
        ):
            only(form, channels=1)
    with pytest.raises(UsageError, match="has colours"):
        readable(files / "colour.png", Noting(), strict=False, channels=1)


def test_luma_is_that_of_basicsr(files):
    for form in (files / "colour.png", LEVELS, LEVELS / 255, Image.fromarray(LEVELS)):
        close(only(form, channels=1, y=True), basicsr_y(LEVELS))
    for form in (files / "gray.png", files / "equal.png", GRAY, Image.fromarray(GRAY)):
        close(only(form, channels=1, y=True), basicsr_y(np.dstack([GRAY] * 3)))


def test_luma_stays_luma_where_samples_are_taken_again(files):
    samples = as_samples(files / "colour.png", channels=1, y=True)
    close(only(samples, channels=1), basicsr_y(LEVELS))
    close(only(samples), expected(LEVELS))


def test_luma_is_a_content_of_its_own_and_needs_a_network_of_one_channel(files):
    (plain,), (luma,) = as_samples(files / "gray.png", channels=1), as_samples(files / "gray.png", channels=1, y=True)
    assert plain.fingerprint() != luma.fingerprint()
    with pytest.raises(UsageError, match=r"y=True makes one channel .* but the network takes 3"):
        as_samples(files / "gray.png", y=True)


def test_a_network_of_four_channels_takes_opacity_and_arrays_of_four(files):
    for form in (files / "opaque.png", RGBA, RGBA.transpose(2, 0, 1), torch.from_numpy(RGBA).permute(2, 0, 1),
                 Image.fromarray(RGBA), [(RGBA, 0)]):  # fmt: skip
        close(only(form, channels=4), expected(RGBA))
    opaque_gray = Image.merge("LA", [Image.fromarray(RGBA[..., 0]), Image.fromarray(RGBA[..., 3])])
    close(only(opaque_gray, channels=4), expected(RGBA[..., [0, 0, 0, 3]]))


def test_other_images_are_refused_by_a_network_of_four_channels(files):
    for form in (files / "colour.png", files / "gray.png", LEVELS, Image.fromarray(LEVELS), GRAY):
        with pytest.raises(
            UsageError, match=r"not \(4, height, width\)\. Give arrays of 4 channels or RGBA files, or let"
        ):
            only(form, channels=4)


def test_any_other_number_of_channels_comes_as_arrays():
    image = np.random.default_rng(0).random((6, 9, 11))
    close(only(image, channels=6), torch.from_numpy(image)[None])
    close(only(image.transpose(1, 2, 0), channels=6), torch.from_numpy(image)[None])
    with pytest.raises(UsageError, match=r"\(3, 10, 14\), not \(6, height, width\)"):
        only(LEVELS, channels=6)


def test_samples_are_taken_again_for_another_network(files):
    first = as_samples([files / "gray.png", files / "opaque.png", Image.fromarray(RGBA)])
    close(only([first[0]], channels=1), expected(GRAY[..., None]))
    close(only(first[1], channels=4), expected(RGBA))
    close(only(first[2], channels=4), expected(RGBA))
    close(only(as_samples(files / "opaque.png", channels=4)), only(files / "opaque.png"))


def test_a_sample_of_ones_own_keeps_its_channels():
    assert Sample("a", lambda: torch.rand(5, 8, 8)).truth(2).shape == (1, 5, 8, 8)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32, torch.float64])
def test_luma_keeps_what_precision_there_is(kind):
    image = torch.from_numpy(LEVELS).permute(2, 0, 1)
    image = image if kind == torch.uint8 else image.to(kind) / 255
    found = with_channels("a", image, 1, y=True)
    assert found.dtype == (torch.float64 if kind == torch.float64 else torch.float32)
    torch.testing.assert_close(
        found[None].double(), basicsr_y(LEVELS), rtol=0, atol=1e-12 if kind == torch.float64 else 1e-6
    )
