"""Whatever a model says, however it is cut: the events make the message."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.api.choices import News, TokenCount
from server.api.messages.answer import MessageAnswer, usage_of
from server.api.schemas.messages import MessagesRequest
from server.assistant.answer import CallDelta, Delta

BODY = MessagesRequest.model_validate(
    {
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
        "stop_sequences": ["END"],
    }
)
TEXT = st.text(min_size=1, max_size=5)
SAID = st.one_of(
    st.builds(Delta, content=TEXT),
    st.builds(Delta, reasoning=TEXT),
    st.sampled_from([['{"a"', ": 1}"], ["{}"], [], ["[1"]]),
)


def answer_of(said: list[Any], finish: Any, stop: str = "") -> tuple[MessageAnswer, list[Any]]:
    """The answer and its events; a list of strings is the arguments of a call."""
    count = TokenCount(prompt=10, completion=4, cached=3, written=2)
    answer, calls = MessageAnswer("m", BODY, lambda: count), 0
    events = answer.opening()
    for each in said:
        if isinstance(each, Delta):
            events += answer.news(News(0, "", None, deltas=[each]))
            continue
        first = Delta(call=CallDelta(calls, f"id{calls}", "f"))
        rest = [Delta(call=CallDelta(calls, arguments=piece)) for piece in each]
        events += answer.news(News(0, "", None, deltas=[first, *rest]))
        calls += 1
    events += answer.news(News(0, "", finish, stop_string=stop))
    return answer, events + answer.closing(count.usage())


def assembled(events: list[Any]) -> dict[str, Any]:
    """What a client makes of events, after Anthropic's documentation."""
    message: dict[str, Any] = json.loads(json.dumps(events[0]["message"]))
    arguments = ""
    for event in events[1:]:
        kind, at = event["type"], event.get("index")
        if kind == "content_block_start":
            assert at == len(message["content"])
            message["content"].append(dict(event["content_block"]))
            arguments = ""
        elif kind == "content_block_delta":
            delta = {k: v for k, v in event["delta"].items() if k != "type"}
            arguments += delta.pop("partial_json", "")
            for name, more in delta.items():
                message["content"][at][name] += more
        elif kind == "content_block_stop" and message["content"][at]["type"] == "tool_use":
            message["content"][at]["input"] = json.loads(arguments)
        elif kind == "message_delta":
            message |= event["delta"]
            message["usage"] |= event["usage"]
    return message


@given(st.lists(SAID, max_size=8), st.sampled_from(["stop", "length"]))
@settings(max_examples=200, deadline=None)
def test_the_events_make_the_message(said: list[Any], finish: str) -> None:
    answer, events = answer_of(said, finish)
    assert assembled(events) == answer.message
    opened = [event["type"] for event in events if "content_block_st" in event["type"]]
    assert opened == ["content_block_start", "content_block_stop"] * (len(opened) // 2)


@pytest.mark.parametrize(
    ("kept", "cached", "written", "parts"),
    [
        (0, 0, 10, (10, 0, 0)),  # no cache_control: what is kept besides is input
        (0, 3, 7, (7, 3, 0)),
        (8, 0, 10, (2, 0, 8)),
        (8, 3, 7, (2, 3, 5)),
        (8, 9, 1, (1, 9, 0)),
        (10, 3, 7, (0, 3, 7)),
        (8, 3, 0, (7, 3, 0)),  # nothing may be kept
        (8, 12, 0, (0, 10, 0)),
    ],
)
def test_tokens_of_the_prompt_count_once(
    kept: int, cached: int, written: int, parts: tuple[int, int, int]
) -> None:
    count = TokenCount(prompt=10, completion=4, cached=cached, written=written)
    usage = usage_of(count.usage(), kept)
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    assert tuple(usage[name] for name in names) == parts
    assert sum(parts) == 10
    assert usage["output_tokens"] == 4


def test_the_reason_of_the_end_is_named() -> None:
    ends = [([], "stop", "END"), ([], "stop", ""), ([], "length", ""), ([["{}"]], "stop", "")]
    found = [answer_of(*end)[0].message for end in ends]
    reasons = [(each["stop_reason"], each["stop_sequence"]) for each in found]
    expected = [("stop_sequence", "END"), ("end_turn", None), ("max_tokens", None)]
    assert reasons == [*expected, ("tool_use", None)]
