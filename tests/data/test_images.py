# SPDX-License-Identifier: Apache-2.0
"""Whatever a user has becomes 8-bit RGB, or a clear error."""

import io
import random
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from filterlens.data.images import (
    center_crop,
    crop_to_multiple,
    read_image,
    to_float,
    to_uint8,
    write_image,
)
from filterlens.data.listing import find_images
from filterlens.data.samples import as_samples
from filterlens.errors import FilterlensError

RGB = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)


def channels_last(image: Tensor) -> np.ndarray:
    assert image.dtype == torch.uint8
    return image.permute(1, 2, 0).numpy()


def saved(folder: Path, image: Image.Image, name: str = "image.png", **options: object) -> Path:
    image.save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp"])
def test_rgb_is_read_as_it_is(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    path = saved(tmp_path, Image.fromarray(RGB), f"image.{suffix}", **options)
    np.testing.assert_array_equal(channels_last(read_image(path)), RGB)


def test_gray_becomes_three_equal_channels(tmp_path: Path) -> None:
    image = channels_last(read_image(saved(tmp_path, Image.fromarray(RGB[..., 0]))))
    np.testing.assert_array_equal(image, RGB[..., [0, 0, 0]])


def test_black_and_white_becomes_0_and_255(tmp_path: Path) -> None:
    image = channels_last(read_image(saved(tmp_path, Image.fromarray(RGB[..., 0] > 127))))
    np.testing.assert_array_equal(image[..., 0], np.where(RGB[..., 0] > 127, 255, 0))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_gray_is_scaled_to_8_bits(tmp_path: Path, suffix: str) -> None:
    deep = np.array([[0, 128, 129, 257], [32768, 65278, 65407, 65535]], dtype=np.uint16)
    image = read_image(saved(tmp_path, Image.fromarray(deep), f"image.{suffix}"))
    assert image[1].tolist() == [[0, 0, 1, 1], [128, 254, 255, 255]]  # value / 257, rounded


def test_a_dark_16_bit_image_is_not_taken_for_8_bits(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(np.full((4, 4), 200, dtype=np.uint16)))
    assert read_image(path).unique().tolist() == [1]


def test_a_float_tiff_in_0_to_1_is_scaled(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(np.array([[0, 0.5, 1]], dtype=np.float32)), "image.tif")
    assert read_image(path)[0].tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        image.putpixel((x, 0), (100,) * (len(mode) - 1) + (alpha,))
    assert read_image(saved(tmp_path, image))[0].tolist() == [[255, 177, 100]]


def test_a_transparent_palette_entry_becomes_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    path = saved(tmp_path, image, transparency=0)
    assert read_image(path)[:, 0].T.tolist() == [[255, 255, 255], [40, 50, 60]]


def test_cmyk_is_converted_to_the_colour_that_it_shows(tmp_path: Path) -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    image = read_image(saved(tmp_path, red, "image.jpg", quality=100))
    assert image[0].min() > 250
    assert image[1:].max() < 5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((2, 3), dtype=np.uint8)
    upright[0, 0], upright[0, 2] = 100, 200
    turns = {  # how a camera in that position stores the upright picture
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).T,
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(np.ascontiguousarray(turns[orientation](upright))), exif=exif)
    np.testing.assert_array_equal(read_image(path)[0].numpy(), upright)


def test_an_exif_rotated_jpeg_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path, Image.new("RGB", (40, 24)), "image.jpg", exif=exif)
    assert read_image(path).shape == (3, 40, 24)


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    path = saved(tmp_path, frames[0], "image.gif", save_all=True, append_images=frames[1:])
    assert read_image(path).unique().tolist() == [10]


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(FilterlensError, match=r"none\.png' does not exist"):
        read_image(tmp_path / "none.png")


@pytest.mark.parametrize("content", [b"", b"just some text\n" * 20], ids=["empty", "text"])
def test_a_file_that_is_no_image_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fake.png").write_bytes(content)
    with pytest.raises(FilterlensError, match=r"fake\.png' is not an image"):
        read_image(tmp_path / "fake.png")


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(FilterlensError, match="Cannot read image"):
        read_image(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "gif"])
