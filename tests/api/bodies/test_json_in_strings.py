"""JSON that is a string of a body's JSON is bounded as well, before it is read."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.api.bodies.count import MAX_LEVELS, TooManyValuesError, check_sizes
from server.api.conversation import MAX_ARGUMENT_VALUES
from server.api.schemas.structured import MAX_SCHEMA_VALUES
from server.tokenizer import tool_messages
from tests.api.bodies.json_texts import TEXTS, WRITTEN
from tests.api.bodies.test_count import naive_counts
from tests.api.harness import CHAT, COMPLETIONS, MODEL, Harness, assert_error
from tests.api.responses_harness import ResponsesHarness

pytestmark = pytest.mark.anyio

USER = {"role": "user", "content": "a"}


def schema_of(lists: int) -> str:
    """A schema with an example of so many empty lists."""
    return '{"type":"object","examples":[' + ",".join(["[]"] * lists) + "]}"


@pytest.fixture(params=[MAX_SCHEMA_VALUES + 1, 20 * MAX_SCHEMA_VALUES], ids=["few", "many"])
def large_schema(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A schema with too much, and a parser that must not see it."""

    def refuse(_: str) -> Any:
        pytest.fail("it was read")

    monkeypatch.setattr("server.api.schemas.structured.json.loads", refuse)
    lists: int = request.param
    return schema_of(lists)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (COMPLETIONS, {"prompt": "a", "guided_json": None}),
        (COMPLETIONS, {"prompt": "a", "structured_outputs": {"json": None}}),
        (CHAT, {"messages": [USER], "guided_json": None}),
        ("/v1/messages", {"messages": [USER], "max_tokens": 1, "guided_json": None}),
        ("/api/chat", {"messages": [USER], "format": None}),
        ("/api/generate", {"prompt": "a", "format": None}),
    ],
    ids=str,
)
async def test_a_schema_as_text_may_have_only_so_much(
    path: str, field: dict[str, Any], large_schema: str
) -> None:
    *_, name = field
    inner = {"json": large_schema} if isinstance(field[name], dict) else large_schema
    response = await Harness().post(path, **(field | {name: inner, "model": MODEL}))
    assert response.status_code == 400
    assert name in response.text
    assert len(response.content) < 1000


async def test_a_schema_as_text_may_have_as_much_as_a_grammar() -> None:
    properties = {f"k{number}": {"type": "integer"} for number in range(4000)}
    schema = json.dumps({"type": "object", "properties": properties})
    api = Harness()
    response = await api.post(COMPLETIONS, prompt="a", guided_json=schema)
    # The grammar checker has its say.
    assert response.status_code == 200 or "guided_json: " in response.text
    assert "fewer values" not in response.text


def call(arguments: str, number: int = 0) -> dict[str, Any]:
    function = {"name": "a", "arguments": arguments}
    return {"id": f"call_{number}", "type": "function", "function": function}


def calling(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": list(calls)}


def arguments(lists: int) -> str:
    return '{"x":[' + ",".join(["[]"] * lists) + "]}"


async def test_the_arguments_of_all_calls_may_have_only_so_much_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tool_messages, "_parsed", lambda _: pytest.fail("it was read"))
    lists = MAX_ARGUMENT_VALUES // 10 - 1
    ten = [call(arguments(lists), number) for number in range(10)]
    for messages in (
        [USER, calling(call(arguments(10 * lists + 99))), USER],
        [USER, calling(*ten), USER],
        [USER, *(calling(each) for each in ten), USER],
    ):
        response = await Harness().post(CHAT, messages=messages)
        message = assert_error(response, 400, "invalid_value")["message"]
        assert message.startswith("tool_calls: the arguments of all calls")
    response = await Harness().post(
        "/apply-template", messages=[USER, calling(call("[" * MAX_ARGUMENT_VALUES)), USER]
    )
    assert f"{MAX_LEVELS} levels" in assert_error(response, 400, "invalid_value")["message"]


async def test_arguments_of_kept_items_count_too(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path)
    lists = MAX_ARGUMENT_VALUES // 3
    item = {"type": "function_call", "call_id": "a", "name": "a", "arguments": arguments(lists)}
    made = (await api.post("/v1/conversations", items=[item])).json()["id"]
    answered = await api.post("/v1/responses", input="a", conversation=made)
    assert answered.status_code == 200, answered.text
    for _ in range(2):
        added = await api.post(f"/v1/conversations/{made}/items", items=[item])
        assert added.status_code == 200, added.text
    response = await api.post("/v1/responses", input="a", conversation=made)
    assert "the arguments of all calls" in assert_error(response, 400, "invalid_value")["message"]
    api.kept.close()


async def test_long_arguments_of_few_values_are_no_matter() -> None:
    text = json.dumps({"path": "a.py", "text": 'print("Hello, [world]")\n' * 50_000})
    messages = [
        USER,
        calling(call(text)),
        {"role": "tool", "tool_call_id": "call_0", "content": ""},
    ]
    assert (await Harness().post(CHAT, messages=messages, max_tokens=1)).status_code == 200


@settings(max_examples=150, deadline=None)
@given(st.lists(WRITTEN | TEXTS, max_size=5), WRITTEN, st.integers(0, 40))
@example(["[" * 9], '"a"', 0)
@example(['"', "[", "\\", '"\\'], '["\\"", 1.5]', 3)
def test_what_is_no_json_hides_nothing_of_what_is(others: list[str], text: str, most: int) -> None:
    values, items = naive_counts(text)
    if values > most or items > 2 * most:
        with pytest.raises(TooManyValuesError):
            check_sizes([*others, text], most)
    if not others and values <= most and items <= 2 * most - values:
        check_sizes([text], most)
