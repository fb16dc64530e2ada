"""The whole forward pass, compiled for lesser CPUs than this one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from server.kernels.isa import TIERS, VARIABLE, available_tiers
from tests.model.random_models import random_tensors, write_model

ROOT = Path(__file__).parents[2]
WITH_FMA = ("avx512vnni", "avxvnni", "avx2")

SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from server.kernels.jit import TIER
from server.model.model import pack_batch
from server.model.state import StatePool
from tests.model.random_models import load_model
model = load_model(Path(sys.argv[1]), "int4", threads=2)
state = StatePool(model.config, 2).state
prompt = [int(t) for t in np.random.default_rng(0).integers(0, 97, 45)]
model.forward(pack_batch([(prompt, 0, True)]), state)
logits = model.forward(pack_batch([([5], 0, True), ([6, 7], 1, True)]), state)
sys.stdout.write(TIER + "\\n")
sys.stdout.flush()
sys.stdout.buffer.write(np.ascontiguousarray(logits[:, :97]).tobytes())
"""


def logits_of(tier, path):
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)],
        cwd=ROOT, env={**os.environ, VARIABLE: tier}, capture_output=True, timeout=840,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr.decode()[-2000:]
    name, _, data = result.stdout.partition(b"\n")
    assert name.decode() == tier
    return np.frombuffer(data, dtype=np.float32)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    tensors = random_tensors(layers=2, dim=128, head_size=64)
    return write_model(tmp_path_factory.mktemp("tiers") / "model.safetensors", tensors)


@pytest.fixture(scope="module")
def best(path):
    return logits_of(available_tiers()[0], path)


@pytest.mark.slow
@pytest.mark.timeout(900)  # all kernels are compiled for the tier, on however busy a machine
@pytest.mark.parametrize("tier", TIERS[1:])
def test_a_forced_tier_computes_the_same(tier, path, best):
    # int4 weights with an int8 head: both integer kernels, and the float ones of low rank.
    if tier not in available_tiers()[1:]:
        pytest.skip(f"this CPU has no {tier} below its best tier")
    found = logits_of(tier, path)
    if tier in WITH_FMA and available_tiers()[0] in WITH_FMA:
        assert found.tobytes() == best.tobytes()
    else:  # rounds twice where the others round once, so now and then another code is nearest
        np.testing.assert_allclose(found, best, atol=0.1 * np.abs(best).max())
        assert found.tobytes() != best.tobytes()
