"""The rules of docs/architecture.md that a program can check."""

import ast
import subprocess
import sys
from pathlib import Path

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
    "launch": set(),
    "stores": {"config_stores", "json_pieces"},
    "batches": {"json_pieces", "stores"},
    "kernels": {"cache_root"},
    "checkpoints": {"children", "home_folder", "regular_file", "temporary_files"},
    "byte_sizes": set(),
    "memory_needs": {"model"},
    "local_models": {"absolute_paths", "byte_sizes", "cache_root", "checkpoints", "children"}
    | {"config_sources", "kernels", "launch", "machine", "memory_needs", "model"},
    "assets": set(),
    "model": {"kernels", "checkpoints", "model_names", "temporary_files"},
    "tokenizer": {"checkpoints", "children", "bounded_child", "home_folder", "regular_file"},
    "sampling": {"kernels", "tokenizer"},
    "grammars": {"tokenizer", "bounded_child"},
    "state_cache": {"checkpoints", "model", "protocol"},
    "engine": {"state_cache", "model", "tokenizer", "sampling", "checkpoints", "kernels", "config"}
    | {"grammars", "model_names", "cache_root", "protocol"},
    "protocol": {"sampling"},
    "machine": {"cache_root", "config", "home_folder"},
    "pool": {"absolute_paths", "cache_root", "children", "config", "home_folder", "machine"}
    | {"private_folder", "protocol", "state_cache", "temporary_files"},
    "worker": {"checkpoints", "config", "engine", "logs", "protocol", "state_cache", "tokenizer"}
    | {"temporary_files"},
    "registry": LEAVES
    | {"state_cache", "pool", "protocol", "checkpoints", "model", "tokenizer", "sampling"},
    "assistant": {"grammars", "tokenizer"},
    "telemetry": {"config", "logs", "pool", "protocol", "registry", "tokenizer"},
    "api": LEAVES
    | {"access", "batches", "grammars", "state_cache", "registry", "pool", "stores"}
    | {"assistant", "telemetry"}
    | {"protocol", "sampling", "tokenizer"},
    "progress": {"byte_sizes"},
    "pull": {"checkpoints", "children", "launch", "progress", "regular_file", "temporary_files"},
    "bench": {"byte_sizes", "model", "checkpoints", "kernels", "progress", "machine", "launch"},
    "startup_display": {"progress", "protocol"},
    "serve": LEAVES
    | {"access", "api", "registry", "machine", "pool", "protocol", "checkpoints"}
    | {"startup_display", "telemetry"},
    "convert": {"model", "checkpoints", "kernels", "tokenizer", "machine", "model_names"}
    | {"launch", "children", "home_folder", "progress", "regular_file", "temporary_files"},
    "abilities": {"checkpoints", "tokenizer"},
    "inspection": {
        "abilities",
        "byte_sizes",
        "checkpoints",
        "home_folder",
        "memory_needs",
        "machine",
        "model",
    },
    "fresh_model": {"checkpoints", "launch", "machine", "model", "progress", "temporary_files"},
    "config_sources": {"config", "regular_file"},
    "access": {"config", "config_http", "config_models", "home_folder", "regular_file"},
    "cli": LEAVES
    | {"config_sources", "access", "serve", "inspection", "checkpoints", "local_models", "model"}
    | {"tokenizer", "fresh_model", "launch", "machine", "progress", "temporary_files"},
    "__main__": set(),  # rwkv_server.py, which imports cli through launch
}
API_PROCESS = "server.cli"
MAX_LINES, MAX_FUNCTION, MAX_KERNEL = 300, 50, 100


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


TREES = {path: ast.parse(path.read_text()) for path in FILES.values()}
GRAPH = {module: imports(path) for module, path in FILES.items() if module != "server"}


def test_imports_point_down():
    wrong = [
        f"{module} imports {imported}"
        for module, all_imported in GRAPH.items()
        for imported in all_imported
        if layer(imported) not in ALLOWED[layer(module)] | {layer(module)}
    ]
    assert not wrong


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
        for node in ast.walk(TREES[path]):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module]
            assert not {name.split(".")[0] for name in names} & {"torch", "training"}, path


def long_parts(path):
    """What is too long in a file, one line for each."""
    lines = len(path.read_text().splitlines())
    found = [f"{path} has {lines} lines"] if lines > MAX_LINES else []
    limit = MAX_KERNEL if path.parent.name == "kernels" else MAX_FUNCTION
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            if length > limit:
                found.append(f"{path}:{node.lineno} {node.name} has {length} lines")
    return found


def test_files_and_functions_are_short():
    wrong = [part for path in FILES.values() for part in long_parts(path)]
    assert not wrong


def hidden_imports(path):
    """Imports within a definition, one line for each."""
    return [
        f"{path}:{node.lineno} imports inside {node.name}"
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and any(isinstance(n, ast.Import | ast.ImportFrom) for n in ast.walk(node))
    ]


def test_imports_are_at_the_top_and_names_say_something():
    wrong = [part for path in FILES.values() for part in hidden_imports(path)]
    empty_names = {"utils", "common", "misc", "helpers"}
    wrong += [path for path in FILES.values() if empty_names & set(path.with_suffix("").parts)]
    wrong += [
        path for path in FILES.values() if path.name == "__init__.py" and path.read_text().strip()
    ]
    assert not wrong


def test_the_style_rules_find_what_breaks_them(tmp_path):
    long = tmp_path / "long.py"
    long.write_text("def f():\n    import os\n" + "    x = 1\n" * MAX_LINES)
    TREES[long] = ast.parse(long.read_text())
    try:
        assert len(long_parts(long)) == 2
        assert len(hidden_imports(long)) == 1
    finally:
        del TREES[long]


def test_modules_and_public_names_have_docstrings():
    for path in FILES.values():
        tree = TREES[path]
        if path.name in ("__init__.py", "__main__.py"):
            continue
        assert ast.get_docstring(tree), path
        for node in tree.body:
            is_definition = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if is_definition and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path}:{node.lineno} {node.name}"
