"""The bound on what bodies hold, in the app: large chats wait until others are answered."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from server.api.bodies.memory import FREE_BYTES
from tests.api.bodies.memory_server import in_time, patient
from tests.api.harness import CHAT, MODEL, Harness

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/api/chat"])
async def test_large_chats_wait_until_others_are_answered(path: str) -> None:
    api = Harness({"http": {"max_body_bytes": 1 << 20}}, hold_after=1)
    patient(api, 0.05)
    most = b'"options":{"num_predict":5}' if path == "/api/chat" else b'"max_tokens":5'
    body = b'{"model":"%b",%b,"stream":false,"messages":[{"role":"user","content":"%b"}]}'
    body %= MODEL.encode(), most, b"a" * (900 << 10)

    async def coming() -> AsyncIterator[bytes]:
        for start in range(0, len(body), FREE_BYTES):
            yield body[start : start + FREE_BYTES]

    async with api.http() as http, in_time():
        headers = {"content-type": "application/json"}
        chats = [http.post(path, content=coming(), headers=headers) for _ in range(12)]
        tasks = [asyncio.create_task(chat) for chat in chats]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        refused = done.pop().result()
        assert refused.status_code == 429, refused.text
        assert refused.headers["retry-after"] == "5", refused.text
        assert "as many large request bodies as it can" in refused.text
        api.worker.release()
        answers = [(await task).status_code for task in tasks]
        assert 1 <= answers.count(200) < 12
        assert answers.count(429) == 12 - answers.count(200)
        assert (await http.post(path, content=coming(), headers=headers)).status_code == 200
