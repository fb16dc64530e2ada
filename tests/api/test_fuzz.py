"""Whatever JSON a client sends, the answer is a result or an error that it can read."""

import asyncio
import json
from typing import Any

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from server.api.errors import ERRORS
from tests.api.harness import CHAT, COMPLETIONS, Harness, assert_error

LIMITS = {"max_output_tokens": 100, "max_prompt_tokens": 30, "max_choices": 4}

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)
FIELDS = [
    "model", "prompt", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p",
    "top_k", "presence_penalty", "frequency_penalty", "repetition_penalty", "penalty_decay",
    "seed", "stop", "stop_token_ids", "ignore_eos", "n", "best_of", "stream", "stream_options",
    "logprobs", "top_logprobs", "echo", "suffix", "tools", "tool_choice", "functions",
    "allowed_token_ids", "min_tokens", "logit_bias", "typical_p", "min_p", "xtc_probability",
    "xtc_threshold", "mirostat", "mirostat_mode", "mirostat_tau", "mirostat_eta", "dry_multiplier",
    "dry_base", "dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers",
    "response_format", "audio", "metadata", "unknown", "state_id", "save_state",
    "dimensions", "encoding_format", "pooling", "normalize", "content", "parse_special",
    "return_token_strs", "with_pieces", "add_generation_prompt",
    "guided_json", "guided_regex", "guided_choice", "structured_outputs", "json_schema",
]  # fmt: skip
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "tool", "nobody"])},
        optional={
            "content": JSON_VALUES,
            "name": JSON_VALUES,
            "tool_calls": JSON_VALUES,
            "tool_call_id": JSON_VALUES,
        },
    ),
    max_size=3,
)
BODIES = st.builds(
    lambda base, more: base | more,
    st.fixed_dictionaries(
        {
            "input": st.just("a") | JSON_VALUES,
            "tokens": st.lists(st.integers(-1, 300)) | JSON_VALUES,
        },
        optional={"prompt": st.just("a") | JSON_VALUES, "messages": MESSAGES},
    ),
    st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES, max_size=3),
)


PATHS = [CHAT, COMPLETIONS, "/v1/embeddings", "/tokenize", "/detokenize", "/apply-template"]


@settings(max_examples=400, deadline=None)
@given(path=st.sampled_from(PATHS), body=BODIES | JSON_VALUES)
def test_no_body_makes_an_internal_error(path: str, body: Any) -> None:
    async def scenario() -> httpx.Response:
        return await Harness({"limits": LIMITS}).post_bytes(path, json.dumps(body).encode())

    response = asyncio.run(scenario())
    if response.status_code != 200:
        code = response.json()["error"]["code"]
        assert response.status_code in (400, 404)
        assert_error(response, ERRORS[code].status, code)
