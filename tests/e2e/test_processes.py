"""Starting, stopping, and processes that end when nobody expects it."""

import contextlib
import json
import os
import pty
import signal
import socket
import sys

import httpx
import psutil
import pytest

from server.machine.cores import usable_cores
from tests.e2e.server_process import ROOT, STOP_SECONDS, ServerProcess, run_cli

ENDLESS = {"prompt": "Once", "max_tokens": 60000, "ignore_eos": True, "stream": True}


def test_requests_while_loading_are_told_to_come_back(tmp_path):
    # An empty kernel cache makes loading long enough to be seen.
    with ServerProcess(RWKV_SERVER_ENGINE_CACHE_DIR=tmp_path) as server:
        with server.wait_until_listening().client() as client:
            assert client.get("/health").status_code == 200
            assert client.get("/ready").status_code == 503
            reply = client.post("/v1/completions", json={"prompt": "x"})
            assert reply.status_code == 503
            assert int(reply.headers["retry-after"]) >= 1
            assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
        workers = server.workers()
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        assert not any(worker.is_running() for worker in workers)


def test_a_worker_that_ends_while_the_server_stops_is_no_failure(tmp_path):
    settings = {"RWKV_SERVER_ENGINE_CACHE_DIR": tmp_path, "RWKV_SERVER_HTTP_SHUTDOWN_SECONDS": 2}
    with ServerProcess(**settings) as server:
        server.wait_until_listening()
        while not server.workers():
            pass
        address = httpx.URL(server.url)
        with socket.create_connection((address.host, address.port)) as client:
            # So long the server waits for the rest of this, and sees the end of the worker.
            client.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
            )
            server.send_signal(signal.SIGTERM)
            server.wait_for_line("stopping on SIGTERM", 0)
            server.workers()[0].send_signal(signal.SIGKILL)
            assert server.wait() == 0
    assert not any("ERROR" in line or "Traceback" in line for line in server.lines)
    assert any("cut: the server is shutting down" in line for line in server.lines)


def test_a_client_that_leaves_makes_room_for_the_next():
    with ServerProcess(RWKV_SERVER_LIMITS_MAX_REQUESTS=1) as server:
        server.wait_until_ready()
        with server.client() as client:
            with server.streaming(ENDLESS):
                full = client.post("/v1/completions", json={"prompt": "x"})
                assert full.status_code == 429
                assert full.json()["error"]["code"] == "queue_full"
                assert int(full.headers["retry-after"]) >= 1
            for _ in range(200):  # the server notices the end of a connection on its own time
                after = client.post("/v1/completions", json={"prompt": "x", "max_tokens": 2})
                if after.status_code == 200:
                    break
            assert after.status_code == 200


def test_workers_do_not_outlive_a_killed_server():
    with ServerProcess() as server:
        server.wait_until_ready()
        workers = server.workers()
        assert workers
        server.send_signal(signal.SIGKILL)
        assert server.wait() == -signal.SIGKILL
        _, alive = psutil.wait_procs(workers, timeout=STOP_SECONDS)
        assert not alive


def test_sigterm_lets_a_stream_end_within_the_grace_period():
    body = {**ENDLESS, "max_tokens": 30}
    with ServerProcess() as server:
        server.wait_until_ready()
        with server.streaming(body) as events:
            server.send_signal(signal.SIGTERM)
            assert list(events)[-1] == "[DONE]"
        assert server.wait() == 0


def test_sigterm_cuts_a_stream_after_the_grace_period():
    with ServerProcess(RWKV_SERVER_HTTP_SHUTDOWN_SECONDS=1) as server:
        server.wait_until_ready()
        with server.streaming(ENDLESS) as events:
            server.send_signal(signal.SIGTERM)
            *_, last = events
        assert "shutting down" in json.loads(last)["error"]["message"]
        assert server.wait() == 0
        assert not any("Traceback" in line for line in server.lines)


def test_two_workers_serve_and_agree():
    with ServerProcess("--workers", "2", "--threads", "1") as server:
        server.wait_until_ready()
        sets = [set(worker.cpu_affinity()) for worker in server.workers()]
        assert len(sets) == 2
        if usable_cores() == len(os.sched_getaffinity(0)) > 1:
            assert sets[0] | sets[1] == os.sched_getaffinity(0)
            assert not sets[0] & sets[1]
        body = {"prompt": ["Once upon"] * 8, "max_tokens": 8, "temperature": 0}
        with server.client() as client:
            choices = client.post("/v1/completions", json=body).json()["choices"]
        assert len({choice["text"] for choice in choices}) == 1


