# SPDX-License-Identifier: Apache-2.0
"""What may be asked of the whole app: its own few routes, with calls that its own page makes."""

import asyncio
import contextlib
import json
import logging

import pytest

pytest.importorskip("gradio", reason="the extra 'app' is not installed", exc_type=ImportError)

from filterlens.app.assembled import assembled
from filterlens.app.needed import OnlyNeeded
from filterlens.app.only_local import Addresses
from filterlens.app.uploads import MOST_BYTES, MOST_FILES, MOST_WAITING
from tests.app.asking import FORM, JSON, PORT, ask, part
from tests.app.conftest import small_studio

# The parser of forms leaves the temporary file of a form that is cut off to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
JOIN, RUN, UPLOAD = "/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/upload"
VALUES = [None, "chelsea", False, 2, 0, 100, 1, 1, 1, 1.7e12]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="module")
def app(scratch):
    async def started():  # outside a loop gradio makes some that it never closes
        return stack.enter_context(assembled(small_studio(), scratch, Addresses.of("127.0.0.1", "127.0.0.1", PORT)))

    with contextlib.ExitStack() as stack:
        yield asyncio.run(started())


@pytest.fixture(autouse=True)
def silent(caplog, capfd):
    """Nothing that a visitor does leaves a trace on the terminal."""
    with caplog.at_level(logging.INFO):
        yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


def waiting(scratch):
    return [path for path in (scratch / "gradio" / "uploads").rglob("*") if path.is_file()]


def number(app, name):
    """The number of a handler on the page."""
    return next(index for index, function in app.page.fns.items() if getattr(function.fn, "__name__", "") == name)


def call(app, path=JOIN, headers=(JSON,), **changes):
    body = {
        "data": VALUES,
        "fn_index": number(app, "render"),
        "trigger_id": 0,
        "session_hash": "abc",
        "event_data": None,
    }
    return ask(app, path, headers, [json.dumps(body | changes).encode()], "POST")


@pytest.mark.parametrize("path", ["/", "/config", "/theme.css", "/favicon.ico", "/gradio_api/info"])
def test_the_page_is_there(app, path):
    assert ask(app, path).status == 200
    assert ask(app, path, query=b"deep_link=../../../etc&__theme=dark").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/monitoring",
        "/monitoring/summary",
        "/monitoring/key",
        "/login",
        "/token",
        "/docs",
        "/openapi.json",
        "/pwa_icon/99999",
        "/gradio_api/openapi.json",
        "/gradio_api/queue/status",
        "/gradio_api/upload_progress",
        "/gradio_api/dev/reload",
        "/gradio_api/startup-events",
        "/gradio_api/deep_link",
        "/gradio_api/custom_component/a/b/c/d",
        "/gradio_api/runs",
        "/gradio_api/run-history/buckets",
        "/gradio_api/vibe-code",
        "/gradio_api/stream/a/b/1/playlist.m3u8",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/call/render/1",
        "/gradio_api/mcp",
        "/svelte/x.js",
        "/static/../secret",
        "/assets/a/../../x",
        "/assets/%00",
        "/assets/a\0b",
        "/assets/",
        "//evil.example",
        "/\x1b[2J",
        "http://evil.example/",
    ],
)
def test_gradios_other_routes_are_shut(app, path):
    assert ask(app, path).status == 404


@pytest.mark.parametrize(
    "path",
    [
        "component_server",
        "process_recording",
        "call/render",
        "call/v2/render",
        "api/predict",
        "run/render",
        "vibe-edit",
        "profiling/clear",
        "stream/abc",
        "login",
        "run-history/connect",
    ],
)
def test_so_are_those_that_change_something(app, path):
    assert call(app, f"/gradio_api/{path}").status == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_other_methods_are_refused(app, method):
    assert ask(app, JOIN, method=method).status == 405


def test_an_address_without_an_end_is_refused(app):
    assert ask(app, "/gradio_api/file=/" + "x" * 5000).status == 414


@pytest.mark.parametrize(
    "file", ["/etc/passwd", "etc/passwd", "", ".", "/", "/proc/self/environ", "a\0b", "~", "file:///etc/passwd"]
)
def test_no_file_of_this_machine_is_served(app, file):
    assert ask(app, f"/gradio_api/file={file}").status == 403


def test_neither_uploads_nor_what_links_lead_to_are_served(app, scratch):
    (scratch / "secret.txt").write_text("secret")
    (scratch / "pictures" / "link.png").symlink_to(scratch / "secret.txt")
    (sent,) = json.loads(ask(app, UPLOAD, [FORM], [part(b"<script>", "page.html", end=True)], "POST").text)
    for path in (scratch / "pictures" / "link.png", scratch / "pictures" / ".." / "secret.txt", sent):
        assert ask(app, f"/gradio_api/file={path}").status == 403


