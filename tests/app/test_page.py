# SPDX-License-Identifier: Apache-2.0
"""The served page, request by request: nothing from elsewhere, nothing that is not the page's own."""

import contextlib
import io
import json
import re
import socket
import struct
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import psutil
import pytest
from PIL import Image

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


def asked(address, *lines, body=()):
    """Send a request as it is written, and return the status and the rest of the answer."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        with contextlib.suppress(OSError):  # it need not hear all of it
            for piece in body:
                connection.sendall(piece)
        answer = connection.makefile("rb")
        status = answer.readline()
        return int(status.split()[1]), answer.readline()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "localhost", "127.0.0.1:1", "{port}@127.0.0.1:{port}"]
)
@pytest.mark.parametrize(
    "path", ["/", "/config", "/theme.css", "/gradio_api/queue/data?session_hash=a", "/gradio_api/upload"]
)
def test_another_name_is_answered_403(address, host, path):
    port = address.rpartition(":")[2]
    named = f"Host: {host.format(port=port)}"
    assert asked(address, f"GET {path} HTTP/1.1", named)[0] == 403
    assert asked(address, f"POST {path} HTTP/1.1", named, "Content-Length: 1000000000")[0] == 403
    assert asked(address, f"GET {path} HTTP/1.1", named, "Upgrade: websocket", "Connection: upgrade")[0] == 403


def test_without_a_name_nothing_is_answered(address):
    place = address.removeprefix("http://")
    assert asked(address, "GET / HTTP/1.0")[0] == 403
    assert asked(address, "GET / HTTP/1.0", f"Host: {place}")[0] == 200
    assert asked(address, "GET / HTTP/1.1")[0] == 400
    assert asked(address, "GET / HTTP/1.1", f"Host: {place}", "Host: evil.example")[0] == 400
    assert asked(address, "GET http://evil.example/ HTTP/1.1", f"Host: {place}")[0] in (400, 404)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "https://127.0.0.1"])
def test_another_page_is_answered_403_and_stores_nothing(address, scratch, origin):
    before = set(scratch.rglob("*"))
    for method in ("GET", "POST", "OPTIONS"):
        head = f"{method} /gradio_api/upload HTTP/1.1", f"Host: {address[7:]}", f"Origin: {origin}", "Content-Length: 9"
        assert asked(address, *head, body=[b"123456789"])[0] == 403
    assert set(scratch.rglob("*")) == before


def test_a_file_without_a_length_is_cut_off(address, scratch):
    """Chunk after chunk, until the app says that it is enough."""
    chunk = b"%x\r\n%s\r\n" % (2**20, bytes(2**20))
    start = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    form = "Content-Type: multipart/form-data; boundary=x", "Transfer-Encoding: chunked"
    body = [b"%x\r\n%s\r\n" % (len(start), start), *[chunk] * 70]
    assert asked(address, "POST /gradio_api/upload HTTP/1.1", f"Host: {address[7:]}", *form, body=body)[0] == 413
    assert list(scratch.rglob("a.png")) == []


def test_five_large_files_in_one_request_are_refused(address):
    form = "Content-Type: multipart/form-data; boundary=x", f"Content-Length: {5 * 40 * 2**20}"
    assert asked(address, "POST /gradio_api/upload HTTP/1.1", f"Host: {address[7:]}", *form)[0] == 413


def post(address, path, **body):
    asking = urllib.request.Request(address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(asking, timeout=60) as answer:
        return json.loads(answer.read())


def answers(address, session, **call):
    """Call a handler as the page does, and return what came of it."""
    post(address, "/gradio_api/queue/join", session_hash=session, trigger_id=None, **call)
    with urllib.request.urlopen(f"{address}/gradio_api/queue/data?session_hash={session}", timeout=120) as stream:
        messages = [json.loads(line[6:]) for line in stream if line.startswith(b"data: ")]
    return next(message for message in messages if message["msg"] == "process_completed")


def number(address, output):
    """The number of the handler whose first output is that part of the page."""
    config = json.loads(get(address, "/config")[1])
    (part,) = [each["id"] for each in config["components"] if each["props"].get("elem_id") == output]
    return next(each["id"] for each in config["dependencies"] if each["outputs"][:1] == [part])


CONTROLS = [None, "chelsea", False, 2, 0, 100, 1, 1, 1, 1.0]


def test_the_page_gets_its_picture(address):
    done = answers(address, "fresh", fn_index=number(address, "viewer"), data=CONTROLS)
    view, _ = done["output"]["data"]
    assert view["controls"] == CONTROLS[1:-1]
    assert get(address, "/" + view["after"])[0] == 200


def bomb():
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + bytes(20)


def cut_off():
    whole = io.BytesIO()
    Image.effect_noise((200, 200), 90).save(whole, "PNG")
    return whole.getvalue()[:3000]


@pytest.mark.parametrize(
    "content", [b"", b"#!/bin/sh", bomb(), cut_off(), b"%!PS-Adobe-3.0 EPSF\n%%BoundingBox: 0 0 9 9\n"]
)
def test_a_hostile_picture_is_one_line_on_the_page_and_none_in_the_log(app, address, scratch, content):
    status, (path,) = send(address, "\x1b[2J<b>cup.png", content)
    assert status == 200
    done = answers(address, "hostile", fn_index=number(address, "photographs"), data=[None], event_data={"path": path})
    said = done["output"]["error"]
    assert not done["success"]
    assert "cup.png" in said
    assert not {"<", "\x1b", "\n"} & set(said)
    assert "Traceback" not in said
    assert str(scratch) not in said
    assert not Path(path).exists()
    assert app.errors.read_text() == ""


def test_a_path_outside_is_refused(app, address):
    with pytest.raises(urllib.error.HTTPError) as caught:
        answers(address, "f", fn_index=number(address, "photographs"), data=[None], event_data={"path": "/etc/passwd"})
    with caught.value:
        assert caught.value.code == 400
    assert app.errors.read_text() == ""


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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["called.txt", "errors.txt"]
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(app.address)
