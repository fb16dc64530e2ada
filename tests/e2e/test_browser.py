"""A web page in a real browser that streams an answer from the server, if its origin may."""

import json
import queue
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.e2e.server_process import START_SECONDS, STOP_SECONDS, ServerProcess

pytestmark = pytest.mark.slow

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
BODY = {"prompt": "Once upon a time", "max_tokens": 20, "seed": 1, "ignore_eos": True}
PAGE = """<!doctype html><meta charset="utf-8"><title>A page</title><script>
async function answer() {
  const headers = {"content-type": "application/json", "authorization": "Bearer any"};
  const reply = await fetch("%s/v1/completions", {
    method: "POST", headers, body: JSON.stringify(%s)
  });
  let text = "", reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let piece; !(piece = await reader.read()).done;) text += piece.value;
  return {status: reply.status, id: reply.headers.get("x-request-id"), text};
}
answer().catch(error => ({error: String(error)}))
  .then(found => fetch("/found", {method: "POST", body: JSON.stringify(found)}));
</script>"""


class Site:
    """Serves the page on a free port of localhost, and takes in what it finds; a context."""

    def __init__(self):
        self.page = b""
        self.found = queue.Queue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.origin = f"http://127.0.0.1:{self._server.server_port}"

    def _handler(self):
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self._answer(site.page)

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                site.found.put(json.loads(body))
                self._answer(b"")

            def _answer(self, content):
                self.send_response(200)
                self.send_header("content-type", "text/html")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        return Handler

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def found_by_a_browser(site, folder):
    """Open the page in a browser, and return what its script tells."""
    options = "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"
    browser = subprocess.Popen(
        [BROWSER, *options, f"--user-data-dir={folder}", "--remote-debugging-port=0", site.origin],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return site.found.get(timeout=START_SECONDS)
    finally:
        browser.terminate()
        browser.wait(STOP_SECONDS)


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
def test_a_page_of_an_origin_that_may_streams_an_answer_and_others_get_none(tmp_path):
    with Site() as site:
        origins = json.dumps([site.origin])
        with ServerProcess(RWKV_SERVER_HTTP_CORS_ORIGINS=origins) as server:
            with server.wait_until_ready().client() as http:
                expected = http.post("/v1/completions", json=BODY).json()["choices"][0]["text"]
            site.page = (PAGE % (server.url, json.dumps(BODY | {"stream": True}))).encode()
            found = found_by_a_browser(site, tmp_path / "allowed")
            assert found["status"] == 200
            assert found["id"].startswith("req_")
            events = [line[6:] for line in found["text"].splitlines() if line.startswith("data: ")]
            assert events.pop() == "[DONE]"
            assert "".join(json.loads(each)["choices"][0]["text"] for each in events) == expected
        with ServerProcess() as server:
            server.wait_until_ready()
            site.page = (PAGE % (server.url, json.dumps(BODY))).encode()
            assert found_by_a_browser(site, tmp_path / "refused").keys() == {"error"}
