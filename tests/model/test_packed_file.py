"""Packed weights on disk: shared, verified, made anew when they are not what is expected."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.reader import open_checkpoint
from server.kernels.team import Team
from server.model import block_checksums, loading
from server.model.block_checksums import BLOCK_BYTES, SAMPLED_BLOCKS, unchanged
from server.model.config import read_config
from server.model.fingerprint import state_fingerprint
from server.model.loading import WeightsCache, load_weights
from tests.model.random_models import random_tensors, write_model

ROOT = Path(__file__).parents[2]
LIMIT = 1 << 30


@pytest.fixture
def checkpoint(tmp_path):
    return write_model(tmp_path / "model.safetensors", random_tensors(layers=2), "bfloat16")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "weights"


def load(path, folder, dtype="int8", limit=LIMIT):
    """(the bytes of all weights, the stages that were reported)"""
    checkpoint = open_checkpoint(path)
    stages = []
    weights = load_weights(
        checkpoint, read_config(checkpoint), dtype, Team(1),
        WeightsCache(folder, limit), lambda stage, *_: stages.append(stage.split()[0]),
    )  # fmt: skip
    arrays = [part if isinstance(part, tuple) else (part,) for part in weights]
    return b"".join(array.tobytes() for part in arrays for array in part), set(stages)


def only_file(folder):
    (path,) = folder.iterdir()
    return path


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "int4"])
def test_the_second_load_maps_what_the_first_has_packed(checkpoint, folder, dtype):
    first, stages = load(checkpoint, folder, dtype)
    assert stages == {"packing", "checking"}
    again, stages = load(checkpoint, folder, dtype)
    assert stages == {"checking"}
    assert again == first
    in_memory, stages = load(checkpoint, folder, dtype, limit=0)
    assert stages == {"checking"}  # a limit that is too low only bounds what is written
    assert in_memory == first
    assert folder.stat().st_mode & 0o077 == 0


def test_every_dtype_and_every_checkpoint_has_its_file(checkpoint, tmp_path, folder):
    load(checkpoint, folder, "int8")
    load(checkpoint, folder, "int4")
    other = write_model(tmp_path / "b.safetensors", random_tensors(layers=2, seed=5), "bfloat16")
    load(other, folder, "int8")
    assert len(list(folder.iterdir())) == 3


def test_a_copy_of_a_checkpoint_has_the_same_file(checkpoint, tmp_path, folder):
    load(checkpoint, folder)
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(checkpoint.read_bytes())
    status = checkpoint.stat()
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert load(copy, folder)[1] == {"checking"}


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("place", [0.001, 0.3, 0.6, 0.9999])
def test_a_damaged_byte_is_found(checkpoint, folder, place, caplog):
    first, _ = load(checkpoint, folder)
    path = only_file(folder)
    flip(path, int(path.stat().st_size * place))
    with caplog.at_level(logging.INFO):
        again, stages = load(checkpoint, folder)
    assert again == first
    assert "packing" in stages
    assert any("packing the weights again" in record.message for record in caplog.records)
    assert load(checkpoint, folder) == (first, {"checking"})


@pytest.mark.parametrize("content", [b"", b"x", b"GGUF" * 100, b"\xff" * 4096])
def test_a_foreign_file_is_replaced(checkpoint, folder, content):
    first, _ = load(checkpoint, folder)
    only_file(folder).write_bytes(content)
    assert load(checkpoint, folder) == (first, {"packing", "checking"})


def test_a_truncated_file_is_replaced(checkpoint, folder):
    first, _ = load(checkpoint, folder)
    path = only_file(folder)
    os.truncate(path, path.stat().st_size // 2)
    assert load(checkpoint, folder) == (first, {"packing", "checking"})


def test_a_header_that_says_otherwise_is_not_trusted(checkpoint, folder):
    first, _ = load(checkpoint, folder)
    path = only_file(folder)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["mix"]["shape"] = header["mix"]["shape"][::-1]
    text = json.dumps(header, separators=(",", ":")).encode().ljust(length)
    path.write_bytes(data[:8] + text + data[8 + length :])
    assert load(checkpoint, folder) == (first, {"packing", "checking"})


def test_one_changed_weight_is_noticed(checkpoint, folder):
    first, _ = load(checkpoint, folder)
    tensor = open_checkpoint(checkpoint).tensors["blocks.1.ffn.value.weight"]
    flip(checkpoint, tensor.offset + tensor.nbytes - 999)  # where no sample is taken
    again, stages = load(checkpoint, folder)
    assert "packing" in stages
    assert again != first


def test_whole_seconds_are_what_archives_keep():
    assert unchanged("1700000000123456789", 1700000000123456789)
    assert unchanged("1700000000123456789", 1700000000000000000)
    assert not unchanged("1700000000123456789", 1700000000123456788)
    assert not unchanged("1700000001123456789", 1700000000000000000)
    assert not unchanged("", 0)
    assert not unchanged("9" * 5000, 0)


def test_without_a_folder_the_weights_are_in_memory(checkpoint, folder, tmp_path, caplog):
    first, _ = load(checkpoint, folder)
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    assert load(checkpoint, blocked / "weights") == (first, {"packing"})
    assert "packed weights are not kept" in caplog.text


def test_a_full_disk_is_survived(checkpoint, folder, monkeypatch, caplog):
    def no_space(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", no_space)
    _, stages = load(checkpoint, folder)
    assert stages == {"packing"}
    assert "No space left" in caplog.text


def test_the_longest_unused_files_make_room(checkpoint, folder):
    for age, dtype in enumerate(("float32", "int8", "int4")):
        load(checkpoint, folder, dtype)
        for path in folder.iterdir():
            status = path.stat()
            os.utime(path, ns=(0, status.st_mtime_ns - 10**9 * (3 - age)))
    sizes = sorted(path.stat().st_size for path in folder.iterdir())
    load(checkpoint, folder, "float32")  # used again
    load(checkpoint, folder, "bfloat16", limit=sum(sizes) + sizes[0])
    left = sorted(path.stat().st_size for path in folder.iterdir())
    assert sizes[2] in left  # float32
    assert sizes[1] not in left  # int8 was the longest unused


def test_what_is_larger_than_the_limit_is_not_kept(checkpoint, folder, caplog):
    _, stages = load(checkpoint, folder, limit=1000)
    assert stages == {"packing"}
    assert not list(folder.glob("*"))
    assert "weights_cache_bytes" in caplog.text


BIG = 3 * BLOCK_BYTES * SAMPLED_BLOCKS


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A folder with a file of packed weights of which a start looks at a sample only."""
    monkeypatch.setattr(block_checksums, "SAMPLED_SECONDS", 0.0)
    tensors = random_tensors(layers=1, dim=60, vocab_size=BIG // 480)
    return write_model(tmp_path / "large.safetensors", tensors, "bfloat16")


def damage(path, begin, content):
    """Without a trace in size or times."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_an_unchanged_file_is_sampled_and_a_changed_one_is_read(large, folder):
    checkpoint = open_checkpoint(large)
    config, reports = read_config(checkpoint), []

    def start(thorough=False):
        reports.clear()
        cache = WeightsCache(folder, LIMIT, thorough)
        report = lambda stage, done, total: reports.append((stage.split()[0], done, total))  # noqa: E731
        load_weights(checkpoint, config, "float32", Team(1), cache, report)
        assert all(stage == "checking" for stage, _, _ in reports)
        return max(done for _, done, _ in reports)

    load(large, folder, "float32")
    path = only_file(folder)
    size = path.stat().st_size
    assert start() == 0
    assert start(thorough=True) > size - BLOCK_BYTES
    os.utime(path)  # as after a copy
    assert start() > size - BLOCK_BYTES
    assert start() == 0
    for record in folder.with_name("checked").iterdir():
        record.write_text("what a crash leaves")
    assert start() > size - BLOCK_BYTES
    assert start() == 0


def test_large_damage_is_found_in_a_sample(large, folder, caplog):
    first, _ = load(large, folder, "float32")
    path = only_file(folder)
    size = path.stat().st_size
    part = size // SAMPLED_BLOCKS * 2 + BLOCK_BYTES
    other = np.random.default_rng(1).bytes(part)
    for begin, content in (
        (4096, bytes(part)),  # what some file systems leave of pages that were not written
        (size // 2, bytes(part)),
        (size - part, bytes(part)),
        (size // 3, other),  # of another file
        (size - 5000, bytes(1000)),
        (0, bytes(100)),
    ):
        damage(path, begin, content)
        caplog.clear()
        assert load(large, folder, "float32") == (first, {"packing", "checking"})
        assert "packing the weights again" in caplog.text
    assert load(large, folder, "float32") == (first, {"checking"})


def test_a_bit_is_found_over_some_starts(large, folder):
    first, _ = load(large, folder, "float32")
    path = only_file(folder)
    place = path.stat().st_size // 2
    damage(path, place, bytes([path.read_bytes()[place] ^ 1]))
    starts = 0
    while load(large, folder, "float32")[1] == {"checking"}:
        starts += 1
        assert starts < 100  # a third of all blocks is read each time
    assert load(large, folder, "float32") == (first, {"checking"})


@pytest.mark.parametrize("cut", [1, 4096, 1 << 20])
def test_a_truncated_or_longer_large_file_is_found(large, folder, cut):
    first, _ = load(large, folder, "float32")
    path = only_file(folder)
    status = path.stat()
    os.truncate(path, status.st_size - cut)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert load(large, folder, "float32") == (first, {"packing", "checking"})
    os.truncate(path, status.st_size + cut)
    assert load(large, folder, "float32") == (first, {"packing", "checking"})


def test_a_fingerprint_needs_no_weights_read(checkpoint, folder):
    """The checksums that a file brings are those that would be computed."""
    opened = open_checkpoint(checkpoint)
    config, cache = read_config(opened), WeightsCache(folder, LIMIT)
    for dtype in ("float32", "bfloat16", "int8", "int4"):
        found = [
            loading.load(opened, config, dtype, Team(1), where, lambda *_: None)
            for where in (None, cache, cache)
        ]
        assert [loaded.checksums is None for loaded in found] == [True, False, False]
        assert len({state_fingerprint(loaded, {}, 2) for loaded in found}) == 1


SCRIPT = """
import os, signal, sys
from pathlib import Path
from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.reader import open_checkpoint
from server.kernels.team import Team
from server.model.config import read_config
from server.model.loading import WeightsCache, load_weights

path, folder, fate = sys.argv[1:]
stages = []
def on_progress(stage, done, total):
    stages.append(stage.split()[0])
    if fate == "die" and stage.startswith("packing") and done > total / 3:
        os.kill(os.getpid(), signal.SIGKILL)
checkpoint = open_checkpoint(Path(path))
cache = WeightsCache(Path(folder), 1 << 30)
if fate == "together":
    print("ready", flush=True)
    sys.stdin.readline()
load_weights(checkpoint, read_config(checkpoint), "int8", Team(1), cache, on_progress)
print(*sorted(set(stages)))
"""


def start(checkpoint, folder, fate):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(checkpoint), str(folder), fate],
        cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def test_of_several_processes_one_packs(checkpoint, folder):
    load(checkpoint, folder.with_name("warm"))  # compiles the quantising kernels
    processes = [start(checkpoint, folder, "together") for _ in range(3)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    stages = [process.communicate(timeout=60)[0].split() for process in processes]
    assert sum("packing" in found for found in stages) == 1
    assert all("checking" in found for found in stages)
    assert len(list(folder.iterdir())) == 1


def test_a_process_that_is_killed_while_packing_leaves_nothing_that_is_trusted(checkpoint, folder):
    process = start(checkpoint, folder, "die")
    assert process.wait(timeout=60) == -signal.SIGKILL
    assert only_file(folder).suffix == ".partial"
    (folder / "of-another.partial").write_bytes(b"left behind")
    _, stages = load(checkpoint, folder)
    assert stages == {"packing", "checking"}
    assert only_file(folder).suffix == ".safetensors"


def test_a_checkpoint_that_is_refused_leaves_nothing(tmp_path, folder):
    tensors = random_tensors(layers=2)
    tensors["blocks.1.ffn.value.weight"][3, 2] = np.nan
    with pytest.raises(CheckpointError, match=r"blocks\.1\.ffn\.value\.weight"):
        load(write_model(tmp_path / "nan.safetensors", tensors), folder)
    assert not list(folder.iterdir())


MEMORY_SCRIPT = """
import sys
from pathlib import Path
from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.reader import open_checkpoint
from server.kernels.team import Team
from server.model.config import read_config
from server.model.loading import WeightsCache, load_weights

def kilobytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))

