# SPDX-License-Identifier: Apache-2.0
"""Images in every form people hold: each gives the pixels that Pillow and NumPy have, or one line with the remedy."""

import gc
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from filterlens.data import spool
from filterlens.data.samples import Sample, as_samples
from filterlens.data.usable import readable
from filterlens.errors import FilterlensError, UsageError
from tests.noting import Noting

HEIGHT, WIDTH = 10, 14


def colours(seed=0, height=HEIGHT, width=WIDTH):
    """Random levels ``(H, W, 3)``."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def expected(levels):
    """What a network takes of levels ``(H, W, C)``, in float64."""
    return torch.from_numpy(levels.astype(np.float64) / 255).permute(2, 0, 1)[None]


def only(images, **how):
    (sample,) = as_samples(images, **how)
    return sample.truth(1).double()


def close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


LEVELS = colours()
FORMS = {
    "PIL": Image.fromarray(LEVELS),
    "HWC uint8": LEVELS,
    "CHW uint8": LEVELS.transpose(2, 0, 1),
    "BHWC": LEVELS[None],
    "BCHW": LEVELS.transpose(2, 0, 1)[None],
    "HWC float32": LEVELS.astype(np.float32) / 255,
    "HWC float64": LEVELS / 255,
    "HWC float16": (LEVELS / 255).astype(np.float16),
    "uint16": LEVELS.astype(np.uint16) * 257,
    "big-endian": (LEVELS / 255).astype(">f4"),
    "mirrored twice": LEVELS[:, ::-1].copy()[:, ::-1],
    "tensor": torch.from_numpy(LEVELS).permute(2, 0, 1),
    "batch": torch.from_numpy(LEVELS).permute(2, 0, 1)[None],
    "16-bit tensor": torch.from_numpy(LEVELS.astype(np.uint16) * 257).permute(2, 0, 1),
    "list": [LEVELS],
    "tuple in a list": [(LEVELS, 7)],
    "generator": (each for each in [LEVELS]),
    "mapping": {"a": LEVELS},
    "sample": Sample("a", lambda: torch.from_numpy(LEVELS).permute(2, 0, 1)),
    "dataset": TensorDataset(torch.from_numpy(LEVELS).permute(2, 0, 1)[None], torch.tensor([3])),
    "BasicSR": [{"gt": LEVELS, "gt_path": "set/a.png", "lq": LEVELS[::2, ::2]}],
    "another array": SimpleNamespace(__array__=LEVELS.__array__, shape=LEVELS.shape),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_one_image_is_the_same_pixels(form):
    tolerance = 1e-3 if "float16" in form else 1e-6
    images = iter([LEVELS]) if form == "generator" else FORMS[form]
    torch.testing.assert_close(only(images), expected(LEVELS), rtol=0, atol=tolerance)


def test_double_precision_is_kept():
    values = np.random.default_rng(0).random((3, HEIGHT, WIDTH))
    (sample,) = as_samples(values)
    assert torch.equal(sample.truth(1)[0], torch.from_numpy(values))


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "webp"])
def test_a_pil_image_is_read_as_its_file_is(tmp_path, suffix):
    for mode in ("L", "RGB", "RGBA", "P", "1", "CMYK", "I;16"):
        if suffix != "tif" and mode in ("CMYK", "I;16"):
            continue
        image = Image.fromarray(colours(3)).convert("L" if mode == "I;16" else mode)
        if mode == "I;16":
            image = Image.fromarray(np.array(image).astype(np.uint16) * 200)
        path = tmp_path / f"{mode.replace(';', '')}.{suffix}"
        image.save(path, **({"lossless": True} if suffix == "webp" else {}))
        with Image.open(path) as opened:
            assert torch.equal(only(opened), only(path)), mode


def test_a_turned_photograph_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(LEVELS).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        close(only(image), expected(np.rot90(LEVELS, -1)))


class Doubling(Dataset):
    """A map-style dataset without end of its own, of random images, that counts how often it is read."""

    def __init__(self, length=4):
        self.length, self.reads, self.generator = length, 0, random.Random(0)

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.reads += 1
        return torch.full((3, 6, 8), index / 10 + self.generator.random() / 100), "label"


def test_a_dataset_is_read_once_and_its_random_images_stay_the_same():
    dataset = Doubling()
    samples = as_samples(dataset)
    assert [sample.name for sample in samples] == ["0", "1", "2", "3"] and dataset.reads == 4
    first = [sample.truth(1) for sample in samples]
    assert all(torch.equal(sample.truth(1), image) for sample, image in zip(samples, first, strict=True))
    assert len({sample.fingerprint() for sample in samples}) == 4 and dataset.reads == 4


@pytest.mark.parametrize("size", [1, 2, 3, None])
def test_a_loader_gives_its_images_whatever_the_size_of_its_batches(size):
    images = torch.rand(5, 3, 6, 8)
    loader = DataLoader(TensorDataset(images, torch.arange(5)), batch_size=size)
    samples = as_samples(loader)
    assert [sample.name for sample in samples] == list("01234")
    assert torch.equal(torch.cat([sample.truth(1) for sample in samples]), images)


def test_a_loader_of_basicsr_names_its_images():
    items = [{"lq": torch.rand(3, 3, 4), "gt": torch.rand(3, 6, 8), "gt_path": f"set/im{n}.png"} for n in range(3)]
    samples = as_samples(DataLoader(items, batch_size=2))
    assert [sample.name for sample in samples] == ["im0", "im1", "im2"]
    assert torch.equal(samples[2].truth(1)[0], items[2]["gt"])


class Stream(IterableDataset):
    def __iter__(self):
        return (torch.full((3, 4, 4), index / 8) for index in range(3))


def test_a_stream_is_a_dataset_too():
    assert [float(sample.truth(1).mean()) for sample in as_samples(Stream())] == [0.0, 0.125, 0.25]


def test_images_of_a_stream_are_not_held_in_memory():
    alive, most = set(), 0

    def stream():
        nonlocal most
        for index in range(20):
            image = torch.full((3, 8, 8), index / 20)
            alive.add(index)
            weak(image, index)
            yield image
            most = max(most, len(alive))

    def weak(image, index):
        import weakref

        weakref.finalize(image, alive.discard, index)

    samples = as_samples(stream())
    gc.collect()
    assert most <= 4 and len(samples) == 20 and not alive
    assert [float(sample.truth(1)[0, 0, 0, 0]) for sample in samples] == pytest.approx([n / 20 for n in range(20)])


def test_the_pixels_of_a_stream_vanish_with_its_samples(monkeypatch):
    made = []
    create = spool.tempfile.TemporaryFile

    def watched(*args):
        made.append(create(*args))
        return made[-1]

    monkeypatch.setattr(spool.tempfile, "TemporaryFile", watched)
    samples = as_samples(iter([torch.rand(3, 4, 4), torch.rand(3, 4, 4)]))
    assert len(made) == 1 and not made[0].closed
    last = samples.pop()
    del samples
    gc.collect()
    assert last.read().shape == (3, 4, 4)
    del last
    gc.collect()
    assert made[0].closed


def test_a_full_disk_is_told(monkeypatch):
    def full(*_args, **_settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool.np, "save", full)
    with pytest.raises(FilterlensError, match=r"No space left on device. Give fewer images, or let TMPDIR"):
        as_samples(iter([torch.rand(3, 4, 4)]))


def test_a_mapping_names_what_it_holds(tmp_path):
    for name in ("a", "b"):
        Image.fromarray(LEVELS).save(tmp_path / f"{name}.png")
    images = {
        "one": tmp_path / "a.png", "folder": tmp_path, "batch": torch.rand(2, 3, 4, 4), "array": LEVELS,
        "loader": DataLoader(torch.rand(3, 3, 4, 4), batch_size=2),
    }  # fmt: skip
    assert [sample.name for sample in as_samples(images)] == [
        *("one", "folder-a", "folder-b", "batch-0", "batch-1", "array", "loader-0", "loader-1", "loader-2")
    ]


@pytest.mark.parametrize("address", ["http://a.org/b.png", "https://a.org/b", "s3://bucket/folder", "file:///a/b.png"])
def test_addresses_are_refused_everywhere(address):
    from pathlib import Path

    for images in (address, [address], {"a": address}, [(address, 1)], Path(address)):
        with pytest.raises(UsageError, match=r"is an address, and images are read from files only. Download it first"):
            as_samples(images)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (
            np.zeros((3, 20, 3), np.uint8),
            r"array of the shape \(3, 20, 3\), of which the first or the last side may be",
        ),
        (np.zeros((5, 20, 30), np.uint8), r"Image '0' has the shape \(5, 20, 30\), not \(3, height, width\)\.$"),
        (np.zeros((8, 8, 3), bool), r"type torch\.bool: give uint8 from 0 to 255, or floats in \[0, 1\]"),
        (np.zeros((8, 8, 3), object), r"array of type object: give uint8"),
        (np.array(["a"]), r"array of type <U1\. Of paths in an array give a list: \.tolist\(\)"),
        (np.zeros((8, 8, 3), np.int64), r"torch\.int64: give uint8"),
        (np.full((8, 8, 3), 4095, np.uint16), r"torch\.uint16 with values up to 4095, where white is 65535"),
        (LEVELS.astype(np.float32), r"Image '0' has values from .* not in \[0, 1\]\. Divide by 255\."),
        (np.full((8, 8, 3), np.nan), r"Image '0' holds NaN or infinity in 100\.00% of the pixels"),
        (np.zeros((0, 8, 3), np.uint8), r"\(3, 0, 8\) is empty|\(0, 8, 3\) is empty"),
        (torch.zeros(3, 0, 8), r"Image '0' of the shape \(3, 0, 8\) is empty. Leave it out"),
        (np.float32(0.5), r"Image '0' has the shape \(1,\), not"),
        (torch.zeros(4, 8, 8), r"\(4, 8, 8\), not \(3, height, width\)\. Leave its fourth channel out: image\[:3\]"),
        (np.zeros((8, 8, 4), np.uint8), r"\(4, 8, 8\), not \(3, height, width\)\. Leave its fourth channel out"),
        (torch.zeros(2, 8, 8), r"Image '0' has the shape \(2, 8, 8\), not \(3, height, width\)\."),
        ([(LEVELS, LEVELS)], r"Image '0' is a tuple of several images\. .* pairs="),
        ([LEVELS, ()], r"Image '1' is an empty tuple"),
        ([{"data": LEVELS}], r"Image '0' is a mapping of 'data'\. It needs one of 'gt', 'hq'"),
        ([LEVELS, None], r"Image '1' is NoneType\. Give a path, a tensor"),
        (b"a.png", "not as bytes"),
        (object(), r"Images come as a folder, .* a Dataset or a DataLoader, not as object"),
        ({"lq": LEVELS, "gt": LEVELS}, r"'lq' and 'gt' is a pair, not images\. .* pairs="),
    ],
)
def test_what_is_no_image_is_told_in_one_line(images, words):
    with pytest.raises(UsageError, match=words) as caught:
        as_samples(images)
    assert "\n" not in str(caught.value)


def test_an_error_names_the_image_of_a_batch_or_a_stream():
    bad = torch.rand(4, 3, 6, 6)
    bad[2] *= 9
    for images in (bad, list(bad), iter(bad), DataLoader(bad, batch_size=2)):
        with pytest.raises(UsageError, match="Image '2' has values"):
            as_samples(images)
    with pytest.raises(UsageError, match="Image 'a-2' has values"):
        as_samples({"a": bad})


def test_a_damaged_file_among_others_is_left_out_of_a_job(tmp_path):
    Image.fromarray(LEVELS).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"none")
    usable = readable(tmp_path, Noting(), strict=False)
    assert [sample.name for sample in usable.samples] == ["a"] and usable.left_out[0].name == "b"
