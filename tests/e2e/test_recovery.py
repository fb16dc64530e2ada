"""Workers that are killed, stopped, or cannot come back, under real requests: the bytes stay."""

import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.server_process import START_SECONDS, ServerProcess, run_cli

pytestmark = pytest.mark.slow

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
COMMON = {"max_tokens": 300, "ignore_eos": True, "temperature": 1.3, "top_p": 1}
ENDLESS = {**COMMON, "prompt": "Once", "seed": 5, "max_tokens": 12_000}


def ask(number):
    """Path and body of one of eight requests."""
    body = {**COMMON, "seed": number, "stream": number % 4 != 3, "n": 2 if number in (2, 3) else 1}
    body |= {"frequency_penalty": 0.4} if number % 3 == 0 else {"presence_penalty": 0.2}
    if body["stream"]:
        body["stream_options"] = {"include_usage": True}
    if number in (1, 2):
        body |= {"mirostat": 2, "dry_multiplier": 0.5, "xtc_probability": 0.3}
    text = f"Day {number}: the sea – 海 – was calm. " * (number + 1)
    if number % 2:
        return CHAT, body | {"messages": [{"role": "user", "content": text}]}
    return COMPLETIONS, body | {"prompt": text}


class Progress:
    """Counts what has come, and lets a test wait for so many.

    Of streams the characters, not the events: how many tokens share one depends on how busy the
    machine is.
    """

    def __init__(self):
        self._count = 0
        self._more = threading.Condition()

    def add(self, count):
        with self._more:
            self._count += count
            self._more.notify_all()

    def wait_until(self, goal):
        with self._more:
            assert self._more.wait_for(lambda: self._count >= goal, START_SECONDS)

    def wait_for(self, more):
        self.wait_until(self._count + more)


def text_of(choice):
    if "text" in choice:
        return choice["text"]
    return choice.get("message", choice.get("delta", {})).get("content") or ""


def read(http, path, body, progress):
    """Texts and finish reasons of the choices, and the usage."""
    texts, reasons, usage = {}, {}, None

    def take_in(answer):
        nonlocal usage
        usage = answer.get("usage") or usage
        for choice in answer["choices"]:
            index = choice["index"]
            texts[index] = texts.get(index, "") + text_of(choice)
            reasons[index] = choice["finish_reason"] or reasons.get(index)

    if body.get("stream"):
        with http.stream("POST", path, json=body) as reply:
            assert reply.status_code == 200, reply.read()
            lines = [line for line in _counted(reply, progress) if line.startswith("data: ")]
        assert lines.pop() == "data: [DONE]", lines[-1]
        for line in lines:
            take_in(json.loads(line.removeprefix("data: ")))
    else:
        reply = http.post(path, json=body)
        assert reply.status_code == 200, reply.text
        take_in(reply.json())
    # A worker that took over may or may not have had the prompt in its cache.
    usage.pop("prompt_tokens_details")
    return texts, reasons, usage


def _counted(reply, progress):
    for line in reply.iter_lines():
        if line.startswith("data: {"):
            choices = json.loads(line.removeprefix("data: ")).get("choices", ())
            progress.add(sum(len(text_of(choice)) for choice in choices))
        yield line


def read_all(server, requests, disturb=lambda _: None):
    """The answers to requests that run at the same time, while `disturb` gets their progress."""
    progress = Progress()
    with server.client() as http, ThreadPoolExecutor(len(requests)) as pool:
        running = [pool.submit(read, http, *request, progress) for request in requests]
        disturb(progress)
        return [each.result() for each in running]


def undisturbed(server):
    """Eight requests, of which two end by a stop string, and their answers."""
    requests = [ask(number) for number in range(8)]
    answers = read_all(server, requests)
    for number in (0, 5):
        path, body = requests[number]
        requests[number] = path, body | {"stop": ["never", answers[number][0][0][250:254]]}
    answers = read_all(server, requests)
    assert [answers[number][1][0] for number in (0, 1, 5)] == ["stop", "length", "stop"]
    return requests, answers


