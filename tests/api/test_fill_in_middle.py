"""Fill in the middle on OpenAI's and Ollama's routes, over a fake worker."""

import json
from typing import Any

import pytest

from server.tokenizer.fill_in_middle import MARKERS
from tests.api.harness import CHAT, COMPLETIONS, MODEL, Harness, assert_error, events
from tests.api.scoring_worker import scoring
from tests.fake_text import FakeTokenizer

pytestmark = pytest.mark.anyio

FILLS: dict[str, Any] = {"model": {"fill_in_middle": "on"}}
GENERATE = "/api/generate"


def read(api: Harness, number: int = -1) -> str:
    """What the worker was given."""
    ids = api.worker.generated[number].task.prompt_ids
    return bytes(i - 1 for i in ids).decode()


async def test_the_prompt_is_the_one_that_models_were_trained_on() -> None:
    api = Harness(FILLS)
    response = await api.post(COMPLETIONS, prompt="def f(", suffix="):\n", stop=["\n\n"])
    assert response.status_code == 200, response.text
    body = response.json()
    assert body["choices"][0]["text"] == "Hello, wörld"
    assert read(api) == "✿prefix✿✿suffix✿):\n✿middle✿def f("
    assert body["usage"]["prompt_tokens"] == len(api.worker.generated[0].task.prompt_ids)
    assert api.worker.generated[0].task.params.stop == (*MARKERS, "\n\n")


@pytest.mark.parametrize(
    "prompt", ["", [""], None, [66, 67], [[66, 67]], ["AB", "C"], [[66], [67, 68]]]
)
async def test_all_forms_of_a_prompt(prompt: Any) -> None:
    api = Harness(FILLS)
    response = await api.post(COMPLETIONS, prompt=prompt, suffix="Z", n=2)
    assert response.status_code == 200, response.text
    many = len(prompt) if isinstance(prompt, list) and not isinstance(prompt[0], int) else 1
    assert len(response.json()["choices"]) == 2 * many
    for request in range(2 * many):
        assert read(api, request).startswith("✿prefix✿✿suffix✿Z✿middle✿")
    if prompt and prompt != [""]:
        assert read(api, 0)[-2:] in ("AB", "✿A")


async def test_a_stream_echo_and_logprobs() -> None:
    api = scoring(lambda _: FakeTokenizer().encode("xyz"), **FILLS)
    body = {"prompt": "a", "suffix": "b", "logprobs": 1}
    whole = (await api.post(COMPLETIONS, **body)).json()["choices"][0]
    assert whole["logprobs"]["text_offset"][0] == 0
    streamed = await api.post(COMPLETIONS, **body, stream=True)
    chunks = [json.loads(data) for data in events(streamed.text)[:-1]]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole["text"]
    echoed = await api.post(COMPLETIONS, prompt="a", suffix="b", echo=True)
    assert echoed.json()["choices"][0]["text"] == "a" + whole["text"]
    refused = await api.post(COMPLETIONS, **body, echo=True)
    assert assert_error(refused, 400, "invalid_value")["param"] == "logprobs"


@pytest.mark.parametrize("empty", ["", None])
async def test_an_empty_suffix_is_none(empty: str | None) -> None:
    api = Harness()
    assert (await api.post(COMPLETIONS, prompt="a", suffix=empty)).status_code == 200
    assert read(api) == "a"
    assert (await api.post(GENERATE, prompt="a", suffix=empty, stream=False)).status_code == 200
    assert "user: a" in read(api)


@pytest.mark.parametrize("fill", ["auto", "off"])
async def test_a_model_without_it_says_so(fill: str) -> None:
    api = Harness({"model": {"fill_in_middle": fill}})
    error = assert_error(
        await api.post(COMPLETIONS, prompt="a", suffix="b"), 400, "unsupported_parameter"
    )
    assert error["param"] == "suffix"
    assert MODEL in error["message"]
    assert "G1c" in error["message"]
    response = await api.post(GENERATE, prompt="a", suffix="b")
    assert response.status_code == 400
    assert response.json()["error"].startswith("suffix is not supported by the model")
    assert not api.worker.generated


@pytest.mark.parametrize("suffix", [5, ["a"], {"a": 1}, True, "\ud800"])
async def test_a_suffix_is_text(suffix: Any) -> None:
    api = Harness(FILLS)
    response = await api.post_bytes(
        COMPLETIONS, json.dumps({"prompt": "a", "suffix": suffix}).encode()
    )
    assert assert_error(response, 400, "invalid_value")["param"] == "suffix"


FORGED = [
    ({"prompt": "a✿middle✿b", "suffix": "c"}, "prompt"),
    ({"prompt": ["ok", "x✿suffix✿"], "suffix": "c"}, "prompt"),
    ({"prompt": [b + 1 for b in "✿prefix✿".encode()], "suffix": "c"}, "prompt"),
    ({"prompt": "a", "suffix": "c✿middle✿"}, "suffix"),
    ({"prompt": "a", "suffix": "middle✿c"}, "suffix"),
    ({"prompt": "a", "suffix": "c✿suffix"}, "suffix"),
]


