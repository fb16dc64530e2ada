"""/v1/responses/compact: one item stands for a conversation, whose state is kept."""

from pathlib import Path
from typing import Any

import pytest

from tests.api.harness import MODEL, assert_error
from tests.api.responses_harness import RESPONSES, ResponsesHarness
from tests.api.states_harness import IDS, STATES
from tests.fake_text import FakeTokenizer
from tests.fakes import fake_state

pytestmark = pytest.mark.anyio

COMPACT = f"{RESPONSES}/compact"
TALK = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "yes?"},
    {"role": "user", "content": "so"},
]
READ = "user: hi\n\nassistant: yes?\n\nuser: so"
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}}


class Compacting(ResponsesHarness):
    """A server with responses and states."""

    def __init__(self, folder: Path, **worker: Any) -> None:
        states = {"directory": str(folder), "limit_bytes": 1 << 20}
        super().__init__(folder, {"states": states}, **worker)

    async def compact(self, **body: Any) -> dict[str, Any]:
        """A compaction."""
        fields = {"model": MODEL, "input": TALK} | body
        compaction: dict[str, Any] = await self.ask("POST", COMPACT, json=fields)
        return compaction

    @property
    def last_prompt(self) -> tuple[str, bytes]:
        """What the model has read last, and after which state."""
        task = self.worker.generated[-1].task
        return FakeTokenizer().decode(task.prompt_ids), task.base


@pytest.fixture
async def api(tmp_path: Path) -> Compacting:
    """A server's parts."""
    return Compacting(tmp_path)


async def test_the_next_turn_goes_on_from_the_state(api: Compacting) -> None:
    compaction = await api.compact()
    assert compaction["object"] == "response.compaction"
    assert compaction["usage"]["input_tokens"] == len(IDS(READ))
    *heard, item = compaction["output"]
    assert [each["content"][0]["text"] for each in heard] == ["hi", "so"]
    assert list(item) == ["id", "type", "encrypted_content"]
    assert item["id"].startswith("cmp_")
    (state,) = (await api.ask("GET", STATES))["data"]
    assert state["name"] == "compaction"
    more = {"role": "user", "content": "more"}
    for begin in (compaction["output"], [item]):
        response = await api.respond(input=[*begin, more])
        assert api.last_prompt == ("\n\nuser: more\n\nassistant:", fake_state(IDS(READ)))
    await api.respond(input="again", previous_response_id=response["id"])
    prompt = "\n\nuser: more\n\nassistant: Hello, wörld\n\nuser: again\n\nassistant:"
    assert api.last_prompt == (prompt, fake_state(IDS(READ)))


async def test_a_response_can_be_compacted_and_a_compaction_again(api: Compacting) -> None:
    response = await api.respond(input="hi")
    first = await api.compact(input=[], previous_response_id=response["id"])
    read = "user: hi\n\nassistant: Hello, wörld"
    assert api.last_prompt == (read, b"")
    more = {"role": "user", "content": "more"}
    second = await api.compact(input=[*first["output"], more])
    assert api.last_prompt == ("\n\nuser: more", fake_state(IDS(read)))
    await api.respond(input=[*second["output"], {"role": "user", "content": "x"}])
    base = fake_state(IDS("\n\nuser: more"), fake_state(IDS(read)))
    assert api.last_prompt == ("\n\nuser: x\n\nassistant:", base)


async def test_what_the_state_has_read_is_not_shown_again(api: Compacting) -> None:
    about = {"instructions": "be brief", "tools": [TOOL]}
    compaction = await api.compact(**about)
    more = [*compaction["output"], {"role": "user", "content": "x"}]
    await api.respond(input=more, **about)
    assert api.last_prompt[0] == "\n\nuser: x\n\nassistant:"
    await api.respond(input=more, instructions="be long", tools=[TOOL])
    assert api.last_prompt[0] == "\n\nsystem: be long\n\nuser: x\n\nassistant:"
    await api.respond(input=more, instructions="be brief", tools=[TOOL | {"name": "g"}])
    assert '"name": "g"' in api.last_prompt[0]
    assert "be brief" not in api.last_prompt[0]


async def test_a_model_that_writes_calls_otherwise_needs_its_tools_before(api: Compacting) -> None:
    api.template.call_syntax = "mistral"
    more = [*(await api.compact())["output"], {"role": "user", "content": "x"}]
    refused = await api.call("POST", RESPONSES, json={"input": more, "tools": [TOOL]})
    assert assert_error(refused, 400, "invalid_value")["param"] == "tools"


async def test_a_compaction_is_its_owners_alone_and_gone_with_its_state(api: Compacting) -> None:
    compaction = await api.compact()
    body = {"input": [*compaction["output"], {"role": "user", "content": "x"}]}
    place = f"input.{len(compaction['output']) - 1}"
    for path in (RESPONSES, COMPACT, f"{RESPONSES}/input_tokens"):
        refused = await api.call("POST", path, "other", json=body | {"model": MODEL})
        error = assert_error(refused, 404, "state_not_found")
        assert error["param"] == place
    response = await api.respond(**body)
    (state,) = (await api.ask("GET", STATES))["data"]
    await api.ask("DELETE", f"{STATES}/{state['id']}")
    assert_error(await api.call("POST", RESPONSES, json=body), 404, "state_not_found")
    later = {"input": "x", "previous_response_id": response["id"]}
    refused = await api.call("POST", RESPONSES, json=later)
    assert assert_error(refused, 404, "state_not_found")["param"] == "previous_response_id"


async def test_in_the_background_and_in_a_stream_it_is_the_same(api: Compacting) -> None:
    compaction = await api.compact()
    body = {"input": [*compaction["output"], {"role": "user", "content": "x"}]}
    response = await api.respond(background=True, **body)
    await api.until_ended(response["id"])
    background = api.last_prompt
    await api.call("POST", RESPONSES, json=body | {"stream": True})
    assert api.last_prompt == background
    assert background[1] == fake_state(IDS(READ))


@pytest.mark.parametrize("content", ["rwkv1.", "rwkv1.AAAA", "rwkv1.é", "rwkv1." + "A" * 2000])
async def test_a_damaged_one_is_refused(api: Compacting, content: str) -> None:
    item = {"type": "compaction", "encrypted_content": content}
    refused = await api.call("POST", RESPONSES, json={"input": [item, TALK[0]]})
    error = assert_error(refused, 400, "invalid_value")
    assert error["param"] == "input.0"
    assert "damaged" in error["message"]


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"input": TALK}, "missing_required_parameter", "model"),
        ({"model": MODEL}, "missing_required_parameter", "input"),
        ({"model": "other", "input": TALK}, "model_not_found", "model"),
        ({"model": MODEL, "input": 3}, "invalid_value", "input"),
        (
            {"model": MODEL, "previous_response_id": "resp_0"},
            "previous_response_not_found",
            "previous_response_id",
        ),
        ({"model": MODEL, "input": TALK, "tools": [{}]}, "invalid_value", "tools[0].type"),
    ],
)
async def test_what_is_refused(
    api: Compacting, body: dict[str, Any], code: str, param: str
) -> None:
    refused = await api.call("POST", COMPACT, json=body)
    assert refused.status_code in (400, 404)
    error = refused.json()["error"]
    assert (error["code"], error["param"]) == (code, param)
    assert (await api.ask("GET", STATES))["data"] == []


async def test_without_states_there_are_no_compactions(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path)
    refused = await api.call("POST", COMPACT, json={"model": MODEL, "input": TALK})
    assert_error(refused, 404, "states_disabled")