@pytest.mark.parametrize("workers", [1, 2])
def test_clients_get_the_bytes_of_an_undisturbed_run(workers):
    with ServerProcess("--workers", str(workers), RWKV_SERVER_ENGINE_HANG_SECONDS=3) as server:
        server.wait_until_ready()
        requests, answers = undisturbed(server)
        streamed = sum(
            sum(map(len, texts.values()))
            for (_, body), (texts, _, _) in zip(requests, answers, strict=True)
            if body["stream"]
        )

        def kill_twice(progress):
            first, *others = server.workers()
            progress.wait_until(streamed // 20)
            first.send_signal(signal.SIGKILL)
            progress.wait_until(streamed // 3)
            while not (left := others or server.workers()):  # it may be starting again
                time.sleep(0.01)
            left[0].send_signal(signal.SIGKILL)

        def stop_one(progress):
            progress.wait_until(streamed // 8)
            server.workers()[-1].send_signal(signal.SIGSTOP)

        assert read_all(server, requests, kill_twice) == answers
        server.wait_for_line("is back", 0, times=2)
        assert read_all(server, requests, stop_one) == answers
        server.wait_for_line("is back", 0, times=3)
        assert len(server.workers()) == workers
        log = "\n".join(server.lines)
        assert "was killed by SIGKILL (out of memory?); " in log
        assert "was killed: it has said nothing for 3 s; " in log
        assert "ERROR" not in log
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0


def test_a_request_that_is_there_whenever_workers_die_is_refused_and_others_go_on():
    with ServerProcess("--workers", "1", "--threads", "1") as server:
        server.wait_until_ready()
        other = (
            COMPLETIONS,
            {**ENDLESS, "stream": True, "stream_options": {"include_usage": True}},
        )
        (expected,) = read_all(server, [other])
        # Its prefill takes longer than the test, so it has no token when its workers are killed.
        poison = {**COMMON, "prompt": [1 + n % 250 for n in range(400_000)]}

        def kill(since):
            server.workers()[0].send_signal(signal.SIGKILL)
            server.wait_for_line("is back", since)

        def kill_three_times(progress):
            progress.wait_for(300)
            with server.client() as http, ThreadPoolExecutor(1) as pool:
                refused = pool.submit(http.post, COMPLETIONS, json=poison)
                while http.get("/health").json()["active_requests"] < 2:
                    assert not refused.done(), refused.result().text
                    progress.wait_for(1)
                kill(len(server.lines))
                progress.wait_for(60)  # the other one is not to blame
                kill(len(server.lines))
                kill(len(server.lines))
                reply = refused.result()
            assert (reply.status_code, reply.headers["x-should-retry"]) == (500, "false")
            assert reply.json()["error"]["code"] == "poison_request"

        assert read_all(server, [other], kill_three_times) == [expected]
        with server.client() as http:
            assert http.get("/ready").status_code == 200


def test_a_worker_that_cannot_come_back_is_waited_for(tmp_path):
    path, away, other = (tmp_path / f"{name}.safetensors" for name in ("a", "away", "other"))
    for file, seed in ((path, "1"), (other, "2")):
        shape = ("--layers", "1", "--dim", "64", "--vocab-size", "256", "--seed", seed)
        assert run_cli("init", *shape, str(file))[0] == 0
    with (
        ServerProcess(str(path), "--threads", "1") as server,
        server.wait_until_ready().client() as http,
    ):
        body = {"prompt": "a", "max_tokens": 5, "temperature": 0}
        before = http.post(COMPLETIONS, json=body).json()["choices"]
        since = len(server.lines)
        path.rename(away)
        with server.streaming(ENDLESS | {"max_tokens": 60_000, "stream": True}) as events:
            server.workers()[0].send_signal(signal.SIGKILL)
            *_, last = events
        assert json.loads(last)["error"]["code"] == "engine_error"
        assert "could not be started again" in json.loads(last)["error"]["message"]
        # Only the log names files: who has no key of role admin is not told where they lie.
        assert "a.safetensors" in server.wait_for_line("takes no requests: ", since)[0]
        for reply in (http.get("/ready"), http.post(COMPLETIONS, json=body)):
            assert reply.status_code == 503
            assert int(reply.headers["retry-after"]) >= 1
            assert str(tmp_path) not in reply.text
        assert http.get("/health").status_code == 200
        other.rename(path)
        server.wait_for_line("it has changed; reload it", since)
        assert http.get("/ready").status_code == 503
        away.replace(path)
        server.wait_for_line("takes requests again", since)
        assert http.get("/ready").status_code == 200
        assert http.post(COMPLETIONS, json=body).json()["choices"] == before
