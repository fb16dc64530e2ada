"""Every field of other servers that changes an answer, on every route: kept, or refused by name.

The names are those of the public request schemas of SGLang, vLLM, llama.cpp's server, text-
generation-inference, LM Studio, OpenRouter, DeepSeek, Mistral, Qwen, Groq and Fireworks.
"""

import re
from typing import Any

import pytest

from server.api.schemas.peer_fields import ADVICE, ALIASES, UNSUPPORTED
from server.sampling.params import SamplingParams
from tests.api.answers import says
from tests.api.harness import CHAT, COMPLETIONS, Harness

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "hi"}]
RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"
BODIES: dict[str, dict[str, Any]] = {
    COMPLETIONS: {"prompt": "a"},
    CHAT: {"messages": HELLO},
    RESPONSES: {"input": "hi", "store": False},
    MESSAGES: {"messages": HELLO, "max_tokens": 50},
    "/api/chat": {"messages": HELLO, "stream": False},
    "/api/generate": {"prompt": "hi", "stream": False},
}
OPTIONS = ("/api/chat", "/api/generate")
"""Routes that have fields of sampling in options."""

REFUSED: dict[str, list[Any]] = {
    # SGLang
    "stop_regex": ["a+", ["a", "b"]],
    "custom_logit_processor": ["x"],
    "custom_params": [{"a": 1}],
    "lora_path": ["x", ["x"]],
    "session_params": [{"id": "x"}],
    "return_hidden_states": [True, "last"],
    "return_routed_experts": [True],
    "structural_tag": ["{}"],
    # vLLM
    "use_beam_search": [True],
    "length_penalty": [0.5, 2],
    "truncate_prompt_tokens": [5, 0],
    "chat_template": ["{{ messages }}"],
    "prompt_embeds": ["x", ["x"]],
    "thinking_token_budget": [0, 100],
    "logits_processors": [["x"], [{"qualname": "x"}]],
    "prompt_logprobs": [0, 1, -1],
    "return_token_ids": [True],
    "return_tokens_as_token_ids": [True],
    "skip_special_tokens": [False],
    "detokenize": [False],
    "guided_whitespace_pattern": ["[ ]"],
    "repetition_detection": [{"max_pattern_size": 3}],
    "vllm_xargs": [{"a": 1}],
    # llama.cpp
    "samplers": [["top_k"], "kt"],
    "dynatemp_range": [0.5, -1],
    "min_keep": [2],
    "n_indent": [4],
    "n_probs": [3],
    "post_sampling_probs": [True],
    "return_tokens": [True],
    "response_fields": [["content"]],
    "t_max_predict_ms": [100],
    "lora": [[{"id": 0, "scale": 1}]],
    "multimodal_data": [["x"]],
    "image_data": [[{"id": 1}]],
    "tfs_z": [0.5],
    "penalize_nl": [False],
    "adaptive_target": [0.5, 0],
    "thinking_budget_tokens": [0, 50],
    "reasoning_budget": [0, 1000],
    # text-generation-inference and transformers
    "do_sample": [False],
    "num_beams": [4],
    "no_repeat_ngram_size": [3],
    "penalty_alpha": [0.6],
    "epsilon_cutoff": [0.1],
    "eta_cutoff": [0.1],
    "guidance_scale": [1.5],
    "negative_prompt": ["x"],
    "watermark": [True],
    "adapter_id": ["x"],
    "details": [True],
    "decoder_input_details": [True],
    "top_n_tokens": [2],
    "return_full_text": [True],
    "inputs": ["x"],
    "tool_prompt": ["x"],
    "guideline": ["x"],
    "bad_words_ids": [[[1]]],
    # OpenRouter and other services
    "top_a": [0.2],
    "models": [["a", "b"]],
    "plugins": [[{"id": "web"}]],
    "web_search_options": [{"search_context_size": "low"}],
    "search_parameters": [{"mode": "on"}],
    "enable_search": [True],
    "safe_prompt": [True],
    "prompt_mode": ["reasoning"],
    "guardrails": [[{"x": 1}]],
    "thinking_budget": [100],
    "prompt_truncate_len": [1500],
    "modalities": [["text", "audio"], ["image"]],
    # Other servers of RWKV; test_migration.py has the rest of theirs
    "global_penalty": [True],
}
"""Refused on every route: name → values that would change the answer."""

