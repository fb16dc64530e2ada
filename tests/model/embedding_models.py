"""Small random checkpoints of EmbeddingRWKV in the layout of its files, and their naive twins.

The formulas are those of rwkv_emb/model.py (EmbeddingRWKV, NonlinearHead, ReRanker).
"""

import zlib

import numpy as np

from server.checkpoints.checkpoint import NUMPY_DTYPES, float32_to_bfloat16
from tests.checkpoints.torch_files import dumps, ordered, tensor, write_archive
from tests.model.random_models import random_tensors
from tests.naive import layer_norm
from tests.naive_models import Rwkv7

END = 65535
HEADS = {"classification": "cls", "similarity": "sts", "retrieval": "retr"}
SIZES = {"dim": 128, "head_size": 64, "generation": "rwkv7"}


def noise(name, *shape):
    generator = np.random.default_rng([7, zlib.crc32(name.encode())])
    return generator.standard_normal(shape).astype(np.float32)


def embedding_tensors(layers=3, prefix="", **sizes):
    """Name → float32 array, with all that a trainer's file of an embedding model has."""
    model = random_tensors(layers, vocab_size=END + 1, **SIZES | sizes)
    dim = model["emb.weight"].shape[1]
    found = {f"{prefix}rwkv.{name}": values for name, values in model.items()}
    for head in HEADS.values():
        for layer in ("fc1", "fc2"):
            name = f"head.{head}_head.{layer}.weight"
            found[prefix + name] = noise(name, dim, dim) / dim**0.5
        found[f"{prefix}head.{head}_head.norm.weight"] = 1 + 0.1 * noise(head, dim)
        found[f"{prefix}head.{head}_head.norm.bias"] = 0.1 * noise(f"{head}b", dim)
    found[f"{prefix}vit.vision_model.embeddings.patch_embedding.weight"] = noise("vit", 8, 3, 2, 2)
    found[f"{prefix}proj.gate.weight"] = noise("proj", 8, 8)
    return found


def reranker_tensors(layers=3, prefix="", **sizes):
    """The same of a reranker, whose only token is `token`, as older files call it."""
    model = random_tensors(layers, vocab_size=1, **SIZES | {"seed": 2} | sizes)
    dim = model["emb.weight"].shape[1]
    del model["head.weight"]
    model["token.weight"] = model.pop("emb.weight")
    model["head.0.weight"] = noise("score", dim, dim) / dim**0.5
    model["head.0.bias"] = 0.1 * noise("bias", dim)
    model["head.2.weight"] = noise("weight", 1, dim)
    return {f"{prefix}reranker.{name}": values for name, values in model.items()}


def write_pth(path, tensors, dtype="float32", **entries):
    """What torch.save() writes of a state dict, in one dtype, with further entries."""
    items, records = [], {}
    for number, (name, values) in enumerate(tensors.items()):
        stored = float32_to_bfloat16(values) if dtype == "bfloat16" else values
        records[str(number)] = stored.astype(NUMPY_DTYPES[dtype]).tobytes()
        items.append((name, tensor(dtype, str(number), values.shape)))
    return write_archive(path, dumps(ordered([*items, *entries.items()])), records)


def as_bfloat16(tensors):
    """The values that a file of bfloat16 has."""
    bits = {name: float32_to_bfloat16(values) for name, values in tensors.items()}
    return {n: (b.astype(np.uint32) << 16).view(np.float32) for n, b in bits.items()}


class EmbeddingTwin:
    """An embedding model in float64, one sequence."""

    def __init__(self, tensors):
        plain = {n.removeprefix("rwkv."): v for n, v in tensors.items() if n.startswith("rwkv.")}
        self.rwkv = Rwkv7(plain)
        self.tensors = {name: values.astype(np.float64) for name, values in tensors.items()}

    def vector(self, ids, head="retrieval"):
        hidden = np.array(self.rwkv.hidden_states(ids))
        x = hidden[np.array(ids) == END].mean(0)
        w = {
            name: self.tensors[f"head.{HEADS[head]}_head.{name}"]
            for name in ("fc1.weight", "fc2.weight", "norm.weight", "norm.bias")
        }
        inner = np.maximum(w["fc1.weight"] @ x, 0)
        return layer_norm(w["fc2.weight"] @ inner + x, w["norm.weight"], w["norm.bias"], 1e-5)


class RerankerTwin:
    """A reranker in float64, which reads the states of an EmbeddingTwin."""

    def __init__(self, tensors, layers=None):
        self.tensors = {
            name.removeprefix("reranker."): values.astype(np.float64)
            for name, values in tensors.items()
        }
        self.layers = layers

    def logit(self, states):
        """states [L, H, N, N] of all layers of the embedding model."""
        plain = {n: v for n, v in self.tensors.items() if not n.startswith(("head.", "token."))}
        rwkv = Rwkv7(plain | {"emb.weight": self.tensors["token.weight"]})
        chosen = range(rwkv.layers) if self.layers is None else self.layers
        rwkv.state[:] = states[list(chosen)]
        (hidden,) = rwkv.hidden_states([0])
        w = self.tensors
        inner = np.tanh(w["head.0.weight"] @ hidden + w["head.0.bias"])
        return float(w["head.2.weight"][0] @ inner)
