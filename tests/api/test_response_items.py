"""Items of the Responses API as messages of a chat."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from server.api.responses.items import as_kept, as_messages
from server.api.schemas.chat import Message
from server.api.schemas.items import InputItem

ITEM: TypeAdapter[Any] = TypeAdapter(InputItem)

USER = {"role": "user", "content": "hi"}
ANSWER = {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": [
    {"type": "output_text", "text": "yes", "annotations": [], "logprobs": []}]}  # fmt: skip
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [
    {"type": "reasoning_text", "text": "hm"}]}  # fmt: skip
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "42"}

SAID = {"role": "user", "content": "hi"}
CALLED = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]


def messages(*items: dict[str, Any], instructions: str | None = None) -> list[dict[str, Any]]:
    """As the template gets them."""
    kept = as_kept([ITEM.validate_python(item) for item in items], {})
    assert len({item["id"] for item in kept}) == len(items)
    found = as_messages(instructions, kept)
    return [Message.model_validate(message).as_dict() for message in found]


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([USER], [SAID]),
        ([USER, ANSWER], [SAID, {"role": "assistant", "content": "yes"}]),
        (
            [USER, THOUGHT, ANSWER, USER],
            [SAID, {"role": "assistant", "content": "yes", "reasoning_content": "hm"}, SAID],
        ),
        (
            [THOUGHT, ANSWER, CALL, CALL, RESULT],
            [
                {"role": "assistant", "content": "yes", "reasoning_content": "hm"}
                | {"tool_calls": CALLED * 2},
                {"role": "tool", "tool_call_id": "c1", "content": "42"},
            ],
        ),
        ([CALL], [{"role": "assistant", "content": "", "tool_calls": CALLED}]),
        # What comes after a call or an answer is another message.
        (
            [CALL, ANSWER],
            [
                {"role": "assistant", "content": "", "tool_calls": CALLED},
                {"role": "assistant", "content": "yes"},
            ],
        ),
        ([ANSWER, ANSWER], [{"role": "assistant", "content": "yes"}] * 2),
        ([THOUGHT], [{"role": "assistant", "content": "", "reasoning_content": "hm"}]),
    ],
)
def test_what_belongs_to_one_answer_is_one_message(items: Any, expected: Any) -> None:
    assert messages(*items) == expected


def test_instructions_come_first() -> None:
    assert messages(USER, instructions="be brief")[0] == {"role": "system", "content": "be brief"}


def test_parts_of_all_kinds_are_text() -> None:
    refusal = {"type": "refusal", "refusal": "no"}
    content = [{"type": "output_text", "text": "well"}, refusal]
    (message,) = messages({"role": "assistant", "content": content})
    assert message["content"] == "well\nno"
    output = [{"type": "input_text", "text": "4"}, {"type": "input_text", "text": "2"}]
    assert messages(RESULT | {"output": output})[0]["content"] == "4\n2"
    summary = [{"type": "summary_text", "text": "in short"}]
    thought = {"type": "reasoning", "summary": summary, "encrypted_content": "x"}
    assert messages(thought)[0]["reasoning_content"] == "in short"


def test_breakpoints_of_the_cache_stay_where_they_are() -> None:
    part = {"type": "input_text", "text": "long", "prompt_cache_breakpoint": {"mode": "explicit"}}
    item = {"role": "user", "content": [part, {"type": "input_text", "text": "short"}]}
    (kept,) = as_kept([ITEM.validate_python(item)], {})
    assert kept["content"][0]["prompt_cache_breakpoint"]["mode"] == "explicit"
    (message,) = as_messages(None, [kept])
    assert Message.model_validate(message).breakpoints == [4]


def test_items_are_kept_as_the_sdk_knows_them() -> None:
    items = [ITEM.validate_python(item) for item in (USER, ANSWER, CALL, RESULT, THOUGHT)]
    user, answer, call, result, thought = as_kept(items, {})
    assert user["content"] == [{"type": "input_text", "text": "hi"}]
    assert answer["content"] == ANSWER["content"]
    assert {"id": call["id"], "status": "completed", **CALL} == call
    assert {"id": result["id"], "status": "completed", **RESULT} == result
    assert thought["content"] == THOUGHT["content"]
    assert [item["id"].split("_")[0] for item in (user, answer, call, result, thought)] == [
        "msg", "msg", "fc", "fco", "rs",
    ]  # fmt: skip
