"""A newer version of the server over the data of an older one, by real starts of both."""

import re
import shutil
import sys

import pytest

from tests.e2e.server_process import ROOT, ServerProcess

STORY = "Once upon a time there was a lighthouse on a rock far from the coast."
REST = " An old man lived there with his dog. Every evening"
HELLO = [{"role": "user", "content": "What is the sea? " * 160}]


class Version:
    """A copy of the package that can be changed, and what its servers keep."""

    def __init__(self, folder, cache):
        self._root, self._kept, self.cache = folder / "copy", folder / "kept", cache
        shutil.copytree(ROOT / "server", self._root / "server")
        shutil.copy(ROOT / "rwkv_server.py", self._root)

    def start(self):
        return ServerProcess(
            program=(sys.executable, "-m", "server"),
            folder=self._root,
            RWKV_SERVER_ENGINE_CACHE_DIR=self.cache,
            RWKV_SERVER_CACHE_DIRECTORY=self._kept,
            XDG_DATA_HOME=self._kept,
        )

    def comment(self):
        """Say something more in every module, at its beginning and at its end."""
        for path in (self._root / "server").rglob("*.py"):
            text = path.read_text()
            path.write_text(f"# Said otherwise.\n{text}\n# And at the end.\n")

    def raise_arithmetic(self):
        path = self._root / "server/model/revisions.py"
        text = path.read_text()
        changed = re.sub(
            r"(?m)^ARITHMETIC_REVISION = (\d+)$", r"ARITHMETIC_REVISION = \g<1>1", text
        )
        assert changed != text
        path.write_text(changed)

    def made(self):
        """What was compiled and packed: files with their times."""
        return {
            path.relative_to(self.cache): path.stat().st_mtime_ns
            for path in self.cache.rglob("*")
            if path.suffix in (".nbi", ".nbc", ".safetensors")
        }


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """What these tests compile and pack, once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def version(tmp_path, cache):
    return Version(tmp_path, cache)


def ask(http, method, path, **content):
    reply = http.request(method, path, **content)
    assert reply.status_code == 200, reply.text
    return reply.json()


def go_on(http, ident):
    body = {"prompt": REST, "state_id": ident, "temperature": 1, "seed": 7, "max_tokens": 20}
    return ask(http, "POST", "/v1/completions", json=body)["choices"][0]["text"]


def converse(http, **fields):
    body = {"max_output_tokens": 16, "seed": 5, **fields}
    return ask(http, "POST", "/v1/responses", json=body)


def said(response):
    return response["output"][0]["content"][0]["text"]


def chat(http):
    body = {"messages": HELLO, "max_tokens": 8, "temperature": 0}
    usage = ask(http, "POST", "/v1/chat/completions", json=body)["usage"]
    return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]


def test_comments_in_every_module_cost_nothing(version):
    with version.start() as server, server.wait_until_ready().client() as http:
        state = ask(http, "POST", "/v1/states", json={"prompt": STORY})
        expected = go_on(http, state["id"])
        file = http.get(f"/v1/states/{state['id']}/export").content
        first = converse(http, input="Hello!")
        second = said(converse(http, input="And you?", previous_response_id=first["id"]))
        tokens, _ = chat(http)
    before = version.made()
    assert before
    version.comment()
    with version.start() as server, server.wait_until_ready().client() as http:
        assert chat(http)[1] > tokens / 2  # what was cached on the disk is found
        assert ask(http, "GET", f"/v1/states/{state['id']}")["usable"]
        assert http.get(f"/v1/states/{state['id']}/export").content == file
        assert go_on(http, state["id"]) == expected
        again = converse(http, input="And you?", previous_response_id=first["id"])
        assert said(again) == second
        assert not [line for line in server.lines if "packing" in line or "reading its" in line]
    assert version.made() == before


def test_states_of_an_earlier_arithmetic_are_brought_over(version):
    with version.start() as server, server.wait_until_ready().client() as http:
        state = ask(http, "POST", "/v1/states", json={"prompt": STORY, "name": "story"})
        longer = ask(http, "POST", "/v1/states", json={"prompt": REST, "state_id": state["id"]})
        expected = go_on(http, state["id"]), go_on(http, longer["id"])
        tokens, _ = chat(http)
    before = version.made()
    version.raise_arithmetic()
    with version.start() as server, server.wait_until_ready().client() as http:
        assert chat(http) == (tokens, 0)  # snapshots of it are misses
        for _ in range(2):  # its bits are the same here, so the answers are
            assert (go_on(http, state["id"]), go_on(http, longer["id"])) == expected
        read = [line for line in server.lines if "reading its" in line]
        assert [len(re.findall(state["id"], line)) for line in read] == [1, 0]
        found = ask(http, "GET", f"/v1/states/{state['id']}")
        assert found["name"] == "story"
        assert found["fingerprint"] != state["fingerprint"]
    assert version.made() == before
    with version.start() as server, server.wait_until_ready().client() as http:
        assert (go_on(http, state["id"]), go_on(http, longer["id"])) == expected
        assert not [line for line in server.lines if "reading its" in line]
