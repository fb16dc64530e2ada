"""Prompts and answers are in the log when logging.prompts says so, and nowhere otherwise."""

import json
import logging
from typing import Any

import pytest

from server.logs import HumanFormatter
from server.telemetry.transcript import MOST_CHARS
from tests.api.harness import CHAT, COMPLETIONS, Harness
from tests.fake_text import FakeTokenizer

pytestmark = pytest.mark.anyio

LOGGING = {"logging": {"prompts": True}}
ASKED, ANSWERED = "Wann fährt der Zug?", "Um 12 Uhr."


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        HumanFormatter().format(record)
        for record in caplog.records
        if record.name == "server.telemetry.transcript"
    ]


def texts(found: list[str]) -> list[str]:
    return [json.loads(line[line.index('"') : line.rindex('"') + 1]) for line in found]


@pytest.mark.parametrize("stream", [False, True])
async def test_each_prompt_and_each_choice_is_a_line(
    stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    api = Harness(LOGGING, script=lambda _: [ANSWERED])
    await api.post(COMPLETIONS, prompt=["one", "two"], n=2, stream=stream)
    found = lines(caplog)
    assert texts(found) == ["one", "two", *[ANSWERED] * 4]
    assert "prompt 1, 3 tokens: " in found[1]
    assert "answer 3, 1 tokens, stop: " in found[-1]


async def test_a_line_stays_one_line_and_shows_no_controls(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    hostile = 'a"\n\r\u2028\x85\x1b[31m\x9b\u202e 海 '
    api = Harness(LOGGING, script=lambda _: [hostile])
    await api.post(CHAT, messages=[{"role": "user", "content": hostile}])
    for line in lines(caplog):
        assert line.isprintable()
        assert "海" in line
    prompt, answer = texts(lines(caplog))
    assert hostile in prompt
    assert answer == hostile


async def test_long_texts_are_cut(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    api = Harness(LOGGING, script=lambda _: ["xy" * MOST_CHARS])
    await api.post(COMPLETIONS, prompt="ab" * MOST_CHARS)
    prompt, answer = lines(caplog)
    assert f"prompt 0, {2 * MOST_CHARS} tokens, the beginning: " in prompt
    assert "answer 0, 1 tokens, stop, the beginning: " in answer
    assert [len(text) for text in texts([prompt, answer])] == [MOST_CHARS] * 2


async def test_what_was_answered_before_an_error_is_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    api = Harness(LOGGING, script=lambda _: [ANSWERED], finish="error", error="out of luck")
    await api.post(COMPLETIONS, prompt=ASKED)
    assert texts(lines(caplog)) == [ASKED, ANSWERED]
    assert ", error: " in lines(caplog)[1]


def requests_with(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Good ones, and some of each kind that is refused."""
    message = {"role": "user", "content": text}
    return [
        (COMPLETIONS, {"prompt": text, "stop": [text], "user": text}),
        (COMPLETIONS, {"prompt": FakeTokenizer().encode(text), "stream": True}),
        (CHAT, {"messages": [message, {"role": "assistant", "content": text}, message]}),
        (COMPLETIONS, {"prompt": text, "temperature": -1}),
        (COMPLETIONS, {"prompt": {"text": text}}),
        (COMPLETIONS, {"prompt": text, "max_tokens": text}),
        (CHAT, {"messages": text}),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "x": text}]}]}),
        (CHAT, {"messages": [message], "tools": text}),
        ("/v1/states", {"prompt": text}),
    ]


@pytest.mark.parametrize(
    "worker", [{}, {"finish": "error", "error": "out of luck"}], ids=["well", "failing"]
)
async def test_else_no_text_is_in_logs_errors_or_metrics(
    worker: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    api = Harness(script=lambda _: [ANSWERED], **worker)
    seen, answers = "", ""
    for path, body in requests_with(ASKED):
        response = await api.post(path, **body)
        if response.status_code == 200:
            answers += response.text
        else:
            seen += response.text
    seen += (await api.post_bytes(COMPLETIONS, f'{{"prompt": "{ASKED}'.encode())).text
    seen += (await api.post_bytes(COMPLETIONS, ASKED.encode())).text
    async with api.http() as http:
        seen += (await http.get("/metrics")).text
    seen += "".join(HumanFormatter().format(record) for record in caplog.records)
    assert "server.api.access" in {record.name for record in caplog.records}
    assert ANSWERED in answers
    for word in ("fährt", "f\\u00e4hrt", "Zug", "12 Uhr", "102, 228"):
        assert word not in seen


async def test_an_exception_is_logged_without_the_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    api = Harness(template_error=RuntimeError("a bug"))
    response = await api.post(CHAT, messages=[{"role": "user", "content": ASKED}])
    assert response.status_code == 500
    seen = response.text + "".join(HumanFormatter().format(record) for record in caplog.records)
    assert "a bug" in seen
    assert "Zug" not in seen
