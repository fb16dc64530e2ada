"""Bodies that are no JSON for a reason that can be named: of which encoding, how deep, how long."""

import json
from typing import Any

import pytest

from server.api.bodies.threads import SMALL_BODY
from tests.api.harness import CHAT, COMPLETIONS, Harness, assert_error

pytestmark = pytest.mark.anyio

PADDING = " " * SMALL_BODY


@pytest.mark.parametrize("padding", ["", PADDING], ids=["small", "large"])
@pytest.mark.parametrize("path", [COMPLETIONS, CHAT, "/v1/embeddings", "/v1/messages", "/api/chat"])
@pytest.mark.parametrize(
    ("body", "word"),
    [
        ('{"prompt": "é"}'.encode("latin-1"), "not UTF-8 (byte 0xe9 at 12"),
        ('{"prompt": "“"}'.encode("cp1252"), "not UTF-8 (byte 0x93 at 12"),
        (b'{"prompt": "\xff"}', "not UTF-8 (byte 0xff at 12"),
        (b'{"prompt": "\xc3', "not UTF-8 (byte 0xc3 at 12"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "levels deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "levels deep"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "a number of more than"),
        (b'{"a": ]}', "not valid JSON"),
    ],
)
async def test_what_is_wrong_is_named(path: str, body: bytes, word: str, padding: str) -> None:
    response: Any = await Harness().post_bytes(path, body + padding.encode())
    assert response.status_code == 400
    error = response.json()["error"]
    message = error if isinstance(error, str) else error["message"]
    assert word in message
    assert len(message) < 200


@pytest.mark.parametrize("padding", ["", PADDING], ids=["small", "large"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-le"])
async def test_every_encoding_of_json_is_read(encoding: str, padding: str) -> None:
    text = json.dumps({"prompt": "é", "max_tokens": 1}, ensure_ascii=False) + padding
    response = await Harness().post_bytes(COMPLETIONS, text.encode(encoding))
    assert response.status_code == 200, response.text


async def test_errors_of_the_body_have_their_code() -> None:
    response = await Harness().post_bytes(CHAT, b'{"prompt": "\xe9"}')
    assert_error(response, 400, "invalid_json")
