"""All programs, in a folder with a trap for every module and settings file that they might read."""

import importlib.metadata
import json
import os
import subprocess
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

from tests.e2e.server_process import ROOT, ServerProcess

PROGRAM = Path(sys.executable).parent / "rwkv-server"
TRAP = """
import posix
marker = posix.open({marker!r}, posix.O_CREAT | posix.O_APPEND | posix.O_WRONLY, 0o600)
posix.write(marker, {name!r}.encode() + b"\\n")
posix._exit(66)
"""
RECORDER = """
import sys

class Recorder:
    def find_spec(self, name, path=None, target=None):
        asked.add(name.partition(".")[0])

asked = set()
sys.meta_path.insert(0, Recorder())
import server.cli, server.bench.program, server.convert.program, server.grammars.check
import server.pull.program, server.worker.program
print(*asked)
"""
SETTINGS = {
    ".numba_config.yaml": "cache_locator_classes: numba_trap.Locator\n",
    ".env": "RWKV_SERVER_MODEL_NAME=trapped\nHF_ENDPOINT=http://127.0.0.1:1\n",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROGRAM.exists(), reason="rwkv-server is not installed"),
]


def python(script, **options):
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout


@pytest.fixture(scope="module")
def names():
    """What an import may ask for: all that is installed, and what is looked for in vain."""
    asked = set(python(RECORDER, cwd=ROOT).split())
    found = asked | set(sys.stdlib_module_names) | set(importlib.metadata.packages_distributions())
    found |= {"server", "rwkv_server", "sitecustomize", "usercustomize", "numba_trap"}
    return {name for name in found if name.isidentifier()}


@pytest.fixture(scope="module")
def before_the_program():
    """What Python, and what pip writes as the program, import before the program's first line."""
    started = set(python("import re, sys; print(*sys.modules)").split())
    return started | {"rwkv_server", "sitecustomize", "usercustomize"}


def is_installed(name):
    """Namespace packages, such as opentelemetry, yield to whole ones in whatever folder."""
    spec = PathFinder.find_spec(name)
    return spec is not None and spec.loader is not None and spec.origin is not None


def set_traps(folder, names, marker):
    for number, name in enumerate(sorted(names)):
        trap = folder / f"{name}.py"
        if number % 2:
            (folder / name).mkdir()
            trap = folder / name / "__init__.py"
        trap.write_text(TRAP.format(marker=str(marker), name=name))
    for name, text in SETTINGS.items():
        (folder / name).write_text(text)


def run(folder, environment, *arguments):
    """(exit code, standard output, standard error)"""
    done = subprocess.run(
        [PROGRAM, *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    return done.returncode, done.stdout, done.stderr


def use_programs(folder, environment):
    tiny = ["--layers", "2", "--dim", "64", "--vocab-size", "256", "tiny.safetensors"]
    assert run(folder, environment, "init", *tiny)[0] == 0
    code, shown, _ = run(folder, environment, "inspect", "--json", "tiny.safetensors")
    assert (code, json.loads(shown)["name"]) == (0, "tiny")
    code, _, said = run(folder, environment, "convert", "tiny.safetensors", "tiny.gguf")
    assert code == 0, said
    assert (folder / "tiny.gguf").stat().st_size > 0
    code, _, said = run(folder, environment, "bench", "broken.safetensors")
    assert code == 2
    assert "broken.safetensors: " in said
    assert "no such file" not in said
    code, _, said = run(folder, environment, "pull", "me/tiny", "--local-dir", "there")
    assert (code, "no connection to http://127.0.0.1:9" in said) == (2, True), said


def use_server(folder, environment):
    with ServerProcess(
        "tiny.gguf",
        program=[PROGRAM],
        folder=folder,
        RWKV_SERVER_CACHE_DIRECTORY="states",
        **environment,
    ) as server:
        server.wait_until_ready()
        assert server.url, server.lines
        body = {"prompt": "a", "max_tokens": 8, "guided_regex": "[ab]{3}"}
        with server.client() as client:
            reply = client.post("/v1/completions", json=body)
        assert reply.status_code == 200, reply.text
        assert set(reply.json()["choices"][0]["text"]) <= set("ab")
        (worker,) = server.workers()
        assert list(Path(worker.cwd()).iterdir()) == []
    assert (folder / "states").is_dir()


# The last two differ only before anything is imported.
@pytest.mark.parametrize("path", ["", ".", "absolute", ":", "relative"])
def test_nothing_of_the_folder_is_run_or_read(path, names, before_the_program, tmp_path):
    folder, elsewhere, marker = tmp_path / "here", tmp_path / "elsewhere", tmp_path / "marker"
    (folder / "below").mkdir(parents=True)
    elsewhere.mkdir()
    hidden = names - before_the_program if path else names
    set_traps(folder, hidden, marker)
    set_traps(folder / "below", hidden, marker)
    # Whoever names a folder by its full path means it, but not in the place of what is installed.
    set_traps(elsewhere, {name for name in hidden if is_installed(name)}, marker)
    (folder / "broken.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    path = {"absolute": str(elsewhere), "relative": "below:/nowhere"}.get(path, path)
    environment = {"PYTHONPATH": path, "HF_ENDPOINT": "http://127.0.0.1:9"}
    try:
        use_programs(folder, environment)
        if path not in (":", "below:/nowhere"):
            use_server(folder, environment)
    finally:
        found = marker.read_text() if marker.exists() else ""
        assert found == "", found
