"""Responses of a certain form, and with log-probabilities: what is asked, and what comes back."""

import json
from pathlib import Path
from typing import Any

import pytest
from openai.types.responses import Response, ResponseTextDeltaEvent, ResponseTextDoneEvent
from pydantic import BaseModel

from server.api.choices import News
from server.api.logprobs import LogprobEntry
from server.api.responses.text_logprobs import TextLogprobs
from server.assistant.answer import Delta
from server.grammars.forms import after_space, json_grammar
from server.sampling.token_logprobs import TokenLogprobs
from tests.api.responses_harness import RESPONSES, ResponsesHarness
from tests.api.scoring_worker import logprobs_of, outputs_of
from tests.api.test_response_events import events
from tests.fake_text import FakeTokenizer

pytestmark = pytest.mark.anyio

TOKENIZER = FakeTokenizer()
SCHEMA = {"type": "object", "properties": {"b": {"type": "null"}}, "required": ["b"]}


class Cat(BaseModel):
    """What a client wants."""

    name: str


@pytest.mark.parametrize(
    ("form", "grammar"),
    [
        ({"type": "text"}, ""),
        ({"type": "json_object"}, after_space(json_grammar({"type": "object"}))),
        ({"type": "json_schema", "name": "x", "schema": SCHEMA}, after_space(json_grammar(SCHEMA))),
        (
            {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True},
            after_space(json_grammar(SCHEMA)),
        ),
    ],
)
async def test_the_form_of_the_text_is_asked_of_the_worker_and_shown(
    tmp_path: Path, form: dict[str, Any], grammar: str
) -> None:
    api = ResponsesHarness(tmp_path)
    response = await api.respond(text={"format": form})
    assert api.worker.generated[-1].task.params.grammar == grammar
    shown = response["text"]["format"]
    assert {name: shown[name] for name in form} == form
    Response.model_validate(response)


async def test_the_official_client_parses_what_it_asked_for(tmp_path: Path) -> None:
    api = ResponsesHarness(tmp_path, script=lambda _: ['{"name": ', '"Tom"}'])
    async with api.sdk() as sdk:
        whole = await sdk.responses.parse(model="", input="a cat", text_format=Cat)
        async with sdk.responses.stream(model="", input="a cat", text_format=Cat) as stream:
            streamed = await stream.get_final_response()
    assert whole.output_parsed == streamed.output_parsed == Cat(name="Tom")


def scoring(folder: Path, text: str) -> ResponsesHarness:
    """A worker that says this, with log-probabilities."""
    api = ResponsesHarness(folder)
    worker = api.worker

    async def answer(request: Any) -> None:
        ids = TOKENIZER.encode(text)
        for output in outputs_of(request.task, ids, request.request_id):
            worker.client.deliver(worker.link, [output])

    worker._answer = answer  # type: ignore[method-assign]
    return api


@pytest.mark.parametrize(
    "asked", [{"top_logprobs": 2}, {"include": ["message.output_text.logprobs"]}]
)
async def test_messages_have_log_probabilities_in_the_stream_and_after_it(
    tmp_path: Path, asked: dict[str, Any]
) -> None:
    api = scoring(tmp_path, "aé")
    count = asked.get("top_logprobs", 0)
    body = {"input": "hi", "stream": True, "seed": 0, **asked}
    told = events((await api.call("POST", RESPONSES, json=body)).text)
    deltas = [content for _, content in told if content["type"] == "response.output_text.delta"]
    for delta in deltas:
        ResponseTextDeltaEvent.model_validate(delta)
    pieces = [each for delta in deltas for each in delta["logprobs"]]
    expected = [logprobs_of(t, place, count) for place, t in enumerate(TOKENIZER.encode("aé"))]
    assert [each["token"] for each in pieces] == ["a", r"bytes:\xc3", r"bytes:\xa9"]
    assert [each["logprob"] for each in pieces] == [each.logprob for each in expected]
    assert [len(each["top_logprobs"]) for each in pieces] == [count] * 3
    (done,) = [each for _, each in told if each["type"] == "response.output_text.done"]
    ResponseTextDoneEvent.model_validate(done)
    assert done["logprobs"] == pieces
    whole = await api.respond(seed=0, **asked)
    Response.model_validate(whole)
    assert whole["output"][0]["content"][0]["logprobs"] == pieces
    assert told[-1][1]["response"]["output"][0]["content"][0]["logprobs"] == pieces


async def test_without_being_asked_for_there_are_none(tmp_path: Path) -> None:
    api = scoring(tmp_path, "ab")
    response = await api.respond()
    assert response["output"][0]["content"][0]["logprobs"] == []
    assert api.worker.generated[-1].task.params.logprobs == -1


def entries(text: str) -> list[LogprobEntry]:
    """One for each character, worth its place."""
    return [
        LogprobEntry(TOKENIZER.encode(each)[0], TokenLogprobs(-float(place), [], []), place)
        for place, each in enumerate(text)
    ]


def test_thoughts_calls_and_markers_are_passed_over() -> None:
    text = "<think>hm</think>\n\nhi <call/> so"
    found = TextLogprobs(TOKENIZER)
    found.push(News(0, text, None, entries(text)))
    assert found.take(Delta(reasoning="hm")) == []
    first, said = (map(json.loads, found.take(Delta(content=text))) for text in ("hi ", "so"))
    assert [each["token"] for each in first] == list("hi ")
    assert [(each["token"], each["logprob"]) for each in said] == [("s", -30.0), ("o", -31.0)]


def test_text_that_comes_in_pieces_has_its_own_tokens() -> None:
    text = "abab"
    found = TextLogprobs(TOKENIZER)
    places = []
    for place, each in enumerate(text):
        found.push(News(0, each, None, entries(text)[place : place + 1]))
        places += [-json.loads(said)["logprob"] for said in found.take(Delta(content=each))]
    assert places == [0, 1, 2, 3]


def test_a_token_that_begins_with_the_blank_before_the_text_is_kept() -> None:
    tokens = [(" ", 0), (" Hi", 1), (" you", 4)]
    made = [LogprobEntry(TOKENIZER.encode(text)[-1], TokenLogprobs(-float(at), [], []), at)
            for text, at in tokens]  # fmt: skip
    for news in ([made], [made[:1], made[1:2], made[2:]]):
        found = TextLogprobs(TOKENIZER)
        text = "".join(text for text, _ in tokens)
        for number, each in enumerate(news):
            piece = text if len(news) == 1 else tokens[number][0]
            found.push(News(0, piece, None, each))
        said = found.take(Delta(content="Hi")) + found.take(Delta(content=" you"))
        assert [json.loads(each)["logprob"] for each in said] == [-1.0, -4.0]


def test_a_token_with_a_whole_marker_and_the_first_word_belongs_to_the_word() -> None:
    found = TextLogprobs(TOKENIZER)
    (entry,) = entries("x")
    found.push(News(0, "\n\nx", None, [entry]))
    assert len(found.take(Delta(content="x"))) == 1
