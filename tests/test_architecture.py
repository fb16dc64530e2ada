"""The rules of docs/architecture.md that a program can check."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVER = ROOT / "server"
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SERVER.rglob("*.py"))
}

# Each layer may import itself and what its set names.
LEAVES = {
    "config",
    "config_http",
    "config_models",
    "config_stores",
    "logs",
    "version",
    "model_names",
    "cache_root",
    "absolute_paths",
    "children",
    "private_folder",
    "data_folder",
    "regular_file",
    "home_folder",
    "json_pieces",
    "temporary_files",
}
ALLOWED = {
    "version": set(),
    "model_names": set(),
    "config_models": {"model_names"},
    "config_http": {"config_models"},
    "config_stores": {"config_models"},
    "config": {"config_http", "config_models", "config_stores", "model_names"},
    "logs": {"config"},
    "cache_root": set(),
    "absolute_paths": {"checkpoints", "home_folder", "model_names"},
    "children": {"private_folder"},
    "private_folder": set(),
    "bounded_child": {"children"},
    "data_folder": set(),
    "home_folder": set(),
    "regular_file": set(),
    "temporary_files": set(),
    "json_pieces": set(),
    "conversations": {"json_pieces"},
    "launch": set(),
    "batches": {"config", "config_stores", "json_pieces"},
    "kernels": {"cache_root"},
    "checkpoints": {"children", "home_folder", "regular_file", "temporary_files"},
    "byte_sizes": set(),
    "memory_needs": {"model"},
    "local_models": {"absolute_paths", "byte_sizes", "cache_root", "checkpoints", "children"}
    | {"config_sources", "kernels", "launch", "memory_needs", "model", "workers"},
    "assets": set(),
    "model": {"kernels", "checkpoints", "model_names", "temporary_files"},
    "tokenizer": {"checkpoints", "children", "bounded_child", "home_folder", "regular_file"},
    "sampling": {"kernels", "tokenizer"},
    "grammars": {"tokenizer", "bounded_child"},
    "snapshots": {"checkpoints", "model"},
    "engine": {"snapshots", "model", "tokenizer", "sampling", "checkpoints", "kernels", "config"}
    | {"grammars", "model_names", "cache_root"},
    "workers": LEAVES | {"snapshots", "engine", "checkpoints", "tokenizer", "sampling"},
    "registry": LEAVES | {"snapshots", "workers", "checkpoints", "model", "tokenizer", "sampling"},
    "api": LEAVES
    | {"access", "batches", "conversations", "grammars", "snapshots", "registry", "workers"}
    | {"sampling", "tokenizer"},
    "progress": {"byte_sizes"},
    "pull": {"checkpoints", "children", "launch", "progress", "regular_file", "temporary_files"},
    "bench": {"byte_sizes", "model", "checkpoints", "kernels", "progress", "workers", "launch"},
    "startup_display": {"progress", "workers"},
    "serve": LEAVES | {"access", "api", "registry", "workers", "checkpoints", "startup_display"},
    "convert": {"model", "checkpoints", "kernels", "tokenizer", "workers", "model_names"}
    | {"launch", "children", "home_folder", "progress", "regular_file", "temporary_files"},
    "abilities": {"checkpoints", "tokenizer"},
    "inspection": {
        "abilities",
        "byte_sizes",
        "checkpoints",
        "home_folder",
        "memory_needs",
        "model",
        "workers",
    },
    "fresh_model": {"checkpoints", "model"},
    "config_sources": {"config", "regular_file"},
    "access": {"config", "config_http", "config_models", "home_folder", "regular_file"},
    "cli": LEAVES
    | {"config_sources", "access", "serve", "inspection", "checkpoints", "local_models", "model"}
    | {"tokenizer", "fresh_model", "launch", "progress", "workers", "temporary_files"},
    "__main__": set(),  # rwkv_server.py, which imports cli through launch
}
API_PROCESS = "server.cli"
PLAIN_ENGINE_DATA = {
    f"server.engine.{name}"
    for name in ("cache_view", "engine_report", "outputs", "cache_use", "task")
}
MAX_LINES, MAX_FUNCTION, MAX_KERNEL = 300, 40, 100


def layer(module):
    return module.split(".")[1]


def imports(path):
    """The modules of ours that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name in FILES and name != "server"}


GRAPH = {module: imports(path) for module, path in FILES.items() if module != "server"}


@pytest.mark.parametrize("module", GRAPH)
def test_imports_point_down(module):
    for imported in GRAPH[module]:
        allowed = ALLOWED[layer(module)] | {layer(module)}
        assert layer(imported) in allowed, f"{module} imports {imported}"


def test_the_pool_and_client_import_only_plain_data_of_the_engine():
    for name in ("pool", "process", "client", "dispatcher", "router", "messages"):
        module = f"server.workers.{name}"
        engine = {name for name in GRAPH[module] if layer(name) == "engine"}
        assert engine <= PLAIN_ENGINE_DATA | {"server.engine"}, module


def test_the_program_imports_nothing_before_its_search_path_is_safe():
    tree = ast.parse((ROOT / "rwkv_server.py").read_text())
    at_once = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in at_once for alias in node.names}
    assert names == {"os", "site", "sys"}  # which the interpreter has imported
    inside = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {text for text in inside if "server" in text} == {"from server.launch import launch"}


def test_there_are_no_cycles():
    done = set()

    def visit(module, path):
        assert module not in path, " → ".join([*path, module])
        if module not in done:
            for imported in GRAPH[module]:
                visit(imported, [*path, module])
            done.add(module)

    for module in GRAPH:
        visit(module, [])


def test_the_api_process_never_imports_numba_or_llguidance():
    script = (
        f"import sys, {API_PROCESS}; "
        "sys.exit(bool({'numba', 'torch', 'llguidance'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_the_server_never_imports_torch_or_training():
    for path in FILES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module]
            assert not {name.split(".")[0] for name in names} & {"torch", "training"}, path


@pytest.mark.parametrize("path", FILES.values(), ids=list(FILES))
def test_files_and_functions_are_short(path):
    source = path.read_text()
    assert len(source.splitlines()) <= MAX_LINES
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            limit = MAX_KERNEL if path.parent.name == "kernels" else MAX_FUNCTION
            assert length <= limit, f"{path}:{node.lineno} {node.name} has {length} lines"


@pytest.mark.parametrize("path", FILES.values(), ids=list(FILES))
def test_imports_are_at_the_top_and_names_say_something(path):
    assert not {"utils", "common", "misc", "helpers"} & set(path.with_suffix("").parts)
    tree = ast.parse(path.read_text())
    if path.name == "__init__.py":
        assert path.read_text().strip() == ""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
            assert not inner, f"{path}:{node.lineno} imports inside {node.name}"


def test_modules_and_public_names_have_docstrings():
    for path in FILES.values():
        tree = ast.parse(path.read_text())
        if path.name in ("__init__.py", "__main__.py"):
            continue
        assert ast.get_docstring(tree), path
        for node in tree.body:
            is_definition = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if is_definition and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path}:{node.lineno} {node.name}"
