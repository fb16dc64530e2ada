"""Files that somebody names: what is opened, what is refused, and that nothing else opens any."""

import ast
import contextlib
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from server.regular_file import open_regular, read_regular, read_regular_text

SERVER = Path(__file__).parents[1] / "server"
KINDS = ("device", "endless device", "pipe", "socket", "folder", "missing", "loop", "dangling")
NAMES = ("a\0b", "\ud800", "x" * 300)


def make(kind, folder):
    """A path to something of this kind."""
    path = folder / "it"
    match kind:
        case "device":
            return Path("/dev/null")
        case "endless device":
            path.symlink_to("/dev/zero")
        case "pipe":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                here = Path.cwd()
                os.chdir(folder)  # its path may be too long for a socket
                try:
                    listener.bind(path.name)
                finally:
                    os.chdir(here)
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to(path)
        case "dangling":
            path.symlink_to(folder / "nowhere")
    return path


def test_a_regular_file_also_through_links(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "link of a link").symlink_to(tmp_path / "link")
    for name in ("file", "link", "link of a link"):
        assert read_regular(tmp_path / name, 3) == b"abc"
        with open_regular(tmp_path / name) as file:
            assert not os.get_inheritable(file.fileno())


POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    "size 382543211\n"
)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "model.pth", "m.gguf", "tokenizer.json", "x"]
)
def test_a_pointer_of_git_lfs_is_not_the_file(name, tmp_path):
    path = tmp_path / name
    path.write_text(POINTER)
    for read in (open_regular, lambda path: read_regular_text(path, 1000)):
        with pytest.raises(OSError, match="git lfs pull"):
            read(path)
    for other in (POINTER[1:], POINTER[:30], POINTER + "x" * 1024, ""):
        path.write_text(other)
        assert read_regular_text(path, 5000) == other


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (POINTER, "Git LFS to a file of 382.5 MB, not the file"),
        (POINTER.replace("\n", "\r\n"), "Git LFS to a file of 382.5 MB, not the file"),
        (POINTER.replace("382543211", "5864594432"), "to a file of 5.9 GB, .*git lfs pull"),
        (POINTER.replace("382543211", "999"), "to a file of 999 bytes, "),
        (POINTER.replace("size", "sice"), "Git LFS, not the file itself"),
        (
            "/annex/objects/SHA256E-s191084652--ab.pth\n",
            "git-annex to a file of 191.1 MB.*annex get",
        ),
    ],
)
def test_pointers_say_what_they_stand_for(content, match, tmp_path):
    path = tmp_path / "model.pth"
    path.write_text(content, newline="")
    with pytest.raises(OSError, match=match):
        open_regular(path)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", KINDS)
def test_anything_else_is_refused_without_waiting(kind, tmp_path):
    with pytest.raises(OSError) as caught:
        open_regular(make(kind, tmp_path))
    assert caught.value.strerror
    assert caught.value.filename


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_name_of_a_file(name, tmp_path):
    with pytest.raises(OSError, match="name"):
        open_regular(tmp_path / name)


@pytest.mark.timeout(20)
def test_a_file_that_becomes_a_pipe_before_it_is_opened(tmp_path, monkeypatch):
    path = make("pipe", tmp_path)
    (tmp_path / "file").touch()
    was_file = (tmp_path / "file").stat()
    monkeypatch.setattr(Path, "stat", lambda *_, **__: was_file)
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(path)


def test_a_refusal_leaves_nothing_open(tmp_path, monkeypatch):
    path = make("pipe", tmp_path)
    (tmp_path / "file").touch()
    was_file = (tmp_path / "file").stat()
    monkeypatch.setattr(Path, "stat", lambda *_, **__: was_file)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - of what is open
    for _ in range(20):
        with pytest.raises(OSError, match="not a regular file"):
            open_regular(path)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_bounds(tmp_path):
    path = tmp_path / "file"
    for size, limit in ((0, 0), (5, 5), (5, 9)):
        path.write_bytes(b"x" * size)
        assert len(read_regular(path, limit)) == size
    for size, limit in ((1, 0), (6, 5), (1 << 40, 1 << 20)):
        with path.open("wb") as file:
            file.truncate(size)  # with holes: it takes no room
        with pytest.raises(OSError, match=f"larger than {limit} bytes"):
            read_regular(path, limit)


def test_files_that_claim_to_be_empty_are_bounded_too():
    assert os.stat("/proc/self/status").st_size == 0  # noqa: PTH116
    with pytest.raises(OSError, match="larger than 10 bytes"):
        read_regular(Path("/proc/self/status"), 10)


def test_a_file_that_grows_while_it_is_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    stop = threading.Event()

    def grow():
        with path.open("ab", buffering=0) as file:
            while not stop.is_set() and file.tell() < 1 << 26:
                file.write(b"x" * (1 << 16))

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        for _ in range(50):
            with contextlib.suppress(OSError):  # it is too large by now
                assert len(read_regular(path, 1 << 20)) <= 1 << 20
    finally:
        stop.set()
        thread.join()


