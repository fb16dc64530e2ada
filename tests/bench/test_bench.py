"""`rwkv-server bench`: what it counts, and that it runs."""

import itertools
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from server.bench import program
from server.bench.ceilings import Ceilings, Work, spans_of, work_of
from server.bench.random_weights import random_weights, weights_bytes
from server.kernels import ceilings as kernels
from server.kernels.team import Team
from server.model.initialize import SHAPES, design
from server.model.model import Model, pack_batch
from server.model.state import StatePool
from server.model.tensors import FIELDS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(SHAPES, "tiny", (2, 128))
    return "tiny"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "int4"])
def test_all_weights_are_counted(tiny, dtype):
    config, weights = random_weights(tiny, "rwkv7", dtype)
    assert config == design("rwkv7", 2, 128, 65536)
    work = work_of(config, weights)
    bytes_per_weight = {"float32": 4, "bfloat16": 2, "int8": 1.0625, "int4": 0.5625}[dtype]
    large = 2 * (4 * 128 * 128 + 2 * 128 * 512)
    low_rank = work.layer_macs - large
    ranks = sum(config.ranks.values())
    assert low_rank == 2 * 2 * 128 * ranks
    low_rank_bytes = low_rank * (4 if dtype == "float32" else 2)
    assert work.layer_bytes == large * bytes_per_weight + low_rank_bytes
    assert work.head_macs == 128 * 65536
    if dtype == "int4":
        bytes_per_weight = 1.0625  # the head has 8 bits
    assert work.head_bytes == work.head_macs * bytes_per_weight


@pytest.mark.parametrize("generation", FIELDS)
def test_random_weights_give_numbers(tiny, generation):
    # In float32, whose kernels other tests compile as well.
    config, weights = random_weights(tiny, generation, "float32")
    model = Model(config, weights, Team(1), 4, 1)
    state = StatePool(config, 1).state
    logits = model.forward(pack_batch([([1, 2, 3], 0, True)]), state)
    assert np.isfinite(logits).all()
    assert logits.std() > 0.01


def test_a_step_takes_as_long_as_what_takes_longest():
    work = Work(layer_bytes=1000, head_bytes=500, layer_macs=70, head_macs=30, state_bytes=100)
    assert work.seconds(1, 1, bandwidth=10.0, mac_rate=1e9) == (1500 + 200) / 10
    assert work.seconds(10, 2, bandwidth=1e9, mac_rate=5.0) == (700 + 60) / 5


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_byte_is_read_by_one_thread(tiny, threads):
    config, weights = random_weights(tiny, "rwkv7", "int8")
    work, spans = work_of(config, weights), spans_of(weights, threads)
    assert spans[:, :, 1].sum() == work.layer_bytes + work.head_bytes
    pieces = sorted((start, start + size) for start, size in spans.reshape(-1, 2) if size)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(pieces))


def test_reading_touches_every_whole_piece_of_512_bytes():
    data = np.zeros(4096, dtype=np.uint8)
    results = np.zeros(16, dtype=np.int32)
    spans = np.array([[[data.ctypes.data, 4096]]], dtype=np.int64)
    for position in (0, 511, 2048, 4095):
        data[:] = 0
        data[position] = 1
        kernels.read_spans(np.zeros(32, dtype=np.int64), 0, 1, spans, results)
        assert results[0] == 1 << 8 * (position % 4)


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_ceilings_are_rates(tiny, dtype):
    _, weights = random_weights(tiny, "rwkv7", dtype)
    ceilings = Ceilings(weights, Team(2))
    assert 1e8 < ceilings.bandwidth() < 1e13
    assert 1e8 < ceilings.mac_rate() < 1e13


def bench(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "server", "bench", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=280,
    )  # fmt: skip


@pytest.mark.slow
def test_the_command_measures_the_embedded_model():
    result = bench("--json", "--rounds", "1", "--threads", "2")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["dtype"] == "bfloat16"
    assert report["threads"] == 2
    assert report["decode_1"]["to_decode_1"] == 1
    assert {f"decode_{n}" for n in (1, 2, 4, 8, 16, 32)} < set(report)
    for name, step in report.items():
        if name.startswith(("prefill_", "decode_")):
            assert step["tokens_per_s"] > 0
            assert 0 < step["of_ceiling"] < 10
    table = bench("--rounds", "1")
    assert table.returncode == 0
    assert "prefill, 256 tokens" in table.stdout
    assert "GB/s" in table.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such file"),
        (["--shape", "7b"], "--shape 7b: want one of 0.1b"),
        (["--shape", "0.1b", "--generation", "rwkv3"], "--generation rwkv3: want one of rwkv4"),
        (["model", "--shape", "0.1b"], "a model or --shape, not both"),
        (["--dtype", "int2"], "int2"),
        (["--threads", "-1"], "--threads"),
    ],
)
def test_what_the_user_got_wrong_is_said(arguments, message):
    result = bench(*arguments)
    assert result.returncode == 2
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["int4", "int8", "float32"])
def test_what_does_not_fit_the_memory_is_said_before_it_is_made(shape, dtype, monkeypatch, capsys):
    needed = weights_bytes(shape, "rwkv7", dtype)
    monkeypatch.setattr(program, "available_bytes", lambda: needed - 1)
    tracemalloc.start()
    try:
        assert program.main(["--shape", shape, "--dtype", dtype, "--threads", "1"]) == 2
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: --shape {shape}: {dtype} weights need ")
    assert "use --dtype int4 or a smaller shape" in line


def test_the_bytes_of_a_shape_are_counted(tiny):
    for dtype in ("int4", "int8", "bfloat16", "float32"):
        _, weights = random_weights(tiny, "rwkv7", dtype)
        arrays = [a for part in weights for a in (part if isinstance(part, tuple) else (part,))]
        assert sum(array.nbytes for array in arrays) == weights_bytes(tiny, "rwkv7", dtype)
    # 13.3 billion parameters, the head in 8 bits, scales, the embedding in 16
    assert 13e9 / 2 < weights_bytes("13.3b", "rwkv7", "int4") < 9e9
    assert 13e9 < weights_bytes("13.3b", "rwkv7", "int8") < 15e9
