"""What the values of a body take of memory is known before they are made, about."""

import json
import tracemalloc
from typing import Any

import pytest

from server.api.bodies.parse import check, parse

MB = 1 << 20
BODIES: dict[str, Any] = {
    "empty lists": [[] for _ in range(20_000)],
    "empty objects": [{} for _ in range(20_000)],
    "objects of one field": [{"a": number} for number in range(1000, 20_000)],
    "lists of one": [[number] for number in range(1000, 20_000)],
    "fields": {f"k{number}": number for number in range(20_000)},
    "small integers": [1] * 100_000,
    "integers": [*range(1000, 100_000)],
    "fractions": [number + 0.5 for number in range(20_000)],
    "short strings": [f"{number}" for number in range(20_000)],
    "messages": [{"role": "user", "content": f"Hello {number}!"} for number in range(10_000)],
    "a text": "Once there was a dog. " * 20_000,
    "a text with an emoji": "Once there was a dog. " * 20_000 + "😀",
    "a text with a dash": "Once there was a dog. " * 20_000 + "–",
    "a Chinese text": "从前有一条狗。" * 20_000,
    "a French text": "Il était une fois un chien. " * 20_000,
    "a text of emoji": "😀" * 40_000,
    "texts, one with an emoji": ["Once there was a dog. " * 9_999, "😀"],
}


def taken(body: bytes) -> int:
    """The memory of the values."""
    copy = bytearray(body)
    tracemalloc.start()
    values = parse(copy)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert values is not None
    return size


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("is_ascii", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_values_take_hardly_more_than_is_said(name: str, is_ascii: bool, encoding: str) -> None:
    body = json.dumps(BODIES[name], ensure_ascii=is_ascii).encode(encoding)
    said = check(body, 10**9, 10**9)
    assert taken(body) < 1.7 * said + 50_000
    if not is_ascii and encoding == "utf-8":  # else texts seem to be longer, or wider
        assert said < 8 * taken(body) + 50_000


def test_what_ordinary_requests_take_is_little() -> None:
    messages = [{"role": "user", "content": "Once there was a dog. " * 20}] * 50
    body = json.dumps({"messages": messages, "max_tokens": 100}).encode()
    assert check(body, 100_000, 10**6) < 100_000
