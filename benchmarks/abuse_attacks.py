"""The attacks of abuse.py: each sends a bounded number of requests and says what was answered."""

import http.client
import json
import select
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from benchmarks.abuse_heads import (
    MB,
    chunk_extensions,
    long_header,
    long_url,
    small_headers,
    trailers,
)

BODY_BYTES = 16 * MB - 1024
"""Just below http.max_body_bytes."""

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
MESSAGES, OLLAMA, EMBEDDINGS = "/v1/messages", "/api/chat", "/v1/embeddings"
_PIECE = 256 << 10
_TIMEOUT = 15.0  # seconds; a stranger does not wait until millions of tokens have been read
_ANSWER_BYTES = 64 << 20  # most that is read of an answer


class Target(NamedTuple):
    """Where the server is."""

    host: str
    port: int


Attack = Callable[[Target], "Counter[str]"]


def exchange(target: Target, pieces: Iterable[bytes], timeout: float = _TIMEOUT) -> str:
    """The status of the answer to what is sent as it is; "cut" without one, "none" if none comes.

    Sending ends early when the server has said something.
    """
    with socket.create_connection(target, timeout=timeout) as connection:
        try:
            for piece in pieces:
                for start in range(0, len(piece), _PIECE):
                    connection.sendall(piece[start : start + _PIECE])
                    if _has_answer(connection):
                        return _status(connection)
        except TimeoutError:
            return "none"
        except OSError:  # the server has closed its side; what it said may still be there
            pass
        try:
            return _status(connection)
        except TimeoutError:
            return "none"
        except OSError:
            return "cut"


def _has_answer(connection: socket.socket) -> bool:
    return bool(select.select([connection], [], [], 0)[0])


def _status(connection: socket.socket) -> str:
    """Of the answer, which is read to its end, or to that of the connection."""
    answer, total = b"", 0
    while total < _ANSWER_BYTES and (data := connection.recv(MB)):
        total += len(data)
        answer = (answer + data)[:4096] if len(answer) < 4096 else answer
    return answer[9:12].decode("latin-1") or "cut"


def head(path: str, *headers: str, method: str = "POST") -> bytes:
    """The head of a request that closes its connection."""
    lines = (f"{method} {path} HTTP/1.1", "host: 127.0.0.1", "connection: close", *headers)
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def post(target: Target, path: str, body: bytes) -> str:
    """The status of the answer to a JSON body."""
    length = f"content-length: {len(body)}"
    return exchange(target, (head(path, "content-type: application/json", length), body))


def posting(path: str, make: Callable[[], bytes]) -> Attack:
    """An attack of one body."""

    def attack(target: Target) -> "Counter[str]":
        return Counter([post(target, path, make())])

    return attack


def at_once(attack: Attack, times: int) -> Attack:
    """The same attack over several connections at the same time."""

    def attacks(target: Target) -> "Counter[str]":
        with ThreadPoolExecutor(times) as threads:
            return sum(threads.map(attack, [target] * times), Counter[str]())

    return attacks


def raw(make: Callable[[], Iterable[bytes]]) -> Attack:
    """An attack with what is no proper request."""

    def attack(target: Target) -> "Counter[str]":
        return Counter([exchange(target, make())])

    return attack


# Bodies


