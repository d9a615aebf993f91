# SPDX-License-Identifier: Apache-2.0
"""What a user's file holds besides 8-bit colours comes back: 16 bits, transparency, profile, EXIF, texts."""

import io
import struct
import zlib

import numpy as np
import png
import pytest
import tifffile
import torch
import torch.nn.functional as F
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from filterlens.data.beyond_pillow import is_deep_png, read_deep_png, write_deep_png
from filterlens.data.images import pixel_limit, read_image, to_uint8
from filterlens.data.pictures import Metadata, Picture, filled, read_picture, write_picture
from filterlens.errors import FilterlensError, UsageError
from tests.data.test_images import png_that_claims

DICE = np.random.default_rng(0)
RGB = DICE.integers(0, 256, (7, 9, 3), dtype=np.uint8)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def deep(channels, height=6, width=5):
    return np.random.default_rng(channels).integers(0, 65536, (height, width, channels), dtype=np.uint16)


def write_by_library(path, pixels, interlace=False, **more):
    """Write a 16-bit PNG with pypng's own writer."""
    height, width, channels = pixels.shape
    writer = png.Writer(
        width, height, greyscale=channels < 3, alpha=channels in (2, 4), bitdepth=16, interlace=interlace, **more
    )
    with path.open("wb") as stream:
        writer.write(stream, pixels.reshape(height, -1).tolist())
    return path


def again(folder, path, name="again.png"):
    """Read a file, write it, and open what was written."""
    picture = read_picture(path)
    write_picture(folder / name, picture)
    return picture, shown(folder / name)


def shown(path):
    """Open what was written with Pillow."""
    image = Image.open(io.BytesIO(path.read_bytes()))
    image.load()
    return image


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_8_bit_pngs_come_back_pixel_by_pixel_in_their_mode(tmp_path, mode):
    pixels = DICE.integers(0, 256, (7, 9, len(mode)), dtype=np.uint8).squeeze()
    Image.fromarray(pixels).save(tmp_path / "image.png")
    picture, image = again(tmp_path, tmp_path / "image.png")
    assert (image.mode, picture.bits) == (mode, 8)
    np.testing.assert_array_equal(np.array(image), pixels)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("interlace", [False, True])
def test_16_bit_pngs_come_back_value_by_value(tmp_path, channels, interlace):
    pixels = deep(channels)
    path = write_by_library(tmp_path / "deep.png", pixels, interlace)
    picture, image = again(tmp_path, path)
    assert picture.bits == 16 and is_deep_png(tmp_path / "again.png")
    _, _, rows, info = png.Reader(bytes=(tmp_path / "again.png").read_bytes()).read()
    assert (info["planes"], info["bitdepth"]) == (channels, 16)
    np.testing.assert_array_equal(np.array(list(rows)).reshape(pixels.shape), pixels)
    if channels > 2:  # an independent reader, which keeps the upper bytes
        np.testing.assert_array_equal(np.array(image), pixels >> 8)


def test_16_bit_gray_agrees_with_pillow_which_can_do_that(tmp_path):
    pixels = deep(1)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "pillow.png")
    np.testing.assert_array_equal(read_deep_png(tmp_path / "pillow.png"), pixels)
    write_deep_png(tmp_path / "ours.png", pixels, {})
    np.testing.assert_array_equal(np.array(shown(tmp_path / "ours.png")), pixels[..., 0])


def test_16_bit_gray_tiff_becomes_a_16_bit_png(tmp_path):
    pixels = deep(1)[..., 0]
    Image.fromarray(pixels).save(tmp_path / "image.tif")
    _, image = again(tmp_path, tmp_path / "image.tif")
    np.testing.assert_array_equal(np.array(image), pixels)


def test_a_colour_key_becomes_transparency(tmp_path):
    pixels = deep(3)
    path = write_by_library(tmp_path / "key.png", pixels, transparent=tuple(map(int, pixels[2, 3])))
    alpha = read_picture(path).alpha[0, 0].numpy()
    np.testing.assert_array_equal(alpha == 0, (pixels == pixels[2, 3]).all(2))


