# SPDX-License-Identifier: Apache-2.0
"""Images in whatever form: taken as they are meant, or refused in one line that names the image."""

import numpy as np
import pytest
import torch

from filterlens import FAIG, Degradation, FilterlensError, Quadrature, UsageError
from filterlens.attribution.methods import attribute_with
from filterlens.attribution.settings import AttributeSettings
from filterlens.data.images import write_image
from filterlens.data.samples import Sample, as_samples
from filterlens.degradations import parse_degradations
from tests.attribution.small_networks import make_pair, photographs

KINDS = ["blur:1", "noise:0.1"]
ONE_NODE = {"quadrature": Quadrature("right", 1)}


def spoiled(value):
    images = photographs(2)
    images[1, 0, 3, 3] = value
    return images


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (photographs() * 255, r"Image '0' has values from .* not in \[0, 1\]\. Divide by 255\."),
        (photographs() - 0.5, r"Image '0' has values from -.*\. Bring them to that range\."),
        (spoiled(float("nan")), r"Image '1' holds NaN or infinity in 0\.10% of the pixels"),
        (spoiled(-float("inf")), r"Image '1' holds NaN or infinity"),
        ((photographs() * 255).long(), r"Image '0' is of type torch\.int64: give uint8 from 0 to 255"),
        ((photographs() * 255).to(torch.uint16), r"torch\.uint16"),
        (photographs() > 0.5, r"torch\.bool"),
        (photographs().to(torch.complex64), r"torch\.complex64"),
        (photographs().permute(0, 2, 3, 1), r"\(36, 28, 3\), not \(3, height, width\)\. .* image\.permute\(2, 0, 1\)"),
        (photographs()[None], r"\(2, 3, 36, 28\), not"),
        (photographs()[:0], "There are no images"),
        ([], "There are no images"),
        (photographs().numpy() * 255, r"Image '0' has values from .* not in \[0, 1\]\. Divide by 255\."),
        ({"city": None}, "Image 'city' is NoneType"),
        (3, "not as int"),
    ],
)
def test_what_is_no_image_is_refused_at_once_by_name(images, words):
    with pytest.raises(UsageError, match=words) as caught:
        as_samples(images)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=words):
        FAIG(make_pair()[2]).attribute(images, KINDS)


def test_a_sample_of_the_users_is_checked_when_it_is_read():
    with pytest.raises(UsageError, match=r"Image 'city' has values .* Divide by 255"):
        Sample("city", lambda: photographs(1) * 255).truth(2)


def test_what_a_resampler_overshoots_is_clipped_with_a_note():
    image = photographs(1)[0]
    image = (image - image.min()) / (image.max() - image.min()) * 1.1 - 0.05
    notes = []
    (sample,) = as_samples([image], notes.append)
    assert torch.equal(sample.read(), image.clamp(0, 1)) and image.max() > 1.04
    assert notes == ["image '0' has values from -0.05 to 1.05: clipped to [0, 1]"]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8])
def test_all_types_of_one_image_are_one_image(kind):
    levels = (photographs(1) * 255).round()
    (sample,) = as_samples(levels.to(kind) if kind == torch.uint8 else (levels / 255).to(kind))
    torch.testing.assert_close(sample.truth(2).double(), levels / 255, rtol=0.01, atol=1e-3)


def test_iterators_paths_mappings_and_samples_are_images(tmp_path):
    (image,) = (photographs(1) * 255).round().to(torch.uint8)
    write_image(tmp_path / "city.png", image)
    forms = (
        (each for each in [image]), iter([tmp_path / "city.png"]), {"city": tmp_path / "city.png"},
        Sample("city", lambda: image), image, image[None], tmp_path, str(tmp_path),
    )  # fmt: skip
    for form in forms:
        (sample,) = as_samples(form)
        assert torch.equal(sample.read().squeeze(0), image)


def test_several_methods_share_the_images_of_a_generator():
    found = attribute_with(
        ["faig", "taylor"], make_pair()[2], iter(photographs()), KINDS, AttributeSettings(**ONE_NODE)
    )
    assert list(found) == ["faig", "taylor"]


def test_one_degradation_or_method_needs_no_list():
    pair = make_pair()[2]
    for one in ("noise:0.1", Degradation.parse("noise:0.1"), ["noise:0.1"], iter(["noise:0.1"])):
        assert FAIG(pair, **ONE_NODE).attribute(photographs(), one).degradations == ("noise:0.1",)
    assert list(attribute_with("change-absolute", pair, [], "noise:0.1")) == ["change-absolute"]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["blur:2", "blur:2.0"], "'blur:2' is given twice"),
        ([2], "2 is no degradation"),
        ([None], "None is no degradation"),
        (None, "No degradation is given"),
        ("nois:0.1", "Did you mean 'noise'"),
        ([], "No degradation is given"),
    ],
)
def test_what_is_no_list_of_degradations_is_told(texts, words):
    with pytest.raises(UsageError, match=words):
        parse_degradations(texts)


def test_clean_alone_has_nothing_to_be_told_from():
    pair = make_pair()[2]
    with pytest.raises(UsageError, match="'clean' alone"):
        FAIG(pair).attribute(photographs(), "clean")
    with pytest.raises(UsageError, match="'clean' alone"):
        attribute_with(["faig"], pair, photographs(), ["clean"])
    assert FAIG(pair, eliminate=False, **ONE_NODE).attribute(photographs(), "clean").of("clean").max() > 0


def test_an_image_that_a_blur_is_too_large_for_is_named():
    with pytest.raises(FilterlensError, match=r"Image '0' with 'blur:1': An image of 8x8 is too small for a blur"):
        FAIG(make_pair()[2]).attribute(photographs(1, 8, 8), "blur:1")


@pytest.mark.parametrize("setting", [{"scale": 0}, {"scale": 1.5}, {"scale": True}, {"seed": -1}, {"seed": "1"}])
def test_numbers_of_a_degradation_are_checked(setting):
    with pytest.raises(UsageError, match=rf"{next(iter(setting))} = .* is not legal"):
        Degradation.parse("blur:1").apply(photographs(1), **{"scale": 2, **setting})


def test_a_degradation_refuses_images_of_another_range_or_type():
    for images in (photographs(1) * 255, (photographs(1) * 255).to(torch.uint8), photographs(1) / 0):
        with pytest.raises(UsageError, match=r"Divide|NaN"):
            Degradation.parse("noise:0.1").apply(images, 2)


def test_an_array_is_a_batch_and_no_sequence_of_images():
    first, second = as_samples(np.stack([np.zeros((8, 9, 3)), np.ones((8, 9, 3))]))
    assert (first.name, second.name) == ("0", "1")
    assert first.truth(1).shape == (1, 3, 8, 9) and not first.truth(1).any() and bool((second.truth(1) == 1).all())