def test_a_damaged_range_gives_the_picture(app):
    config = json.loads(ask(app, "/config").text)
    (viewer,) = [each["props"]["value"] for each in config["components"] if each["props"].get("elem_id") == "viewer"]
    for asked in ("bytes=1-2-3", "bytes=a-b", "bytes=--", "lines=1-2"):
        assert ask(app, f"/{viewer['after']}", [("range", asked)]).status == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"data": []},
        {"data": VALUES[:-1]},
        {"data": [*VALUES, 1]},
        {"data": "text"},
        {"data": None},
        {"data": [[]] * 10},
        {"data": [{"path": "/etc/passwd"}, *VALUES[1:]]},
        {"data": ["state", *VALUES[1:]]},
        {"data": [*VALUES[:3], 1e9, *VALUES[4:]]},
        {"data": [*VALUES[:3], "2", *VALUES[4:]]},
        {"data": [*VALUES[:3], True, *VALUES[4:]]},
        {"data": [*VALUES[:6], 2.5, *VALUES[7:]]},
        {"data": [*VALUES[:9], float("nan")]},
        {"data": [*VALUES[:9], 10**400]},
        {"data": [None, {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, *VALUES[2:]]},
        {"fn_index": -1},
        {"fn_index": 999},
        {"fn_index": "1"},
        {"fn_index": None},
        {"fn_index": True},
        {"fn_index": 2**70},
        {"trigger_id": -5},
        {"trigger_id": 10**9},
        {"trigger_id": "x"},
        {"session_hash": None},
        {"session_hash": "../../x"},
        {"session_hash": "x" * 65},
        {"session_hash": {}},
        {"event_data": {"path": "/etc/passwd"}},
        {"event_data": {"path": ["a"]}},
        {"event_data": {"path": ""}},
        {"event_data": []},
        {"event_data": {"a": {"b": {}}}},
        {"event_data": {str(n): 1 for n in range(99)}},
    ],
)
def test_calls_that_no_page_makes_are_one_line(app, changes):
    answer = call(app, **changes)
    assert (answer.status, answer.waited) == (400, 0)
    assert "\n" not in answer.text
    assert "Traceback" not in answer.text
    assert len(answer.text) < 300


@pytest.mark.parametrize("said", [None, True, 0.5, "text", {}, {"degradation": "blur:2"}])
def test_what_events_of_the_page_say_is_taken(app, said):
    assert call(app, event_data=said).status == 200


def test_a_line_for_the_queue_is_no_call_and_the_other_way_round(app):
    assert call(app, RUN).status == 400
    assert call(app, JOIN, fn_index=number(app, "want")).status == 400


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b'"text"', b"\xff\xfe", b"[" * 60_000, b'{"data":' * 8000])
def test_bodies_that_are_no_call_are_refused(app, body):
    for path in (JOIN, RUN, "/gradio_api/cancel", "/gradio_api/reset"):
        assert ask(app, path, [JSON], [body], "POST").status == 400


def test_a_huge_call_is_cut_off_as_it_arrives(app):
    assert ask(app, JOIN, [JSON], [b" " * 10_000] * 100, "POST").status == 413
    assert ask(app, JOIN, [JSON, ("content-length", "99999999")], [b"{"], "POST").status == 413


@pytest.mark.parametrize("kind", [(), [("content-type", "text/plain")], [("content-type", "application/json"), JSON]])
def test_only_json_is_a_call(app, kind):
    """A form of another page could send text without asking first."""
    assert call(app, headers=kind).status == 415


def test_nobody_uses_the_page_of_another_browser(app):
    first, second = (ask(app).header("set-cookie")[0].partition(";")[0] for _ in range(2))
    assert first != second
    assert "HttpOnly; SameSite=Lax" in ask(app).header("set-cookie")[0]
    assert ask(app, headers=[("cookie", first)]).header("set-cookie") == []  # two tabs are one browser
    assert call(app, headers=[JSON, ("cookie", first)], session_hash="mine").status == 200
    for cookie in ([], [("cookie", second)], [("cookie", first[:-1])], [("cookie", "a;;=\x01")]):
        assert call(app, headers=[JSON, *cookie], session_hash="mine").status == 403
        assert ask(app, "/gradio_api/queue/data", cookie, query=b"session_hash=mine").status == 403
        assert ask(app, "/gradio_api/heartbeat/mine", cookie).status == 403
        cancel = json.dumps({"session_hash": "mine", "fn_index": 1, "event_id": "abc"}).encode()
        assert ask(app, "/gradio_api/cancel", [JSON, *cookie], [cancel], "POST").status == 403


