"""A comparison that is told to end takes with it what it started."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
PEER = f"""#!{sys.executable}
import pathlib, os, sys, time
pathlib.Path(__file__).with_name("pid").write_text(f"{{os.getpid()}}\\n")
time.sleep(60)
"""
COMMANDS = {
    "benchmarks.peers": ["--llama-bench"],
    "benchmarks.peers.serving": ["--dtype", "bfloat16", "--llama-server"],
    "benchmarks.peers.conversation": ["--llama-quantize", sys.executable, "--llama-server"],
}
SMALL = "from server.model.initialize import SHAPES; SHAPES['0.1b'] = (2, 64)\n"
# Rounds begin with ours, which is not what is tested here.
PEER_ONLY = """
from benchmarks.peers import rounds
rounds.measure_in_rounds, original = None, rounds.measure_in_rounds
rounds.measure_in_rounds = lambda steps, *rest: original(
    {name: step for name, step in steps.items() if not name.startswith("ours")}, *rest)
"""


@pytest.mark.parametrize("module", COMMANDS)
def test_sigterm_ends_the_peer_too(tmp_path, module):
    peer = tmp_path / "peer"
    peer.write_text(PEER)
    peer.chmod(0o755)
    (tmp_path / "rwkv7-0.1b-Q8_0.gguf").touch()  # so that llama-quantize has nothing to do
    run = f"import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    options = [*COMMANDS[module], str(peer), "--work", str(tmp_path), "--rounds", "1"]
    command = [sys.executable, "-c", SMALL + PEER_ONLY + run, *options]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as comparison:
        pid = _started(tmp_path / "pid", comparison)
        comparison.send_signal(signal.SIGTERM)
        assert comparison.wait(60) == 128 + signal.SIGTERM
    assert not psutil.pid_exists(pid)


def _started(file, comparison):
    while comparison.poll() is None:
        if file.exists() and file.read_text().endswith("\n"):
            return int(file.read_text())
        time.sleep(0.05)
    raise AssertionError(comparison.stderr.read())