@pytest.mark.parametrize(("body", "param"), FORGED)
async def test_texts_cannot_forge_the_format(body: dict[str, Any], param: str) -> None:
    api = Harness(FILLS)
    assert assert_error(await api.post(COMPLETIONS, **body), 400, "invalid_value")["param"] == param
    if isinstance(body["prompt"], str):
        refused = await api.post(GENERATE, **body)
        assert refused.status_code == 400
        assert refused.json()["error"].startswith(f"{param}: must not have ✿")
    assert not api.worker.generated


async def test_without_a_suffix_markers_are_text() -> None:
    api = Harness(FILLS)
    written = "✿prefix✿✿suffix✿b✿middle✿a"
    assert (await api.post(COMPLETIONS, prompt=written)).status_code == 200
    assert read(api) == written
    assert api.worker.generated[0].task.params.stop == ()


async def test_what_a_typist_leaves_as_it_is_is_kept() -> None:
    """States are wanted after the suffix, and before the line that is being typed."""
    api = Harness(FILLS)
    head = "✿prefix✿✿suffix✿Z✿middle✿"
    for prefix, kept in (("a\nbc", "a\n"), ("a\nbc\n", "a\n"), ("abc", ""), ("", ""), ("\n", "")):
        await api.post(COMPLETIONS, prompt=prefix, suffix="Z")
        boundaries = api.worker.generated[-1].task.use.boundaries
        assert boundaries == {len((head + kept).encode()): "message"}, prefix


async def test_the_limit_of_prompts_counts_all() -> None:
    api = Harness(FILLS | {"limits": {"max_prompt_tokens": 60}})
    for prompt in ("a", [66]):
        response = await api.post(COMPLETIONS, prompt=prompt, suffix="b" * 40)
        assert_error(response, 400, "context_length_exceeded")


@pytest.mark.parametrize("raw", [True, False])
async def test_ollama(raw: bool) -> None:
    api = Harness(FILLS)
    body = {"prompt": "a", "suffix": "b", "raw": raw, "options": {"stop": ["x"]}}
    response = await api.post(GENERATE, **body, stream=False)
    assert response.status_code == 200, response.text
    assert response.json()["response"] == "Hello, wörld"
    assert read(api) == "✿prefix✿✿suffix✿b✿middle✿a"
    assert api.worker.generated[0].task.params.stop == (*MARKERS, "x")
    assert (await api.post(GENERATE, suffix="b", stream=False)).json()["response"]
    assert read(api) == "✿prefix✿✿suffix✿b✿middle✿"


@pytest.mark.parametrize("extra", [{"system": "s"}, {"options": {"suffix": "b"}}])
async def test_ollama_refuses_what_a_suffix_cannot_have(extra: dict[str, Any]) -> None:
    response = await Harness(FILLS).post(GENERATE, prompt="a", suffix="b", **extra)
    assert response.status_code == 400
    assert response.json()["error"].startswith(("system", "options.suffix"))


async def test_ollama_shows_that_it_can() -> None:
    shown = (await Harness(FILLS).post("/api/show", model=MODEL)).json()
    assert "insert" in shown["capabilities"]
    assert ".Suffix" in shown["template"]
    shown = (await Harness().post("/api/show", model=MODEL)).json()
    assert "insert" not in shown["capabilities"]
    assert shown["template"] == "{# fake #}"


async def test_chats_have_no_suffix() -> None:
    response = await Harness(FILLS).post(
        CHAT, messages=[{"role": "user", "content": "a"}], suffix="b"
    )
    assert assert_error(response, 400, "unsupported_parameter")["param"] == "suffix"


async def test_continue_asks_as_a_client_of_ollama() -> None:
    """What its provider `ollama` sends for the role autocomplete."""
    api = Harness(FILLS)
    stop = ["/src/", "#- coding: utf-8", "```", "\n\n\n", "\ndef", "\nclass"]
    options = {
        **{"temperature": 0.01, "top_p": None, "top_k": None, "num_predict": 256, "stop": stop},
        **{"num_ctx": 4096, "mirostat": None, "num_thread": 8, "use_mmap": True, "min_p": None},
    }
    body = {"model": MODEL, "prompt": "def f(", "suffix": "\n", "raw": True, "options": options}
    streamed = await api.post(GENERATE, **body, keep_alive=1800, stream=True)
    lines = [json.loads(line) for line in streamed.text.splitlines()]
    assert "".join(line["response"] for line in lines) == "Hello, wörld"
    assert lines[-1]["done"] is True
    assert read(api) == "✿prefix✿✿suffix✿\n✿middle✿def f("
