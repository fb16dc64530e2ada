"""Traces of a real server: sent to a collector, to none, and not at all."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.e2e.server_process import ROOT, ServerProcess
from tests.otlp_receiver import OtlpReceiver, attributes_of

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BODY = {"prompt": "Once upon a time", "max_tokens": 20, "ignore_eos": True}
MANY = 400
"""Tokens that cannot all come at once, however busy the machine is."""


def loads_protobuf(pid):
    """Whether the native part of what encodes traces is in a process."""
    return "google/_upb" in Path(f"/proc/{pid}/maps").read_text()


def test_a_stream_of_real_workers_and_its_times():
    with (
        OtlpReceiver() as receiver,
        ServerProcess(RWKV_SERVER_TRACING_ENDPOINT=receiver.url) as server,
    ):
        server.wait_until_ready()
        assert loads_protobuf(server.pid)
        assert not any(loads_protobuf(worker.pid) for worker in server.workers())
        with server.client(headers={"traceparent": TRACEPARENT}) as http:
            text = http.post(
                "/v1/completions", json=BODY | {"max_tokens": MANY, "stream": True}
            ).text
            assert text.endswith("data: [DONE]\n\n")
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    (span,) = receiver.requests
    assert span.parent_span_id.hex() == "b7ad6b7169203331"
    assert attributes_of(span)["gen_ai.usage.output_tokens"] == MANY
    phases = {each.name: each for each in receiver.children(span)}
    assert set(phases) == {"queue", "prefill", "decode"}
    times = [span.start_time_unix_nano]
    for name in ("queue", "prefill", "decode"):
        times += [phases[name].start_time_unix_nano, phases[name].end_time_unix_nano]
    assert [*times, span.end_time_unix_nano] == sorted([*times, span.end_time_unix_nano])
    assert times[2:6:2] == times[3:6:2]  # each begins where the one before ends
    assert times[5] < times[6]


def test_without_an_endpoint_nothing_is_loaded(server):
    with server.client() as http:
        assert http.post("/v1/completions", json=BODY).status_code == 200
    assert not loads_protobuf(server.pid)


def test_a_collector_that_is_not_there_delays_nothing():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        taken.close()
        with ServerProcess(RWKV_SERVER_TRACING_ENDPOINT=nobody) as server:
            server.wait_until_ready()
            with server.client() as http:
                assert http.post("/v1/completions", json=BODY).status_code == 200
            server.send_signal(signal.SIGTERM)
            assert server.wait() == 0
    assert not any("Traceback" in line for line in server.lines)


def test_packages_that_are_missing_are_one_line():
    script = (
        "import sys, server.cli\n"
        "sys.modules['opentelemetry.sdk'] = None\n"  # as if it were not installed
        "sys.argv = ['rwkv-server', 'serve', '--port', '0']\n"
        "server.cli.main()"
    )
    environment = {"RWKV_SERVER_TRACING_ENDPOINT": "http://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    *_, line = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith("error: tracing.endpoint: ")
    assert "pip install 'rwkv-server[otel]'" in line
    assert "Traceback" not in done.stderr
