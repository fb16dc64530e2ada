"""How every kernel is compiled, and where the machine code is kept between runs.

Numba keys its cache by the file of the compiled function alone, so a change in another module that
was inlined into it would be served stale. Hence a cache folder of its own for every content of the
modules that hold compiled code, every Numba version and every CPU.
"""

import functools
import hashlib
import logging
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
import numba.extending
from numba.core.caching import FunctionCache

from server.cache_root import cache_root
from server.kernels.isa import choose_target, choose_tier

log = logging.getLogger(__name__)

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


@functools.cache
def _warn_once(message: str) -> None:
    log.warning("%s", message)


class _KernelCache(FunctionCache):
    """Numba's files. What they do not hold is compiled: no trouble with them stops the server."""

    def load_overload(self, *args: Any) -> Any:
        try:
            return super().load_overload(*args)
        except Exception as error:  # unpickling half a file, as a power cut leaves it, raises any
            _warn_once(f"{self.cache_path}: cannot be read, so kernels are compiled: {error}")
            self._try(self.flush)  # or what is compiled could not be added
            return None

    def save_overload(self, *args: Any) -> None:
        self._try(super().save_overload, *args)

    def _try(self, write: Callable[..., None], *args: Any) -> None:
        try:
            write(*args)
        except OSError as error:
            _warn_once(f"{self.cache_path}: compiled kernels are not kept: {error.strerror}")


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
    "error_model": "numpy",
    "boundscheck": False,
}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function without the GIL and without checks."""
    return _compiled(function, _OPTIONS)


def inner_kernel(function: Callable[..., Any]) -> Any:
    """The same for a function that only kernels call.

    Without the wrapper for Python, which unpacks every array of every argument, the forward pass
    compiles in two thirds of the time.
    """
    options = _OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return _compiled(function, options)


def _compiled(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    dispatcher = numba.njit(**options)(function)
    dispatcher._cache = _KernelCache(function)  # as `cache=True` does it with Numba's own class
    return dispatcher
