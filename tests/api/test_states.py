"""Named states over HTTP: the routes, over a fake worker and a real file."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from server.config import SettingsError
from server.stores.states.store import FILE_NAME
from tests.api.harness import CHAT, COMPLETIONS, MODEL, assert_error, serving
from tests.api.states_harness import HELLO, IDS, STATES, UNKNOWN, StatesHarness
from tests.api.test_disconnects import open_request
from tests.fake_text import FakeTokenizer
from tests.fakes import CODEC, FINGERPRINT, fake_state

pytestmark = pytest.mark.anyio


@pytest.fixture
async def api(tmp_path: Path) -> StatesHarness:
    """A server's parts."""
    return StatesHarness(tmp_path)


async def test_a_state_of_a_prompt(api: StatesHarness) -> None:
    state = await api.create(prompt="ab", name="mine", ttl_seconds=60)
    assert state.pop("id").startswith("state_")
    created = state.pop("created_at")
    size = len(fake_state(IDS("ab")))
    assert state == {
        "object": "state",
        "model": MODEL,
        "name": "mine",
        "tokens": 2,
        "bytes": size,
        "pinned": False,
        "ttl_seconds": 60,
        "expires_at": created + 60,
        "fingerprint": FINGERPRINT,
        "usable": True,
    }
    (generate,) = api.worker.generated
    assert (generate.task.params.max_tokens, generate.task.keeps_state) == (0, True)


async def test_a_state_of_messages_ends_with_the_last_one(api: StatesHarness) -> None:
    await api.create(messages=HELLO)
    await api.create(messages=HELLO, add_generation_prompt=True)
    texts = [FakeTokenizer().decode(each.task.prompt_ids) for each in api.worker.generated]
    assert texts == ["user: hi", "user: hi\n\nassistant:"]


async def test_a_state_goes_on_from_another(api: StatesHarness) -> None:
    first = await api.create(prompt="ab")
    second = await api.create(prompt="cd", state_id=first["id"])
    assert second["tokens"] == 4
    assert await api.export(second["id"]) == fake_state(IDS("abcd"))
    same = await api.create(prompt="", state_id=second["id"])
    assert await api.export(same["id"]) == fake_state(IDS("abcd"))


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_required_parameter", "prompt"),
        ({"prompt": "a", "messages": HELLO}, "invalid_value", "messages"),
        ({"prompt": ""}, "invalid_value", "prompt"),
        ({"prompt": ["a", "b"]}, "invalid_value", "prompt"),
        ({"prompt": [257]}, "invalid_value", "prompt"),
        ({"prompt": "a", "name": "x" * 257}, "invalid_value", "name"),
        ({"prompt": "a", "ttl_seconds": -1}, "invalid_value", "ttl_seconds"),
        ({"prompt": "a", "ttl_seconds": 10**9 + 1}, "invalid_value", "ttl_seconds"),
        ({"prompt": "a", "pinned": 1}, "invalid_value", "pinned"),
        ({"prompt": "a", "model": "other"}, "model_not_found", "model"),
        ({"prompt": "a", "state_id": UNKNOWN}, "state_not_found", "state_id"),
        ({"messages": [{"role": "assistant", "content": None}], "add_generation_prompt": "yes"},
         "invalid_value", "add_generation_prompt"),
    ],
)  # fmt: skip
async def test_refused_bodies(
    api: StatesHarness, body: dict[str, Any], code: str, param: str
) -> None:
    response = await api.call("POST", STATES, json=body)
    assert assert_error(response, response.status_code, code)["param"] == param
    assert api.worker.generated == []


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "order=up", "limit=x"])
async def test_refused_queries(api: StatesHarness, query: str) -> None:
    error = assert_error(await api.call("GET", f"{STATES}?{query}"), 400, "invalid_value")
    assert error["param"] == query.split("=")[0]


async def test_a_client_that_leaves_makes_no_state(tmp_path: Path) -> None:
    api = StatesHarness(tmp_path, script=lambda _: [], hold_after=0)
    async with serving(api.app) as url:
        writer = await open_request(url, STATES, {"prompt": "a"})
        await api.worker.until(lambda: len(api.worker.generated) == 1)
        writer.close()
        await api.worker.until(lambda: len(api.worker.aborted) == 1)
    assert (await api.ask("GET", STATES))["data"] == []


