"""Requests beyond what the model was trained for: answered, and told of."""

import logging
from dataclasses import replace
from typing import Any

import pytest

from tests.api import harness
from tests.api.answers import HELLO, says
from tests.api.harness import CHAT, COMPLETIONS, MODEL, Harness
from tests.fakes import fake_model

pytestmark = pytest.mark.anyio

HEADER = "x-trained-length"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Harness:
    def trained(*made_of: Any) -> Any:
        model = fake_model(*made_of)
        return replace(model, trained_length=20, system_fingerprint=f"fp_{id(model)}")

    monkeypatch.setattr(harness, "fake_model", trained)
    return Harness(script=says("yes"))


async def test_models_tell_it(api: Harness) -> None:
    async with api.http() as http:
        (model,) = (await http.get("/v1/models")).json()["data"]
        assert (await http.get(f"/v1/models/{MODEL}")).json() == model
        shown = await http.post("/api/show", json={"model": MODEL})
    for field in ("context_window", "context_length", "max_model_len"):
        assert model[field] == 20
    assert shown.json()["model_info"]["rwkv7.context_length"] == 20


@pytest.mark.parametrize(("size", "told"), [(10, False), (21, True), (500, True)])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_completion(api: Harness, size: int, told: bool, stream: bool) -> None:
    response = await api.post(COMPLETIONS, prompt="a" * size, stream=stream, max_tokens=2)
    assert response.status_code == 200
    assert response.headers.get(HEADER) == ("20" if told else None)


async def test_what_is_generated_counts(api: Harness) -> None:
    response = await api.post(COMPLETIONS, prompt="a" * 19, max_tokens=9)
    assert response.json()["usage"]["total_tokens"] > 20
    assert response.headers[HEADER] == "20"
    several = await api.post(COMPLETIONS, prompt=["a", "a" * 25, "a"], max_tokens=1)
    assert several.headers[HEADER] == "20"
    many = await api.post(COMPLETIONS, prompt=["a"] * 30, max_tokens=1)  # each by itself
    assert HEADER not in many.headers


async def test_other_routes(api: Harness) -> None:
    long = [{"role": "user", "content": "a" * 30}]
    message = {"model": MODEL, "messages": long, "max_tokens": 9}
    for path, body in (
        (CHAT, {"messages": long}),
        ("/v1/messages", message),
        ("/api/chat", {"model": MODEL, "messages": long, "stream": False}),
    ):
        response = await api.post(path, **body)
        assert response.status_code == 200, path
        assert response.headers[HEADER] == "20", path


async def test_the_log_says_it_once(api: Harness, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for stream in (True, False, True):
            await api.post(COMPLETIONS, prompt="a" * 18, stream=stream, max_tokens=9)
    lines = [record.message for record in caplog.records if "trained for" in record.message]
    assert len(lines) == 1
    assert MODEL in lines[0]


async def test_nothing_is_told_where_it_is_not_known() -> None:
    api = Harness(script=says("yes"))
    response = await api.post(CHAT, messages=[*HELLO, {"role": "user", "content": "a" * 5000}])
    assert HEADER not in response.headers