def text_of(size: int) -> str:
    """English-like text of so many characters."""
    words = "The quick brown fox jumps over the lazy dog, and then it sleeps. "
    return (words * (size // len(words) + 1))[:size]


def prompt(size: int) -> Callable[[], bytes]:
    """A completion of a long text."""
    return lambda: json.dumps({"prompt": text_of(size), "max_tokens": 1}).encode()


def filled(begin: bytes, item: bytes, end: bytes, times: int = 0) -> Callable[[], bytes]:
    """So many items with commas between them, or as many as fit."""

    def make() -> bytes:
        count = times or (BODY_BYTES - len(begin) - len(end)) // (len(item) + 1)
        return begin + (item + b",") * (count - 1) + item + end

    return make


EMPTY_MESSAGE = b'{"role":"user","content":""}'


def messages(count: int) -> Callable[[], bytes]:
    """A chat of so many empty messages."""
    return filled(b'{"max_tokens":1,"messages":[', EMPTY_MESSAGE, b"]}", count)


def deep() -> bytes:
    """Lists in lists."""
    half = BODY_BYTES // 2 - 64
    return b'{"max_tokens":1,"prompt":' + b"[" * half + b"]" * half + b"}"


def unknown_fields() -> bytes:
    """A million fields that mean nothing."""
    fields = ",".join(f'"f{number}":{number % 10}' for number in range(1_000_000))
    return ('{"prompt":"a","max_tokens":1,' + fields + "}").encode()


_CALL = b'{"type":"function","function":{"name":"a"}}'
_CHAT = b'{"max_tokens":1,"messages":[{"role":"user","content":'

BODIES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "50,000 empty messages": (CHAT, messages(50_000)),
    "400,000 empty messages": (CHAT, messages(400_000)),
    "8,000 messages": (CHAT, messages(8_000)),
    "250,000 tool calls": (
        CHAT,
        filled(
            b'{"max_tokens":1,"messages":[{"role":"assistant","tool_calls":[',
            _CALL,
            b"]}]}",
            250_000,
        ),
    ),
    "many parts": (CHAT, filled(_CHAT + b"[", b'{"type":"text","text":""}', b"]}]}")),
    "many blocks": (
        MESSAGES,
        filled(
            b'{"model":"rwkv-embedded","max_tokens":1,"messages":[{"role":"user","content":[',
            b'{"type":"text","text":""}',
            b"]}]}",
        ),
    ),
    "many input items": (
        RESPONSES,
        filled(b'{"store":false,"max_output_tokens":16,"input":[', EMPTY_MESSAGE, b"]}"),
    ),
    "many messages of Ollama": (
        OLLAMA,
        filled(b'{"model":"rwkv-embedded","stream":false,"messages":[', EMPTY_MESSAGE, b"]}"),
    ),
    "many tools": (
        CHAT,
        filled(
            b'{"max_tokens":1,"messages":[{"role":"user","content":"a"}],"tools":[',
            b'{"type":"function","function":{"name":"a"}}',
            b"]}",
        ),
    ),
    "many inputs": (EMBEDDINGS, filled(b'{"input":[', b'""', b"]}")),
    "2,048 texts to embed": (
        EMBEDDINGS,
        lambda: json.dumps({"input": [f"text {number}" for number in range(2048)]}).encode(),
    ),
    "1,000 documents to rerank": (
        "/rerank",
        lambda: json.dumps({"query": "a", "documents": ["text"] * 1000}).encode(),
    ),
    "many token ids": (COMPLETIONS, filled(b'{"max_tokens":1,"prompt":[', b"1", b"]}")),
    "unknown fields": (COMPLETIONS, unknown_fields),
    "deep": (COMPLETIONS, deep),
    "empty lists": (COMPLETIONS, filled(b'{"max_tokens":1,"x":[', b"[]", b"]}")),
    "4 MB of text": (COMPLETIONS, prompt(4 * MB)),
    "16 MB of text": (COMPLETIONS, prompt(BODY_BYTES - 1024)),
    "16 MB in a chat": (
        CHAT,
        lambda: _CHAT + json.dumps(text_of(BODY_BYTES - 1024)).encode() + b"}]}",
    ),
    "16 MB to count": (
        "/tokenize",
        lambda: json.dumps({"prompt": text_of(BODY_BYTES - 1024)}).encode(),
    ),
}
"""Name → route, and what makes the body."""


def references(target: Target) -> "Counter[str]":
    """An item of 15 MB, and a prompt of three references to it."""
    item = {"type": "message", "role": "user", "content": text_of(15 * MB)}
    made = _json(target, "/v1/conversations", {"items": [item]})
    if "id" not in made:
        return Counter([made["error"]["code"]])
    items = _json(target, f"/v1/conversations/{made['id']}/items", None)
    reference = {"type": "item_reference", "id": items["data"][0]["id"]}
    body = {"input": [reference] * 3, "store": False, "max_output_tokens": 16}
    return Counter([post(target, RESPONSES, json.dumps(body).encode())])


def _json(target: Target, path: str, body: Any) -> Any:
    client = http.client.HTTPConnection(*target, timeout=_TIMEOUT)
    content = None if body is None else json.dumps(body).encode()
    method = "GET" if body is None else "POST"
    client.request(method, path, content, {"content-type": "application/json"})
    answer = json.loads(client.getresponse().read())
    client.close()
    return answer


def stop_strings(target: Target) -> "Counter[str]":
    """16 long stop strings that the text nearly is, token by token."""
    stops = ["a" * (1000 + number) + "b" for number in range(16)]
    body = {
        "prompt": "a",
        "guided_regex": "a{3000}",
        "stop": stops,
        "max_tokens": 3000,
        "temperature": 0,
    }
    return Counter([post(target, COMPLETIONS, json.dumps(body).encode())])


def endless_template(target: Target) -> "Counter[str]":
    """A chat with a model whose template has no end."""
    message = {"role": "user", "content": "endless"}
    body = {"model": "endless", "messages": [message], "max_tokens": 1}
    return Counter([post(target, CHAT, json.dumps(body).encode())])


ATTACKS: dict[str, Attack] = {
    "100 MB of small headers": raw(small_headers),
    "a header of 100 MB": raw(long_header),
    "a URL of 100 MB": raw(long_url),
    "100 MB of trailers": raw(trailers),
    "a chunk extension of 100 MB": raw(chunk_extensions),
    "16 times 100 MB of small headers": at_once(raw(small_headers), 16),
    **{name: posting(*recipe) for name, recipe in BODIES.items()},
    "8 times 16 MB of text": at_once(posting(*BODIES["16 MB of text"]), 8),
    "4 times 2,048 texts to embed": at_once(posting(*BODIES["2,048 texts to embed"]), 4),
    "4 times 1,000 documents to rerank": at_once(posting(*BODIES["1,000 documents to rerank"]), 4),
    "3 references to 15 MB": references,
    "stop strings": stop_strings,
    "a template without end": endless_template,
}
"""Name → what sends it."""
