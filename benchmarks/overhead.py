"""What the server costs beside the engine alone: one JSON line with ratios of one run.

    python -m benchmarks.overhead MODEL [--threads 2] [--engine-threads 2] [--rounds 3]

16 sequences of four tokens decode, sampled alike: in an engine of this process, and as 16 streams
of the real server, in turn, from the first request until all have ended. Both have all cores unless
told otherwise; with one thread less than there are cores for each, the API process has a core that
the kernels leave alone. The clients are one thread that does little more than read; what they take
of the cores counts as well, and is reported.
"""

import argparse
import json
import selectors
import socket
import statistics
import time
from typing import Any

import psutil

from server.checkpoints.locate import locate
from server.config import Settings
from server.engine.build import build_engine
from server.engine.build_cache import build_cache
from server.engine.engine import Engine
from server.machine.cores import usable_cores
from server.protocol.task import Task
from server.sampling.params import SamplingParams
from tests.e2e.server_process import ServerProcess

STREAMS = 16
PROMPT = [11, 22, 33, 44]
SAMPLING = {"temperature": 1.0, "top_p": 0.5}


def engine_alone(model: str, dtype: str, threads: int) -> Engine:
    """An engine as a worker has it, without a state cache."""
    settings = Settings.model_validate({"engine": {"max_batch": STREAMS}})
    built = build_engine(
        *(locate(model, ""), dtype, settings.engine, threads, lambda *_: None, [], {}),
        lambda codec: build_cache(codec, settings.cache, 0),
    )
    return built.engine


def engine_rate(engine: Engine, tokens: int) -> float:
    """Tokens/s of STREAMS sequences."""
    started = time.perf_counter()
    for number in range(STREAMS):
        params = SamplingParams(max_tokens=tokens, seed=number, ignore_eos=True, **SAMPLING)
        engine.add(str(number), Task(PROMPT, params))
    while engine.has_work:
        engine.step()
    return STREAMS * tokens / (time.perf_counter() - started)


class Stream:
    """One client, which reads until its answer ends."""

    def __init__(self, url: str, seed: int, tokens: int) -> None:
        host, port = url.removeprefix("http://").split(":")
        body = {"prompt": PROMPT, "max_tokens": tokens, "seed": seed, "ignore_eos": True}
        content = json.dumps(body | SAMPLING | {"stream": True}).encode()
        head = "POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
        self.socket = socket.create_connection((host, int(port)))
        self.socket.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
        self.ended = False

    def read(self) -> None:
        """Take in what has come. Raises OSError when the connection is cut."""
        data = self.socket.recv(1 << 16)
        if not data:
            raise OSError("the server has cut a stream")
        self.ended = b"[DONE]" in data


def server_rate(url: str, tokens: int) -> float:
    """Tokens/s of STREAMS streams."""
    selector = selectors.DefaultSelector()
    started = time.perf_counter()
    streams = [Stream(url, number, tokens) for number in range(STREAMS)]
    for stream in streams:
        selector.register(stream.socket, selectors.EVENT_READ, stream)
    while selector.get_map():
        for key, _ in selector.select():
            key.data.read()
            if key.data.ended:
                selector.unregister(key.data.socket)
                key.data.socket.close()
    return STREAMS * tokens / (time.perf_counter() - started)


def cpu_seconds(processes: dict[str, psutil.Process]) -> dict[str, float]:
    """Of each process so far."""
    return {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}


def measure(engine: Engine, server: ServerProcess, tokens: int) -> dict[str, float]:
    """One round of both; cores that each process used while the streams ran."""
    found = {"engine_tokens_per_s": engine_rate(engine, tokens)}
    (worker,) = server.workers()
    processes = {"api": psutil.Process(server.pid), "worker": worker, "clients": psutil.Process()}
    before, started = cpu_seconds(processes), time.perf_counter()
    found["server_tokens_per_s"] = server_rate(server.url, tokens)
    seconds = time.perf_counter() - started
    for name, used in cpu_seconds(processes).items():
        found[f"{name}_cores"] = (used - before[name]) / seconds
    found["lost"] = 1 - found["server_tokens_per_s"] / found["engine_tokens_per_s"]
    return found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a checkpoint")
    parser.add_argument("--dtype", default="int8")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of the worker")
    parser.add_argument("--engine-threads", type=int, default=usable_cores(), help="of it alone")
    parser.add_argument("--tokens", type=int, default=200, help="of each stream")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    engine = engine_alone(arguments.model, arguments.dtype, arguments.engine_threads)
    options = "--dtype", arguments.dtype, "--threads", str(arguments.threads), "--workers", "1"
    with ServerProcess(arguments.model, *options) as server:
        server.wait_until_ready()
        measure(engine, server, 20)  # warms up
        rounds = [measure(engine, server, arguments.tokens) for _ in range(arguments.rounds)]
    report: dict[str, Any] = {"benchmark": "overhead", **vars(arguments)}
    report |= {k: round(statistics.median(each[k] for each in rounds), 3) for k in rounds[0]}
    report["lost_in_rounds"] = [round(each["lost"], 3) for each in rounds]
    print(json.dumps(report))


if __name__ == "__main__":
    main()
