"""/completion, /infill and /props, asked as llama.vim, llama.vscode and Continue ask them."""

import json
from typing import Any

import pytest

from server.tokenizer.fill_in_middle import MARKERS
from tests.api.harness import MODEL, Harness, assert_error, events
from tests.api.scoring_worker import scoring
from tests.fake_text import FakeTokenizer
from tests.fakes import FakeWorker

pytestmark = pytest.mark.anyio

FILLS: dict[str, Any] = {"model": {"fill_in_middle": "on"}}
TIMINGS = (
    *("prompt_n", "prompt_ms", "prompt_per_token_ms", "prompt_per_second"),
    *("predicted_n", "predicted_ms", "predicted_per_token_ms", "predicted_per_second"),
)
VIM: dict[str, Any] = {
    "id_slot": 0,
    "input_prefix": "def f(\n",
    "input_suffix": "\nprint(f(1))\n",
    "input_extra": [{"text": "x = 1\n", "time": 1.5, "filename": "a.py"}, {"text": "y"}],
    "prompt": "    return ",
    "n_predict": 128,
    "stop": [],
    "n_indent": 4,
    "top_k": 40,
    "top_p": 0.9,
    "samplers": ["top_k", "top_p", "infill"],
    "stream": False,
    "cache_prompt": True,
    "t_max_prompt_ms": 500,
    "t_max_predict_ms": 1000,
    "response_fields": [
        *("content", "truncated", "tokens_cached"),
        *(f"timings/{name}" for name in TIMINGS),
    ],
}
"""What llama.vim sends for a completion."""
WARMING = VIM | {
    "input_prefix": "",
    "input_suffix": "",
    "prompt": "",
    "n_predict": 0,
    "temperature": 0.0,
    "samplers": [],
    "t_max_prompt_ms": 1,
    "t_max_predict_ms": 1,
    "response_fields": [""],
}
"""What it sends to have its context read."""
EXTRA = "\n\n--- a.py ---\n\nx = 1\n\n\n--- snippet ---\n\ny"
PROMPT = f"{EXTRA}✿prefix✿✿suffix✿\nprint(f(1))\n✿middle✿def f(\n    return "


def read(api: Harness) -> str:
    return bytes(i - 1 for i in api.worker.generated[-1].task.prompt_ids).decode()


def writing(text: str) -> Harness:
    return Harness(FILLS, script=lambda _: [text[at : at + 3] for at in range(0, len(text), 3)])


async def test_llama_vim() -> None:
    api = writing("x + 1")
    response = await api.post("/infill", **VIM)
    assert response.status_code == 200, response.text
    body = response.json()
    assert set(body) == set(VIM["response_fields"])
    assert body["content"] == "x + 1"
    # Whole numbers: Vim's printf takes no others.
    assert repr(body["timings/predicted_n"]) == "2"
    assert repr(body["timings/prompt_n"]) == str(len(PROMPT.encode()))
    assert body["truncated"] is False
    assert read(api) == PROMPT
    task = api.worker.generated[0].task
    params = task.params
    assert (params.top_k, params.top_p, params.temperature) == (40, pytest.approx(0.9), 1.0)
    assert (params.max_tokens, params.stop) == (128, MARKERS)
    # The context is read once for as long as it stays the same.
    assert task.use.boundaries[len(EXTRA.encode())] == "system"


async def test_llama_vim_has_its_context_read() -> None:
    api = Harness(FILLS)
    response = await api.post("/infill", **WARMING)
    assert (response.status_code, response.json()) == (200, {})
    assert api.worker.generated[0].task.params.max_tokens == 0
    assert read(api) == EXTRA + "✿prefix✿✿suffix✿✿middle✿"


async def test_llama_vscode() -> None:
    api = writing("one\ntwo")
    body = {name: value for name, value in VIM.items() if name not in ("response_fields", "stop")}
    body["input_extra"] = [{"text": "a", "time": 1, "filename": "b"}]
    answer = (await api.post("/infill", **body, n_cmpl=1, model=MODEL)).json()
    assert answer["content"] == "one\n"  # the next line is not indented
    assert answer["stop_type"] == "limit"
    assert answer["generation_settings"]["n_ctx"] > 1 << 16
    assert {"tokens_cached", "truncated", *TIMINGS} <= {*answer, *answer["timings"]}
    several = (await api.post("/infill", **body, n_cmpl=3)).json()
    assert [each["index"] for each in several] == [0, 1, 2]
    assert len({json.dumps(each["content"]) for each in several}) == 1


async def test_continue_streams_a_completion() -> None:
    api = Harness()
    body = {"prompt": "a", "stream": True, "n_predict": 50, "top_k": 5, "min_p": 0.1}
    response = await api.post("/completion", **body)
    chunks = [json.loads(data) for data in events(response.text)]
    assert "[DONE]" not in response.text
    assert "".join(chunk["content"] for chunk in chunks) == "Hello, wörld"
    assert [chunk["stop"] for chunk in chunks] == [False] * 3 + [True]
    assert [chunk["tokens"] for chunk in chunks] == [[0], [1], [2], []]
    last = chunks[-1]
    assert (last["stop_type"], last["tokens_predicted"], last["tokens_evaluated"]) == ("eos", 3, 1)
    assert last["timings"]["predicted_n"] == 3


