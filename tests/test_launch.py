"""Ctrl-C while programs are still imported, by a real signal."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def interrupted_at(module, program, preexec=None):
    """Exit code, output and errors of a program that gets SIGINT when it has imported a module."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", program, "--help"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=preexec,
    )
    for line in process.stderr:
        if line.split()[-1] == module:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    errors = [line for line in err.splitlines() if not line.startswith("import time:")]
    return process.returncode, out, errors


@pytest.mark.parametrize(
    ("program", "modules"),
    [
        ("server", ("subprocess", "rich.console")),
        ("server.convert", ("argparse", "numpy")),
        ("server.pull", ("argparse", "huggingface_hub")),
        ("server.bench", ("argparse", "rich.console")),
    ],
)
def test_ctrl_c_during_the_imports_is_a_quiet_130(program, modules):
    for module in modules:  # an early and a late one
        assert interrupted_at(module, program) == (130, "", [])


def test_a_program_that_is_to_ignore_ctrl_c_does():
    def ignore():  # as nohup and shells do for what runs in the background
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    code, out, errors = interrupted_at("argparse", "server.pull", ignore)
    assert (code, errors) == (0, [])
    assert out.startswith("usage: rwkv-server pull")
