"""Records what a client asks a server, for tests/clients/recordings.

    python -m tests.clients.record "Codex 0.171" http://127.0.0.1:8000 codex.json --port 8001

Stands between a client, which is pointed at the port, and a server, until Ctrl-C; the file then has
every request with a body. Texts longer than a few words are cut, since they may be personal, and
are their author's: what is left tells whether two were the same. Look at the file all the same.
"""

import argparse
import hashlib
import http.client
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

LONGEST, KEPT = 60, 28
HEADERS = ("user-agent", "accept", "anthropic-version", "anthropic-beta", "x-stainless-lang")
_TIMEOUT = 600.0


def shortened(value: Any) -> Any:
    """The same value with short texts: equal texts stay equal, others stay different."""
    if isinstance(value, dict):
        return {key: shortened(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shortened(each) for each in value]
    if isinstance(value, str) and len(value) > LONGEST:
        digest = hashlib.sha256(value.encode()).hexdigest()[:12]
        return f"{value[:KEPT]}… {len(value)} characters {digest}"
    return value


class Recorder(BaseHTTPRequestHandler):
    """Forwards a request, and its answer as it comes."""

    protocol_version = "HTTP/1.1"
    server_address: ClassVar[str]
    requests: ClassVar[list[dict[str, Any]]] = []

    def forward(self) -> None:
        """Of any method."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if body:
            headers = {name: self.headers[name] for name in HEADERS if name in self.headers}
            request = {"method": self.command, "path": self.path, "headers": headers}
            self.requests.append(request | {"body": shortened(json.loads(body))})
        connection = http.client.HTTPConnection(self.server_address, timeout=_TIMEOUT)
        passed = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
        connection.request(self.command, self.path, body or None, passed)
        answer = connection.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        self.send_header("connection", "close")
        self.end_headers()
        while data := answer.read1(1 << 16):
            self.wfile.write(data)
            self.wfile.flush()
        self.close_connection = True

    do_GET = do_HEAD = do_POST = do_DELETE = forward


def main() -> None:
    """Until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("client", help="its name and version")
    parser.add_argument("server", help="the URL of a server")
    parser.add_argument("file", type=Path, help="is written at the end")
    parser.add_argument("--port", type=int, default=8001, help="for the client")
    arguments = parser.parse_args()
    Recorder.server_address = urlsplit(arguments.server).netloc
    try:
        ThreadingHTTPServer(("127.0.0.1", arguments.port), Recorder).serve_forever()
    except KeyboardInterrupt:
        recording = {"client": arguments.client, "requests": Recorder.requests}
        arguments.file.write_text(json.dumps(recording, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
