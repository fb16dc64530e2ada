import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from server.kernels import jit

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path):
    """A copy of the package, to change."""
    shutil.copytree(ROOT / "server", tmp_path / "copy" / "server")
    return tmp_path / "copy"


def add(path, text, before=False):
    source = path.read_text()
    path.write_text(text + source if before else source + text)


def test_comments_and_docstrings_compile_nothing(copy):
    expected = jit.code_hash()
    assert jit.code_hash(copy) == expected
    for path in [*copy.glob("server/kernels/*.py"), *copy.glob("server/model/*.py")]:
        add(path, "\n\n# Said otherwise.\n")
        add(path, "# A line more.\n", before=True)
    norm = copy / "server/kernels/norm.py"
    norm.write_text(norm.read_text().replace('"""', '"""Said otherwise: ', 1))
    assert jit.code_hash(copy) == expected


@pytest.mark.parametrize(
    ("module", "compiles"),
    [
        ("kernels/norm", True),
        ("kernels/simd_dot", True),  # holds no kernels, but what they are made of
        ("kernels/matrices", True),
        ("kernels/jit", True),
        ("model/rwkv6", True),
        ("model/arrays", True),
        ("model/config", False),
        ("model/loading", False),
        ("model/packing", False),
        ("model/tensors", False),
        ("model/fingerprint", False),
        ("model/revisions", False),
    ],
)
def test_which_modules_name_the_folder(copy, module, compiles):
    add(copy / "server" / f"{module}.py", "\nADDED = 1\n")
    assert (jit.code_hash(copy) != jit.code_hash()) == compiles


def test_all_that_is_compiled_names_the_folder():
    """What runs compiled is looked for in another way than in the code under test."""
    found = set()
    for path in ROOT.glob("server/*/*.py"):
        decorated = re.search(
            r"^@(jit\.)?(inner_)?kernel|^@(jit\.)?intrinsic", path.read_text(), re.M
        )
        if decorated:
            found.add(f"server.{path.parent.name}.{path.stem}")
    assert found
    assert found <= set(jit.compiled_modules())


def test_a_change_that_moves_lines_loads_what_was_compiled(copy, tmp_path):
    cache = tmp_path / "cache"
    assert use_a_kernel(cache, root=copy) == (0, 1, "")
    shift = copy / "server/kernels/token_shift.py"
    add(shift, "# A line more.\n", before=True)
    assert use_a_kernel(cache, root=copy) == (1, 0, "")
    add(copy / "server/kernels/simd.py", "\nADDED = 1\n")
    assert use_a_kernel(cache, root=copy) == (0, 1, "")


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


def use_a_kernel(folder, before="", root=ROOT):
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
        cwd=root,
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
