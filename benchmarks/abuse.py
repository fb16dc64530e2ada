"""What a stranger sends to freeze or fill the server, while 16 clients read streams.

    python -m benchmarks.abuse [--only WORD] [--checkout FOLDER] [--most-seconds 0.5]

Starts the real server on the embedded model and sends each attack of abuse_attacks.py to it. The
last line is one JSON object: for each attack the longest wait for /live in seconds, the most
memory that it added in megabytes, and what was answered; and what went wrong in the streams. The
exit code is 1 when a wait was over 0.5 s, an attack added over 500 MB, or a stream lost anything.
`--checkout` attacks the server of another checkout, which must have a .venv, to compare.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.abuse_attacks import ATTACKS, Target
from benchmarks.abuse_watch import MemoryWatch, Watcher, probe_live, read_streams
from tests.e2e.server_process import ROOT, ServerProcess

MOST_SECONDS, MOST_MB = 0.5, 500
_REST_SECONDS = 0.5  # between two attacks
_ENDLESS = (
    "{% if 'endless' in messages[-1].content %}"
    "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}"
    "{% endfor %}{% endfor %}{% endfor %}{% endif %}{{ messages[-1].content }}"
)


def write_model(folder: Path) -> Path:
    """A model whose chat template has no end for some messages. Returns its file."""
    path = folder / "endless.safetensors"
    command = [sys.executable, "-m", "server", "init", "--layers", "1", "--dim", "64"]
    command += ["--vocab-size", "256", str(path)]
    subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    config = {"chat_template": _ENDLESS}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return path


def run(server: ServerProcess, names: list[str]) -> dict[str, Any]:
    """The attacks one after another, for the report."""
    host, port = server.url.removeprefix("http://").split(":")
    target = Target(host, int(port))
    found: dict[str, Any] = {}
    with Watcher(read_streams, server.url) as streams:
        for name in names:
            with Watcher(probe_live, server.url) as probe, MemoryWatch(server.pid) as memory:
                started = time.monotonic()
                answers = ATTACKS[name](target)
                seconds = time.monotonic() - started
                time.sleep(_REST_SECONDS)
            found[name] = {
                "live_s": round(probe.report, 3),
                "added_mb": round(memory.added / 2**20),
                "answers": dict(answers),
                "seconds": round(seconds, 1),
            }
            print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    ended, wrong = streams.report or (0, ["the streams did not end"])
    return {"attacks": found, "streams": ended, "streams_wrong": len(wrong), "wrong": wrong[:5]}


def failures(result: dict[str, Any], most_seconds: float) -> list[str]:
    """The attacks that did more than they may, by name."""
    return [
        name
        for name, each in result["attacks"].items()
        if each["live_s"] > most_seconds or each["added_mb"] > MOST_MB
    ]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="attacks whose names have this")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="whose server is attacked")
    parser.add_argument(
        "--most-seconds", type=float, default=MOST_SECONDS, help="that /live may take"
    )
    arguments = parser.parse_args()
    names = [name for name in ATTACKS if arguments.only in name]
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder, "server.toml")
        endless = f'[models.endless]\npath = "{write_model(Path(folder))}"\n'
        settings.write_text(endless)
        data = {
            f"RWKV_SERVER_{name}_DIRECTORY": folder for name in ("STATES", "RESPONSES", "BATCHES")
        }
        options = ("--config", str(settings), "--workers", "1")
        program = (str(arguments.checkout / ".venv/bin/python"), "-m", "server")
        with ServerProcess(*options, program=program, folder=arguments.checkout, **data) as server:
            server.wait_until_ready()
            result = run(server, names)
    failed = failures(result, arguments.most_seconds)
    print(json.dumps({"benchmark": "abuse", **result, "failed": failed}))
    sys.exit(bool(failed or result["wrong"] or not result["streams"]))


if __name__ == "__main__":
    main()
