"""The token routes, at the root and under /v1, in vLLM's and in llama.cpp's words."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.api.schemas import tokens as schemas
from server.tokenizer.base import TokenizerError
from tests.api.harness import MODEL, Harness, assert_error
from tests.fake_text import FakeTokenizer

pytestmark = pytest.mark.anyio

IDS = FakeTokenizer().encode
HELLO = [{"role": "user", "content": "hé"}]
AGAIN = [*HELLO, {"role": "assistant", "content": [{"type": "text", "text": "yes"}]}]

at_both = pytest.mark.parametrize("root", ["", "/v1"])


async def asked(path: str, **body: Any) -> Any:
    """The answer of a server of its own."""
    response = await Harness().post(path, **body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


@at_both
async def test_tokenize_as_vllm_has_it(root: str) -> None:
    body = {"model": MODEL, "prompt": "aé", "add_special_tokens": False}
    plain = {"count": 3, "max_model_len": 2**31 - 1, "tokens": IDS("aé"), "token_strs": None}
    assert await asked(f"{root}/tokenize", **body) == plain
    texts = ["a", "bytes:\\xc3", "bytes:\\xa9"]
    found = await asked(f"{root}/tokenize", **body, return_token_strs=True)
    assert found == plain | {"token_strs": texts}


@at_both
async def test_tokenize_as_llama_cpp_has_it(root: str) -> None:
    body = {"content": "aé", "add_special": True}
    assert (await asked(f"{root}/tokenize", **body))["tokens"] == IDS("aé")
    pieces = zip(IDS("aé"), ["a", [0xC3], [0xA9]], strict=True)
    found = await asked(f"{root}/tokenize", **body, with_pieces=True)
    assert found["tokens"] == [{"id": ident, "piece": piece} for ident, piece in pieces]
    assert found["count"] == 3


async def test_tokens_of_messages_are_those_of_the_chat() -> None:
    api = Harness()
    answer = await api.post("/v1/chat/completions", messages=AGAIN)
    assert answer.status_code == 200
    found = (await api.post("/tokenize", messages=AGAIN)).json()
    assert found["tokens"] == api.worker.generated[0].task.prompt_ids
    without = await asked("/tokenize", messages=AGAIN, add_generation_prompt=False)
    assert without["tokens"] == IDS("user: hé\n\nassistant: yes")


SPEAKING_TOOL = {"type": "function", "function": {"name": "speak", "parameters": {}}}


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [SPEAKING_TOOL]},
        {"tools": [SPEAKING_TOOL], "tool_choice": "none"},
        {"chat_template_kwargs": {"name": "value", "enable_thinking": True}},
        {"reasoning_effort": "high"},
        {"continue_final_message": True},
    ],
    ids=str,
)
async def test_what_else_a_chat_says_reaches_the_template(fields: dict[str, Any]) -> None:
    api = Harness({"model": {"reasoning": "auto"}})
    said = {"messages": AGAIN, **fields}
    assert (await api.post("/v1/chat/completions", **said)).status_code == 200
    ids = api.worker.generated[0].task.prompt_ids
    seen = api.template.variables[0]
    found = (await api.post("/tokenize", **said)).json()
    assert found["tokens"] == ids
    assert api.template.variables[-1] == seen
    text = (await api.post("/apply-template", **said)).json()["prompt"]
    assert IDS(text) == ids
    assert api.template.variables[-1] == seen


@at_both
async def test_apply_template(root: str) -> None:
    found = await asked(f"{root}/apply-template", messages=HELLO, model=MODEL)
    prompt = "user: hé\n\nassistant:"
    assert found == {"prompt": prompt, "tokens": IDS(prompt)}
    found = await asked(f"{root}/apply-template", messages=HELLO, add_generation_prompt=False)
    assert found == {"prompt": "user: hé", "tokens": IDS("user: hé")}


async def test_a_template_that_refuses_the_messages() -> None:
    api = Harness(template_error=TokenizerError("chat template: roles must alternate"))
    for path in ("/tokenize", "/apply-template"):
        error = assert_error(await api.post(path, messages=HELLO), 400, "invalid_value")
        assert error["param"] == "messages"


@at_both
async def test_detokenize_answers_both(root: str) -> None:
    found = await asked(f"{root}/detokenize", model=MODEL, tokens=IDS("aé"))
    assert found == {"prompt": "aé", "content": "aé"}
    cut = await asked(f"{root}/detokenize", tokens=IDS("aé")[:-1])
    assert cut["prompt"] == "a\ufffd"
    assert (await asked(f"{root}/detokenize", tokens=[]))["content"] == ""


@at_both
async def test_tokenizer_info(root: str) -> None:
    async with Harness().http() as http:
        found = (await http.get(f"{root}/tokenizer_info")).json()
        named = (await http.get(f"{root}/tokenizer_info", params={"model": MODEL})).json()
        error = await http.get(f"{root}/tokenizer_info", params={"model": "other"})
    assert found == named
    assert found == {
        "model": MODEL,
        "tokenizer_class": "FakeTokenizer",
        "vocab_size": 257,
        "eos_token": "<end>",
        "eos_token_id": 0,
        "bos_token": None,
        "pad_token": None,
        "special_tokens": {"<end>": 0},
        "add_bos_token": False,
        "model_max_length": 2**31 - 1,
        "chat_template": "{# fake #}",
    }
    assert_error(error, 404, "model_not_found")


async def test_the_operators_cap_is_the_longest_prompt() -> None:
    api = Harness({"limits": {"max_prompt_tokens": 2}})
    found = (await api.post("/tokenize", prompt="abc")).json()
    assert (found["max_model_len"], found["count"]) == (2, 3)


async def test_names_of_special_tokens() -> None:
    name = "<end>"
    # As lm-evaluation-harness asks for the id of the end of a document.
    assert (await asked("/tokenize", prompt=name, add_special_tokens=False))["tokens"] == [0]
    assert (await asked("/tokenize", prompt=f"a{name}"))["tokens"] == IDS(f"a{name}")
    parsed = await asked("/tokenize", prompt=f"a{name}", parse_special=True, with_pieces=True)
    assert [token["id"] for token in parsed["tokens"]] == [*IDS("a"), 0]
    assert parsed["tokens"][1]["piece"] == name
    assert (await asked("/detokenize", tokens=[98, 0]))["prompt"] == f"a{name}"


async def test_nothing_reaches_the_engine() -> None:
    api = Harness()
    await api.post("/tokenize", prompt="a")
    await api.post("/detokenize", tokens=[1])
    await api.post("/apply-template", messages=HELLO)
    assert not api.worker.generated


@pytest.mark.parametrize(
    ("path", "body", "param", "code"),
    [
        ("/tokenize", {}, "prompt", "missing_required_parameter"),
        ("/tokenize", {"prompt": "a", "content": "a"}, "content", "invalid_value"),
        ("/tokenize", {"prompt": "a", "messages": HELLO}, "messages", "invalid_value"),
        ("/tokenize", {"prompt": ["a"]}, "prompt", "invalid_value"),
        ("/tokenize", {"messages": []}, "messages", "invalid_value"),
        ("/tokenize", {"messages": HELLO, "tools": [{}]}, "tools[0].type", "unsupported_parameter"),
        (
            "/tokenize",
            {"prompt": "a", "continue_final_message": True},
            "continue_final_message",
            "invalid_value",
        ),
        (
            "/apply-template",
            {"messages": HELLO, "documents": [{"text": "x"}]},
            "documents",
            "unsupported_parameter",
        ),
        ("/detokenize", {}, "tokens", "missing_required_parameter"),
        ("/detokenize", {"tokens": "ab"}, "tokens", "invalid_value"),
        ("/detokenize", {"tokens": [257]}, "tokens", "invalid_value"),
        ("/detokenize", {"tokens": [-1]}, "tokens", "invalid_value"),
        ("/detokenize", {"tokens": [True]}, "tokens.0", "invalid_value"),
        ("/apply-template", {}, "messages", "missing_required_parameter"),
        (
            "/apply-template",
            {"messages": HELLO, "chat_template": "x"},
            "chat_template",
            "unsupported_parameter",
        ),
    ],
)
async def test_refusals_name_the_field(
    path: str, body: dict[str, Any], param: str, code: str
) -> None:
    assert assert_error(await Harness().post(path, **body), 400, code)["param"] == param


async def test_texts_and_ids_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Harness({"http": {"max_body_bytes": 64 << 20}})
    long = "a" * (schemas.MOST_CHARACTERS + 1)
    error = assert_error(await api.post("/tokenize", prompt=long), 400, "invalid_value")
    assert error["param"] == "prompt"
    ids = b'{"tokens": [' + b"1," * schemas.MOST_TOKENS + b"1]}"
    error = assert_error(await api.post_bytes("/detokenize", ids), 400, "invalid_value")
    assert error["param"] == "tokens"
    monkeypatch.setattr("server.api.routes.tokens.MOST_CHARACTERS", 10)
    error = assert_error(await api.post("/tokenize", messages=HELLO), 400, "invalid_value")
    assert error["param"] == "messages"


async def test_a_key_is_needed_where_there_are_keys() -> None:
    api = Harness({"http": {"api_key": "secret"}})
    assert_error(await api.post("/tokenize", prompt="a"), 401, "invalid_api_key")
    async with api.http("secret") as http:
        assert (await http.post("/tokenize", json={"prompt": "a"})).status_code == 200


@settings(max_examples=30, deadline=None)
@given(text=st.text())
async def test_any_text_comes_back(text: str) -> None:
    api = Harness()
    found = (await api.post_bytes("/tokenize", json.dumps({"prompt": text}).encode())).json()
    assert (await api.post("/detokenize", tokens=found["tokens"])).json()["prompt"] == text