def test_only_a_few_significant_bits_shift_no_value(tmp_path):
    pixels = deep(3)
    plain = write_by_library(tmp_path / "plain.png", pixels).read_bytes()
    body = b"sBIT" + bytes([12, 12, 12])
    chunk = struct.pack(">I", 3) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "significant.png").write_bytes(plain[:33] + chunk + plain[33:])
    np.testing.assert_array_equal(read_deep_png(tmp_path / "significant.png"), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bit_pngs_are_set_upright_like_8_bit_ones(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    low = DICE.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    write_deep_png(tmp_path / "deep.png", low.astype(np.uint16) * 257, {"exif": exif.tobytes()})
    Image.fromarray(low).save(tmp_path / "low.png", exif=exif)
    picture, image = again(tmp_path, tmp_path / "deep.png")
    assert torch.equal(to_uint8(picture.colours), read_image(tmp_path / "low.png"))
    assert image.getexif().get(0x0112, 1) == 1


def test_webp_comes_back_as_webp_without_loss(tmp_path):
    pixels = DICE.integers(0, 256, (7, 9, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.webp", lossless=True, exact=True)
    _, image = again(tmp_path, tmp_path / "image.webp", "again.webp")
    assert image.format == "WEBP"
    np.testing.assert_array_equal(np.array(image), pixels)


def test_a_picture_too_large_for_webp_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(FilterlensError, match="20000x1, but a WebP has at most 16383"):
        write_picture(tmp_path / "long.webp", Picture(torch.zeros(1, 3, 1, 20000)))
    assert not list(tmp_path.iterdir())


def test_a_palette_with_transparency_becomes_rgba(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "image.png", transparency=0)
    _, image = again(tmp_path, tmp_path / "image.png")
    assert [image.getpixel((x, 0)) for x in (0, 1)] == [(10, 20, 30, 0), (40, 50, 60, 255)]


def test_metadata_and_profile_of_a_png_are_kept(tmp_path):
    chunks = PngInfo()
    chunks.add_text("Title", "a cat")
    chunks.add_text("Comment", "long " * 50, zip=True)
    chunks.add_itxt("Author", "Ünicode ✓", "de", "Autor")
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "maker", 6
    Image.fromarray(RGB).save(
        tmp_path / "image.png", pnginfo=chunks, exif=exif, icc_profile=PROFILE, dpi=(300, 300), gamma=None
    )
    for bits in (8, 16):
        picture = read_picture(tmp_path / "image.png")
        write_picture(tmp_path / "again.png", Picture(picture.colours, bits=bits, metadata=picture.metadata))
        assert is_deep_png(tmp_path / "again.png") == (bits == 16)
        image = shown(tmp_path / "again.png")
        assert image.text == {"Title": "a cat", "Comment": "long " * 50, "Author": "Ünicode ✓"}
        assert (image.text["Author"].lang, image.text["Author"].tkey) == ("de", "Autor")
        assert image.info["icc_profile"] == PROFILE
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.02)
        assert image.getexif()[0x010F] == "maker" and 0x0112 not in image.getexif()


def test_colour_chunks_and_xmp_are_kept(tmp_path):
    chunks = PngInfo()
    chunks.add(b"gAMA", struct.pack(">I", 45455))
    chunks.add(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
    chunks.add(b"sRGB", b"\x00")
    chunks.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta/>")
    Image.fromarray(RGB).save(tmp_path / "image.png", pnginfo=chunks)
    _, image = again(tmp_path, tmp_path / "image.png")
    assert image.info["gamma"] == pytest.approx(0.45455) and image.info["srgb"] == 0
    assert image.info["chromaticity"][0] == pytest.approx(0.3127)
    assert image.text == {"XML:com.adobe.xmp": "<x:xmpmeta/>"}


def test_metadata_of_webp_and_jpeg_are_kept(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "maker"
    for name, options in (("image.webp", {"lossless": True, "xmp": b"<x:xmpmeta/>"}), ("image.jpg", {})):
        Image.fromarray(RGB).save(tmp_path / name, exif=exif, icc_profile=PROFILE, **options)
        _, image = again(tmp_path, tmp_path / name, "again.webp" if "webp" in name else "again.png")
        assert image.info["icc_profile"] == PROFILE
        assert image.getexif()[0x010F] == "maker"
    assert shown(tmp_path / "again.webp").info["xmp"] == b"<x:xmpmeta/>"


def test_a_profile_of_another_colour_space_is_dropped(tmp_path):
    cmyk = PROFILE[:16] + b"CMYK" + PROFILE[20:]
    Image.new("CMYK", (4, 4)).save(tmp_path / "image.jpg", icc_profile=cmyk)
    _, image = again(tmp_path, tmp_path / "image.jpg")
    assert "icc_profile" not in image.info


def test_opacity_is_enlarged_with_the_colours_and_unchanged_at_scale_1():
    alpha = torch.rand(1, 1, 6, 5)
    picture = Picture(torch.rand(1, 3, 6, 5), alpha)
    assert picture.restored(torch.rand(1, 3, 6, 5)).alpha is alpha
    larger = picture.restored(torch.rand(1, 3, 12, 10)).alpha
    assert larger.shape == (1, 1, 12, 10) and larger.min() >= 0 and larger.max() <= 1
    edge = torch.zeros(1, 1, 8, 8)
    edge[..., 4:] = 1
    enlarged = Picture(torch.rand(1, 3, 8, 8), edge).restored(torch.rand(1, 3, 16, 16)).alpha
    assert (enlarged[..., :4] == 0).all() and (enlarged[..., 12:] == 1).all()


def test_gray_is_the_luma_of_what_the_network_made():
    colours = torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1)
    assert Picture(colours, gray=True).pixels().item() == round(255 * (0.299 + 0.5 * 0.587))


def bomb(width=8, height=8, megabytes=64):
    """A 16-bit PNG whose pixels unpack to far more than its header says."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    packed = zlib.compress(bytes(megabytes << 20), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def test_pixels_that_unpack_to_more_than_announced_are_refused(tmp_path):
    (tmp_path / "bomb.png").write_bytes(bomb())
    with pytest.raises(FilterlensError, match=r"bomb\.png' unpacks to more than its 8x8 pixels"):
        read_picture(tmp_path / "bomb.png")


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    for bits in (8, 16):
        content = bytearray(png_that_claims(60_000, 60_000))
        content[24] = bits
        content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
        (tmp_path / "bomb.png").write_bytes(content)
        with pytest.raises(FilterlensError, match=r"bomb\.png' is suspiciously large"):
            read_picture(tmp_path / "bomb.png")


def test_the_pixel_limit_holds_while_the_block_runs(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "image.png")  # 63 pixels
    before = Image.MAX_IMAGE_PIXELS
    with pixel_limit(62), pytest.raises(FilterlensError, match="suspiciously large"):
        read_picture(tmp_path / "image.png")
    with pixel_limit(63):
        read_picture(tmp_path / "image.png")
    with pixel_limit(4e9):
        assert before < Image.MAX_IMAGE_PIXELS
    with pytest.raises(UsageError, match="limit of 0 pixels"), pixel_limit(0):
        pass
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_damaged_16_bit_pngs_are_refused_by_name(tmp_path, damage):
    content = bytearray(write_by_library(tmp_path / "whole.png", deep(3, 40, 40)).read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 255
    (tmp_path / "damaged.png").write_bytes(content)
    with pytest.raises(FilterlensError, match=r"damaged\.png"):
        read_picture(tmp_path / "damaged.png")


@pytest.mark.parametrize("channels", [3, 4])
def test_no_damage_ends_in_a_foreign_error(tmp_path, channels):
    whole = write_by_library(tmp_path / "whole.png", deep(channels)).read_bytes()
    dice, refused = np.random.default_rng(1), 0
    for _ in range(150):
        content = bytearray(whole)
        for place in dice.integers(0, len(content), dice.integers(1, 6)):
            content[place] = dice.integers(0, 256)
        (tmp_path / "damaged.png").write_bytes(content)
        try:
            read_picture(tmp_path / "damaged.png")
        except FilterlensError as error:
            assert "damaged" in str(error)
            refused += 1
    assert refused > 0


def test_a_file_that_is_no_image_is_refused(tmp_path):
    (tmp_path / "fake.png").write_bytes(b"text " * 20)
    with pytest.raises(FilterlensError, match=r"fake\.png' is not an image"):
        read_picture(tmp_path / "fake.png")


def test_an_animation_says_how_many_frames_it_has(tmp_path):
    frames = [Image.new("RGB", (4, 4), (value, 0, 0)) for value in (10, 200)]
    frames[0].save(tmp_path / "image.gif", save_all=True, append_images=frames[1:])
    assert read_picture(tmp_path / "image.gif").frames == 2
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG")
    (tmp_path / "image.png").write_bytes(buffer.getvalue())
    assert read_picture(tmp_path / "image.png").frames == 1


def test_a_text_that_unpacks_to_megabytes_is_refused_by_name(tmp_path):
    chunks = PngInfo()
    chunks.add_text("Comment", "a" * (4 << 20), zip=True)
    Image.fromarray(RGB).save(tmp_path / "text.png", pnginfo=chunks)
    assert (tmp_path / "text.png").stat().st_size < 10_000
    with pytest.raises(FilterlensError, match=r"text\.png'"):
        read_picture(tmp_path / "text.png")


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".TIFF", ".bmp"])
def test_colours_are_written_without_loss(tmp_path, suffix):
    Image.fromarray(RGB).save(tmp_path / "image.png")
    _, image = again(tmp_path, tmp_path / "image.png", f"again{suffix}")
    np.testing.assert_array_equal(np.array(image.convert("RGB")), RGB)


def test_a_jpeg_is_written_finely_and_with_its_metadata(tmp_path):
    smooth = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    exif = Image.Exif()
    exif[0x010F] = "maker"
    Image.fromarray(smooth).save(tmp_path / "image.png", icc_profile=PROFILE, exif=exif)
    _, image = again(tmp_path, tmp_path / "image.png", "again.jpg")
    assert image.format == "JPEG" and image.layer[1][1:3] == (1, 1), "full colour resolution"
    assert image.info["icc_profile"] == PROFILE and image.getexif()[0x010F] == "maker"
    assert np.abs(np.array(image).astype(int) - smooth).max() <= 8


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_tiff_holds_16_bits_and_transparency(tmp_path, channels):
    pixels = deep(channels)
    write_deep_png(tmp_path / "deep.png", pixels, {})
    write_picture(tmp_path / "again.tif", read_picture(tmp_path / "deep.png"))
    found = tifffile.imread(tmp_path / "again.tif")
    np.testing.assert_array_equal(found.reshape(pixels.shape), pixels)


def test_what_a_format_cannot_hold_is_told(tmp_path):
    write_deep_png(tmp_path / "deep.png", deep(4), {})
    picture, notes = read_picture(tmp_path / "deep.png"), []
    for name in ("a.jpg", "a.bmp", "a.webp", "a.tif", "a.png"):
        write_picture(tmp_path / name, picture, notes.append)
    assert notes == [
        "'a.jpg': a JPEG cannot hold all (8 of 16 bits; transparency, laid over white)",
        "'a.bmp': a BMP cannot hold all (8 of 16 bits; transparency, laid over white)",
        "'a.webp': a WebP cannot hold all (8 of 16 bits)",
    ]
    white = picture.over_white().pixels(8)
    np.testing.assert_array_equal(np.array(shown(tmp_path / "a.bmp")), white)


def test_metadata_that_a_format_refuses_cost_no_picture(tmp_path):
    picture = Picture(torch.rand(1, 3, 8, 8), metadata=Metadata(exif=b"Exif\x00\x00" + bytes(70_000)))
    notes = []
    write_picture(tmp_path / "image.jpg", picture, notes.append)
    assert shown(tmp_path / "image.jpg").size == (8, 8)
    assert len(notes) == 1 and "metadata cannot be written" in notes[0]


def test_large_16_bit_pngs_are_packed_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("filterlens.data.beyond_pillow._AT_ONCE", 100)
    pixels = deep(3, 40, 30)
    write_deep_png(tmp_path / "deep.png", pixels, {})
    np.testing.assert_array_equal(read_deep_png(tmp_path / "deep.png"), pixels)
    _, _, rows, _ = png.Reader(bytes=(tmp_path / "deep.png").read_bytes()).read()
    np.testing.assert_array_equal(np.array(list(rows)).reshape(pixels.shape), pixels)


YELLOW = (255, 255, 0)


def half(alpha=0, colour=(0, 0, 0)):
    """Yellow on the left, hidden black on the right."""
    pixels = np.zeros((12, 12, 4), np.uint8)
    pixels[:, :6], pixels[:, 6:] = (*YELLOW, 255), (*colour, alpha)
    return pixels


def saved(folder, kind):
    pixels = half()
    if kind == "RGBA":
        Image.fromarray(pixels).save(folder / "image.png")
    elif kind == "RGBA of 16 bits":
        write_deep_png(folder / "image.png", pixels.astype(np.uint16) * 257, {})
    elif kind == "LA":
        Image.fromarray(pixels[..., [0, 3]]).save(folder / "image.png")
    else:
        image = Image.fromarray((pixels[..., 3] == 0).astype(np.uint8)).convert("P")
        image.putpalette([*YELLOW, 0, 0, 0])
        image.save(folder / "image.png", transparency=1)
    return folder / "image.png"


@pytest.mark.parametrize("kind", ["RGBA", "RGBA of 16 bits", "LA", "palette"])
def test_no_black_comes_from_beneath_transparency(tmp_path, kind):
    picture = read_picture(saved(tmp_path, kind))
    larger = picture.restored(F.interpolate(picture.seen, scale_factor=2, mode="bicubic"))
    pixels = larger.pixels(8)
    visible = pixels[..., -1] > 0
    assert visible[:, 12:].any(), "the edge is soft, so something is drawn on the hidden side"
    assert (pixels[visible][:, :-1] == (YELLOW if kind != "LA" else 255)).all()


def test_visible_pixels_are_seen_exactly_and_the_file_stays_as_it_is(tmp_path):
    dice = np.random.default_rng(0)
    pixels = dice.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    pixels[..., 3] = dice.choice([0, 1, 128, 255], (20, 30))
    Image.fromarray(pixels).save(tmp_path / "image.png")
    picture = read_picture(tmp_path / "image.png")
    visible = picture.alpha[0, 0] > 0
    assert torch.equal(picture.seen[..., visible], picture.colours[..., visible])
    assert not torch.equal(picture.seen, picture.colours)
    np.testing.assert_array_equal(picture.pixels(), pixels)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_opaque_and_empty_pictures_are_seen_as_they_are(alpha):
    colours = torch.rand(1, 3, 5, 6)
    assert filled(colours, torch.full((1, 1, 5, 6), alpha)) is colours
