# SPDX-License-Identifier: Apache-2.0
"""Fetching image sets: whole or not at all, and nothing from an archive that is not what it should be."""

import hashlib
import io
import json
import tarfile
import threading
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from filterlens.data import archives
from filterlens.data.catalogue import ImageSet, Source
from filterlens.data.download import download, get_set
from filterlens.errors import FilterlensError
from tests.data.test_catalogue import with_pixels, write_images

NAMES = ["a.png", "b.png", "c.png"]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        if "short" not in self.path:
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", "5000")
        self.end_headers()
        self.wfile.write(b"x" * 100)
        self.close_connection = True
        return None


@pytest.fixture
def server(tmp_path):
    """A folder that is served on this machine: (folder, address)."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images", NAMES)


def zipped(path, images, prefix="Set/HR/", more=()):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
        for name in NAMES:
            archive.write(images / name, prefix + name)
        for name, content in more:
            archive.writestr(name, content)
    return path


def sha256(path):
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def entry(address, count=3, pattern="*HR/*", checksum=None, **facts):
    addresses = (address,) if isinstance(address, str) else tuple(address)
    return ImageSet("mine", "Mine", count, "CC0", "http://page", (Source(addresses, pattern, checksum),), **facts)


def left(root):
    return sorted(path.name for path in root.iterdir()) if root.exists() else []


def test_an_archive_is_fetched_checked_and_unpacked(server, root, images):
    folder, address = server
    packed = zipped(folder / "set.zip", images, more=[("Set/LR/a.png", (images / "b.png").read_bytes())])
    found = get_set(entry(f"{address}/set.zip", checksum=sha256(packed)), root)
    assert found.passed and left(root / "mine") == [".filterlens.json", *NAMES]
    assert left(root) == ["mine"]
    assert (root / "mine" / "a.png").read_bytes() == (images / "a.png").read_bytes()
    record = json.loads((root / "mine" / ".filterlens.json").read_text())
    assert f"sha256:{record['sha256'][f'{address}/set.zip']}" == sha256(packed)


def test_a_tar_archive_and_an_md5(server, root, images):
    folder, address = server
    with tarfile.open(folder / "set.tgz", "w:gz") as archive:
        archive.add(images, "Set/HR")
    md5 = hashlib.md5((folder / "set.tgz").read_bytes(), usedforsecurity=False).hexdigest()
    assert get_set(entry(f"{address}/set.tgz", checksum=f"md5:{md5}"), root).passed


def test_images_that_are_published_one_by_one(server, root, images):
    folder, address = server
    for name in NAMES:
        (folder / name).write_bytes((images / name).read_bytes())
    assert get_set(entry([f"{address}/{name}" for name in NAMES], pattern="*"), root).passed


def test_a_set_that_is_there_is_not_fetched_again(root, images):
    write_images(root / "mine", NAMES)
    assert get_set(entry("http://127.0.0.1:9/none.zip"), root).passed


def test_a_folder_in_the_way_is_only_replaced_when_forced(server, root, images):
    folder, address = server
    zipped(folder / "set.zip", images)
    write_images(root / "mine", ["other.png"])
    with pytest.raises(FilterlensError, match="--force"):
        get_set(entry(f"{address}/set.zip"), root)
    assert left(root / "mine") == ["other.png"]
    assert get_set(entry(f"{address}/set.zip"), root, force=True).passed
    assert left(root) == ["mine"] and "other.png" not in left(root / "mine")


def test_a_failed_replacement_leaves_the_folder_as_it_was(server, root, images):
    folder, address = server
    zipped(folder / "set.zip", images)
    write_images(root / "mine", ["other.png"])
    with pytest.raises(FilterlensError, match="3 images, not 4"):
        get_set(entry(f"{address}/set.zip", count=4), root, force=True)
    assert left(root) == ["mine"] and left(root / "mine") == ["other.png"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"checksum": "sha256:" + "0" * 64}, "its sha256 is [0-9a-f]{64}, not 0{64}"),
        ({"count": 4}, "3 images, not 4"),
        ({"address": "/short.zip"}, "Cannot fetch|100 of 5000 bytes"),
        ({"address": "/none.zip"}, "Cannot fetch .*File not found"),
        ({"address": "/half.zip"}, "neither a zip nor a tar|damaged or incomplete"),
        ({"address": "/flipped.zip"}, "damaged or incomplete .*CRC"),
        ({"longest": 99}, "longer side is not 99"),
    ],
)
def test_nothing_is_kept_of_what_is_not_right(server, root, images, change, message):
    folder, address = server
    content = zipped(folder / "set.zip", images).read_bytes()
    (folder / "half.zip").write_bytes(content[: len(content) // 2])
    place = content.index((images / "b.png").read_bytes()) + 50
    (folder / "flipped.zip").write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    facts = dict(change)
    url = address + facts.pop("address", "/set.zip")
    with pytest.raises(FilterlensError, match=message) as caught:
        get_set(entry(url, **facts), root)
    assert "\n" not in str(caught.value)
    assert left(root) == []


@pytest.mark.parametrize("kind", ["zip", "tgz", "txz"])
def test_a_packed_stream_that_is_damaged_is_said_to_be(tmp_path, root, kind):
    packed = tmp_path / f"set.{kind}"
    content = bytes(range(256)) * 400
    if kind == "zip":
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("HR/a.png", content)
    else:
        with tarfile.open(packed, {"tgz": "w:gz", "txz": "w:xz"}[kind]) as archive:
            member = tarfile.TarInfo("HR/a.png")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    raw = bytearray(packed.read_bytes())
    raw[100:140] = bytes(255 - byte for byte in raw[100:140])
    packed.write_bytes(raw)
    with pytest.raises(FilterlensError, match=r"damaged or incomplete|neither a zip nor a tar"):
        get_set(entry("http://x"), root, source=packed)
    assert left(root) == []


def test_without_a_network_there_is_one_line_with_the_way_by_hand(root):
    with pytest.raises(FilterlensError, match=r"Cannot fetch http://127\.0\.0\.1:9/x\.zip: .*--from FILE"):
        get_set(entry("http://127.0.0.1:9/x.zip"), root)
    with pytest.raises(FilterlensError, match="No command may fetch 'mine': CC0"):
        get_set(replace(entry("http://x"), sources=()), root)


def test_the_second_address_serves_where_the_first_fails(server, root, images):
    folder, address = server
    zipped(folder / "set.zip", images)
    both = replace(
        entry("http://x"), sources=(Source((f"{address}/none.zip",)), Source((f"{address}/set.zip",), "*HR/*"))
    )
    assert get_set(both, root).passed


@pytest.mark.parametrize("name", ["../evil.png", "/tmp/evil.png", "Set/../../evil.png", "..\\evil.png", "C:/evil.png"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, root, images, name):
    packed = zipped(tmp_path / "set.zip", images, more=[(name, b"x")])
    with pytest.raises(FilterlensError, match="leads out of its folder"):
        get_set(entry("http://x"), root, source=packed)
    assert left(root) == [] and not (tmp_path / "evil.png").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_in_an_images_place_is_refused(tmp_path, root, kind):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        link = tarfile.TarInfo("HR/a.png")
        link.type, link.linkname = kind, "/etc/hostname"
        archive.addfile(link)
    with pytest.raises(FilterlensError, match="holds a link"):
        get_set(entry("http://x"), root, source=tmp_path / "set.tar")


def test_a_symbolic_link_in_a_zip_is_refused(tmp_path, root):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        link = zipfile.ZipInfo("HR/a.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/hostname")
    with pytest.raises(FilterlensError, match="holds a link"):
        get_set(entry("http://x"), root, source=tmp_path / "set.zip")


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, root, monkeypatch):
    monkeypatch.setattr(archives, "ALLOWANCE", 0)
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("HR/a.png", bytes(10_000_000))
    with pytest.raises(FilterlensError, match="more than 20 times its size"):
        get_set(entry("http://x"), root, source=tmp_path / "set.zip")


def test_an_archive_or_folder_that_the_user_has(tmp_path, root, images):
    packed = zipped(tmp_path / "by-hand.zip", images, prefix="whatever/")
    assert get_set(entry("http://x"), root, source=packed).passed
    assert get_set(replace(entry("http://x"), name="two"), root, source=images).passed
    with pytest.raises(FilterlensError, match="does not exist"):
        get_set(replace(entry("http://x"), name="three"), root, source=tmp_path / "nowhere")
    with pytest.raises(FilterlensError, match="neither a zip nor a tar"):
        get_set(replace(entry("http://x"), name="three"), root, source=images / "a.png")


def test_known_pixels_pick_the_standard_images_out_of_anything_and_give_them_their_names(tmp_path, root, images):
    standard = with_pixels(images)
    mixed = write_images(tmp_path / "mixed" / "LR", ["a.png", "b.png"], seed=7).parent
    for number, name in enumerate(NAMES):
        Image.open(images / name).save(mixed / f"img_{number:03d}_HR.bmp")
    found = get_set(standard, root, source=mixed)
    assert found.passed and found.by_pixels
    assert left(root / "mine") == [".filterlens.json", "a.bmp", "b.bmp", "c.bmp"]
    cut = tmp_path / "cut"
    cut.mkdir()
    for name in NAMES:
        Image.open(images / name).crop((0, 0, 8, 8)).save(cut / name)
    with pytest.raises(FilterlensError, match="None of the 3 images there belongs to Mine"):
        get_set(replace(standard, name="two"), root, source=cut)


def test_images_that_are_left_out(root, images):
    assert get_set(entry("http://x", count=2, left_out=("b",)), root, source=images).passed
    assert left(root / "mine") == [".filterlens.json", "a.png", "c.png"]


def test_a_download_returns_the_hash_of_what_came(server, tmp_path):
    folder, address = server
    (folder / "x.bin").write_bytes(io.BytesIO(b"abc").read())
    assert download(f"{address}/x.bin", tmp_path / "x.bin") == hashlib.sha256(b"abc").hexdigest()
