"""Fields of sampling: what reaches the worker, and what is refused by a name."""

import json
import math
from typing import Any

import pytest

from server.sampling.params import DRY_BREAKERS, NEVER, SamplingParams
from tests.api.harness import CHAT, COMPLETIONS, Harness, assert_error

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "hi"}]
BODIES: dict[str, dict[str, Any]] = {CHAT: {"messages": HELLO}, COMPLETIONS: {"prompt": "a"}}


async def params_of(path: str = COMPLETIONS, **fields: Any) -> SamplingParams:
    api = Harness()
    response = await api.post(path, **BODIES[path], **fields)
    assert response.status_code == 200, response.text
    return api.worker.generated[0].task.params


@pytest.mark.parametrize("path", BODIES)
async def test_fields_reach_the_worker_as_they_are(path: str) -> None:
    fields: dict[str, Any] = {
        "min_tokens": 3,
        "typical_p": 0.9,
        "min_p": 0.05,
        "xtc_probability": 0.5,
        "xtc_threshold": 0.2,
        "mirostat": 2,
        "mirostat_tau": 4,
        "mirostat_eta": 0.2,
        "dry_multiplier": 0.8,
        "dry_base": 2,
        "dry_allowed_length": 3,
        "dry_penalty_last_n": 100,
    }
    lists = {"allowed_token_ids": [5, 3], "dry_sequence_breakers": ["\n", "User:"]}
    params = await params_of(path, max_tokens=5, **fields, **lists)
    assert {name: getattr(params, name) for name in fields} == fields
    assert {name: list(getattr(params, name)) for name in lists} == lists


async def test_null_and_absent_fields_are_neutral() -> None:
    names = ["logit_bias", "allowed_token_ids", "min_tokens", "typical_p", "min_p"]
    names += ["mirostat", "mirostat_mode", "dry_multiplier", "dry_sequence_breakers"]
    given, absent = await params_of(**dict.fromkeys(names), seed=1), await params_of(seed=1)
    assert given == absent
    assert absent.dry_sequence_breakers == DRY_BREAKERS
    neutral = SamplingParams(max_tokens=16, seed=1, temperature=1.0, top_p=0.5)
    assert absent == neutral


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ()),
        ({"5": 1.5, "7": -2}, ((5, 1.5), (7, -2.0))),
        ({"a": 1}, ((98, 1.0),)),
        ({"98": 1, "a": 2}, ((98, 2.0),)),
        ([[5, 1], ["a", -1], ["5", 3]], ((5, 1.0), (98, -1.0), (54, 3.0))),
        ([[5, False]], ((5, NEVER),)),
        ({"5": -100, "6": -99.5, "7": 100}, ((5, NEVER), (6, -99.5), (7, 100.0))),
        ([[5, -(10**400)]], ((5, NEVER),)),
    ],
)
async def test_forms_of_logit_bias(given: Any, expected: Any) -> None:
    assert (await params_of(logit_bias=given)).logit_bias == expected


async def test_mirostat_has_two_names_and_chooses_among_all_tokens_unless_told_otherwise() -> None:
    alias = await params_of(mirostat_mode=2)
    assert (alias.mirostat, alias.top_p) == (2, 1.0)
    both = await params_of(mirostat=2, mirostat_mode=2, top_p=0.9)
    assert (both.mirostat, both.top_p) == (2, 0.9)
    assert (await params_of(mirostat=0)).top_p == 0.5


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"logit_bias": 5}, "logit_bias"),
    ({"logit_bias": [5, 1]}, "logit_bias"),
    ({"logit_bias": [[5, 1, 2]]}, "logit_bias"),
    ({"logit_bias": [[True, 1]]}, "logit_bias"),
    ({"logit_bias": [[5, True]]}, "logit_bias"),
    ({"logit_bias": {"5": "1"}}, "logit_bias"),
    ({"logit_bias": {"5": None}}, "logit_bias"),
    ({"logit_bias": {"5": 100.5}}, "logit_bias"),
    ({"logit_bias": {"5": 10**400}}, "logit_bias"),
    ({"logit_bias": {"5": math.nan}}, "logit_bias"),
    ({"logit_bias": {"257": 1}}, "logit_bias"),
    ({"logit_bias": [[-1, 1]]}, "logit_bias"),
    ({"logit_bias": {"-1": 1}}, "logit_bias"),
    ({"logit_bias": {"9" * 5000: 1}}, "logit_bias"),
    ({"logit_bias": {"ab": 1}}, "logit_bias"),
    ({"logit_bias": {"{}": 1}}, "logit_bias"),
    ({"logit_bias": {"": 1}}, "logit_bias"),
    ({"logit_bias": {"\ud800": 1}}, "logit_bias"),
    ({"logit_bias": [[5, 1]] * 1025}, "logit_bias"),
    ({"logit_bias": [[i, False] for i in range(257)]}, "logit_bias"),
    ({"allowed_token_ids": []}, "allowed_token_ids"),
    ({"allowed_token_ids": [257]}, "allowed_token_ids"),
    ({"allowed_token_ids": [-1]}, "allowed_token_ids.0"),
    ({"allowed_token_ids": [1] * 4097}, "allowed_token_ids"),
    ({"allowed_token_ids": [5], "logit_bias": {"5": -100}}, "allowed_token_ids"),
    (
        {"allowed_token_ids": [0, 9], "stop_token_ids": [9], "min_tokens": 1, "max_tokens": 5},
        "allowed_token_ids",
    ),
    ({"min_tokens": -1}, "min_tokens"),
    ({"min_tokens": 6, "max_tokens": 5}, "min_tokens"),
    ({"typical_p": 0}, "typical_p"),
    ({"typical_p": 1.1}, "typical_p"),
    ({"min_p": -0.1}, "min_p"),
    ({"min_p": 1.1}, "min_p"),
    ({"xtc_probability": 2}, "xtc_probability"),
    ({"xtc_threshold": -1}, "xtc_threshold"),
    ({"mirostat": 1}, "mirostat"),
    ({"mirostat": True}, "mirostat"),
    ({"mirostat_mode": 1}, "mirostat_mode"),
    ({"mirostat": 2, "mirostat_mode": 0}, "mirostat_mode"),
    ({"mirostat_tau": -1}, "mirostat_tau"),
    ({"mirostat_eta": 1.5}, "mirostat_eta"),
    ({"dry_multiplier": -1}, "dry_multiplier"),
    ({"dry_base": 0.5}, "dry_base"),
    ({"dry_allowed_length": 0}, "dry_allowed_length"),
    ({"dry_penalty_last_n": -2}, "dry_penalty_last_n"),
    ({"dry_penalty_last_n": 16385}, "dry_penalty_last_n"),
    ({"dry_sequence_breakers": "a"}, "dry_sequence_breakers"),
    ({"dry_sequence_breakers": [""]}, "dry_sequence_breakers.0"),
    ({"dry_sequence_breakers": ["a" * 65]}, "dry_sequence_breakers.0"),
    ({"dry_sequence_breakers": ["a"] * 65}, "dry_sequence_breakers"),
]


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(("fields", "param"), REFUSED)
async def test_refused_values_are_named(path: str, fields: dict[str, Any], param: str) -> None:
    api = Harness()
    reply = await api.post_bytes(path, json.dumps(BODIES[path] | fields).encode())
    error = assert_error(reply, 400, "invalid_value")
    assert error["param"] == param
    assert error["message"].startswith(param)
    assert len(error["message"]) < 300
    assert api.worker.generated == []
