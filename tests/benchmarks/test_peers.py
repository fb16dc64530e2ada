"""The comparison with other engines, as far as it goes without them."""

import asyncio
import json
import subprocess
import sys
import time
from types import SimpleNamespace

import httpx
import psutil
import pytest

from benchmarks.peers import __main__ as peers
from benchmarks.peers import rounds, serving
from benchmarks.peers.interference import Interference
from benchmarks.peers.measure import measure_llama, measure_rwkv
from benchmarks.peers.programs import ProgramError, run
from benchmarks.peers.server_process import ServerProcess
from server.checkpoints.reader import open_checkpoint
from server.model.initialize import SHAPES
from tests.model.random_models import random_tensors, write_model

VOCABULARY = {1: b"\x00", 2: b"\\", 3: b"'\"", 4: "é".encode(), 5: b"\n\t", 6: b"\\x41", 7: b" a"}
LAYERS, DIM, HEAD_SIZE, VOCAB_SIZE = 3, 60, 20, 97

FAKE_LLAMA_BENCH = f"""#!{sys.executable}
import json, sys
assert sys.argv[sys.argv.index("--threads") + 1] == "2"
print(json.dumps([
    {{"n_prompt": 256, "n_gen": 0, "samples_ts": [100.0, 900.0, 200.0]}},
    {{"n_prompt": 0, "n_gen": 64, "samples_ts": [50.0, 40.0, 10.0]}},
]))
"""


@pytest.fixture
def llama_bench(tmp_path):
    path = tmp_path / "llama-bench"
    path.write_text(FAKE_LLAMA_BENCH)
    path.chmod(0o755)
    return path


# rounds


def disturbances(monkeypatch, *cores):
    left = list(cores)
    made = lambda: SimpleNamespace(cores=lambda: left.pop(0))  # noqa: E731
    monkeypatch.setattr(rounds, "Interference", made)


def test_rounds_alternate_their_order(monkeypatch):
    disturbances(monkeypatch, *[0.0] * 6)
    order = []
    steps = {name: lambda name=name: order.append(name) or {"x": 1.0} for name in "abc"}
    found = rounds.measure_in_rounds(steps, rounds=2, attempts=3)
    assert order == ["a", "b", "c", "c", "b", "a"]
    assert [len(found[name]) for name in "abc"] == [2, 2, 2]


def test_what_was_disturbed_is_measured_again_and_the_least_disturbed_counts(monkeypatch):
    results = iter([10.0, 20.0, 30.0, 40.0])
    disturbances(monkeypatch, 0.9, 0.3, 0.5, 0.0)
    step = {"a": lambda: {"x": next(results)}}
    # The result of the attempt with 0.3, though another was larger and another came last.
    assert rounds.measure_in_rounds(step, 1, attempts=3)["a"][0].figures == {"x": 20.0}
    # An undisturbed attempt is the last.
    found = rounds.measure_in_rounds(step, 1, attempts=3)
    assert found["a"] == [rounds.Measurement({"x": 40.0}, 0.0)]


def test_ratios_are_medians_of_those_of_each_round():
    found = {
        "a": [rounds.Measurement({"x": x}, c) for x, c in ((10, 0), (40, 0.25), (90, 0))],
        "b": [rounds.Measurement({"x": x}, 0) for x in (10, 20, 10)],
    }
    summary = rounds.summary(found, [("a", "b"), ("a", "absent"), ("absent", "b")])
    assert summary == {
        "medians": {"a": {"x": 40}, "b": {"x": 10}},
        "ratios": {"a / b": {"x": 2.0}},
        "others_cores": {"a": 0.25, "b": 0},
    }


