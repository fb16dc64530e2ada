"""What several workers of a model cost in memory: one JSON line.

    python -m benchmarks.worker_memory MODEL [--workers 1 2]

Starts a real server with each number of workers, has every worker answer, and adds up what they
hold of the machine (PSS of /proc/PID/smaps_rollup: a page that n processes share counts 1/n in
each). `mb_per_worker_more` is what each worker beyond the first adds: a copy of the weights would
show there.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from tests.e2e.server_process import ServerProcess

FIELDS = {"Pss": "pss_mb", "Pss_File": "mapped_mb", "Pss_Anon": "own_mb", "Rss": "rss_mb"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    result: dict[str, Any] = {"benchmark": "worker_memory"}
    with ServerProcess(arguments.model) as server:
        server.wait_until_ready()  # compiled and packed
    totals = {count: _total(arguments.model, count) for count in arguments.workers}
    for count, total in totals.items():
        result |= {f"{name}_{count}": value for name, value in total.items()}
    (first, one), *_, (last, most) = totals.items()
    if last > first:
        more = (most["pss_mb"] - one["pss_mb"]) / (last - first)
        result["mb_per_worker_more"] = round(more, 1)
    print(json.dumps(result))


def _total(model: str, workers: int) -> dict[str, float]:
    """Megabytes of all workers together, after a batch of requests that reaches each."""
    options = ("--workers", str(workers), "--threads", "1")
    with ServerProcess(model, *options, RWKV_SERVER_CACHE_MEMORY_BYTES=0) as server:
        body = {"prompt": ["The sea was calm."] * 4 * workers, "max_tokens": 16}
        with server.wait_until_ready().client() as http:
            http.post("/v1/completions", json=body).raise_for_status()
        total = dict.fromkeys(FIELDS.values(), 0.0)
        for worker in server.workers():
            for line in Path(f"/proc/{worker.pid}/smaps_rollup").read_text().splitlines()[1:]:
                name, kilobytes, *_ = line.replace(":", "").split()
                if name in FIELDS:
                    total[FIELDS[name]] += int(kilobytes) / 1024
        return {name: round(value, 1) for name, value in total.items()}


if __name__ == "__main__":
    main()
