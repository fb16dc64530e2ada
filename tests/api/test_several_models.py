"""Requests that name one of several models."""

import json

import pytest

from server.protocol.task import Task
from server.sampling.params import SamplingParams
from tests.api.harness import CHAT, COMPLETIONS, MODEL, Harness, assert_error, events

pytestmark = pytest.mark.anyio

SECTIONS = {
    "model": {"aliases": ["main"]},
    "models": {"other": {"aliases": ["gpt-4o"], "states": {"poet": "p.pth"}}},
}
PARAMS = SamplingParams(max_tokens=5, seed=1)
HELLO = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("name", "ident", "state"),
    [
        (None, MODEL, ""),
        ("", MODEL, ""),
        ("main", MODEL, ""),
        ("other", "other", ""),
        ("gpt-4o", "other", ""),
        ("other:poet", "other:poet", "poet"),
        ("gpt-4o:poet", "other:poet", "poet"),
    ],
)
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_name_chooses_and_the_answer_has_the_id(
    name: str | None, ident: str, state: str, path: str, stream: bool
) -> None:
    api = Harness(SECTIONS)
    response = await api.post(path, model=name, prompt="a", messages=HELLO, stream=stream)
    assert response.status_code == 200
    answers = [json.loads(each) for each in events(response.text)[:-1]]
    assert {each["model"] for each in answers or [response.json()]} == {ident}
    asked = {key: workers.worker.generated for key, workers in api.workers.items()}
    (request,) = asked.pop(ident.split(":")[0])
    assert request.task.initial_state == state
    assert list(asked.values()) == [[]]


@pytest.mark.parametrize("name", ["gpt-4", "other:", "other:x", f"{MODEL}:poet", ":poet"])
async def test_unknown_names(name: str) -> None:
    response = await Harness(SECTIONS).post(COMPLETIONS, model=name, prompt="a")
    assert "'org/tiny', 'other'" in assert_error(response, 404, "model_not_found")["message"]


async def test_the_list_has_models_and_their_states() -> None:
    async with Harness(SECTIONS).http() as http:
        models = (await http.get("/v1/models")).json()["data"]
        assert [model["id"] for model in models] == [
            *(MODEL, "other", "other:poet"),
            *("main", "gpt-4o"),
        ]
        for name, ident in (("gpt-4o", "other"), ("gpt-4o:poet", "other:poet"), ("main", MODEL)):
            for tag in ("", ":latest"):  # which Ollama's clients add
                assert (await http.get(f"/v1/models/{name}{tag}")).json()["id"] == ident
        for name in ("other:latest:latest", ":latest", "latest", "other:poet2:latest"):
            assert_error(await http.get(f"/v1/models/{name}"), 404, "model_not_found")
        assert_error(await http.get("/v1/models/other:x"), 404, "model_not_found")


async def test_the_queue_is_that_of_all_models() -> None:
    api = Harness(SECTIONS | {"limits": {"max_requests": 2}}, hold_after=0)
    for model in ("main", "other"):
        with api.manager.lease(model) as route:
            route.submit(Task([1], PARAMS))
    for model in ("main", "other"):
        response = await api.post(COMPLETIONS, model=model, prompt="a")
        assert_error(response, 429, "queue_full")


async def test_health_counts_the_requests_of_all_models() -> None:
    api = Harness(SECTIONS, hold_after=0)
    with api.manager.lease("other") as route:
        route.submit(Task([1], PARAMS))
    async with api.http() as http:
        assert (await http.get("/health")).json()["active_requests"] == 1