NEUTRAL: dict[str, list[Any]] = {
    "use_beam_search": [False],
    "length_penalty": [1, 1.0, 0],
    "truncate_prompt_tokens": [-1],
    "skip_special_tokens": [True],
    "samplers": [[], ""],
    "dynatemp_range": [0, 0.0],
    "min_keep": [0, 1],
    "adaptive_target": [-1.0],
    "penalize_nl": [True],
    "tfs_z": [1, 1.0],
    "do_sample": [True],
    "thinking_budget_tokens": [-1],
    "modalities": [["text"]],
    "top_n_sigma": [0, -1],
    "repeat_penalty": [1],
    "lora": [[]],
    "regex": [""],
    "bad_words": [[]],
    "return_token_ids": [False],
    "max_new_tokens": [None],
    # What changes nothing.
    "user": ["u"],
    "metadata": [{"a": "b"}],
    "service_tier": ["auto"],
    "safety_identifier": ["x"],
    "request_id": ["x"],
    "rid": ["x"],
    "id_slot": [1, -1],
    "n_keep": [5],
    "ttl": [300],
    "draft_model": ["x"],
    "num_draft_tokens": [3],
    "provider": [{"order": ["a"]}],
    "route": ["fallback"],
    "transforms": [["middle-out"]],
    "kv_transfer_params": [{"a": 1}],
    "timings_per_token": [True],
    "spaces_between_special_tokens": [False],
    "guided_decoding_backend": ["xgrammar"],
    "no_such_field": [[1]],
}
"""Accepted on every route, and without effect."""

KEPT: list[tuple[dict[str, Any], str, Any]] = [
    ({"max_new_tokens": 7}, "max_tokens", 7),
    ({"n_predict": 7.0}, "max_tokens", 7),
    ({"min_new_tokens": 3}, "min_tokens", 3),
    ({"repeat_penalty": 1.25}, "repetition_penalty", 1.25),
    ({"repeat_last_n": 64}, "penalty_last_n", 64),
    ({"repetition_context_size": 20}, "penalty_last_n", 20),
    ({"random_seed": 5}, "seed", 5),
    ({"top_n_sigma": 1.5}, "top_n_sigma", 1.5),
    ({"bad_words": ["x", "yz", "x"]}, "bad_words", ("x", "yz")),
    ({"mirostat_mode": 2, "mirostat_target": 3}, "mirostat_tau", 3.0),
    ({"stop": ["S"], "include_stop_str_in_output": True}, "shown_stop", ("S",)),
    ({"stop": ["S"], "no_stop_trim": True}, "shown_stop", ("S",)),
    ({"min_p": 0.1, "dry_multiplier": 0.5}, "dry_multiplier", 0.5),
    ({"regex": "[a-c]+"}, "grammar", ...),
    ({"ebnf": 'root ::= "a"'}, "grammar", ...),
    ({"grammar": 'root ::= "a"'}, "grammar", ...),
    ({"json_schema": '{"type": "object"}'}, "grammar", ...),
]
"""Fields → a parameter of the engine; ...: any but the neutral one."""


def with_fields(path: str, fields: dict[str, Any], in_options: bool = False) -> dict[str, Any]:
    return BODIES[path] | ({"options": fields} if in_options else fields)


PLACES = [(path, False) for path in BODIES] + [(path, True) for path in OPTIONS]


@pytest.mark.parametrize(("path", "in_options"), PLACES)
async def test_what_cannot_be_kept_is_refused_by_name_with_what_to_use(
    path: str, in_options: bool
) -> None:
    api = Harness()
    for name, values in REFUSED.items():
        for value in values:
            response = await api.post(path, **with_fields(path, {name: value}, in_options))
            assert response.status_code == 400, (name, value, response.text)
            error = response.json()["error"]
            message = error if isinstance(error, str) else error["message"]
            assert message.startswith(f"options.{name}: " if in_options else f"{name}: ")
            assert "is not supported by this server; " in message, message
            assert ADVICE[name] in message
            if path in (CHAT, COMPLETIONS):
                assert (error["param"], error["code"]) == (name, "unsupported_parameter")
    assert not api.worker.generated


