"""Requests as clients of RWKV-Runner, Ai00, rwkv.cpp's scripts and llama-server send them.

Every field of their request schemas that would change an answer is kept, or refused by its name.
"""

from typing import Any

import pytest

from server.sampling.params import SamplingParams
from server.tokenizer.chat_template import ChatTemplate
from server.tokenizer.turn_ends import turn_ends_of
from tests.api.harness import CHAT, COMPLETIONS, MODEL, Harness, assert_error
from tests.api.scoring_worker import scoring

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "hi"}]
BODIES: dict[str, dict[str, Any]] = {COMPLETIONS: {"prompt": "a"}, CHAT: {"messages": HELLO}}
NOBODY = "00000000-0000-0000-0000-000000000000"
NUCLEUS = {"top_k": 128, "top_p": 0.5, "presence_penalty": 0.3, "frequency_penalty": 0.3}


class Native(Harness):
    """With the built-in chat template."""

    def __init__(self, **sections: Any) -> None:
        super().__init__(sections)
        for model in self.manager.models.values():
            assert model.deployment is not None
            template, tokenizer = ChatTemplate(), model.deployment.served.tokenizer
            ends = turn_ends_of(template, tokenizer)
            object.__setattr__(model.deployment.served, "chat_template", template)
            object.__setattr__(model.deployment.served, "turn_ends", ends)


def read(api: Harness) -> str:
    return bytes(i - 1 for i in api.worker.generated[-1].task.prompt_ids).decode()


async def params_of(api: Harness, path: str, **fields: Any) -> SamplingParams:
    response = await api.post(path, **BODIES[path] | fields)
    assert response.status_code == 200, (fields, response.text)
    return api.worker.generated[-1].task.params


KEPT: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    # RWKV-Runner
    ("Runner", {"max_tokens": 9, "penalty_decay": 0.996}, {"max_tokens": 9}),
    ("Runner", {"top_k": 100, "temperature": 3}, {"top_k": 100, "temperature": 3.0}),
    ("Runner", {"stop": "x", "stop_token_ids": [3]}, {"stop_token_ids": (3,)}),
    ("Runner", {"stop": None, "stop_token_ids": None, "state": ""}, {"stop_token_ids": ()}),
    ("Runner", {"global_penalty": False, "penalty_decay": 0.996}, {"penalty_decay": 0.996}),
    # Ai00
    ("Ai00", {"sampler": {"type": "Nucleus"}}, NUCLEUS),
    ("Ai00", {"sampler": {}}, NUCLEUS | {"temperature": 1.0, "penalty_decay": 0.99654026}),
    ("Ai00", {"sampler_override": {"type": "Nucleus", "top_p": 0.9}}, NUCLEUS | {"top_p": 0.9}),
    ("Ai00", {"sampler": {"top_k": 5.0, "penalty": 400}}, NUCLEUS | {"top_k": 5}),
    ("Ai00", {"sampler": {"type": "Nucleus"}, "top_p": 0.5}, NUCLEUS),
    ("Ai00", {"sampler": {"type": "Typical"}}, {"typical_p": 0.5, "top_p": 1.0, "top_k": 128}),
    ("Ai00", {"sampler": {"type": "Typical", "tau": 5}}, {"typical_p": 1.0}),
    ("Ai00", {"sampler": {"type": "Mirostat"}}, {"mirostat": 2, "mirostat_tau": 3.0}),
    ("Ai00", {"sampler": {"type": "Mirostat", "rate": 0.2, "tau": 4}}, {"mirostat_eta": 0.2}),
    ("Ai00", {"sampler": {"type": "Mirostat", "Rate": 0.3}}, {"mirostat_eta": 0.3}),
    ("Ai00", {"sampler": {"type": "Mirostat", "learning_rate": 0.4}}, {"mirostat_eta": 0.4}),
    ("Ai00", {"bias": {"3": -1.5}}, {"logit_bias": ((3, -1.5),)}),
    ("Ai00", {"token_bias": {"3": -1.5}}, {"logit_bias": ((3, -1.5),)}),
    ("Ai00", {"bnf_schema": "start ::= 'a' | \"b\";"}, {"grammar": ...}),
    ("Ai00", {"bnf_schema": None, "state": NOBODY, "sampler": None}, {"grammar": ""}),
    # llama-server
    ("llama", {"n_predict": 8, "repeat_last_n": 64}, {"max_tokens": 8, "penalty_last_n": 64}),
    ("llama", {"logit_bias": [[3, False]]}, {"logit_bias": ((3, float("-inf")),)}),
    ("llama", {"n_keep": 4, "n_discard": 5, "id_slot": 1, "n_cache_reuse": 3}, {}),
    ("llama", {"timings_per_token": True, "return_progress": True, "verbose": True}, {}),
    ("llama", {"sse_ping_interval": 5, "backend_sampling": True, "dynatemp_exponent": 2}, {}),
    ("llama", {"grammar_lazy": False, "grammar_triggers": [], "preserved_tokens": ["a"]}, {}),
    ("llama", {"adaptive_decay": 0.5, "speculative.n_max": 4, "reasoning_control": False}, {}),
]
"""Project, fields, and parameters of the engine; ...: any but none."""