async def test_a_whole_answer() -> None:
    api = Harness()
    answer = (await api.post("/completion", prompt="a", return_tokens=True)).json()
    assert (answer["content"], answer["tokens"]) == ("Hello, wörld", [0, 1, 2])
    assert answer["stop"] is True
    assert answer["model"] == MODEL
    assert answer["generation_settings"]["temperature"] == 1
    assert answer["generation_settings"]["n_predict"] == 4096
    assert (await api.post("/completion", prompt="a")).json()["tokens"] == []


@pytest.mark.parametrize(
    "prompt",
    ["AB", ["AB"], [66, 67], [[66, 67]], {"prompt_string": "AB"}],
)
async def test_forms_of_a_prompt(prompt: Any) -> None:
    api = Harness()
    assert (await api.post("/completion", prompt=prompt)).status_code == 200
    assert read(api) == "AB"


async def test_several_prompts_are_a_list() -> None:
    answers = (await Harness().post("/completion", prompt=["A", "BC"], n_cmpl=2)).json()
    assert [each["index"] for each in answers] == [0, 1, 2, 3]
    assert [each["tokens_evaluated"] for each in answers] == [1, 1, 2, 2]


@pytest.mark.parametrize("name", ["n_probs", "logprobs"])
async def test_probabilities(name: str) -> None:
    api = scoring(lambda _: FakeTokenizer().encode("xé"))
    answer = (await api.post("/completion", **{"prompt": "a", name: 2})).json()
    shown = answer["completion_probabilities"]
    assert [each["id"] for each in shown] == FakeTokenizer().encode("xé")
    assert [bytes(each["bytes"]) for each in shown] == [b"x", b"\xc3", b"\xa9"]
    assert all(len(each["top_logprobs"]) == 2 for each in shown)
    streamed = await api.post("/completion", **{"prompt": "a", "stream": True, name: 2})
    chunks = [json.loads(data) for data in events(streamed.text)]
    told = [item for chunk in chunks[:-1] for item in chunk["completion_probabilities"]]
    assert [each["id"] for each in told] == [each["id"] for each in shown]


async def stopped(finish: Any, stop_string: str) -> dict[str, Any]:
    api = Harness(FILLS, finish=finish)
    api.worker.stop_string = stop_string
    body = {"input_prefix": "a", "input_suffix": "b"}
    answer: dict[str, Any] = (await api.post("/infill", **body)).json()
    return answer


async def test_what_ended_it() -> None:
    for finish, stop_string, kind, word in (
        ("stop", "", "eos", ""),
        ("stop", "END", "word", "END"),
        ("stop", MARKERS[1], "eos", ""),  # that is how a middle ends
        ("length", "", "limit", ""),
    ):
        answer = await stopped(finish, stop_string)
        assert (answer["stop_type"], answer["stopping_word"]) == (kind, word)


