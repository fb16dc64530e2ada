import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.kernels import jit


def test_the_folder_is_named_by_the_content_of_kernels_and_model(tmp_path, monkeypatch):
    before = jit.machine_code_hash()
    copy = tmp_path / "server"
    for package in jit.COMPILED_PACKAGES:
        (copy / package).mkdir(parents=True)
        for path in (jit._SERVER / package).glob("*.py"):
            (copy / package / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(jit, "_SERVER", copy)
    assert jit.machine_code_hash() == before
    with (copy / "kernels" / "norm.py").open("a") as file:
        file.write("# changed\n")
    assert jit.machine_code_hash() != before


@pytest.mark.parametrize("variable", ["NUMBA_CACHE_DIR", "XDG_CACHE_HOME"])
def test_where_the_cache_is(variable, tmp_path, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    folder = jit.cache_folder()
    assert folder.is_dir()
    assert folder.is_relative_to(tmp_path)


def test_a_folder_that_cannot_be_written_falls_back(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(blocked))
    assert jit.cache_folder().is_dir()


def test_a_second_process_loads_instead_of_compiling(tmp_path):
    script = (
        "import numpy as np; from server.kernels.token_shift import token_shift as f;"
        "x = np.zeros(4, np.float32); f(x, x, x, x);"
        "print(sum(f.stats.cache_hits.values()), sum(f.stats.cache_misses.values()))"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    runs = [
        subprocess.run(
            [sys.executable, "-c", script],
            env=environment, cwd=root, check=True, capture_output=True, text=True,
        ).stdout.split()
        for _ in range(2)
    ]  # fmt: skip
    assert runs == [["0", "1"], ["1", "0"]]
