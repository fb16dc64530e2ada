"""A server on loopback that answers as the Hugging Face Hub does, as far as a download asks."""

import contextlib
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_LARGE = (".safetensors", ".st", ".pth", ".bin")
WEIGHTS = bytes(range(256)) * 40
FOLDER = {
    "README.md": b"# hello",
    "config.json": b'{"model_type": "rwkv7"}',
    "tokenizer_config.json": b"{}",
    "rwkv_vocab_v20230424.txt": b"1 'a' 1\n",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": WEIGHTS * 2,
    "modeling_rwkv7.py": b"import os",
}
"""A repository as exporters publish them."""


def digest(name, content):
    """The checksum by which the Hub names a content: SHA-256 if large, else that of git."""
    if name.endswith(_LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class HubStandIn:
    """Repositories as name → file → content; what was asked; and what goes wrong."""

    def __init__(self):
        self.repos = {}
        self.commit = COMMIT
        self.asked = []
        """(method, path, headers) in order."""
        self.cut = {}
        """File → after how many bytes of an answer the connection breaks, once."""
        self.stall = {}
        """File → after how many bytes of an answer nothing more comes."""
        self.etag = {}
        """File → another checksum than the API says."""
        self.instead = {}
        """File → what is sent instead of the announced content."""
        self.refuse = {}
        """Repository → (status, X-Error-Code)."""
        self.info = None
        """An answer of the API instead of a true one."""
        self.stopped = threading.Event()
        stand_in = self

        class Handler(_Handler):
            hub = stand_in

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def downloads(self):
        """Names of the files whose content was asked for."""
        contents = [path for method, path, _ in self.asked if _is_content(method, path)]
        return [path.rpartition("/")[2] for path in contents]

    def headers_of(self, name):
        """The headers of requests for the content of a file."""
        return [
            {key.lower(): value for key, value in headers.items()}
            for method, path, headers in self.asked
            if _is_content(method, path) and path.endswith(f"/{name}")
        ]

    @contextlib.contextmanager
    def running(self):
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.stopped.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def _is_content(method, path):
    return method == "GET" and "/resolve/" in path


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, dict(self.headers)))
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        repo = (api or file)[1] if api or file else ""
        if repo in self.hub.refuse:
            status, code = self.hub.refuse[repo]
            self._send(status, b"{}", {"X-Error-Code": code} if code else {})
        elif repo not in self.hub.repos:
            self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif (api or file)[2] not in ("main", self.hub.commit):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif api:
            self._send(200, json.dumps(self.hub.info or self._info(repo)).encode(), {})
        else:
            self._send_file(file[3], self.hub.repos[repo].get(file[3]))

    def _info(self, repo):
        siblings = []
        for name, content in self.hub.repos[repo].items():
            entry = {"rfilename": name, "size": len(content), "blobId": "f" * 40}
            if name.endswith(_LARGE):
                entry["lfs"] = {
                    "sha256": digest(name, content), "size": len(content), "pointerSize": 130
                }  # fmt: skip
            else:
                entry["blobId"] = digest(name, content)
            siblings.append(entry)
        return {"id": repo, "sha": self.hub.commit, "siblings": siblings}

    def _send_file(self, name, content):
        if content is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        etag = self.hub.etag.get(name) or digest(name, content)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": self.hub.commit}
        if name.endswith(_LARGE):
            headers |= {
                "X-Linked-Etag": f'"{etag}"',
                "X-Linked-Size": str(len(content)),
            }
        content = self.hub.instead.get(name, content)
        begin, status = 0, 200
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            begin, status = int(match[1]), 206
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        cut = self.hub.cut.pop(name, None) if self.command == "GET" else None
        stall = self.command == "GET" and self.hub.stall.get(name)
        self._send(status, content[begin:], headers, cut or stall or None, bool(stall))

    def _send(self, status, content, headers, cut=None, stall=False):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[:cut])
            self.wfile.flush()
        if stall:
            self.hub.stopped.wait(20)
        if cut is not None:
            self.close_connection = True
