"""Named states of an earlier version of the server: made anew from the ids that they keep."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from tests.api.harness import COMPLETIONS, MODEL, assert_error
from tests.api.states_harness import IDS, STATES, StatesHarness
from tests.fakes import CODEC, FINGERPRINT, fake_state

pytestmark = pytest.mark.anyio


@pytest.fixture
async def api(tmp_path: Path) -> StatesHarness:
    """A server's parts."""
    return StatesHarness(tmp_path)


RAISED = f"{FINGERPRINT}-2"


def reload_as(api: StatesHarness, fingerprint: str) -> None:
    """As if the server had been started again with another arithmetic or other weights."""
    deployment = api.manager.models[MODEL].deployment
    assert deployment is not None
    deployment.ready = [type(deployment.ready[0])("int8", 1, 0.0, 0.0, fingerprint=fingerprint)]


async def test_a_state_of_an_earlier_arithmetic_is_read_again_once(api: StatesHarness) -> None:
    state = await api.create(prompt="ab", name="mine", pinned=True)
    longer = await api.create(prompt="cd", state_id=state["id"])
    api.worker.generated.clear()
    reload_as(api, RAISED)
    listed = (await api.ask("GET", STATES))["data"]
    assert [each["usable"] for each in listed] == [True, True]
    for ident, ids in ((state["id"], IDS("ab")), (longer["id"], IDS("abcd"))):
        api.worker.generated.clear()
        body = {"prompt": "x", "state_id": ident}
        await asyncio.gather(*(api.ask("POST", COMPLETIONS, json=body) for _ in range(3)))
        await api.ask("POST", COMPLETIONS, json=body)
        again, *rest = [each.task for each in api.worker.generated]
        assert (again.prompt_ids, again.base, again.params.max_tokens) == (ids, b"", 0)
        assert [task.prompt_ids for task in rest] == [IDS("x")] * 4
    found = await api.ask("GET", f"{STATES}/{state['id']}")
    expected = {"fingerprint": RAISED, "bytes": found["bytes"]}
    assert found == state | expected | {"expires_at": found["expires_at"]}


async def test_a_state_without_its_ids_or_of_other_weights_is_refused(api: StatesHarness) -> None:
    other = await api.create(prompt="ab")
    reload_as(api, "other-2")
    body = {"prompt": "x", "state_id": other["id"]}
    assert not (await api.ask("GET", f"{STATES}/{other['id']}"))["usable"]
    assert_error(await api.call("POST", COMPLETIONS, json=body), 409, "state_incompatible")
    reload_as(api, FINGERPRINT)
    file = CODEC.encode(CODEC.decode(fake_state(IDS("ab"))).snapshot)
    bare = await api.ask("POST", f"{STATES}/import", content=file)
    reload_as(api, RAISED)
    body = {"prompt": "x", "state_id": bare["id"]}
    for _ in range(2):
        assert_error(await api.call("POST", COMPLETIONS, json=body), 409, "state_incompatible")
    reload_as(api, FINGERPRINT)
    await api.ask("POST", COMPLETIONS, json=body)


async def test_an_export_of_an_earlier_arithmetic_can_be_imported(api: StatesHarness) -> None:
    file = fake_state(IDS("ab"))
    reload_as(api, RAISED)
    state = await api.ask("POST", f"{STATES}/import", content=file)
    assert (state["fingerprint"], state["usable"], state["tokens"]) == (FINGERPRINT, True, 2)
    await api.ask("POST", COMPLETIONS, json={"prompt": "x", "state_id": state["id"]})
    assert (await api.ask("GET", f"{STATES}/{state['id']}"))["fingerprint"] == RAISED


async def test_an_import_cannot_name_ids_that_the_model_has_not(api: StatesHarness) -> None:
    for ids in ([-1], [CODEC.vocab_size]):
        snapshot = CODEC.decode(fake_state([1])).snapshot
        file = CODEC.encode(snapshot, np.array(ids, np.int32))
        for fingerprint in (FINGERPRINT, RAISED):
            reload_as(api, fingerprint)
            error = assert_error(
                await api.call("POST", f"{STATES}/import", content=file), 400, "invalid_value"
            )
            assert "token_ids" in error["message"]


async def test_a_reading_that_fails_is_tried_again_by_the_next_request(api: StatesHarness) -> None:
    state = await api.create(prompt="ab")
    reload_as(api, RAISED)
    body = {"prompt": "x", "state_id": state["id"]}
    api.worker.script = lambda _: []
    api.worker.finish, api.worker.error = "error", "out of luck"
    assert_error(await api.call("POST", COMPLETIONS, json=body), 500, "engine_error")
    assert (await api.ask("GET", f"{STATES}/{state['id']}"))["fingerprint"] == FINGERPRINT
    api.worker.finish, api.worker.error = "stop", None
    await api.ask("POST", COMPLETIONS, json=body)
    assert (await api.ask("GET", f"{STATES}/{state['id']}"))["fingerprint"] == RAISED
