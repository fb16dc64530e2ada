"""How every kernel is compiled, and where the machine code is kept between runs.

Numba keys its cache by the file of the compiled function alone, so a change in another module that
was inlined into it would be served stale. Hence a cache folder of its own for every content of the
modules that hold compiled code, every Numba version and every CPU.
"""

import hashlib
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
import numba.extending

from server.cache_root import cache_root
from server.kernels.isa import choose_target, choose_tier

_SERVER = Path(__file__).parent.parent
COMPILED_PACKAGES = ("kernels", "model")


def sources_hash() -> str:
    """Hash of the modules that pack weights and compute with them."""
    digest = hashlib.sha256()
    for package in COMPILED_PACKAGES:
        for path in sorted((_SERVER / package).glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def machine_code_hash() -> str:
    """Hash of everything that decides the machine code: sources, Numba, Python, CPU."""
    digest = hashlib.sha256(sources_hash().encode())
    cpu = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(), choose_tier()
    for part in (numba.__version__, platform.python_version(), *cpu):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """The folder of this machine code; a temporary one if the cache cannot be written."""
    folder = cache_root() / "kernels" / machine_code_hash()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        # Nothing is kept, but the server runs: a read-only container compiles at every start.
        return Path(tempfile.mkdtemp(prefix="rwkv-server-kernels-"))


TIER = choose_tier()
"""The instructions that kernels use."""

TARGET = choose_target(TIER)

if TARGET.cpu:
    numba.config.CPU_NAME = TARGET.cpu  # type: ignore[attr-defined]
    numba.config.CPU_FEATURES = TARGET.features  # type: ignore[attr-defined]
numba.config.CACHE_DIR = str(cache_folder())  # type: ignore[attr-defined]

intrinsic: Any = numba.extending.intrinsic
"""Numba's decorator, whose stubs know nothing of the arguments of what it makes."""


# No fastmath, so no licence to reorder arithmetic: a sum has one order, and its bits do not depend
# on tiles, threads or neighbours.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "boundscheck": False,
}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function without the GIL and without checks."""
    return numba.njit(**_OPTIONS)(function)


def inner_kernel(function: Callable[..., Any]) -> Any:
    """The same for a function that only kernels call.

    Without the wrapper for Python, which unpacks every array of every argument, the forward pass
    compiles in two thirds of the time.
    """
    options = _OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(**options)(function)