def test_text_has_one_kind_of_newline(tmp_path):
    path = tmp_path / "file"
    path.write_bytes("a\r\nb\rc\nü\r\r\n".encode())
    assert read_regular_text(path, 99) == path.read_text(encoding="utf-8") == "a\nb\nc\nü\n\n"
    path.write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        read_regular_text(path, 99)


OTHERS = {
    # What the server has made itself, in folders of its own.
    "stores.batches.database": {"Database.__init__"},
    "stores.batches.files": {"Draft.__init__", "Draft.sync", "Files.open"},
    "batches.lines": {"LineReader.check", "LineReader.missing", "LineReader.read"},
    "private_folder": {"PrivateFolder.__init__", "_remove_if_abandoned"},
    "local_models.caches": {"_is_locked"},
    "model.packed_file": {"_locked", "read_ahead.read"},
    "model.block_checksums": {"CheckRecord.holds"},
    "stores.sqlite": {"make_file"},
    "state_cache.sqlite_file": {"SqliteFile._locked", "SqliteFile._connect_to_write"},
    # What it is about to write, under a name that nobody else can know, or that must not be a link.
    "access.keys_file": {"append_key"},
    "checkpoints.gguf_writer": {"write_gguf"},
    "checkpoints.writer": {"stream_pieces"},
    "temporary_files": {"_create_locked", "_remove_if_abandoned", "_sync"},
    "model.packed_model": {"write_packed"},
    "pull.transfer": {"_append_to"},
    # What is installed with it, or made by the kernel.
    "kernels.jit": {"compiled_modules"},
    "tokenizer.chat_template": {"_read"},
    "tokenizer.world": {"load_world_vocabulary"},
    "machine.cores": {"_usable_nodes", "_quota"},
    "machine.memory": {"available_bytes", "resident_bytes", "_available_of_machine"},
    # Gets a file that is open.
    "checkpoints.pth": {"_read_directory"},
    "checkpoints.reader": {"format_of"},
    # The one place.
    "regular_file": {"open_regular"},
}
"""Functions that open files otherwise, by module: whoever adds one says why it may."""

_READERS = {"read_text", "read_bytes", "fromfile", "memmap", "ZipFile", "is_zipfile", "safe_open"}
_READERS |= {"GGUFReader", "from_file", "loadtxt", "genfromtxt", "TomlConfigSettingsSource"}
_LOADERS = {"tomllib.load", "json.load", "np.load", "numpy.load", "yaml.load", "pickle.load"}


def _opens_a_file(call, own):
    name = ast.unparse(call.func)
    last = name.rsplit(".", 1)[-1]
    if name in _LOADERS or name in ("open", "io.open", "os.open"):
        return True
    if last == "open":  # what else is called so takes no mode
        return bool(call.args)
    return last in _READERS and not (isinstance(call.func, ast.Name) and last in own)


def openers(path):
    """Names of the functions in a file that open files by themselves."""
    found = set()

    def visit(node, names, own):
        for child in ast.iter_child_nodes(node):
            inner = names
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = [*names, child.name]
            if isinstance(child, ast.Call) and _opens_a_file(child, own):
                found.add(".".join(names))
            visit(child, inner, own)

    tree = ast.parse(path.read_text())
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("server.")
        for alias in node.names
    }
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    visit(tree, [], imported | defined)
    return found


def test_no_other_place_opens_what_somebody_names():
    found = {
        ".".join(path.relative_to(SERVER).with_suffix("").parts): openers(path)
        for path in sorted(SERVER.rglob("*.py"))
    }
    found = {module: functions for module, functions in found.items() if functions}
    assert found == OTHERS, "open files that somebody names with server.regular_file"


@pytest.mark.parametrize(
    "line",
    [
        "open(p)",
        "p.open('rb')",
        "p.read_text()",
        "p.read_bytes()",
        "os.open(p, 0)",
        "np.fromfile(p)",
        "np.load(p)",
        "zipfile.ZipFile(p)",
        "tomllib.load(f)",
    ],
)
def test_the_search_finds_every_way_to_open_a_file(line, tmp_path):
    (tmp_path / "m.py").write_text(f"class C:\n    def f(self):\n        return {line}\n")
    assert openers(tmp_path / "m.py") == {"C.f"}


def test_kinds_are_what_they_say(tmp_path):
    assert stat.S_ISFIFO(make("pipe", tmp_path).stat().st_mode)
    (tmp_path / "s").mkdir()
    assert stat.S_ISSOCK(make("socket", tmp_path / "s").stat().st_mode)


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path):
    path = tmp_path / "it"
    for text in ("", '{"a": 1}', "a\ufeffb", "\ufeffa"):
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert read_regular_text(path, 100) == text