def test_interference_is_what_others_used(monkeypatch):
    burn = "import time\nwhile time.process_time() < 0.5: pass\n"
    started, interference = time.monotonic(), Interference()
    command = [sys.executable, "-c", burn + "print(flush=True)\ninput()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        used = interference.cores() * (time.monotonic() - started)
        assert used > 0.4  # it has not ended, so it counts as another
        other.stdin.close()
    # A second of the machine, of which a child that was waited for used half.
    zero = psutil.cpu_times()._replace(**dict.fromkeys(psutil.cpu_times()._fields, 0.0))
    times = iter([zero, zero._replace(user=0.75, system=0.25, idle=3.0)])
    monkeypatch.setattr(psutil, "cpu_times", lambda: next(times))
    started, interference = time.monotonic(), Interference()
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert 0.0 < interference.cores() * (time.monotonic() - started) < 0.55


# programs


def test_llama_bench_is_read_by_medians(tmp_path, llama_bench):
    rates = measure_llama(llama_bench, tmp_path / "model.gguf", threads=2)
    assert rates == {"prefill": 200.0, "decode": 40.0}


def test_a_program_that_fails_is_one_line():
    with pytest.raises(ProgramError, match=r"no memory$") as error:
        run(["sh", "-c", "echo loading >&2; echo no memory >&2; exit 3"])
    assert "\n" not in str(error.value)


def test_a_server_that_does_not_start_is_one_line():
    command = ["sh", "-c", "echo loading >&2; echo no such model >&2; exit 3"]
    with ServerProcess(command) as server, pytest.raises(ProgramError, match=r"no such model$"):
        server.wait_until_ready()


@pytest.mark.slow
def test_the_rwkv_package_is_measured(tmp_path):
    for package in ("torch", "rwkv", "safetensors.torch"):
        pytest.importorskip(package, reason="the rwkv package needs PyTorch")
    tensors = random_tensors(2, 64, VOCAB_SIZE * 3, 32)
    model = write_model(tmp_path / "model.safetensors", tensors, "bfloat16")
    rates = measure_rwkv(sys.executable, model, tmp_path / "model.pth", "fp32", threads=1)
    assert set(rates) == {"prefill", "decode"}
    assert min(rates.values()) > 0
    assert open_checkpoint(tmp_path / "model.pth").tensors.keys() == tensors.keys()


@pytest.mark.parametrize("option", ["--llama-bench", "--rwkv-python", "--llama-quantize"])
def test_bad_paths_are_errors_of_the_command_line(monkeypatch, capsys, option):
    monkeypatch.setattr(sys, "argv", ["peers", option, "/no/such/program"])
    with pytest.raises(SystemExit) as error:
        peers.main()
    assert error.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(f"argument {option}: /no/such/program: no such program")


def test_the_comparison_is_one_line_of_json(monkeypatch, capsys, tmp_path, llama_bench):
    asked = []

    def measure_ours(checkpoint, dtype, threads):
        asked.append((checkpoint.name, dtype, threads))
        return {"prefill": 400.0, "decode": 20.0}

    monkeypatch.setitem(SHAPES, "0.1b", (2, 64))
    monkeypatch.setattr(peers, "measure_ours", measure_ours)
    options = ["--threads", "2", "--rounds", "1", "--attempts", "1", "--work", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["peers", "--llama-bench", str(llama_bench), *options])
    peers.main()
    result = json.loads(capsys.readouterr().out)
    assert ("rwkv7-0.1b.safetensors", "int8", 2) in asked
    assert result["medians"]["llama.cpp F16"] == {"prefill": 200.0, "decode": 40.0}
    ratio = {"prefill": 2.0, "decode": 0.5}
    assert result["ratios"] == {f"ours bfloat16 / llama.cpp {t}": ratio for t in ("F16", "BF16")}
    files = {"rwkv7-0.1b.safetensors", "rwkv7-0.1b-F16.gguf", "rwkv7-0.1b-BF16.gguf"}
    assert {path.name for path in tmp_path.iterdir()} == files | {"llama-bench"}


# clients


@pytest.mark.parametrize("generated", [96, 95])
def test_a_stream_must_have_as_many_tokens_as_were_asked_for(generated):
    def answer(request):
        assert json.loads(request.content)["max_tokens"] == 96
        events = [{"choices": [{"text": text}]} for text in ("", "a", "b")]
        events.append({"choices": [], "usage": {"completion_tokens": generated}})
        lines = [f"data: {json.dumps(event)}\n\n" for event in events]
        return httpx.Response(200, text="".join([*lines, "data: [DONE]\n\n"]))

    async def stream():
        transport = httpx.MockTransport(answer)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await serving._stream(client, "seed", 96)

    if generated == 96:
        assert asyncio.run(stream()) > 0
    else:
        with pytest.raises(ProgramError, match="wanted 96 tokens"):
            asyncio.run(stream())