def test_a_truncated_image_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(pixels), f"cut.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(FilterlensError, match=rf"cut\.{suffix}"):
        read_image(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "gif", "bmp"])
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_image_never_ends_in_a_foreign_error(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    options = {"exif": exif} if suffix in {"png", "jpg", "webp"} else {}
    kind = {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix)
    Image.fromarray(RGB).save(buffer, kind, **options)
    dice, refused = random.Random(0), 0
    for _ in range(150):
        content = bytearray(buffer.getvalue())
        for _ in range(dice.randint(1, 6)):
            content[dice.randrange(len(content))] = dice.randrange(256)
        (tmp_path / "damaged").write_bytes(content)
        try:
            assert read_image(tmp_path / "damaged").shape[0] == 3
        except FilterlensError as error:
            assert "damaged" in str(error)
            refused += 1
    assert 0 < refused < 150


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_that_claims(60_000, 60_000))
    with pytest.raises(FilterlensError, match=r"bomb\.png' is suspiciously large"):
        read_image(tmp_path / "bomb.png")


@pytest.mark.parametrize(("limit", "is_read"), [(63, True), (32, True), (31, False)])
def test_an_image_is_too_large_above_twice_the_limit_of_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, is_read: bool
) -> None:
    path = saved(tmp_path, Image.fromarray(RGB))  # 63 pixels
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if is_read:
            assert read_image(path).shape == (3, 7, 9)
        else:
            with pytest.raises(FilterlensError, match="suspiciously large"):
                read_image(path)


def test_images_are_listed_by_name_and_other_files_apart(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    found = find_images(tmp_path)
    assert [path.name for path in found.images] == ["a.jpg", "b.PNG"]
    assert [path.name for path in found.others] == ["notes.txt"]


def test_a_path_to_one_file_counts_as_a_folder_with_it(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(RGB))
    found = find_images(path)
    assert (found.images, found.others) == ((path,), ())


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FilterlensError, match=r"none' does not exist"):
        find_images(tmp_path / "none")


def test_a_folder_without_images_is_refused_with_the_known_suffixes(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FilterlensError, match=r"holds no image.*\.png"):
        find_images(tmp_path)


def test_two_images_of_one_stem_are_refused_by_name(tmp_path: Path) -> None:
    for name in ("same.png", "same.jpg", "other.png"):
        (tmp_path / name).touch()
    with pytest.raises(FilterlensError, match="two images named 'same'"):
        find_images(tmp_path)


def test_folders_are_read_in_order(tmp_path: Path) -> None:
    for folder, name, value in (("second", "a", 2), ("first", "b", 1), ("first", "a", 0)):
        (tmp_path / folder).mkdir(exist_ok=True)
        saved(tmp_path / folder, Image.new("L", (2, 2), value), f"{name}.png")
    samples = [sample for folder in ("first", "second") for sample in as_samples(tmp_path / folder)]
    assert [sample.name for sample in samples] == ["a", "b", "a"]
    assert [int(sample.read()[0, 0, 0]) for sample in samples] == [0, 1, 2]


def test_a_written_image_reads_back_equal(tmp_path: Path) -> None:
    image = torch.from_numpy(RGB.copy()).permute(2, 0, 1)
    write_image(tmp_path / "new" / "image.png", image)
    assert torch.equal(read_image(tmp_path / "new" / "image.png"), image)


def test_a_failed_write_keeps_the_old_image_and_leaves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, Image.fromarray(RGB))
    before = path.read_bytes()

    def fail(self: Image.Image, target: Path, *_: object) -> None:
        Path(target).write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(FilterlensError, match="No space left"):
        write_image(path, torch.zeros(3, 4, 4, dtype=torch.uint8))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_to_uint8_undoes_to_float() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16).expand(3, 16, 16)
    assert torch.equal(to_uint8(to_float(levels)), levels)


def test_to_uint8_clips_and_rounds() -> None:
    values = torch.tensor([-1, 0.4 / 255, 0.6 / 255, 2]).view(1, 1, 4).expand(3, 1, 4)
    assert to_uint8(values)[0, 0].tolist() == [0, 0, 1, 255]


def test_crops_keep_the_upper_left_or_the_centre() -> None:
    image = torch.arange(7 * 9).view(1, 7, 9)
    assert torch.equal(crop_to_multiple(image, 4), image[:, :4, :8])
    assert torch.equal(center_crop(image, 3), image[:, 2:5, 3:6])
    assert torch.equal(center_crop(image, 8), image[:, :, 0:8])
