"""A client of the real server that stops reading: its rows sleep, others go on, nothing is lost."""

import json
import socket

import psutil

from tests.e2e.server_process import START_SECONDS

CHOICES, TOKENS = 4, 2000
BODY = {"prompt": "Once", "n": CHOICES, "max_tokens": TOKENS, "seed": 5, "ignore_eos": True}
BODY |= {"logprobs": 2}  # so that little of the answer fits into the buffers
RECEIVE_BYTES = 4096  # so that little of the stream fits into the sockets
QUIET_SECONDS = 0.5


def texts(lines):
    """Choice → its text, of the lines of a stream."""
    found = [""] * CHOICES
    for line in lines:
        if line.startswith("data: {"):
            for choice in json.loads(line[6:])["choices"]:
                found[choice["index"]] += choice["text"]
    return found


def open_slowly(url):
    """Ask for the stream, and read its first line only."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    connection.settimeout(START_SECONDS)
    connection.connect((host, int(port)))
    content = json.dumps(BODY | {"stream": True}).encode()
    head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    connection.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
    stream = connection.makefile("rb", buffering=0)
    assert b" 200 " in stream.readline()
    return connection, stream


def seconds_when_idle(worker):
    """CPU seconds of a worker once it computes nothing any more."""
    process = psutil.Process(worker.pid)
    while process.cpu_percent(QUIET_SECONDS) > 5:
        pass
    return sum(process.cpu_times()[:2])


def chunks(stream):
    """The body of a chunked response."""
    while stream.readline().strip():
        pass  # headers
    while size := int(stream.readline(), 16):
        data = b""
        while len(data) < size + 2:
            data += stream.read(size + 2 - len(data))
        yield data[:-2]


def test_a_reader_that_stops_holds_up_only_itself_and_then_gets_all(server):
    with server.client() as http:
        whole = http.post("/v1/completions", json=BODY).json()
        expected = [choice["text"] for choice in whole["choices"]]
        short = {"prompt": "The sea", "max_tokens": 8, "seed": 1}
        answer = http.post("/v1/completions", json=short).json()["choices"]
        (worker,) = server.workers()
        started = seconds_when_idle(worker)
        connection, stream = open_slowly(server.url)
        with connection:
            asleep = seconds_when_idle(worker)
            assert http.post("/v1/completions", json=short).json()["choices"] == answer
            body = b"".join(chunks(stream))
        assert texts(body.decode().splitlines()) == expected
        # Much of it was computed only when there was somebody to read it.
        total = seconds_when_idle(worker) - started
        assert asleep - started < 0.75 * total