@pytest.mark.parametrize(("path", "in_options"), PLACES)
async def test_what_changes_nothing_is_accepted(path: str, in_options: bool) -> None:
    api = Harness()
    plain = await params_of(api, path, {"seed": 1}, in_options=path in OPTIONS)
    ours = {"top_n_sigma", "repeat_penalty", "regex", "bad_words", "max_new_tokens"}
    for name, values in NEUTRAL.items():
        for value in values:
            if path in OPTIONS and not in_options and name in ours and value not in ("", [], None):
                continue  # belongs in options
            if path == RESPONSES and name == "metadata":
                continue
            if path in OPTIONS:
                fields = {"options": {"seed": 1}} | ({} if in_options else {name: value})
                fields["options"] |= {name: value} if in_options else {}
            else:
                fields = {"seed": 1, name: value}
            assert await params_of(api, path, fields) == plain, (name, value)


@pytest.mark.parametrize(("path", "in_options"), PLACES)
@pytest.mark.parametrize(("fields", "name", "value"), KEPT)
async def test_what_has_an_equivalent_is_kept(
    path: str, in_options: bool, fields: dict[str, Any], name: str, value: Any
) -> None:
    if path in OPTIONS and not in_options:
        response = await Harness().post(path, **with_fields(path, fields))
        assert response.status_code == 400, response.text
        return
    body = dict(fields)
    if path == MESSAGES and name == "max_tokens":
        pytest.skip("max_tokens is needed there, and another name would contradict it")
    found = getattr(await params_of(Harness(), path, body, in_options), name)
    assert found not in ("", None) if value is ... else found == value


async def params_of(
    api: Harness, path: str, fields: dict[str, Any], in_options: bool = False
) -> SamplingParams:
    before = len(api.worker.generated)
    response = await api.post(path, **with_fields(path, fields, in_options))
    assert response.status_code == 200, (fields, response.text)
    assert len(api.worker.generated) == before + 1
    return api.worker.generated[-1].task.params


def test_the_table_has_all_that_is_refused() -> None:
    others = {"early_stopping", "sampler_order", "sampler_priority", "temperature_last"}
    others |= {"dynamic_temperature", "smoothing_factor", "sequence_bias", "grammar_string"}
    others |= {"suffix", "input_prefix", "input_suffix", "input_extra", "role_mapping"}
    others |= {
        "safe_mode",
        "system_name",
        "adapters",
        "diversity_penalty",
        "tfs",
        "penalize_newline",
    }
    others |= {"encoder_repetition_penalty", "reasoning_budget_tokens"}
    # test_migration.py
    others |= {"grammar_lazy", "grammar_triggers", "generation_prompt", "chat_parser"}
    others |= {"chat_format", "template", "names", "presystem", "user_name", "assistant_name"}
    assert set(UNSUPPORTED) - set(REFUSED) == others
    assert set(UNSUPPORTED) <= set(ADVICE)
    assert not set(ALIASES) & set(UNSUPPORTED)


ONLY_THERE: list[tuple[str, dict[str, Any], str]] = [
    (CHAT, {"echo": True}, "echo"),
    (CHAT, {"system": "be brief"}, "system"),
    (CHAT, {"instructions": "be brief"}, "instructions"),
    (CHAT, {"separate_reasoning": False}, "separate_reasoning"),
    (CHAT, {"stream_reasoning": False}, "stream_reasoning"),
    (CHAT, {"reasoning_format": "none"}, "reasoning_format"),
    (CHAT, {"reasoning_format": "raw"}, "reasoning_format"),
    (CHAT, {"parse_tool_calls": False}, "parse_tool_calls"),
    (CHAT, {"reasoning": {"max_tokens": 100}}, "reasoning.max_tokens"),
    (CHAT, {"reasoning": "high"}, "reasoning"),
    (CHAT, {"reasoning": {"effort": "low"}, "reasoning_effort": "high"}, "reasoning_effort"),
    (CHAT, {"thinking": {"type": "enabled", "budget_tokens": 99}}, "thinking.budget_tokens"),
    (CHAT, {"thinking": {"type": "sometimes"}}, "thinking"),
    (CHAT, {"thinking": True}, "thinking"),
    (CHAT, {"functions": [{"name": "f"}]}, "functions"),
    (COMPLETIONS, {"tools": [{"type": "function"}]}, "tools"),
    (COMPLETIONS, {"prompt": None, "messages": HELLO}, "messages"),
    (COMPLETIONS, {"prompt": None, "input": "a"}, "input"),
    (MESSAGES, {"enable_thinking": False}, "enable_thinking"),
    (MESSAGES, {"reasoning_effort": "low"}, "reasoning_effort"),
    (MESSAGES, {"reasoning": {"effort": "low"}}, "reasoning"),
    (MESSAGES, {"include_reasoning": False}, "include_reasoning"),
    (MESSAGES, {"chat_template_kwargs": {"a": 1}}, "chat_template_kwargs"),
    (MESSAGES, {"documents": [{"text": "a"}]}, "documents"),
    (MESSAGES, {"instructions": "a"}, "instructions"),
    (MESSAGES, {"echo": True}, "echo"),
    (RESPONSES, {"enable_thinking": False}, "enable_thinking"),
    (RESPONSES, {"reasoning_effort": "low"}, "reasoning_effort"),
    (RESPONSES, {"thinking": {"type": "disabled"}}, "thinking"),
    (RESPONSES, {"chat_template_kwargs": {"a": 1}}, "chat_template_kwargs"),
    (RESPONSES, {"messages": HELLO}, "messages"),
    (RESPONSES, {"system": "a"}, "system"),
    (RESPONSES, {"echo": True}, "echo"),
    (RESPONSES, {"continue_final_message": True}, "continue_final_message"),
]


