"""How every kernel is compiled, and where the machine code is kept between runs.

Numba keys its cache by the file of the compiled function alone, so a change in another module that
was inlined into it would be served stale, and a comment in its own file compiles it again. Hence a
cache folder of its own for all the code that is compiled or that compiled code imports, every Numba
version and every CPU; within it neither times nor lines of files matter.
"""

import ast
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
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator

from server.cache_root import cache_root
from server.kernels.isa import choose_target, choose_tier

log = logging.getLogger(__name__)

_ROOT = Path(__file__).parent.parent.parent
_PACKAGES = ("kernels", "model")
_DECORATORS = {"kernel", "inner_kernel", "intrinsic"}
_THIS = "server.kernels.jit"


def compiled_modules(root: Path = _ROOT) -> dict[str, ast.Module]:
    """The modules that hold compiled code, and what these import of kernels and model, by name.

    Of modules without compiled code, such as those of the arrays' types, no imports are followed
    but those within kernels. This module decides how to compile, so it is one of them.
    """
    paths = [path for package in _PACKAGES for path in (root / "server" / package).glob("*.py")]
    texts = {f"server.{path.parent.name}.{path.stem}": path.read_bytes() for path in paths}
    found: dict[str, ast.Module] = {}
    waiting = [name for name, text in texts.items() if _THIS.encode() in text]
    compiled = [name for name in waiting if _DECORATORS & _imported(ast.parse(texts[name]), _THIS)]
    waiting = [_THIS, *compiled]
    while waiting:
        name = waiting.pop()
        if name in found or name not in texts:
            continue
        found[name] = ast.parse(texts[name])
        if name in compiled or (name.startswith("server.kernels.") and name != _THIS):
            waiting += _imports(found[name])
    return found


def _imported(tree: ast.Module, module: str) -> set[str]:
    """The names that a module imports from another."""
    nodes = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == module]
    return {alias.name for node in nodes for alias in node.names}


def _imports(tree: ast.Module) -> list[str]:
    """The modules that a module imports, with names in them that may be modules, too."""
    nodes = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module]
    return [
        name
        for node in nodes
        for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        if name is not None
    ]


def code_hash(root: Path = _ROOT) -> str:
    """Hash of what the compiled modules say, whatever their comments, docstrings and layout."""
    digest = hashlib.sha256()
    for name, tree in sorted(compiled_modules(root).items()):
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                node.body = [part for part in node.body if not _is_text(part)]
        digest.update(f"{name}\0{ast.dump(tree)}\0".encode())
    return digest.hexdigest()[:16]


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is nothing but a text, as a docstring is."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


@functools.cache
def machine_code_hash() -> str:
    """Hash of everything that decides the machine code: sources, Numba, Python, CPU."""
    digest = hashlib.sha256(code_hash().encode())
    cpu = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(), choose_tier()
    versions = numba.__version__, llvm.llvm_version_info, platform.python_version()
    for part in (*map(str, versions), *cpu):
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


class _KernelLocator(_CacheLocator):
    """Where Numba keeps the files of a function: the folder's name says all that they depend on."""

    def __init__(self, module: str) -> None:
        self._folder = FOLDER / module

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return ""

    def get_disambiguator(self) -> str:
        """None: functions of one name in a module are told apart by their byte code."""
        return "0"

    @classmethod
    def from_function(
        cls,
        py_func: Callable[..., Any],
        py_file: str,  # noqa: ARG003  (Numba's other locators look at it)
    ) -> "_KernelLocator":
        return cls(py_func.__module__)


class _KernelCacheFiles(CompileResultCacheImpl):
    _locator_classes = [_KernelLocator]  # type: ignore[list-item]  # noqa: RUF012


class _KernelCache(FunctionCache):
    """Numba's files. What they do not hold is compiled: no trouble with them stops the server."""

    _impl_class = _KernelCacheFiles

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

FOLDER = cache_folder()
"""Of the machine code of this process."""

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
