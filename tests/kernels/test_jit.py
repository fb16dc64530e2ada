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


def use_a_kernel(folder, before=""):
    """Cache hits and misses of a new process with this cache, and what it logs."""
    script = (
        f"import resource; {before}\n"
        "import numpy as np; from server.kernels.token_shift import token_shift as f\n"
        "x = np.zeros(4, np.float32); f(x, x, x, x)\n"
        "print(sum(f.stats.cache_hits.values()), sum(f.stats.cache_misses.values()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    hits, misses = done.stdout.split()
    return int(hits), int(misses), done.stderr


def test_a_second_process_loads_instead_of_compiling(tmp_path):
    assert use_a_kernel(tmp_path) == (0, 1, "")
    assert use_a_kernel(tmp_path) == (1, 0, "")


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("size", [0, 40])
def test_half_a_file_is_made_anew(suffix, size, tmp_path):
    use_a_kernel(tmp_path)
    (path,) = tmp_path.rglob(f"*.{suffix}")
    os.truncate(path, size)
    hits, misses, said = use_a_kernel(tmp_path)
    assert (hits, misses) == (0, 1)
    assert "cannot be read, so kernels are compiled: " in said
    assert use_a_kernel(tmp_path) == (1, 0, "")


def test_a_kernel_that_cannot_be_kept_runs(tmp_path):
    full = "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"  # of the files themselves
    hits, misses, said = use_a_kernel(tmp_path, full)
    assert (hits, misses) == (0, 1)
    (line,) = said.splitlines()
    assert "compiled kernels are not kept: File too large" in line
    assert use_a_kernel(tmp_path) == (0, 1, "")
