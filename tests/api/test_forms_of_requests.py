"""Forms that clients write a thing in: numbers, nothing, no limit, and what is said twice."""

import json
from typing import Any

import pytest

from server.sampling.params import SamplingParams
from tests.api.answers import HELLO, TOOLS, says
from tests.api.harness import CHAT, COMPLETIONS, Harness, assert_error, events
from tests.api.scoring_worker import scoring
from tests.fake_text import FakeTokenizer

pytestmark = pytest.mark.anyio

RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"
ROUTES: list[tuple[str, dict[str, Any], str]] = [
    (COMPLETIONS, {"prompt": "a"}, "max_tokens"),
    (CHAT, {"messages": HELLO}, "max_tokens"),
    (CHAT, {"messages": HELLO}, "max_completion_tokens"),
    (RESPONSES, {"input": "hi", "store": False}, "max_output_tokens"),
    (MESSAGES, {"messages": HELLO, "max_tokens": 5}, "max_tokens"),
]
every_limit = pytest.mark.parametrize(("path", "body", "limit"), ROUTES)
every_route = pytest.mark.parametrize(("path", "body"), [each[:2] for each in ROUTES])


async def params_of(path: str, body: dict[str, Any]) -> SamplingParams:
    api = Harness({"limits": {"max_output_tokens": 77, "default_output_tokens": 9}})
    response = await api.post(path, **body)
    assert response.status_code == 200, response.text
    return api.worker.generated[0].task.params


@every_limit
@pytest.mark.parametrize(("wanted", "tokens"), [(-1, 77), (-1.0, 77), (7.0, 7), (7, 7)])
async def test_minus_one_is_no_limit(
    path: str, body: dict[str, Any], limit: str, wanted: float, tokens: int
) -> None:
    assert (await params_of(path, body | {limit: wanted})).max_tokens == tokens


@every_limit
@pytest.mark.parametrize("wanted", [-2, 1.5, True, "5", 1e300])
async def test_other_limits_are_refused_by_name(
    path: str, body: dict[str, Any], limit: str, wanted: Any
) -> None:
    response = await Harness().post(path, **body | {limit: wanted})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == limit


@every_route
async def test_integers_may_have_a_point(path: str, body: dict[str, Any]) -> None:
    numbers: dict[str, Any] = {"top_k": 5, "seed": 16, "min_tokens": 2, "mirostat": 2}
    numbers |= {"stop_token_ids": [5, 6], "allowed_token_ids": [7, 1], "logit_bias": [[5, 1]]}
    numbers |= {"dry_penalty_last_n": 100, "n": 1}
    plain = await params_of(path, body | numbers)
    text = json.dumps(body | numbers)
    written = json.loads(text, parse_int=lambda digits: float(digits))
    assert '"seed": 16.0' in json.dumps(written)
    assert await params_of(path, written) == plain
    for wrong in ({"top_k": 5.5}, {"stop_token_ids": [5.5]}, {"seed": "16"}, {"n": True}):
        response = await Harness().post(path, **body | wrong)
        assert response.status_code == 400
        assert response.json()["error"]["param"].startswith(next(iter(wrong)))


async def test_token_ids_may_have_a_point() -> None:
    for prompt in ([98.0, 99], [[98.0], [99.0]], [[98, 99.0]]):
        api = Harness()
        assert (await api.post(COMPLETIONS, prompt=prompt)).status_code == 200
        assert all(type(i) is int for g in api.worker.generated for i in g.task.prompt_ids)
    assert (await Harness().post("/detokenize", tokens=[98.0])).json()["prompt"] == "a"
    assert (await Harness().post("/v1/embeddings", input=[98.5])).status_code == 400


@every_route
@pytest.mark.parametrize("stop", ["", [""], [], None])
async def test_empty_stop_strings_are_none(path: str, body: dict[str, Any], stop: Any) -> None:
    assert await params_of(path, body | {"stop": stop, "seed": 1}) == await params_of(
        path, body | {"seed": 1}
    )
    if path == MESSAGES:
        response = await Harness().post(path, **body, stop_sequences=stop)
        assert response.json()["stop_sequence"] is None
        assert response.json()["stop_reason"] in ("end_turn", "max_tokens")