REFUSED: list[tuple[str, str, Any]] = [
    ("Runner", "global_penalty", True),
    ("Runner", "state", {"path": "x"}),
    ("Runner", "temperature", 11),
    ("Ai00", "sampler", {"type": "Greedy"}),
    ("Ai00", "sampler", {"type": "Nucleus", "top_p": 2}),
    ("Ai00", "sampler", "Nucleus"),
    ("Ai00", "sampler_override", {"type": "Typical", "tau": 0}),
    ("Ai00", "bnf_schema", "start ::= except!('a');"),
    ("Ai00", "bnf_schema", "a ::= 'a';"),
    ("Ai00", "bnf_schema", "start ::= b;"),
    ("Ai00", "bnf_schema", {"start": "a"}),
    ("Ai00", "bias", {"3": "x"}),
    ("Ai00", "bias", {"400": 1}),
    ("Ai00", "template", {"record": "{content}", "prefix": "", "sep": "\n"}),
    ("Ai00", "state", {"id": NOBODY, "name": "x", "data": [0.0]}),
    ("llama", "grammar_lazy", True),
    ("llama", "grammar_triggers", [{"type": "word", "value": "x"}]),
    ("llama", "generation_prompt", "x"),
    ("llama", "chat_parser", "{}"),
    ("llama", "chat_format", 3),
    ("llama", "mirostat", 1),
    ("llama", "dynatemp_range", 0.5),
    ("llama", "adaptive_target", 0.5),
    ("llama", "reasoning_budget_tokens", 5),
    ("llama", "samplers", ["top_k"]),
    ("llama", "n_indent", 2),
    ("llama", "t_max_predict_ms", 5),
    ("llama", "n_probs", 2),
    ("llama", "post_sampling_probs", True),
    ("llama", "lora", [{"id": 0, "scale": 1.0}]),
    ("llama", "return_tokens", True),
    ("llama", "response_fields", ["content"]),
]
"""Project, field and value."""


@pytest.mark.parametrize("path", BODIES)
async def test_what_has_an_equal_is_kept(path: str) -> None:
    api = Harness()
    for project, fields, expected in KEPT:
        params = await params_of(api, path, **fields)
        for name, value in expected.items():
            found = getattr(params, name)
            assert found != "" if value is ... else found == value, (project, fields, name)