@pytest.mark.parametrize(("path", "fields", "param"), ONLY_THERE)
async def test_what_another_route_has_is_refused_by_name(
    path: str, fields: dict[str, Any], param: str
) -> None:
    response = await Harness().post(path, **(BODIES[path] | fields))
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
    assert response.json()["error"]["message"].startswith(f"{param}: ")


@pytest.mark.parametrize(
    ("fields", "thinks", "effort"),
    [
        ({"reasoning": {"effort": "high"}}, True, "high"),
        ({"reasoning": {"effort": "none"}}, False, "none"),
        ({"reasoning": {"enabled": True}}, True, None),
        ({"reasoning": {"enabled": False}}, False, None),
        ({"reasoning": {}}, True, None),
        ({"reasoning": None}, True, None),
        ({"thinking": {"type": "enabled"}}, True, None),
        ({"thinking": {"type": "disabled"}}, False, None),
        ({"thinking": {"type": "auto"}}, True, None),
    ],
)
async def test_reasoning_is_asked_for_in_many_words(
    fields: dict[str, Any], thinks: bool, effort: str | None
) -> None:
    for path in (CHAT, "/apply-template"):
        api = Harness({"model": {"reasoning": "on"}})
        response = await api.post(path, messages=HELLO, **fields)
        assert response.status_code == 200, response.text
        assert api.template.variables[0].get("enable_thinking") is thinks
        assert api.template.variables[0].get("reasoning_effort") == effort


@pytest.mark.parametrize(
    "fields",
    [
        {"include_reasoning": False},
        {"reasoning": {"exclude": True}},
        {"reasoning_format": "hidden"},
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_reasoning_can_be_left_out_of_the_response(
    fields: dict[str, Any], stream: bool
) -> None:
    api = Harness({"model": {"reasoning": "on"}}, script=says("so</think>yes"))
    body = {"messages": HELLO, "stream": stream}
    shown = (await api.post(CHAT, **body)).text
    hidden = (await api.post(CHAT, **body, **fields)).text
    assert "reasoning_content" in shown
    assert "reasoning_content" not in hidden
    contents = [re.findall(r'"content":"(\w+)"', text) for text in (shown, hidden)]
    assert "".join(contents[0]) == "".join(contents[1]) == "yes"


@pytest.mark.parametrize("path", OPTIONS)
async def test_fields_of_chats_have_their_place_with_ollama(path: str) -> None:
    for fields in ({"temperature": 0}, {"seed": 1}, {"response_format": {"type": "json_object"}}):
        error = (await Harness().post(path, **with_fields(path, fields))).json()["error"]
        assert error.endswith("put it into options")
    for options in ({"n": 2}, {"best_of": 2}, {"state_id": "state_1"}, {"save_state": True}):
        response = await Harness().post(path, **with_fields(path, {}), options=options)
        assert response.status_code == 400
        assert response.json()["error"].startswith(f"options.{next(iter(options))}: ")
    for options in ({"n": 1}, {"model": "other"}, {"stream": True}, {"priority": 3}):
        response = await Harness().post(path, **with_fields(path, {}), options=options)
        assert response.status_code == 200, response.text
        assert response.json()["done"]
