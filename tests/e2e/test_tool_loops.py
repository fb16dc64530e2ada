"""Ten turns of calls and results: each reads no more than its own tokens, whoever asks."""

import json
import shutil

import pytest

from server.tokenizer.huggingface import HuggingFaceTokenizer
from tests.e2e.server_process import ROOT, ServerProcess
from tests.e2e.test_state_cache import until_read
from tests.tokenizer.test_request_template import QWEN

EMBEDDED = ROOT / "server/assets/embedded"
TURNS, ENOUGH = 10, 64
SYSTEM = "You are a patient assistant who looks things up. " * 6
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
FUNCTION = {"name": "weather", "description": "The weather of a city.", "parameters": SCHEMA}
TOOL = {"type": "function", "function": FUNCTION}
LOG = {"RWKV_SERVER_LOGGING_FORMAT": "json"}  # tells more
LIMITS = {"max_tokens": 120, "temperature": 1.2, "top_p": 1}


@pytest.fixture(scope="module", params=["g1", "hermes"])
def server(request, tmp_path_factory):
    """With the template of G1, and with one of Hermes' that came with the model."""
    if request.param == "g1":
        with ServerProcess(**LOG) as process:
            yield process.wait_until_ready()
        return
    folder = tmp_path_factory.mktemp("hermes")
    for name in ("model.safetensors", "tokenizer.json"):
        shutil.copy(EMBEDDED / name, folder)
    (folder / "chat_template.jinja").write_text(QWEN)
    with ServerProcess(folder, "--name", "rwkv-embedded", **LOG) as process:
        yield process.wait_until_ready()


@pytest.fixture
def http(server):
    with server.client() as client:
        yield client


def asked(http, path, body):
    reply = http.post(path, json=body)
    assert reply.status_code == 200, reply.text
    until_read(http)
    return reply.json()


class Chat:
    """OpenAI's chat. Without thoughts, of which a small model finds no end before its call."""

    path = "/v1/chat/completions"
    extra = {"tool_choice": "required", "reasoning_effort": "none"}  # noqa: RUF012

    def __init__(self):
        self.said = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Rome?"}]

    def body(self, seed):
        return {"messages": self.said, "tools": [TOOL], "seed": seed, **LIMITS, **self.extra}

    def usage(self, answer, _):
        usage = answer["usage"]
        return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]

    def go_on(self, answer, result):
        message = answer["choices"][0]["message"]
        self.said.append({key: value for key, value in message.items() if value is not None})
        calls = message.get("tool_calls", ())
        for call in calls:
            self.said.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        if not calls:
            self.said.append({"role": "user", "content": result})
        return len(calls)


class FreeChat(Chat):
    """The model says what it likes."""

    extra = {"cache_salt": "free"}  # noqa: RUF012


class Responses:
    path = "/v1/responses"

    def __init__(self):
        self.said = [{"role": "user", "content": "Rome?"}]

    def body(self, seed):
        tools = [{"type": "function", **FUNCTION}]
        limits = {key: value for key, value in LIMITS.items() if key != "max_tokens"}
        body = {"input": self.said, "instructions": SYSTEM, "tools": tools, "store": False}
        body["reasoning"] = {"effort": "none"}
        return body | limits | {"max_output_tokens": 120, "seed": seed, "tool_choice": "required"}

    def usage(self, answer, _):
        usage = answer["usage"]
        return usage["input_tokens"], usage["input_tokens_details"]["cached_tokens"]

    def go_on(self, answer, result):
        self.said += answer["output"]
        calls = [item for item in answer["output"] if item["type"] == "function_call"]
        self.said += [
            {"type": "function_call_output", "call_id": call["call_id"], "output": result}
            for call in calls
        ]
        return len(calls)


class Messages:
    path = "/v1/messages"
    no_thoughts = {"thinking": {"type": "disabled"}}  # noqa: RUF012

    def __init__(self):
        self.said = [{"role": "user", "content": "Rome?"}]

    def body(self, seed):
        tool = {"name": "weather", "description": "The weather.", "input_schema": SCHEMA}
        body = {"model": "rwkv-embedded", "system": SYSTEM, "messages": self.said, "tools": [tool]}
        return body | LIMITS | {"tool_choice": {"type": "any"}, "seed": seed} | self.no_thoughts

    def usage(self, answer, _):
        usage = answer["usage"]
        cached = usage["cache_read_input_tokens"]
        return usage["input_tokens"] + cached + usage["cache_creation_input_tokens"], cached

    def go_on(self, answer, result):
        self.said.append({"role": "assistant", "content": answer["content"]})
        calls = [block for block in answer["content"] if block["type"] == "tool_use"]
        results = [
            {"type": "tool_result", "tool_use_id": call["id"], "content": result} for call in calls
        ]
        self.said.append({"role": "user", "content": results or result})
        return len(calls)


class Ollama:
    """It cannot ask for a call: the model says what it likes, and the client adds a call."""

    path = "/api/chat"

    def __init__(self):
        self.said = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Rome?"}]

    def body(self, seed):
        options = {"num_predict": 60, "temperature": 1.2, "top_p": 1, "seed": seed}
        strict = {**TOOL, "function": FUNCTION}
        return {"messages": self.said, "tools": [strict], "stream": False, "options": options}

    def usage(self, answer, counted):
        return answer["prompt_eval_count"], counted

    def go_on(self, answer, result):
        message = answer["message"]
        call = {"function": {"name": "weather", "arguments": {"city": "Rome", "days": 1.50}}}
        message.setdefault("tool_calls", [call])
        self.said.append(message)
        for _ in message["tool_calls"]:
            self.said.append({"role": "tool", "tool_name": "weather", "content": result})
        return len(message["tool_calls"])


@pytest.mark.parametrize("client", [Chat, FreeChat, Responses, Messages, Ollama])
def test_a_turn_reads_its_own_tokens(server, http, client):
    dialect, before, calls = client(), 0, 0
    for turn in range(TURNS):
        start = len(server.lines)
        answer = asked(http, dialect.path, dialect.body(turn))
        (line,) = server.wait_for_line(f"POST {dialect.path}", start)
        tokens, cached = dialect.usage(answer, json.loads(line)["cached_tokens"])
        assert cached <= tokens
        if turn:
            assert tokens - cached <= tokens - before + ENOUGH
            assert cached >= before - ENOUGH
        before = tokens
        calls += dialect.go_on(answer, json.dumps({"sky": "clear", "turn": turn}, indent=1))
    assert calls >= (0 if client is FreeChat else TURNS // 2)  # a long text may be cut


def test_calls_and_results_are_all_that_a_turn_reads(http):
    """What the answer was is read ahead, or was just computed."""
    tokenizer = HuggingFaceTokenizer(EMBEDDED / "tokenizer.json")
    for client in (Chat, Messages, Responses):
        dialect, own = client(), 0
        for turn in range(4):
            answer = asked(http, dialect.path, {**dialect.body(turn), "cache_salt": "own"})
            tokens, cached = dialect.usage(answer, 0)
            result = f"It is the weather of day {turn}."
            if turn:
                assert tokens - cached <= ENOUGH + own
            calls = dialect.go_on(answer, result)
            own = calls * len(tokenizer.encode(result))