@pytest.mark.parametrize("path", BODIES)
async def test_the_rest_is_refused_by_name(path: str) -> None:
    api = Harness()
    for project, name, value in REFUSED:
        response = await api.post(path, **BODIES[path] | {name: value})
        assert response.status_code == 400, (project, name, value, response.text)
        error = response.json()["error"]
        assert error["param"].split(".")[0] in (name, "sampler", "logit_bias"), error
    assert not api.worker.generated


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses", "/api/chat", COMPLETIONS])
async def test_names_of_roles_are_for_chats(path: str) -> None:
    bodies = {
        "/v1/messages": {"messages": HELLO, "max_tokens": 5},
        "/v1/responses": {"input": "hi", "store": False},
        "/api/chat": {"messages": HELLO, "stream": False},
        COMPLETIONS: {"prompt": "a"},
    }
    api = Harness()
    said: dict[str, Any] = {"presystem": True, "user_name": "Bob", "assistant_name": "Eve"}
    for name, value in (said | {"system_name": "S", "names": {"User": "Bob"}}).items():
        response = await api.post(path, **bodies[path] | {name: value})
        assert response.status_code == 400, (name, response.text)
        assert name in response.text
    assert not api.worker.generated


CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"sampler": {"top_p": 0.3}, "top_p": 0.4}, "top_p"),
    ({"sampler": {}, "sampler_override": {"top_p": 0.4}}, "sampler_override"),
    ({"bias": {"3": 1}, "logit_bias": {"3": 2}}, "bias"),
    ({"bnf_schema": "start ::= 'a';", "regex": "b"}, "bnf_schema"),
    ({"state": "state_1", "state_id": "state_2"}, "state"),
    ({"names": {"User": "Bob"}, "user_name": "Eve"}, "user_name"),
    ({"names": {"Observation": "Tool"}}, "names"),
    ({"names": {"User": 5}}, "names"),
    ({"user_name": "Bob:"}, "user_name"),
    ({"user_name": "Bob\n"}, "user_name"),
    ({"presystem": "yes"}, "presystem"),
    ({"names": {"User": "B" * 65}}, "names"),
    ({"chat_template_kwargs": {"user_name": "Bob"}}, "chat_template_kwargs.user_name"),
]


@pytest.mark.parametrize(("fields", "param"), CONTRADICTIONS)
async def test_contradictions_are_refused(fields: dict[str, Any], param: str) -> None:
    error = assert_error(await Native().post(CHAT, messages=HELLO, **fields), 400, "invalid_value")
    assert error["param"] == param


@pytest.mark.parametrize(
    ("role", "prompt"),
    [
        *((role, "User: hi\n\nAssistant:") for role in ("user", "User", "USER", "uSeR")),
        *((role, "System: hi\n\nAssistant:") for role in ("System", "SYSTEM", "Developer")),
        *((role, "Assistant: hi\n\nAssistant:") for role in ("ASSISTANT", "Assistant")),
    ],
)
async def test_roles_of_any_case(role: str, prompt: str) -> None:
    api = Native()
    response = await api.post(CHAT, messages=[{"role": role, "content": "hi"}])
    assert response.status_code == 200, response.text
    assert read(api) == prompt
    if role.lower() != "developer":
        await api.post("/api/chat", messages=[{"role": role, "content": "hi"}], stream=False)
        assert read(api) == prompt


@pytest.mark.parametrize("role", ["tool", "Tool", "observation", "Observation"])
async def test_observations_are_results_of_tools(role: str) -> None:
    api = Native()
    said = [*HELLO, {"role": role, "content": "5"}]
    assert (await api.post(CHAT, messages=said)).status_code == 200
    assert "Function output:" in read(api)


@pytest.mark.parametrize("role", ["king", "", "Userx", 5])
async def test_other_roles_are_refused(role: Any) -> None:
    response = await Native().post(CHAT, messages=[{"role": role, "content": "hi"}])
    assert_error(response, 400, "invalid_value")


NAMED = "Sys: be brief\n\nBob: hi\n\nEve: yo\n\nBob: well\n\nEve:"


@pytest.mark.parametrize(
    "fields",
    [
        {"user_name": "Bob", "assistant_name": "Eve", "system_name": "Sys"},
        {"names": {"User": "Bob", "Assistant": "Eve", "System": "Sys"}},
        {"names": {"user": "Bob", "ASSISTANT": "Eve"}, "system_name": "Sys", "user_name": "Bob"},
    ],
)
async def test_names_of_roles(fields: dict[str, Any]) -> None:
    api = Native()
    said = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yo"},
        {"role": "user", "content": "well"},
    ]
    assert (await api.post(CHAT, messages=said, **fields)).status_code == 200
    assert read(api) == NAMED
    assert api.worker.generated[0].task.params.stop == ("\n\nBob:", "\n\nSys:")
    shown = await api.post("/apply-template", messages=said, **fields)
    assert shown.json()["prompt"] == NAMED