@pytest.mark.parametrize("query", [b"session_hash=unknown", b"session_hash=", b"", b"session_hash=%00"])
def test_an_unknown_session_has_no_answers(app, query):
    assert ask(app, "/gradio_api/queue/data", query=query).status in (400, 404)


def test_a_file_gets_a_name_that_nobody_guesses(app, scratch):
    first, second = (json.loads(ask(app, UPLOAD, [FORM], [part(b"same", end=True)], "POST").text) for _ in range(2))
    assert first != second
    assert all(path.endswith("/cup.png") and len(path.split("/")[-2]) == 32 for path in first + second)
    assert {str(path) for path in waiting(scratch)} >= {*first, *second}


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("\x1b[31mred\x1b[0m.png", "31mred-0m.png"),
        ("<img src=x onerror=alert(1)>.png", "img-src-x-onerror-alert-1.png"),
        ("../../../etc/cron.d/x", "x"),
        ("C:\\Users\\x\\y.JPG", "y.jpg"),
        ("a\0b.png", "a-b.png"),
        ("", "picture"),
        ("..", "picture"),
        ("x" * 300 + ".png", "x" * 60 + ".png"),
        ("evil.html", "evil"),
        ("日本.webp", "picture.webp"),
        ("\u202egnp.exe", "gnp"),
    ],
)
def test_a_name_says_nothing_to_terminals_pages_and_paths(app, name, stored):
    body = part(b"x", end=True).replace(b"cup.png", name.encode())
    (path,) = json.loads(ask(app, UPLOAD, [FORM], [body], "POST").text)
    assert path.rpartition("/")[2] == stored


def test_many_files_count_together(app, scratch):
    before, size = waiting(scratch), MOST_BYTES // 4
    assert ask(app, UPLOAD, [FORM], [part(bytes(size)) for _ in range(6)], "POST").status == 413
    assert waiting(scratch) == before


@pytest.mark.parametrize("length", [str(5 * 40 * 2**20), "9" * 400, "-1", "1e3"])
def test_a_length_that_is_too_large_is_refused_as_it_stands_there(app, scratch, length):
    before = waiting(scratch)
    asked = [FORM, ("content-length", length), ("expect", "100-continue")]
    answer = ask(app, UPLOAD, asked, [part(b"x", end=True)], "POST")
    assert (answer.status, answer.read, waiting(scratch)) == (413, 0, before)


def test_many_small_files_are_refused(app, scratch):
    before = waiting(scratch)
    assert ask(app, UPLOAD, [FORM], [part(b"x") * (MOST_FILES + 1) + part(b"x", end=True)], "POST").status == 400
    assert waiting(scratch) == before


def test_what_nobody_reads_makes_room_for_what_comes(app, scratch):
    for _ in range(2 + MOST_WAITING // MOST_BYTES):
        assert ask(app, UPLOAD, [FORM], [part(bytes(MOST_BYTES), end=True)], "POST").status == 200
        assert sum(path.stat().st_size for path in waiting(scratch)) <= MOST_WAITING
    assert len(list((scratch / "gradio" / "uploads").iterdir())) <= MOST_WAITING // MOST_BYTES


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([], [b"x"]),
        ([("content-type", "image/png")], [b"x"]),
        ([("content-type", "multipart/form-data")], [b"x"]),
        ([("content-type", "multipart/form-data; boundary=")], [b"x"]),
        ([FORM], [b""]),
        ([FORM], [b"\0" * 100]),
        ([FORM], [b"--part\r\n\r\n\r\n"]),
        ([FORM], [b'--part\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--part--\r\n']),
        ([FORM], [part(b"cut off")[:-4], b""]),
        ([FORM], [b"--part\r\n" + b"A" * 100_000]),
        ([FORM], []),
    ],
)
def test_what_is_no_form_is_refused_and_leaves_nothing(app, scratch, headers, body):
    before = waiting(scratch)
    assert ask(app, UPLOAD, headers, body, "POST").status == 400
    assert waiting(scratch) == before


def test_a_defect_behind_is_one_line_and_tells_the_visitor_nothing(app, caplog):
    async def broken(scope, receive, send):
        raise RuntimeError("at /home/somebody/secret.py\n\x1b[2J")

    needed = OnlyNeeded(broken, None, None, [], app._app._app._visitors)
    answer = ask(needed, "/config")
    assert (answer.status, answer.text) == (500, "Something went wrong here. Reload the page.")
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert "\x1b" not in record.getMessage()
    caplog.clear()