async def test_pages_of_states(api: StatesHarness) -> None:
    made = [(await api.create(prompt="a", name=name))["id"] for name in "ababa"]
    page = await api.ask("GET", f"{STATES}?limit=2")
    assert [state["id"] for state in page.pop("data")] == [made[4], made[3]]
    expected = {"object": "list", "first_id": made[4], "last_id": made[3], "has_more": True}
    assert page == expected
    page = await api.ask("GET", f"{STATES}?after={made[1]}&order=asc&name=a&model={MODEL}")
    assert [state["id"] for state in page["data"]] == [made[2], made[4]]
    assert not page["has_more"]
    nothing = await api.ask("GET", f"{STATES}?model=other")
    assert (nothing["data"], nothing["first_id"], nothing["last_id"]) == ([], None, None)


async def test_a_change_leaves_what_it_does_not_name(api: StatesHarness) -> None:
    state = await api.create(prompt="a", name="one", ttl_seconds=60)
    path = f"{STATES}/{state['id']}"
    changed = await api.ask("PATCH", path, json={"pinned": True, "name": None})
    assert changed == state | {"pinned": True, "expires_at": None}
    changed = await api.ask("PATCH", path, json={"pinned": False, "ttl_seconds": 0, "name": ""})
    assert changed == state | {"ttl_seconds": 0, "expires_at": None, "name": None}
    assert await api.ask("GET", path) == changed


async def test_delete_and_fork(api: StatesHarness) -> None:
    state = await api.create(prompt="ab", name="one", pinned=True)
    path = f"{STATES}/{state['id']}"
    fork = await api.ask("POST", f"{path}/fork")
    assert (fork["name"], fork["pinned"], fork["tokens"]) == (None, False, 2)
    named = await api.ask("POST", f"{path}/fork", json={"name": "two", "ttl_seconds": 5})
    assert (named["name"], named["ttl_seconds"]) == ("two", 5)
    deleted = {"id": state["id"], "object": "state.deleted", "deleted": True}
    assert await api.ask("DELETE", path) == deleted
    assert_error(await api.call("DELETE", path), 404, "state_not_found")
    assert await api.export(fork["id"]) == await api.export(named["id"]) == fake_state(IDS("ab"))


async def test_export_is_a_file_and_import_its_inverse(api: StatesHarness) -> None:
    state = await api.create(prompt="ab", name="one")
    response = await api.call("GET", f"{STATES}/{state['id']}/export")
    assert response.headers["content-type"] == "application/octet-stream"
    assert f'filename="{state["id"]}.safetensors"' in response.headers["content-disposition"]
    query = f"model={MODEL}&name=two&ttl_seconds=7&pinned=true"
    again = await api.ask("POST", f"{STATES}/import?{query}", content=response.content)
    assert (again["name"], again["ttl_seconds"], again["pinned"]) == ("two", 7, True)
    assert (again["tokens"], again["bytes"]) == (2, state["bytes"])
    assert await api.export(again["id"]) == response.content


async def test_files_that_are_no_state_of_this_model(api: StatesHarness) -> None:
    data = fake_state(IDS("ab"))
    foreign = type(CODEC)("other", CODEC.shapes, CODEC.vocab_size)
    files = {
        b"": "state",
        b"junk": "state",
        data[:-1] + b"\x01": "checksum",
        data[:-1]: "state",
        foreign.encode(CODEC.decode(data).snapshot): "other weights",
    }
    for content, why in files.items():
        response = await api.call("POST", f"{STATES}/import", content=content)
        error = assert_error(response, 400, "invalid_value")
        assert error["param"] == "body"
        assert why in error["message"]
        assert "\n" not in error["message"]
    assert (await api.ask("GET", STATES))["data"] == []


async def test_an_import_may_be_as_large_as_a_state_and_no_larger(api: StatesHarness) -> None:
    largest = CODEC.largest_file_bytes
    assert 1024 < len(fake_state([1])) <= largest  # over http.max_body_bytes
    await api.ask("POST", f"{STATES}/import", content=fake_state([1]))
    for size, code in ((largest, "invalid_value"), (largest + 1, "request_too_large")):
        response = await api.call("POST", f"{STATES}/import", content=bytes(size))
        assert_error(response, 400 if size == largest else 413, code)
    assert_error(await api.call("POST", STATES, content=bytes(1025)), 413, "request_too_large")


async def test_another_tenant_meets_what_an_unknown_id_does(api: StatesHarness) -> None:
    state = await api.create(prompt="ab", name="secret")
    for api.token in ("theirs", ""):
        for ident in (state["id"], UNKNOWN):
            path = f"{STATES}/{ident}"
            calls = [
                (("GET", path), {}, "id"),
                (("PATCH", path), {"json": {"name": "x"}}, "id"),
                (("DELETE", path), {}, "id"),
                (("POST", f"{path}/fork"), {}, "id"),
                (("GET", f"{path}/export"), {}, "id"),
                (("GET", f"{STATES}?after={ident}"), {}, "after"),
            ]
            bodies = {
                STATES: {"prompt": "a"},
                COMPLETIONS: {"prompt": "a"},
                CHAT: {"messages": HELLO},
            }
            for target, body in bodies.items():
                calls.append((("POST", target), {"json": body | {"state_id": ident}}, "state_id"))
            for call, content, param in calls:
                error = assert_error(await api.call(*call, **content), 404, "state_not_found")
                assert error["message"] == f"The state {ident!r} does not exist"
                assert error["param"] == param
        assert (await api.ask("GET", STATES))["data"] == []
    api.token = "mine"
    assert await api.ask("GET", f"{STATES}/{state['id']}") == state