async def test_a_template_without_names_refuses_them() -> None:
    error = assert_error(
        await Harness().post(CHAT, messages=HELLO, user_name="Bob"), 400, "unsupported_parameter"
    )
    assert error["param"] == "user_name"


async def test_presystem_begins_with_a_greeting() -> None:
    api = Native()
    await api.post(CHAT, messages=HELLO, presystem=True, user_name="Bob")
    begin = "Bob: hi\n\nAssistant: Hi. I am your assistant and I will provide expert full"
    assert read(api).startswith(begin)
    assert read(api).endswith("answer it.\n\nBob: hi\n\nAssistant:")
    await api.post(CHAT, messages=HELLO, presystem=False)
    assert read(api) == "User: hi\n\nAssistant:"


async def test_prefix_and_raw_of_messages() -> None:
    api = Native()
    said = [*HELLO, {"role": "Assistant", "content": "Well", "prefix": True, "raw": False}]
    assert (await api.post(CHAT, messages=said)).status_code == 200
    assert read(api) == "User: hi\n\nAssistant: Well"
    raw = await api.post(CHAT, messages=[{"role": "user", "content": "hi", "raw": True}])
    assert assert_error(raw, 400, "invalid_value")["param"] == "messages.0.raw"


async def test_states() -> None:
    api = Harness({"model": {"states": {"poet": "poet.pth", "a1-b2": "x.pth"}}})
    for model in ("", MODEL, f"{MODEL}:poet"):
        assert (await api.post(COMPLETIONS, prompt="a", model=model, state="poet")).is_success
        assert api.worker.generated[-1].task.initial_state == "poet"
    assert (await api.post("/v1/embeddings", input="a", state="a1-b2")).is_success
    assert api.worker.generated[-1].task.initial_state == "a1-b2"
    assert (await api.post(COMPLETIONS, prompt="a", state=NOBODY)).is_success
    assert api.worker.generated[-1].task.initial_state == ""
    error = assert_error(await api.post(COMPLETIONS, prompt="a", state="x"), 404, "model_not_found")
    assert "':x' does not exist" in error["message"]
    assert "initial states: 'poet', 'a1-b2'" in error["message"]
    error = assert_error(
        await api.post(COMPLETIONS, prompt="a", state="state_1"), 404, "states_disabled"
    )


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/chat/completions", {"messages": HELLO}),
        ("/completions", {"prompt": "a"}),
        ("/embeddings", {"input": "a"}),
        ("/v1/engines/text-embedding-ada-002/embeddings", {"input": "a"}),
        ("/engines/text-embedding-ada-002/embeddings", {"input": "a"}),
        ("/api/oai/chat/completions", {"messages": HELLO}),
        ("/api/oai/v1/chat/completions", {"messages": HELLO}),
        ("/api/oai/completions", {"prompt": "a"}),
        ("/api/oai/v1/completions/", {"prompt": "a"}),
        ("/api/oai/chooses", {"input": "a", "choices": ["b"]}),
        ("/api/oai/v1/chooses", {"input": ["a"], "choices": ["b"]}),
        ("/completion", {"prompt": "a"}),
        ("/tokenize", {"content": "a"}),
        ("/detokenize", {"tokens": [98]}),
        ("/apply-template", {"messages": HELLO}),
        ("/embedding", {"content": "a"}),
        ("/reranking", {"query": "a", "documents": ["b"]}),
        ("/v1/reranking", {"query": "a", "documents": ["b"]}),
    ],
)
async def test_their_paths(path: str, body: dict[str, Any]) -> None:
    response = await Harness().post(path, **body)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("path", ["/models", "/api/oai/models", "/api/oai/v1/models", "/props"])
