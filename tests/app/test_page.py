# SPDX-License-Identifier: Apache-2.0
"""The served page, request by request: nothing from elsewhere, nothing that is not the page's own."""

import json
import re
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

pytest.importorskip("gradio", reason="the extra 'app' is not installed", exc_type=ImportError)

from filterlens.app import handlers
from tests.app.running import running

OTHER_MACHINES = re.compile(r"https?://(?!127[.]0[.]0[.]1|localhost)[^\s\"']+")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="module")
def app(scratch):
    with running("small", scratch) as started:
        yield started


@pytest.fixture(scope="module")
def address(app):
    return app.address


def get(address, path="/"):
    try:
        with urllib.request.urlopen(address + path, timeout=60) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")


def test_the_page_is_there_and_counts_nobody(address):
    status, page = get(address)
    assert status == 200
    config = json.loads(get(address, "/config")[1])
    assert config["analytics_enabled"] is False
    assert config["title"] == "filterlens"
    assert "1 % of a restoration network" in page


def test_neither_scripts_nor_styles_nor_fonts_come_from_elsewhere(address):
    page, theme = get(address)[1], get(address, "/theme.css")[1]
    loaded = re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"']([^\"']+)", page)
    assert loaded
    assert [
        each for each in loaded if each.startswith(("http:", "https:", "//")) and not each.startswith(address)
    ] == []
    assert "@import" not in theme
    assert "url(http" not in theme.replace(" ", "")
    for name in Path(handlers.__file__).parent.glob("static/*"):
        text = name.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert OTHER_MACHINES.findall(text) == [], name


def test_the_first_picture_lies_ready(address):
    config = json.loads(get(address, "/config")[1])
    (viewer,) = [each["props"] for each in config["components"] if each["props"].get("elem_id") == "viewer"]
    assert viewer["value"]["result"] == "result 450×300"
    assert get(address, "/" + viewer["value"]["after"])[0] == 200
    (layers,) = [each["props"]["props"] for each in config["components"] if each["props"].get("elem_id") == "map"]
    assert sum(out * inwards for _, out, inwards, _ in layers["layers"]) == layers["total"]


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../../../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "{module}", "{uploads}"]
)
def test_files_of_this_machine_are_not_served(address, scratch, path):
    path = path.format(module=handlers.__file__, uploads=scratch)
    assert get(address, f"/gradio_api/file={path}")[0] in (403, 404)


@pytest.mark.parametrize(
    "errand", ["file=http://example.org/x.png", "file=https%3A//example.org/x", "proxy=https://example.org/"]
)
def test_nothing_is_fetched_on_behalf_of_a_page(address, errand):
    status, text = get(address, f"/gradio_api/{errand}")
    assert (status, text) == (403, "This app fetches nothing from other machines.")


def send(address, name, content):
    body = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="' + name.encode() + b'"\r\n'
        b"Content-Type: image/png\r\n\r\n" + content + b"\r\n--x--\r\n"
    )
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{address}/gradio_api/upload", body, kind)) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, []


@pytest.mark.parametrize("name", ["../../../evil.png", "/tmp/evil.png", "..%2f..%2fevil.png", "a/../../evil.png"])
def test_a_name_like_a_path_stays_in_the_temporary_folder(address, scratch, name):
    before = set(scratch.parent.rglob("*evil*"))
    status, paths = send(address, name, b"x")
    assert status == 200
    (path,) = map(Path, paths)
    assert path.resolve().is_relative_to(scratch)
    assert {each.resolve() for each in set(scratch.parent.rglob("*evil*")) - before} <= {path.resolve()}


def test_a_file_above_the_limit_is_refused(address):
    assert send(address, "large.png", bytes(65 * 2**20))[0] == 413


def test_it_listens_on_this_machine_only(app, address):
    port = int(address.rpartition(":")[2])
    listening = [
        each for each in psutil.Process(app.process).net_connections() if each.laddr and each.laddr.port == port
    ]
    assert {each.laddr.ip for each in listening} == {"127.0.0.1"}


def test_nothing_left_the_machine(app, address):
    get(address)
    assert app.called() == []


def test_a_polite_kill_leaves_neither_port_nor_files(tmp_path):
    with running("small", tmp_path) as app:
        assert get(app.address)[0] == 200
    assert app.code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["called.txt"]
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(app.address)
