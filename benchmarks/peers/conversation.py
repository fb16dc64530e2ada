"""What our server and llama-server remember of prompts: times to the first token, in turn.

    python -m benchmarks.peers.conversation --llama-server PATH --llama-quantize PATH
        [--shape 0.1b] [--threads 2] [--rounds 2] [--attempts 1] [--work DIR]

One client, one request after the other, prompts of random token ids, a fresh server with an empty
cache for each round; it is restarted once. The last line is one JSON object: milliseconds to the
first token and the tokens of the prompt that were computed for it, medians of the rounds; ratios of
ours to theirs, and within each server, medians of those of each round.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import httpx

from benchmarks.peers.command_line import add_common_options, add_program, model_files
from benchmarks.peers.programs import ProgramError
from benchmarks.peers.rounds import Found, measure_in_rounds, summary
from benchmarks.peers.server_process import ServerProcess, caching_llama_server, our_server

HISTORY, DOCUMENT, SYSTEM, TURN, QUESTION = 20_000, 10_000, 2_000, 60, 40
"""Tokens."""
TURNS = 3
"""Of each of two users."""
IDS = range(300, 65_000)
"""Of the World vocabulary: none of them is special, or a single byte."""
CONTEXT = 32_768
"""llama-server refuses longer prompts."""
OURS, THEIRS = "ours int8", "llama-server Q8_0"
WITHIN = {
    "turn_50 / turn_1": ("turn_50_ms", "turn_1_ms"),
    "restarted_turn / turn_1": ("restarted_turn_ms", "turn_1_ms"),
    "second_question / first": ("second_question_ms", "first_question_ms"),
    "third_question / first": ("third_question_ms", "first_question_ms"),
    "second_user / first": ("second_user_ms", "first_user_ms"),
    "users_turn / first": ("users_turn_ms", "first_user_ms"),
}
_SLOT = 0
_QUANTITIES = ("ms", "computed")

Figures = dict[str, float]


class Client:
    """Asks one server for one token after each prompt, and notes how long that takes."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self.found: Figures = {}

    def ask(self, name: str, prompt: list[int], slot: int | None = None) -> None:
        """Add `name`_ms and `name`_computed, the tokens of the prompt that no cache had.

        Only llama-server knows slots. Raises ProgramError for another number of tokens than one.
        """
        body: dict[str, object] = {
            "prompt": prompt,
            "max_tokens": 1,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if slot is not None:
            body["id_slot"] = slot
        started, first, last = time.perf_counter(), 0.0, "{}"
        with self._http.stream("POST", "/v1/completions", json=body) as reply:
            reply.raise_for_status()
            for line in reply.iter_lines():
                event = line.removeprefix("data: ")
                if event == line or event == "[DONE]":
                    continue
                if not first and any(map(_is_answer, json.loads(event)["choices"])):
                    first = time.perf_counter() - started
                last = event
        usage = json.loads(last).get("usage") or {}
        if not first or usage.get("completion_tokens") != 1:
            raise ProgramError(f"wanted 1 token, and the stream ended with {last[:200]!r}")
        self.found[f"{name}_ms"] = 1000 * first
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        self.found[f"{name}_computed"] = usage["prompt_tokens"] - cached

    def keep_slot(self, action: str) -> None:
        """Tell llama-server to save its slot to a file, or to restore it; adds `action`_slot_ms."""
        started = time.perf_counter()
        path, body = f"/slots/{_SLOT}?action={action}", {"filename": "conversation"}
        self._http.post(path, json=body).raise_for_status()
        self.found[f"{action}_slot_ms"] = 1000 * (time.perf_counter() - started)


def main() -> None:
    """Read the command line, measure, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_program(parser, "--llama-server", required=True)
    add_program(parser, "--llama-quantize", required=True)
    add_common_options(parser)
    parser.set_defaults(rounds=2, attempts=1)  # a round takes minutes
    arguments = parser.parse_args()
    with model_files(arguments) as files:
        gguf = files.gguf("Q8_0")
        checkpoint, threads, program = files.checkpoint(), arguments.threads, arguments.llama_server
        ours = partial(our_server, checkpoint, "int8", threads)
        theirs = partial(caching_llama_server, program, gguf, threads, CONTEXT)
        measurements = {
            OURS: partial(measure, ours, has_slots=False),
            THEIRS: partial(measure, theirs, has_slots=True),
        }
        found = measure_in_rounds(measurements, arguments.rounds, arguments.attempts)
    result = {
        "benchmark": "peers_conversation",
        "shape": arguments.shape,
        "threads": arguments.threads,
        "rounds": arguments.rounds,
    }
    print(json.dumps(result | summary(found, [(OURS, THEIRS)]) | {"within": within(found)}))


def measure(start: Callable[[Path], ServerProcess], has_slots: bool) -> Figures:
    """One round. `start` is given a folder for what a server keeps when it ends; a server with
    slots keeps there what it is told to, ours all of it.
    """
    slot = _SLOT if has_slots else None
    ids = partial(random.Random("conversation").choices, IDS)
    found: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        with start(Path(folder)) as server, _connected(server) as http:
            client = Client(http)
            client.ask("turn_1", ids(k=TURN))
            history = ids(k=HISTORY)
            client.ask("history", history, slot)
            history += ids(k=TURN)
            client.ask("turn_50", history, slot)
            if has_slots:
                client.keep_slot("save")
            found |= client.found
        with start(Path(folder)) as server, _connected(server) as http:
            client = Client(http)
            if has_slots:
                client.keep_slot("restore")
            client.ask("restarted_turn", history + ids(k=TURN), slot)
            _ask_about_a_document(client, ids)
            _take_turns(client, ids)
            return found | client.found


def _ask_about_a_document(client: Client, ids: Callable[..., list[int]]) -> None:
    document = ids(k=DOCUMENT)
    for name in ("first", "second", "third"):
        client.ask(f"{name}_question", document + ids(k=QUESTION))


def _take_turns(client: Client, ids: Callable[..., list[int]]) -> None:
    """Two users after one system prompt, whose requests alternate."""
    system = ids(k=SYSTEM)
    histories = {user: system + ids(k=TURN) for user in ("first_user", "second_user")}
    later = []
    for turn in range(TURNS):
        for user, history in histories.items():
            name = user if turn == 0 else "users_turn"
            client.ask(name, history)
            history += ids(k=TURN)
            if turn:
                later.append({key: client.found.pop(f"users_turn_{key}") for key in _QUANTITIES})
    for key in _QUANTITIES:
        client.found[f"users_turn_{key}"] = statistics.median(each[key] for each in later)


def within(found: Found) -> dict[str, dict[str, float]]:
    """Name of a server → name of a ratio of two of its figures → median over the rounds."""
    return {
        name: {
            ratio: round(statistics.median(each.figures[a] / each.figures[b] for each in rounds), 4)
            for ratio, (a, b) in WITHIN.items()
        }
        for name, rounds in found.items()
    }


def _connected(server: ServerProcess) -> httpx.Client:
    server.wait_until_ready()
    # On connections that were used again llama-server twice sent no answer; why was not found.
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(base_url=server.url, timeout=600, trust_env=False, limits=limits)


def _is_answer(choice: Mapping[str, object]) -> bool:
    """The only token may be no whole character, and then the end of the stream is its sign."""
    return bool(choice["text"] or choice.get("finish_reason"))


if __name__ == "__main__":
    main()