async def test_their_paths_to_read(path: str) -> None:
    async with Harness().http() as http:
        assert (await http.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/switch-model", "/v1/admin/models/load"),
        ("/api/models/list", "/v1/models"),
        ("/api/models/info", "/v1/models"),
        ("/api/oai/embeds", "/v1/embeddings"),
        ("/slots", "/metrics"),
    ],
)
async def test_what_is_not_here_names_what_is(path: str, named: str) -> None:
    response = await Harness().post(path, input="a")
    assert response.status_code == 404
    assert named in response.text


async def test_choices_are_ranked_by_perplexity() -> None:
    api = scoring(lambda _: [])
    body: dict[str, Any] = {"input": ["ab", "c"], "choices": ["x", "yz", "x"]}
    answer = (await api.post("/v1/chooses", **body)).json()
    assert (answer["object"], answer["model"]) == ("list", MODEL)
    data = answer["data"]
    assert [each["rank"] for each in data] == [0, 1, 2]
    assert sorted(each["index"] for each in data) == [0, 1, 2]
    assert [each["choice"] for each in data] == [body["choices"][each["index"]] for each in data]
    values = [each["perplexity"] for each in data]
    assert values == sorted(values)
    by_index = {each["index"]: each["perplexity"] for each in data}
    assert by_index[0] == by_index[2]
    read_ids = [each.task.prompt_ids for each in api.worker.generated]
    assert read_ids[1] == [byte + 1 for byte in b"abcyz"]
    # The tokens of a choice, and no others.
    assert [each.task.params.prompt_logprobs_from for each in api.worker.generated] == [3, 3, 3]
    # tests/api/scoring_worker.py: a token at place p of a prompt has −30 − p/7, unless p % 3 is 0.
    assert by_index[0] == pytest.approx(30 + 3 / 7)
    assert by_index[1] == pytest.approx(30 + 3.5 / 7)


async def test_choices_are_calibrated() -> None:
    api = scoring(lambda _: [])
    body = {"input": "abc", "choices": ["x", "yz"], "calibrate": True}
    data = (await api.post("/v1/chooses", **body)).json()["data"]
    assert [each.task.prompt_ids[0] for each in api.worker.generated] == [98, 98, 0, 0]
    by_index = {each["index"]: each["perplexity"] for each in data}
    # Less what it has alone; by one more token, as Ai00 counts.
    assert by_index[0] == pytest.approx(30 + 3 / 7 - (30 + 1 / 7) / 2)
    assert by_index[1] == pytest.approx(30 + 3.5 / 7 - (60 + 3 / 7) / 3)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "a"}, "choices"),
        ({"input": "a", "choices": []}, "choices"),
        ({"input": "a", "choices": ["b", ""]}, "choices.1"),
        ({"input": "a", "choices": "b"}, "choices"),
        ({"input": 5, "choices": ["b"]}, "input"),
        ({"input": ["a", 5], "choices": ["b"]}, "input"),
        ({"input": "a", "choices": ["b"], "calibrate": "x"}, "calibrate"),
        ({"input": "a", "choices": ["b" * 70000]}, "choices"),
    ],
)
async def test_choices_that_are_wrong(body: dict[str, Any], param: str) -> None:
    response = await Harness().post("/v1/chooses", **body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


async def test_embeddings_of_llama_server() -> None:
    api = Harness()
    plain = (await api.post("/v1/embeddings", input=["a", "bc"], encoding_format="float")).json()
    native = (await api.post("/embedding", content=["a", "bc"])).json()
    assert [each["embedding"] for each in native] == [[each["embedding"]] for each in plain["data"]]
    raw = (await api.post("/embedding", content="a", embd_normalize=-1)).json()
    assert sum(x * x for x in raw[0]["embedding"][0]) != pytest.approx(1)
    for wrong in ({"embd_normalize": 0}, {"content": ""}, {"content": None}):
        response = await api.post("/embedding", **{"content": "a", **wrong})
        assert response.json()["error"]["param"] == next(iter(wrong))
    fast = await api.post("/v1/embeddings", input="a", fast_mode=True)
    assert assert_error(fast, 400, "unsupported_parameter")["param"] == "fast_mode"