@pytest.mark.parametrize(
    ("text", "indent", "kept"),
    [
        ("a\n  b\n c\n  d", 2, "a\n  b\n "),
        ("a\n\n  b\nc", 2, "a\n\n  b\n"),
        ("a\n\t\tb\nc", 2, "a\n\t\tb\n"),
        ("    a\n    b", 4, "    a\n    b"),
        ("a\nb", 0, "a\nb"),
        ("a", 8, "a"),
        ("a\n   ", 4, "a\n   "),
        ("ab\n      cdefg\n      hi\nx", 6, "ab\n      cdefg\n      hi\n"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 5, 50])
async def test_a_line_that_is_indented_less_ends_it(
    text: str, indent: int, kept: str, size: int
) -> None:
    script = [text[at : at + size] for at in range(0, len(text), size)]
    api = Harness(FILLS, script=lambda _: script)
    body = {"input_prefix": "a", "input_suffix": "b", "n_indent": indent}
    answer = (await api.post("/infill", **body)).json()
    assert answer["content"] == kept
    assert answer["has_new_line"] == ("\n" in kept)


async def test_time_ends_it_after_a_line_break(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def passing() -> float:
        now[0] += 0.1
        return now[0]

    monkeypatch.setattr("server.api.llama_server.answer.perf_counter", passing)
    body = {"input_prefix": "a", "input_suffix": "b", "t_max_predict_ms": 350}
    api = Harness(FILLS, script=lambda _: [*"abcdefghij"])
    assert (await api.post("/infill", **body)).json()["content"] == "abcdefghij"
    api = Harness(FILLS, script=lambda _: [*"ab\ndefghij"])
    answer = (await api.post("/infill", **body)).json()
    assert (answer["content"], answer["stop_type"]) == ("ab\nde", "limit")
    worker: FakeWorker = api.worker
    assert worker.aborted


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input_prefix": None}, "input_prefix"),
        ({"input_suffix": None}, "input_suffix"),
        ({"input_suffix": 5}, "input_suffix"),
        ({"prompt": [1]}, "prompt"),
        ({"input_extra": "x"}, "input_extra"),
        ({"input_extra": [{"filename": "x"}]}, "input_extra.0.text"),
        ({"input_extra": [{"text": "a"}] * 257}, "input_extra"),
        ({"samplers": ["top_p", "top_k"]}, "samplers"),
        ({"samplers": ["top_k", "temperature"], "temperature": 0.5}, "samplers"),
        ({"samplers": ["mirostat"]}, "samplers"),
        ({"samplers": ["top_k", "top_k"]}, "samplers"),
        ({"samplers": "kp"}, "samplers"),
        ({"stream": True, "n_indent": 2}, "n_indent"),
        ({"stream": True, "t_max_predict_ms": 2}, "t_max_predict_ms"),
        ({"stream": True, "response_fields": ["content"]}, "response_fields"),
        ({"dynatemp_range": 0.5}, "dynatemp_range"),
        ({"lora": [{"id": 0, "scale": 0.5}]}, "lora"),
        ({"post_sampling_probs": True}, "post_sampling_probs"),
        ({"mirostat": 1}, "mirostat"),
        ({"n_predict": 10**9}, "n_predict"),
        ({"temperature": "hot"}, "temperature"),
        ({"echo": True}, "echo"),
        ({"suffix": "x"}, "suffix"),
        ({"grammar": "root ::= ("}, "grammar"),
        ({"input_prefix": "✿middle✿"}, "input_prefix"),
        ({"prompt": "✿middle✿"}, "input_prefix"),
        ({"input_suffix": "x✿suffix✿"}, "input_suffix"),
        ({"input_extra": [{"text": "✿prefix✿"}]}, "input_extra"),
        ({"input_extra": [{"text": "a", "filename": "✿prefix✿"}]}, "input_extra"),
    ],
)
async def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    api = Harness(FILLS)
    response = await api.post("/infill", **{"input_prefix": "a", "input_suffix": "b", **fields})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] in (param, "max_tokens"), response.text
    assert not api.worker.generated


@pytest.mark.parametrize(
    "fields",
    [
        {
            "samplers": [
                "penalties",
                "dry",
                "top_n_sigma",
                "top_k",
                "typ_p",
                "top_p",
                "min_p",
                "xtc",
            ]
        },
        {"samplers": ["top_k", "top_p", "temperature"], "temperature": 1},
        {"samplers": ["top_k", "top_p", "temperature"], "temperature": 0},
        {"samplers": ["temperature", "top_k"], "temperature": 0.5},
        {"samplers": None, "seed": -1, "n_keep": 5, "n_cache_reuse": 256, "lora": []},
        {"n_predict": -1, "timings_per_token": True, "return_progress": True},
    ],
)
async def test_what_is_taken(fields: dict[str, Any]) -> None:
    api = Harness(FILLS)
    response = await api.post("/infill", input_prefix="a", input_suffix="b", **fields)
    assert response.status_code == 200, response.text


async def test_samplers_that_are_not_listed_are_off() -> None:
    api = Harness()
    given = {
        **{"min_p": 0.1, "typical_p": 0.5, "top_k": 7, "top_p": 0.3, "temperature": 0.5},
        **{"repeat_penalty": 1.5, "presence_penalty": 1, "dry_multiplier": 1, "top_n_sigma": 2},
        "xtc_probability": 0.5,
    }
    await api.post("/completion", prompt="a", samplers=["top_k"], **given)
    params = api.worker.generated[0].task.params
    assert (params.top_k, params.top_p, params.temperature) == (7, 1, 1)
    off = (params.min_p, params.typical_p, params.repetition_penalty, params.presence_penalty)
    assert off == (0, 1, 1, 0)
    assert (params.dry_multiplier, params.top_n_sigma, params.xtc_probability) == (0, 0, 0)


async def test_seeds() -> None:
    api = Harness()
    for seed in (-1, -1, 5):
        await api.post("/completion", prompt="a", seed=seed)
    first, second, third = (each.task.params.seed for each in api.worker.generated)
    assert first != second  # −1 is any
    assert third == 5


async def test_a_model_that_cannot_fill() -> None:
    response = await Harness().post("/infill", input_prefix="a", input_suffix="")
    error = assert_error(response, 400, "unsupported_parameter")
    assert error["param"] == "input_suffix"
    assert "G1c" in error["message"]


async def test_properties() -> None:
    for sections in ({}, FILLS):
        api = Harness(sections)
        async with api.http() as http:
            shown = (await http.get("/props")).json()
        assert shown["model_alias"] == MODEL
        assert shown["fill_in_middle"] == bool(sections)
        assert shown["default_generation_settings"]["n_ctx"] > 1 << 16
        assert shown["chat_template"] == "{# fake #}"
