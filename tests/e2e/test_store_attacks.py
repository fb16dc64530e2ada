"""Stores of a real server: killed while something is uploaded, and keys that are taken back."""

import re
import signal
import socket

import httpx

from tests.e2e.server_process import ServerProcess
from tests.e2e.test_keys import add_key


def announced(server, key=""):
    """An upload of which 3 MB have come and more are announced, on a socket that stays open."""
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    head = (
        "POST /v1/files HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 50000000\r\n"
        f"authorization: Bearer {key}\r\n"
        "content-type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
    )
    connection.sendall(head.encode() + b"x" * 3_000_000)
    return connection


def upload(http, size):
    form = {"files": {"file": ("a", b"x" * size)}, "data": {"purpose": "batch"}}
    return http.post("/v1/files", **form)


def test_a_kill_during_uploads_leaves_nothing_and_loses_nothing(tmp_path):
    temporary, folder = tmp_path / "tmp", tmp_path / "batches"
    temporary.mkdir()
    environment = {
        "RWKV_SERVER_BATCHES_DIRECTORY": folder,
        "RWKV_SERVER_BATCHES_LIMIT_BYTES": 60_000_000,
        "RWKV_SERVER_BATCHES_MAX_UPLOADS": 3,
        "TMPDIR": temporary,
    }
    with ServerProcess(**environment) as server:
        server.wait_until_listening()
        with server.client() as http:
            kept = upload(http, 1000).json()["id"]
            connections = [announced(server) for _ in range(2)]
            # What they announce, 100 MB, takes nothing from others.
            assert upload(http, 40_000_000).status_code == 200
        server.send_signal(signal.SIGKILL)
        assert server.wait() == -signal.SIGKILL
        for connection in connections:
            connection.close()
    with ServerProcess(**environment) as server:
        server.wait_until_listening()
        with server.client() as http:
            listed = http.get("/v1/files").json()["data"]
            assert [file["bytes"] for file in listed] == [40_000_000, 1000]
            assert listed[1]["id"] == kept
            assert len(list((folder / "files").iterdir())) == 2
            assert sum(f.stat().st_size for f in temporary.rglob("*") if f.is_file()) < 1_000_000
            assert upload(http, 15_000_000).status_code == 200


def test_a_background_response_ends_with_its_key(tmp_path):
    file = tmp_path / "keys.toml"
    keys = {name: add_key(file, name) for name in ("alice", "bob")}
    environment = {
        "RWKV_SERVER_HTTP_KEYS_FILE": file,
        "RWKV_SERVER_RESPONSES_DIRECTORY": tmp_path,
    }
    body = {"input": "Once", "background": True, "max_output_tokens": 60_000, "ignore_eos": True}
    with ServerProcess(**environment) as server:
        server.wait_until_ready()

        def call(name, method, path, **request):
            headers = {"authorization": f"Bearer {keys[name]}"}
            return httpx.request(method, server.url + path, headers=headers, **request).json()

        made = {name: call(name, "POST", "/v1/responses", json=body)["id"] for name in keys}
        while any(
            call(name, "GET", f"/v1/responses/{ident}")["status"] == "queued"
            for name, ident in made.items()
        ):
            pass
        text = file.read_text()
        file.write_text(re.sub(r'\[alice\]\nsha256 = ".*"\nrole = "user"\n', "", text))
        seen = len(server.lines)
        server.send_signal(signal.SIGHUP)
        server.wait_for_line("keys that are known: 1", seen)
        file.write_text(text)
        server.send_signal(signal.SIGHUP)
        server.wait_for_line("keys that are known: 2", seen)
        ended = call("alice", "GET", f"/v1/responses/{made['alice']}")
        while ended["status"] == "in_progress":
            ended = call("alice", "GET", f"/v1/responses/{made['alice']}")
        assert (ended["status"], ended["error"]["type"]) == ("failed", "invalid_api_key")
        path = f"/v1/responses/{made['bob']}"
        assert call("bob", "GET", path)["status"] == "in_progress"
        assert call("bob", "POST", f"{path}/cancel")["status"] == "cancelled"
