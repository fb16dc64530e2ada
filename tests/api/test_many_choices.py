"""Requests of thousands of texts: others have their turn while their outputs are taken in."""

import asyncio
from typing import Any

import pytest

from server.api import encoding, relevance
from server.api.generation import Generation
from server.api.text_threads import THREAD_CHARACTERS
from server.protocol.outputs import RequestOutput
from tests.api.harness import Harness

pytestmark = pytest.mark.anyio

MANY: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {"input": [f"text {number}" for number in range(600)]},
    "/rerank": {"query": "a", "documents": [f"text {number}" for number in range(600)]},
    "/score": {"text_1": "a", "text_2": [f"text {number}" for number in range(600)]},
}


def count_a_turn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many outputs were taken in at each turn of the event loop."""
    turns: list[int] = []
    take_in = Generation._take_in

    def counted(self: Generation, index: int, output: RequestOutput) -> Any:
        if not turns or not turns[-1]:
            turns.append(0)
            asyncio.get_running_loop().call_soon(lambda: turns.append(0))
        turns[-1] += 1
        return take_in(self, index, output)

    monkeypatch.setattr(Generation, "_take_in", counted)
    return turns


@pytest.mark.parametrize("path", MANY)
@pytest.mark.parametrize("requests", [1, 4])
async def test_a_turn_of_the_loop_has_few_outputs_of_them(
    path: str, requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Harness()
    turns = count_a_turn(monkeypatch)
    answers = await asyncio.gather(*(api.post(path, **MANY[path]) for _ in range(requests)))
    assert [answer.status_code for answer in answers] == [200] * requests
    assert len({answer.text.split('"', 4)[-1] for answer in answers}) in (1, requests)
    assert sum(turns) == 600 * requests
    # 16 of one with many; others that have up to 16 are not held up by that.
    assert max(turns) <= 16 * (requests + 1)


@pytest.mark.parametrize("path", MANY)
async def test_thousands_of_short_texts_are_encoded_in_a_thread(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    for module in (encoding, relevance):
        original = module.run_encoding

        async def run(size: int, *args: Any, original: Any = original) -> Any:
            sizes.append(size)
            return await original(size, *args)

        monkeypatch.setattr(module, "run_encoding", run)
    assert (await Harness().post(path, **MANY[path])).status_code == 200
    assert max(sizes) > THREAD_CHARACTERS
