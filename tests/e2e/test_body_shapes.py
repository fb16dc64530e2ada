"""Bodies of unusual shapes at a real server: it goes on meanwhile, and grows by little.

`python -m benchmarks.abuse` attacks with more of the same sort, and streams beside it.
"""

import contextlib
import json
import socket
import time

import pytest

from benchmarks.abuse_attacks import Target, exchange, head, post
from benchmarks.abuse_watch import MemoryWatch, Watcher, probe_live
from tests.e2e import body_shapes as shapes
from tests.e2e.server_process import START_SECONDS, ServerProcess

MB = 1 << 20
# 0.5 s and 500 MB are what is promised; a machine with other work to do is slower.
MOST_SECONDS, MOST_ADDED = 5.0, 500 * MB
HELD = 100


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    environment = {
        f"RWKV_SERVER_{store}_DIRECTORY": tmp_path_factory.mktemp(store)
        for store in ("STATES", "RESPONSES", "BATCHES")
    }
    # Long prompts are refused when they have been encoded: nothing has to be computed.
    environment["RWKV_SERVER_LIMITS_MAX_PROMPT_TOKENS"] = 2000
    with ServerProcess("--workers", "1", **environment) as process:
        yield process.wait_until_ready()


def target_of(server):
    host, port = server.url.removeprefix("http://").split(":")
    return Target(host, int(port))


@contextlib.contextmanager
def watched(server):
    """Asserts that /live was answered all the time, and that there was memory enough.

    Gives a list for what was asked, and how long that took: the answers need not be quick.
    """
    asked = []
    with MemoryWatch(server.pid) as memory, Watcher(probe_live, server.url) as probe:
        yield asked
    slowest = sorted(asked, reverse=True)[:5]
    assert probe.report < MOST_SECONDS, slowest
    assert memory.added < MOST_ADDED, slowest


def answers(server, asked, cases):
    """Name → status, of bodies that are sent one after another."""
    found = {}
    for path, name, make in cases:
        body = make()
        assert len(body) < 16 * MB
        started = time.monotonic()
        found[path, name] = post(target_of(server), path, body)
        asked.append((time.monotonic() - started, path, name))
    return found


def unknown_fields(shift):
    """Each shape at another route."""
    paths = [*shapes.ROUTES]
    for number, (name, make) in enumerate(shapes.FIELDS.items()):
        path = paths[(number + shift) % len(paths)]
        yield path, name, lambda p=path, m=make: shapes.with_field(p, "unknown", m())


def known_fields():
    """Each shape once, though several routes may have the field."""
    seen = set()
    for path, fields in shapes.KNOWN.items():
        for name, (field, make) in fields.items():
            if (name, make) not in seen:
                yield path, name, lambda p=path, f=field, m=make: shapes.with_field(p, f, m())
            seen.add((name, make))


@pytest.mark.parametrize("shift", [0, 11])
def test_fields_that_no_route_knows_hold_nothing_up(server, shift):
    with watched(server) as asked:
        found = answers(server, asked, unknown_fields(shift))
    refused = {"empty lists to 16 MiB", "numbers to 16 MiB", "fields to 16 MiB", "mixed, more"}
    for (path, name), status in found.items():
        # "cut" is a client that was still sending when it was refused.
        wanted = {"413", "cut"} if name in refused else {"200", "400", "404"}
        assert status in wanted, (path, name)


def test_fields_that_routes_know_hold_nothing_up(server):
    with watched(server) as asked:
        found = answers(server, asked, known_fields())
    assert set(found.values()) <= {"200", "400", "404", "413", "cut"}, found
    assert "200" in found.values()


def test_at_once_bodies_of_many_values_take_little_memory(server):
    """Each would hold some megabytes for as long as its stream runs."""
    body = shapes.with_field("/v1/chat/completions", "chat_template_kwargs", shapes.many_lists())
    body = body[:-1] + b',"stream":true,"ignore_eos":true,"max_completion_tokens":60000}'
    lines = "content-type: application/json", f"content-length: {len(body)}"
    request = head("/v1/chat/completions", *lines) + body
    other = shapes.with_field("/tokenize", "unknown", b'"' + b"a" * 30_000 + b'"')
    with contextlib.ExitStack() as connections, watched(server):
        for _ in range(HELD):
            connection = socket.create_connection(target_of(server), timeout=START_SECONDS)
            connections.enter_context(connection).sendall(request)
        # Whatever is made of those bodies is made before anything of this one is.
        assert post(target_of(server), "/tokenize", other) == "200"


PART = b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
FILE = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n'
END = b"\r\n--b--\r\n"
FORMS = {
    "parts": PART * 100_000 + END,
    "files": (FILE + b"\r\nx\r\n") * 100_000 + END,
    "parts without headers": b"--b\r\n\r\n" * 1_000_000 + END,
    "headers": PART + FILE + b"x-a: b\r\n" * 1_000_000 + b"\r\nx" + END,
    "a long header": PART + FILE + b"x-a: " + b"a" * 8 * MB + b"\r\n\r\nx" + END,
    "a long name of a header": PART + FILE + b"x" * 8 * MB + b": a\r\n\r\nx" + END,
    "a long field": PART.replace(b"batch", b"b" * 8 * MB) + END,
    "line breaks": PART + FILE + b"\r\n" + b"\r\n" * 2_000_000 + END,
    "what is nearly an end": PART + FILE + b"\r\n" + b"\r\n--a" * 200_000 + END,
    "before the first part": b"\r\n" * 2_000_000 + PART + END,
    "after the end": PART + FILE + b"\r\nx" + END + b"x" * 8 * MB,
    "no end": PART + FILE + b"\r\n" + b"x" * 8 * MB,
}


def test_forms_of_many_parts_hold_nothing_up(server):
    with watched(server) as asked:
        for name, form in FORMS.items():
            lines = "content-type: multipart/form-data; boundary=b", f"content-length: {len(form)}"
            started = time.monotonic()
            status = exchange(target_of(server), (head("/v1/files", *lines), form))
            asked.append((time.monotonic() - started, name))
            assert status in ("200", "400", "cut"), name


LINES = {  # name of a field's shape → whether a line may have it
    "empty lists": True,
    "empty lists to 16 MiB": False,
    "numbers": True,
    "numbers to 16 MiB": False,
    "deep": True,
    "deep to 16 MiB": False,
    "wide characters": True,
    "longer numbers": False,
}


def batch_of(client, text):
    """The batch of a file, when it is over."""
    form = {"data": {"purpose": "batch"}, "files": {"file": ("a.jsonl", text)}}
    file = client.post("/v1/files", **form).json()["id"]
    fields = {"input_file_id": file, "endpoint": "/v1/completions", "completion_window": "24h"}
    batch = client.post("/v1/batches", json=fields).json()
    while batch["status"] in ("validating", "in_progress", "finalizing"):
        batch = client.get(f"/v1/batches/{batch['id']}").json()
    return batch


def test_lines_of_batches_hold_nothing_up(server):
    line = {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": "BODY"}
    with watched(server) as asked, server.client() as client:
        for name, is_right in LINES.items():
            body = shapes.with_field("/v1/completions", "unknown", shapes.FIELDS[name]())
            started = time.monotonic()
            batch = batch_of(client, json.dumps(line).encode().replace(b'"BODY"', body))
            asked.append((time.monotonic() - started, name))
            assert (batch["status"] == "completed") == is_right, name
            if not is_right:
                assert batch["errors"]["data"][0]["line"] == 1