def test_a_real_byte_level_model(fixtures_dir):
    path = fixtures_dir / "tiny-rwkv" / "tiny-rwkv-7v0-834K.safetensors"
    with ServerProcess(str(path), "--name", "tiny/rwkv") as server:
        server.wait_until_ready()
        body = {"model": "tiny/rwkv", "prompt": '"in', "max_tokens": 8, "temperature": 0}
        with server.client() as client:
            assert client.get("/v1/models/tiny/rwkv").json()["id"] == "tiny/rwkv"
            as_text = client.post("/v1/completions", json=body).json()
            as_ids = client.post("/v1/completions", json={**body, "prompt": list(b'"in')}).json()
        assert as_text["choices"] == as_ids["choices"]
        assert as_text["usage"]["prompt_tokens"] == 3
        assert as_text["choices"][0]["text"].startswith(" ")


def one_error_line(code, out, err):
    assert code == 2
    assert out == ""
    (line,) = [line for line in err.splitlines() if "INFO" not in line]
    assert line.startswith("error: ")
    return line


def test_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert port in one_error_line(*run_cli("serve", "--port", port))


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"PK\x03\x04 not a zip", b"\xff" * 8 + b"{"])
def test_hostile_model_files(tmp_path, content):
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    assert "model.pth" in one_error_line(*run_cli("serve", str(path)))


def test_what_only_the_worker_can_find_out_is_one_line_too(tmp_path):
    path = tmp_path / "a.safetensors"
    shape = ("--layers", "1", "--dim", "64", "--vocab-size", "256")
    assert run_cli("init", *shape, str(path))[0] == 0
    data = bytearray(path.read_bytes())
    data[-4:] = b"\xff\xff\xff\xff"  # a NaN in the last tensor
    path.write_bytes(data)
    code, _, err = run_cli("serve", str(path), "--port", "0")
    assert code == 2
    assert "Traceback" not in err
    assert "not finite" in err.splitlines()[-1]


def test_a_further_model_that_cannot_be_loaded(tmp_path):
    config = tmp_path / "server.toml"
    config.write_text('[models.b]\npath = "nowhere/x.pth"\n')
    assert "nowhere/x.pth" in one_error_line(*run_cli("serve", "--config", str(config)))
    config.write_text('[models.b]\nstates = {poet = "nowhere/p.pth"}\n')
    assert "nowhere/p.pth" in one_error_line(*run_cli("serve", "--config", str(config)))
    config.write_text('[models.b]\naliases = ["rwkv-embedded"]\n')
    assert "must be unique" in one_error_line(*run_cli("serve", "--config", str(config)))


def start_in_terminal(until):
    """A server whose terminal has shown a text: its process, the terminal, and all it has shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-m", "server", "serve", "--port", "0"])
    shown = b""
    while until not in shown:
        shown += os.read(terminal, 4096)
    return psutil.Process(pid), terminal, shown


def test_a_server_in_the_foreground_ends_with_its_terminal():
    server, terminal, _ = start_in_terminal(b"serving ")
    workers = server.children()
    os.close(terminal)  # which sends SIGHUP
    assert os.waitstatus_to_exitcode(os.waitpid(server.pid, 0)[1]) == 0
    assert workers
    assert not any(worker.is_running() for worker in workers)


def test_ctrl_c_in_a_terminal_is_not_for_workers():
    server, terminal, shown = start_in_terminal(b"loading ")
    while not server.children():
        assert server.is_running()
    os.write(terminal, b"\x03")  # while the worker is imported
    with contextlib.suppress(OSError):  # how the end of a terminal reads
        while more := os.read(terminal, 4096):
            shown += more
    assert os.waitstatus_to_exitcode(os.waitpid(server.pid, 0)[1]) == 0
    assert b"stopping on SIGINT" in shown
    assert b"Traceback" not in shown
    os.close(terminal)


def test_unknown_options_and_settings(tmp_path):
    assert run_cli("serve", "--prot", "1")[0] == 2
    config = tmp_path / "server.toml"
    config.write_text("[http]\nprot = 1\n")
    assert "http.prot" in one_error_line(*run_cli("serve", "--config", str(config)))
    assert "model.dtype" in one_error_line(*run_cli("serve", RWKV_SERVER_MODEL_DTYPE="int3"))


def test_nothing_listens_after_the_end():
    with ServerProcess() as server:
        server.wait_until_ready()
        url = server.url
        server.send_signal(signal.SIGINT)
        assert server.wait() == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")
