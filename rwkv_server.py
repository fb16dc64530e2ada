"""Where every process of rwkv-server begins: the program itself, and the programs that it starts.

    rwkv-server COMMAND …                               the entry point, main()
    python -P …/rwkv_server.py COMMAND …                the same
    python -P …/rwkv_server.py server.MODULE ARGUMENT … a child: the module as `python -m` runs it

Python looks for modules in the working directory (`python -m`) and in the folders of PYTHONPATH
before it looks in its own library. That ends here, before anything is imported that the start of
the interpreter has not imported: installed packages come first, then the folders that PYTHONPATH
names by their full path, and `server` is the package next to this file.
"""

import os
import site
import sys

_HOME = os.path.dirname(os.path.abspath(__file__))


def main() -> None:
    """Run a command; the entry point of the installed program."""
    secure_imports()
    from server.launch import launch

    sys.exit(launch("server.cli"))


def secure_imports() -> None:
    """Import nothing from the working directory, and from PYTHONPATH only what is not installed.

    Children inherit the PYTHONPATH that is left.
    """
    _drop_first()
    named = _pythonpath()
    installed = {_HOME, os.path.dirname(os.__file__), *_site_folders()}
    kept = [path for entry, path in named if os.path.isabs(entry) or path in installed]
    moved = {path for _, path in named}
    sys.path[:] = [entry for entry in sys.path if entry and _absolute(entry) not in moved]
    sys.path += kept
    if kept:
        os.environ["PYTHONPATH"] = os.pathsep.join(kept)
    else:
        os.environ.pop("PYTHONPATH", None)
    _bind_package()


def _drop_first() -> None:
    """Of the module search path what Python puts before it: the working directory, or the program's
    own folder."""
    if sys.flags.safe_path or not sys.path:
        return
    program = os.path.realpath(sys.argv[0])
    if _absolute(sys.path[0]) in (_absolute(""), os.path.dirname(program)):
        del sys.path[0]


def _pythonpath() -> list[tuple[str, str]]:
    """The entries of PYTHONPATH, and the folders that Python takes them for."""
    text = os.environ.get("PYTHONPATH", "")
    if not text or sys.flags.ignore_environment:
        return []
    return [(entry, _absolute(entry)) for entry in text.split(os.pathsep)]


def _site_folders() -> list[str]:
    return [_absolute(path) for path in (*site.getsitepackages(), site.getusersitepackages())]


def _absolute(entry: str) -> str:
    try:
        return os.path.abspath(entry)
    except OSError:  # the working directory is gone
        return entry


def _bind_package() -> None:
    """Let `import server` find the package next to this file, whatever else has its name."""
    if "server" in sys.modules:
        return
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    spec = PathFinder.find_spec("server", [_HOME])
    if spec is None or spec.loader is None:
        sys.exit(f"error: {_HOME}: no package server next to rwkv_server.py; install it again")
    package = module_from_spec(spec)
    sys.modules["server"] = package
    spec.loader.exec_module(package)


def _run_child(module: str) -> None:
    """Run a module of the package as the program that this process is."""
    secure_imports()
    from runpy import run_module

    del sys.argv[1]
    run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("server."):
        _run_child(sys.argv[1])
    else:
        main()