@pytest.mark.parametrize(
    "prompt", [{}, {"prompt": None}, {"prompt": ""}, {"prompt": [""]}, {"prompt": []}]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_completion_of_nothing_begins_a_document(
    prompt: dict[str, Any], stream: bool
) -> None:
    api = Harness()
    response = await api.post(COMPLETIONS, **prompt, stream=stream, echo=True, logprobs=0)
    assert response.status_code == 200, response.text
    assert api.worker.generated[0].task.prompt_ids == [FakeTokenizer.eos_id]


async def test_some_of_many_prompts_may_be_empty() -> None:
    api = Harness()
    assert (await api.post(COMPLETIONS, prompt=["", "a", ""])).status_code == 200
    assert [each.task.prompt_ids for each in api.worker.generated] == [[0], [98], [0]]
    api = Harness()
    assert (await api.post(COMPLETIONS, prompt=[[], [5]])).status_code == 200
    assert [each.task.prompt_ids for each in api.worker.generated] == [[0], [5]]


GRAMMAR = 'start: "a"'
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}


@every_route
@pytest.mark.parametrize(
    "fields",
    [
        {"guided_grammar": GRAMMAR, "structured_outputs": {"grammar": GRAMMAR}},
        {"guided_grammar": GRAMMAR, "grammar": GRAMMAR, "ebnf": GRAMMAR},
        {"guided_regex": "a+", "regex": "a+", "structured_outputs": {"regex": "a+"}},
        {"guided_json": SCHEMA, "response_format": FORMAT},
        {"guided_json": json.dumps(SCHEMA), "json_schema": SCHEMA},
        {"guided_choice": ["a", "b"], "structured_outputs": {"choice": ["a", "b"]}},
    ],
)
async def test_the_same_output_may_be_asked_for_twice(
    path: str, body: dict[str, Any], fields: dict[str, Any]
) -> None:
    first = dict([next(iter(fields.items()))])
    both, one = await params_of(path, body | fields), await params_of(path, body | first)
    assert both.grammar == one.grammar != ""


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"guided_grammar": GRAMMAR, "structured_outputs": {"grammar": "other"}}, "guided_grammar"),
        ({"regex": "a", "guided_regex": "b"}, "regex"),
        ({"regex": "a", "ebnf": GRAMMAR}, "ebnf"),
        ({"guided_json": SCHEMA, "json_schema": {}}, "json_schema"),
    ],
)
async def test_two_outputs_that_differ_are_refused(fields: dict[str, Any], param: str) -> None:
    response = await Harness().post(CHAT, messages=HELLO, **fields)
    assert assert_error(response, 400, "invalid_value")["param"] == param


@pytest.mark.parametrize(
    "content", ["", [], [{"type": "text", "text": ""}], " ", [{"type": "text", "text": "\n"}] * 2]
)
async def test_an_empty_last_message_of_the_assistant_is_as_if_it_were_not_there(
    content: Any,
) -> None:
    api = Harness()
    last = {"role": "assistant", "content": content}
    for messages in (HELLO, [*HELLO, last]):
        assert (await api.post(MESSAGES, messages=messages, max_tokens=5)).status_code == 200
    first, second = (each.task.prompt_ids for each in api.worker.generated)
    assert first == second
    counted = await api.post("/v1/messages/count_tokens", messages=[*HELLO, last])
    assert counted.json()["input_tokens"] == len(first)
    alone = await api.post(MESSAGES, messages=[last], max_tokens=5)
    assert alone.status_code == 400


@pytest.mark.parametrize("path", [CHAT, "/apply-template", "/tokenize"])
async def test_a_prefix_is_continued(path: str) -> None:
    said = {"role": "assistant", "content": "It is"}
    found = []
    for last, fields in ((said, {"continue_final_message": True}), (said | {"prefix": True}, {})):
        api = Harness()
        response = await api.post(path, messages=[*HELLO, last], **fields)
        assert response.status_code == 200, response.text
        ids = api.worker.generated[0].task.prompt_ids if path == CHAT else response.json()
        found.append(ids)
    assert found[0] == found[1]


