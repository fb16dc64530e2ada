"""Vectors and scores beside the `rwkv-emb` package's own code, in float32 on the CPU.

Its forward pass asks for CUDA: here its files are read with another device and dtype, and its one
CUDA kernel, which advances the WKV states, is written out in PyTorch.
"""

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from server.protocol.task import Task
from tests.engine.test_embedding_models import NOTHING, Files, build, embedding, run, values
from tests.model.embedding_models import END, embedding_tensors, reranker_tensors, write_pth

torch = pytest.importorskip("torch")
if importlib.util.find_spec("rwkv_emb") is None:
    pytest.skip("the rwkv-emb package is not installed", allow_module_level=True)

TOLERANCE = 1e-4


def wkv(batch, length, channels, heads, state, r, w, k, v, a, b, y):
    """rwkv7_state_fwd_fp16: state [B, H, N, N] values by keys, all others [B, T, C]."""
    size = channels // heads
    shape = (batch, length, heads, size)
    r, w, k, v, a, b = (x.reshape(shape).float() for x in (r, w, k, v, a, b))
    s = state.view(batch, heads, size, size)
    decay, out = torch.exp(-0.6065306597 * w), y.view(shape)
    for t in range(length):
        removed = torch.einsum("bhij,bhj->bhi", s, a[:, t])[..., None]
        s.mul_(decay[:, t, :, None]).add_(removed * b[:, t, :, None])
        s.add_(v[:, t, ..., None] * k[:, t, :, None])
        out[:, t] = torch.einsum("bhij,bhj->bhi", s, r[:, t])


def load(name, path, changes):
    """A module of the package from its source, with parts of that replaced."""
    source = path.read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in source
        source = source.replace(old, new)
    module = types.ModuleType(name)
    module.__file__, module.__package__ = str(path), name.rpartition(".")[0]
    sys.modules[name] = module
    exec(compile(source, str(path), "exec"), module.__dict__)
    return module


@pytest.fixture(scope="module")
def package():
    """Its module `model`."""
    folder = Path(importlib.util.find_spec("rwkv_emb").origin or "").parent
    if not folder.name:
        (folder,) = map(Path, importlib.util.find_spec("rwkv_emb").submodule_search_locations)
    operator = types.SimpleNamespace(forward=wkv)
    torch.ops.__dict__["rwkv7_state_fwd_fp16"] = operator
    vision = types.ModuleType("transformers")
    vision.SiglipVisionModel = vision.SiglipVisionConfig = None
    known = dict(sys.modules)
    sys.modules["transformers"] = vision
    # Its script methods would be compiled with the operator, which TorchScript cannot.
    plain = {
        '"cuda"': '"cpu"',
        "DTYPE = torch.half": "DTYPE = torch.float32",
        "MyModule = torch.jit.ScriptModule": "MyModule = nn.Module",
        "MyFunction = torch.jit.script_method": "MyFunction = lambda f: f",
        "MyStatic = torch.jit.script": "MyStatic = lambda f: f",
        "load(name=": "dict(name=",
    }
    load("rwkv_emb.reference.rwkv7", folder / "reference" / "rwkv7.py", plain)
    yield load("rwkv_emb.model", folder / "model.py", {"'cuda'": "'cpu'"})
    for name in set(sys.modules) - set(known):
        if name.startswith("rwkv_emb"):
            del sys.modules[name]
    sys.modules.pop("transformers")
    if "transformers" in known:
        sys.modules["transformers"] = known["transformers"]


PROMPTS = [
    [*(int(t) for t in np.random.default_rng(i).integers(1, 60_000, 1 + 11 * i)), END]
    for i in range(1, 7)
]


def reranker_of_the_package():
    """With the rank of the gate that it takes from the width."""
    tensors = reranker_tensors(layers=2)
    for name in tensors:
        if name.endswith("g1"):
            tensors[name] = np.ascontiguousarray(tensors[name][:, :32])
        elif name.endswith("g2"):
            tensors[name] = tensors[name][:32]
    return tensors


def test_vectors_and_scores_are_those_of_the_package(package, tmp_path, capsys):
    files = Files.__new__(Files)
    model = {n: v for n, v in embedding_tensors().items() if not n.startswith(("vit.", "proj."))}
    files.model_path = write_pth(tmp_path / "emb.pth", model)
    named = {"reranker_layer_idx": [0, 2]}
    files.reranker_path = write_pth(tmp_path / "r.pth", reranker_of_the_package(), **named)
    theirs = package.EmbeddingRWKV(str(files.model_path))
    reranker = package.RWKVReRanker(str(files.reranker_path))
    engine, worst = build(files), [0.0, 0.0]
    tags = {"classification": "[CLS]", "similarity": "[STS]", "retrieval": "[RETR]"}
    for ids in PROMPTS:
        for head, tag in tags.items():
            expected, state = theirs.forward(ids, None, task_type=tag)
            found = values(run(engine, {"e": embedding(ids, head)})["e"])
            worst[0] = max(worst[0], float(np.abs(found - expected[0].numpy()).max()))
        logit = float(reranker.forward(state[1][:, None]))
        (score,) = values(run(engine, {"s": Task(ids, NOTHING, pooling="state")})["s"])
        worst[1] = max(worst[1], abs(score - logit))
    with capsys.disabled():
        print(f"\nlargest difference of a vector {worst[0]:.1e}, of a logit {worst[1]:.1e}")
    assert max(worst) <= TOLERANCE