small, large, folder = map(Path, sys.argv[1:])
def load(path, cache):
    checkpoint = open_checkpoint(path)
    config = read_config(checkpoint)
    return load_weights(checkpoint, config, "int8", Team(2), cache, lambda *_: None)
load(small, WeightsCache(folder, 1 << 30))
Path("/proc/self/clear_refs").write_text("5")  # the peak so far does not count
before = kilobytes("VmRSS")
weights = load(large, WeightsCache(folder, 1 << 30) if folder.name == "cache" else None)
print(kilobytes("VmHWM") - before, kilobytes("VmRSS") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs /proc of Linux")
@pytest.mark.parametrize("name", ["cache", "memory"])
def test_memory_is_that_of_the_packed_weights_and_one_matrix(checkpoint, tmp_path, name):
    tensors = random_tensors(layers=3, dim=512, vocab_size=8192, head_size=64)
    large = write_model(tmp_path / "large.safetensors", tensors, "bfloat16")
    weights = sum(values.size for n, values in tensors.items() if n != "emb.weight")
    embedding = tensors["emb.weight"].size * 2
    packed = (weights * 1.0625 + embedding) / 1024
    matrix = max(values.size for values in tensors.values()) * 4 / 1024
    folder = tmp_path / name
    result = subprocess.run(
        [sys.executable, "-c", MEMORY_SCRIPT, str(checkpoint), str(large), str(folder)],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    peak, after = map(int, result.stdout.split())
    assert after < 1.1 * packed + 4096
    assert peak < 1.1 * packed + matrix + 4096
    assert np.isfinite(peak)