async def test_tenants_and_salts_share_no_cached_states(api: StatesHarness) -> None:
    digest = hashlib.blake2b(b"a", digest_size=16).hexdigest()
    salts = ["", "a", '"', "\n", "\\n", "\u2028", digest, f'{digest}"a"']
    for api.token in ("a", "b", ""):
        for salt in salts:
            await api.ask("POST", COMPLETIONS, json={"prompt": "a", "cache_salt": salt})
            await api.ask("POST", CHAT, json={"messages": HELLO, "cache_salt": salt})
            await api.create(prompt="a", cache_salt=salt)
    used = [each.task.use.salt for each in api.worker.generated]
    assert len(set(used)) == 3 * len(salts)
    assert used[::3] == used[1::3] == used[2::3]
    assert all("".join(salt.splitlines()) == salt for salt in used)


async def test_a_state_of_other_weights_is_kept_but_not_used(api: StatesHarness) -> None:
    state = await api.create(prompt="ab")
    deployment = api.manager.models[MODEL].deployment
    assert deployment is not None
    ready = deployment.ready[0]
    deployment.ready = [type(ready)("int8", 1, 0.0, 0.0, fingerprint="reloaded")]
    for path, body in ((COMPLETIONS, {"prompt": "a"}), (CHAT, {"messages": HELLO})):
        response = await api.call("POST", path, json=body | {"state_id": state["id"]})
        error = assert_error(response, 409, "state_incompatible")
        assert error["param"] == "state_id"
    assert (await api.ask("GET", STATES))["data"] == [state | {"usable": False}]
    assert await api.export(state["id"]) == fake_state(IDS("ab"))
    assert not (await api.ask("POST", f"{STATES}/{state['id']}/fork"))["usable"]
    await api.ask("DELETE", f"{STATES}/{state['id']}")


async def test_a_full_store_says_so_before_it_computes(tmp_path: Path) -> None:
    api = StatesHarness(tmp_path, limit=CODEC.largest_bytes)
    state = await api.create(prompt="a")
    for _ in range(CODEC.largest_bytes // state["bytes"] - 1):
        fork = await api.ask("POST", f"{STATES}/{state['id']}/fork")
    made = len(api.worker.generated)
    calls: list[tuple[str, dict[str, Any]]] = [
        (STATES, {"json": {"prompt": "a"}}),
        (COMPLETIONS, {"json": {"prompt": "a", "save_state": True}}),
        (CHAT, {"json": {"messages": HELLO, "save_state": True, "stream": True}}),
        (f"{STATES}/import", {"content": fake_state([1])}),
        (f"{STATES}/{state['id']}/fork", {}),
    ]
    for path, content in calls:
        response = await api.call("POST", path, **content)
        assert_error(response, 507, "states_full")
        assert response.headers["x-should-retry"] == "false"
    assert len(api.worker.generated) == made
    await api.ask("DELETE", f"{STATES}/{fork['id']}")
    await api.ask("POST", f"{STATES}/{state['id']}/fork")


async def test_a_server_without_named_states(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    cases = [
        (StatesHarness(tmp_path, limit=0), 404, "states_disabled"),
        (StatesHarness(tmp_path / "file"), 503, "states_unavailable"),
    ]
    for api, status, code in cases:
        for method, path, content in (
            ("GET", STATES, {}),
            ("POST", STATES, {"json": {"prompt": "a"}}),
            ("POST", COMPLETIONS, {"json": {"prompt": "a", "state_id": UNKNOWN}}),
            ("POST", COMPLETIONS, {"json": {"prompt": "a", "save_state": True}}),
        ):
            error = assert_error(await api.call(method, path, **content), status, code)
            assert str(tmp_path) not in error["message"]
        await api.ask("POST", COMPLETIONS, json={"prompt": "a"})
    (warning,) = [each for each in caplog.records if each.levelname == "WARNING"]
    assert str(tmp_path / "file") in warning.getMessage()


async def test_a_damaged_file_is_an_error_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("no database " * 1000)
    with pytest.raises(SettingsError, match=r"named\.sqlite: damaged"):
        StatesHarness(tmp_path)
