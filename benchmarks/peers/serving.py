"""Our server and llama-server under the same clients, in turn.

    python -m benchmarks.peers.serving --llama-server PATH [--llama-quantize PATH]
        [--dtype int8] [--tokens 96] [--shape 0.1b] [--threads 2] [--rounds 3] [--work DIR]

1, 4 and 16 clients each stream one completion of a prompt of 64 words. The last line is one JSON
object: tokens/s of all clients together and the median milliseconds to the first text, medians of
the rounds, and the ratios of ours to theirs, medians of those of each round.
"""

import argparse
import asyncio
import json
import random
import statistics
import time
from collections.abc import Callable
from functools import partial

import httpx

from benchmarks.peers.command_line import add_common_options, add_program, model_files, positive
from benchmarks.peers.model_files import ModelFiles
from benchmarks.peers.programs import ProgramError
from benchmarks.peers.rounds import measure_in_rounds, summary
from benchmarks.peers.server_process import ServerProcess, llama_server, our_server

CLIENTS = (1, 4, 16)
PROMPT_WORDS = 64
CONTEXT = 1024
"""Tokens that a slot of llama-server has room for: the prompt and the completion."""
PAIRS = {"int8": "Q8_0", "bfloat16": "F16", "int4": "Q4_0"}
"""Our type of weights → llama.cpp's of as many bits."""
WORDS = (
    "the a one some this that little old young small big good dog cat boy girl man woman bird fish "
    "house tree river sea road city garden door window table book story song day night morning "
    "year time went came saw found took gave made said told asked liked wanted and but then so "
    "because when where while in on by near under over after before with without"
).split()


def main() -> None:
    """Read the command line, measure, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_program(parser, "--llama-server", required=True)
    add_program(parser, "--llama-quantize")
    parser.add_argument("--dtype", choices=PAIRS, default="int8", help="of our weights")
    parser.add_argument("--tokens", type=positive, default=96, help="per completion")
    add_common_options(parser)
    arguments = parser.parse_args()
    if PAIRS[arguments.dtype] != "F16" and not arguments.llama_quantize:
        parser.error(f"--dtype {arguments.dtype} wants --llama-quantize")
    ours, theirs = f"ours {arguments.dtype}", f"llama-server {PAIRS[arguments.dtype]}"
    with model_files(arguments) as files:
        starts = _starts(arguments, files)
        measurements = {
            name: partial(_measure, start, arguments.tokens)
            for name, start in zip((ours, theirs), starts, strict=True)
        }
        found = measure_in_rounds(measurements, arguments.rounds, arguments.attempts)
    result = {
        "benchmark": "peers_serving",
        "shape": arguments.shape,
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "tokens": arguments.tokens,
    }
    print(json.dumps(result | summary(found, [(ours, theirs)])))


def _starts(
    arguments: argparse.Namespace, files: ModelFiles
) -> tuple[Callable[[], ServerProcess], Callable[[], ServerProcess]]:
    """What starts our server and theirs, with the files made."""
    program, threads = arguments.llama_server, arguments.threads
    gguf = files.gguf(PAIRS[arguments.dtype])
    return (
        partial(our_server, files.checkpoint(), arguments.dtype, threads),
        partial(llama_server, program, gguf, threads, max(CLIENTS), CONTEXT),
    )


def _measure(start: Callable[[], ServerProcess], tokens: int) -> dict[str, float]:
    """One round with a fresh server: figures for each number of clients."""
    found: dict[str, float] = {}
    with start() as server:
        server.wait_until_ready()
        asyncio.run(_stream_all(server.url, CLIENTS[-1], tokens, "warm-up"))
        for clients in CLIENTS:
            rate, first = asyncio.run(
                _stream_all(server.url, clients, tokens, f"{clients} clients")
            )
            found[f"tokens_per_s_{clients}"] = rate
            found[f"first_text_ms_{clients}"] = first
    return found


async def _stream_all(url: str, clients: int, tokens: int, seed: str) -> tuple[float, float]:
    """(tokens/s of all together, median milliseconds to the first text).

    A seed makes other prompts, so that no server finds one in a cache.
    """
    async with httpx.AsyncClient(base_url=url, timeout=600, trust_env=False) as client:
        started = time.perf_counter()
        firsts = await asyncio.gather(
            *(_stream(client, f"{seed}, {i}", tokens) for i in range(clients))
        )
        seconds = time.perf_counter() - started
    return clients * tokens / seconds, statistics.median(firsts) * 1000


async def _stream(client: httpx.AsyncClient, seed: str, tokens: int) -> float:
    """Seconds to the first text of one whole stream, greedy so that samplers do not matter.

    Raises ProgramError when the stream was not of so many tokens.
    """
    body = {
        "prompt": " ".join(random.Random(seed).choices(WORDS, k=PROMPT_WORDS)),
        "max_tokens": tokens,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    started, first, last = time.perf_counter(), 0.0, ""
    async with client.stream("POST", "/v1/completions", json=body) as reply:
        reply.raise_for_status()
        async for line in reply.aiter_lines():
            event = line.removeprefix("data: ")
            if event == line or event == "[DONE]":
                continue
            if not first and any(choice["text"] for choice in json.loads(event)["choices"]):
                first = time.perf_counter() - started
            last = event
    usage = json.loads(last or "{}").get("usage") or {}
    if usage.get("completion_tokens") != tokens:
        raise ProgramError(f"wanted {tokens} tokens, and the stream ended with {last[:200]!r}")
    return first


if __name__ == "__main__":
    main()