async def test_an_empty_prefix_begins_the_answer() -> None:
    found = []
    for more in ([], [{"role": "assistant", "content": "", "prefix": True}]):
        api = Harness()
        assert (await api.post(CHAT, messages=[*HELLO, *more])).status_code == 200
        found.append(api.worker.generated[0].task.prompt_ids)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "user", "content": "a", "prefix": True}], "messages[0].prefix"),
        ([{"role": "assistant", "content": "a", "prefix": True}, *HELLO], "messages[0].prefix"),
        ([*HELLO, {"role": "assistant", "content": "a", "prefix": 1}], "messages.1.prefix"),
        ([{"role": "assistant", "content": "", "prefix": True}], "messages"),
    ],
)
async def test_other_prefixes_are_refused(messages: list[Any], param: str) -> None:
    response = await Harness().post(CHAT, messages=messages)
    assert assert_error(response, 400, "invalid_value")["param"] == param


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("include_usage", [False, True])
async def test_every_chunk_can_have_the_usage_so_far(path: str, include_usage: bool) -> None:
    api = scoring(lambda _: FakeTokenizer().encode("abc"))
    options = {"continuous_usage_stats": True, "include_usage": include_usage}
    body = {"messages": HELLO} if path == CHAT else {"prompt": "x"}
    text = (await api.post(path, **body, stream=True, stream_options=options)).text
    *chunks, done = events(text)
    assert done == "[DONE]"
    found = [json.loads(chunk) for chunk in chunks]
    if include_usage:
        assert found[-1]["choices"] == []
    usages = [chunk["usage"] for chunk in found]
    counts = [usage["completion_tokens"] for usage in usages]
    assert counts == sorted(counts)
    assert counts[-1] == 4  # with the end
    assert all(usage["prompt_tokens"] == usages[0]["prompt_tokens"] > 0 for usage in usages)
    plain = events((await api.post(path, **body, stream=True)).text)
    assert all("usage" not in json.loads(chunk) for chunk in plain[:-1])


@pytest.mark.parametrize(
    ("options", "stream", "status"),
    [
        ({"include_usage": True}, None, 400),
        ({}, False, 400),
        ({"continuous_usage_stats": True}, False, 400),
        (None, False, 200),
        ({"include_usage": True}, True, 200),
    ],
)
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_options_of_a_stream_need_one(
    path: str, options: Any, stream: bool | None, status: int
) -> None:
    body = {"messages": HELLO} if path == CHAT else {"prompt": "x"}
    response = await Harness().post(path, **body, stream=stream, stream_options=options)
    assert response.status_code == status
    if status == 400:
        assert assert_error(response, 400, "invalid_value")["param"] == "stream_options"


@pytest.mark.parametrize("path", [RESPONSES, MESSAGES])
async def test_where_they_mean_nothing_they_need_none(path: str) -> None:
    body = next(body for route, body, _ in ROUTES if route == path)
    response = await Harness().post(path, **body, stream_options={"include_usage": True})
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("choice", "content"),
    [
        ("required", None),
        ({"type": "function", "function": {"name": "time"}}, None),
        ("auto", ""),
        ("none", ""),
    ],
)
async def test_a_stream_of_a_forced_call_begins_without_content(choice: Any, content: Any) -> None:
    api = Harness(script=says("x"))
    body = {"messages": HELLO, "tools": TOOLS, "tool_choice": choice}
    first = json.loads(events((await api.post(CHAT, **body, stream=True)).text)[0])
    assert first["choices"][0]["delta"] == {
        "role": "assistant",
        "content": content,
        "refusal": None,
    }


async def test_a_model_may_have_the_tag_of_ollamas_clients_everywhere() -> None:
    api = Harness({"model": {"aliases": ["gpt-4o"]}})
    for name in ("org/tiny:latest", "gpt-4o:latest", "gpt-4o"):
        for path, body, _ in ROUTES:
            response = await api.post(path, model=name, **body)
            assert response.status_code == 200, response.text
        assert (await api.post("/v1/embeddings", model=name + "x", input="a")).status_code == 404
