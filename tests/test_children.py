"""How child programs are started, and that nothing else starts any."""

import ast
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from server import children
from server.children import child

ROOT = Path(__file__).parents[1]
SERVER = ROOT / "server"

STARTERS = {
    "Popen call check_call check_output run getoutput getstatusoutput",
    "create_subprocess_exec create_subprocess_shell subprocess_exec subprocess_shell",
    "execl execle execlp execlpe execv execve execvp execvpe system popen fork forkpty",
    "spawnl spawnle spawnlp spawnlpe spawnv spawnve spawnvp spawnvpe posix_spawn posix_spawnp",
}
STARTERS = set(" ".join(STARTERS).split())
OWNERS = {"subprocess", "os", "asyncio", "pty", "posix", "loop"}
FORBIDDEN = {"multiprocessing", "pty", "runpy", "posix", "concurrent.futures.process"}


def starts(source):
    """What in a program starts another program not as this package's children are started."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.executable":
            yield ast.unparse(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names}
            module = getattr(node, "module", None)
            if FORBIDDEN & {module, *names} or "ProcessPoolExecutor" in names:
                yield ast.unparse(node)
            if module in OWNERS | {"sys"} and names & (STARTERS | {"executable"}):
                yield ast.unparse(node)
        elif isinstance(node, ast.Attribute) and node.attr == "ProcessPoolExecutor":
            yield ast.unparse(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner, name = ast.unparse(node.func.value).rpartition(".")[2], node.func.attr
            if owner in OWNERS and name in STARTERS and not is_child(node):
                yield ast.unparse(node)


def is_child(call):
    """Whether the program that is started is one that child() describes, in all its parts."""
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    command = ast.unparse(call.args[0]).removeprefix("*") if call.args else ""
    name, dot, _ = command.partition(".command")
    return bool(
        dot
        and options.get("env", "").startswith(f"{name}.environment")
        and options.get("cwd") == f"{name}.directory"
        and options.get("pass_fds") == f"[{name}.lock]"
    )


def test_nothing_else_starts_programs():
    for path in (*SERVER.rglob("*.py"), ROOT / "rwkv_server.py"):
        if path.name not in ("children.py", "rwkv_server.py"):
            assert list(starts(path.read_text())) == [], path


@pytest.mark.parametrize(
    "source",
    [
        "subprocess.run([sys.executable, '-m', 'server.x'])",
        "subprocess.run(['python3', 'x.py'])",
        "subprocess.Popen(c.command, env=c.environment)",
        "subprocess.Popen(c.command, env=c.environment, cwd=c.directory)",
        "subprocess.Popen(c.command, env=os.environ, cwd=c.directory, pass_fds=[c.lock])",
        "asyncio.create_subprocess_exec('python')",
        "asyncio.create_subprocess_shell('python')",
        "os.execv(x, y)",
        "os.system('python')",
        "os.posix_spawn('python', [], {})",
        "from subprocess import run",
        "from os import execv as e",
        "from sys import executable",
        "import multiprocessing",
        "from multiprocessing import Process",
        "from concurrent.futures import ProcessPoolExecutor",
        "concurrent.futures.ProcessPoolExecutor()",
        "import runpy",
    ],
)
def test_the_test_finds_other_ways(source):
    assert list(starts(source))


def test_the_test_allows_this_way():
    options = "env=c.environment | x, cwd=c.directory, pass_fds=[c.lock]"
    assert list(starts(f"subprocess.Popen(c.command, stdin=subprocess.PIPE, {options})")) == []
    assert list(starts(f"asyncio.create_subprocess_exec(*c.command, {options})")) == []


def test_the_folder_is_empty_private_and_cannot_be_written():
    started = child("server.pull")
    folder = Path(started.directory)
    assert list(folder.iterdir()) == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o500
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert child("server.pull").directory == started.directory
    assert Path(started.environment["TMPDIR"]).parent == folder.parent


def test_a_folder_that_somebody_removed_is_made_again():
    first = child("server.pull")
    for path in sorted(Path(first.directory).parent.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    Path(first.directory).parent.rmdir()
    assert Path(child("server.pull").directory).is_dir()


SECRETS = [
    "RWKV_SERVER_HTTP_API_KEY",
    "rwkv_server_http_admin_key",
    "Rwkv_Server_Model_Path",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "otel_resource_attributes",
    "OPENAI_API_KEY",
    "openai_apikey",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SESSION_TOKEN",
    "GITHUB_TOKEN",
    "PGPASSWORD",
    "pgpassfile",
    "DATABASE_URL",
    "MY_DATABASE_URL",
    "REDIS_URL",
    "DB_PASSWORD",
    "DB_PASS",
    "sshpass",
    "MYSQL_PWD",
    "SIGNING_KEY",
    "Stripe_Keys",
    "GH_PAT",
    "REDISCLI_AUTH",
    "AUTHORIZATION",
    "SENTRY_DSN",
    "MONGODB_URI",
    "AZURE_STORAGE_CONNECTION_STRING",
    "SLACK_WEBHOOK_URL",
    "SESSION_COOKIE",
    "GOOGLE_APPLICATION_CREDENTIALS",
]
HUB_SECRETS = [
    "HF_TOKEN",
    "hf_token",
    "Hf_Token",
    "HF_TOKEN_PATH",
    "HUGGING_FACE_HUB_TOKEN",
    "hugging_face_hub_token",
]
OTHERS = [
    "PATH",
    "LANG",
    "NUMBA_NUM_THREADS",
    "TOKENIZERS_PARALLELISM",
    "HF_HUB_OFFLINE",
    "HF_ENDPOINT",
    "SSH_AUTH_SOCK",
    "KEYBOARD",
    "OLDPWD",
    "PATH_INFO",
    "XAUTHORITY",
    "NO_PROXY",
    "PYTHONKEYRING",
    "TZ",
    "https_proxy",
]


@pytest.mark.parametrize("name", SECRETS)
def test_no_child_gets_secrets(name, monkeypatch):
    monkeypatch.setenv(name, "/secret")
    assert name not in child("server.pull", with_hub_tokens=True).environment
    assert name not in child("server.grammars.check").environment


@pytest.mark.parametrize("name", HUB_SECRETS)
def test_only_what_talks_to_the_hub_gets_its_tokens(name, monkeypatch):
    monkeypatch.setenv(name, "/secret")
    assert child("server.pull", with_hub_tokens=True).environment[name] == "/secret"
    assert name not in child("server.worker.program").environment


@pytest.mark.parametrize("name", OTHERS)
def test_other_variables_are_passed_on(name, monkeypatch):
    monkeypatch.setenv(name, "value")
    assert child("server.worker.program").environment[name] == "value"


@pytest.mark.parametrize("name", ["NUMBA_CACHE_DIR", "HF_HOME", "SSL_CERT_FILE", "XDG_CACHE_HOME"])
def test_paths_in_variables_are_made_full(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, "relative/x")
    assert child("server.pull", with_hub_tokens=True).environment[name] == f"{tmp_path}/relative/x"
    monkeypatch.setenv(name, "/full/x")
    assert child("server.pull", with_hub_tokens=True).environment[name] == "/full/x"
    monkeypatch.setenv(name, "")
    assert child("server.pull", with_hub_tokens=True).environment[name] == ""


def test_the_hubs_library_expands_its_own(monkeypatch):
    monkeypatch.setenv("HF_HOME", "~/hub")
    assert child("server.pull").environment["HF_HOME"] == "~/hub"


@pytest.mark.parametrize(
    ("given", "left"),
    [(".", None), ("", None), (":", None), ("/a::b:/c:.", "/a:/c"), (":/a", "/a"), ("~/x", None)],
)
def test_children_see_no_relative_entries_of_pythonpath(given, left, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", given)
    assert child("server.pull").environment.get("PYTHONPATH") == left


def test_a_child_is_the_module_and_its_arguments(tmp_path):
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    started = child("server.pull", "--help")
    done = subprocess.run(
        started.command,
        env=started.environment | {"PYTHONPATH": str(tmp_path)},
        cwd=started.directory,
        pass_fds=[started.lock],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: rwkv-server pull")


def test_isolation_is_passed_on():
    script = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}]; from server.children import child;"
        "print(*child('server.pull').command[1:4])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["-P", "-E", "-s"]


def test_nothing_is_left_when_the_process_ends(tmp_path):
    script = "from server.children import child; print(child('server.pull').directory)"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert Path(done.stdout.strip()).name == children._EMPTY
    assert list(tmp_path.iterdir()) == []
