"""Raw HTTP against the real server."""

import json

import pytest


def test_stream_framing(server):
    body = {"prompt": "Once upon a time", "max_tokens": 5, "stream": True, "seed": 1}
    with server.client() as client, client.stream("POST", "/v1/completions", json=body) as reply:
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.headers["x-request-id"]
        text = reply.read().decode()
    assert text.endswith("\n\n")
    events = text.removesuffix("\n\n").split("\n\n")
    assert all(event.startswith(("data: ", ": ")) and "\n" not in event for event in events)
    data = [event.removeprefix("data: ") for event in events if event.startswith("data: ")]
    assert data[-1] == "[DONE]"
    chunks = [json.loads(item) for item in data[:-1]]
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/v1/completions", b"{", 400, None),
        ("/v1/completions", b'{"prompt": "x", "temperature": "hot"}', 400, "temperature"),
        ("/v1/completions", b'{"prompt": 5}', 400, "prompt"),
        ("/v1/completions", b'{"prompt": [999999]}', 400, "prompt"),
        ("/v1/chat/completions", b'{"messages": []}', 400, "messages"),
        ("/v1/chat/completions", b"[]", 400, None),
        ("/v1/nothing", b"{}", 404, None),
        ("/v1/models", b"{}", 405, None),
    ],
)
def test_errors_have_the_openai_shape(server, path, body, status, param):
    headers = {"content-type": "application/json"}
    with server.client() as client:
        reply = client.post(path, content=body, headers=headers)
    assert reply.status_code == status
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert param is None or error["param"] == param


def test_health_and_readiness(server):
    with server.client() as client:
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 200


def test_text_of_every_script_survives(server):
    text = "naïve 日本語 🙂 \N{ZERO WIDTH JOINER}"
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 5, "seed": 1}
    with server.client() as client:
        reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200
    reply.json()["choices"][0]["message"]["content"].encode()
