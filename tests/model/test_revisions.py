"""Golden bits of every architecture and weight type: when they change, a revision must be raised.

If a change was meant, raise the constant that the failure names and put the new hashes here: the
test prints the table. States and packed weights of earlier versions are then not taken for these.
"""

import hashlib
import zlib

import numpy as np
import pytest

from server.checkpoints.checkpoint import NUMPY_DTYPES
from server.checkpoints.reader import open_checkpoint
from server.kernels.jit import TARGET
from server.kernels.pack import aligned_zeros
from server.kernels.team import Team
from server.model.config import read_config
from server.model.loading import layout_of, load_weights, pack_weights, storages_of
from server.model.model import Model, pack_batch
from server.model.revisions import ARITHMETIC_REVISION, PACKING_REVISION
from server.model.state import StatePool
from tests.model.random_models import random_tensors, write_model

GENERATIONS = ("rwkv4", "rwkv5.0", "rwkv5.1", "rwkv5.2", "rwkv6", "rwkv7", "rwkv7a")
"""All whose states are kept; embedding models and rerankers compute as rwkv7 does."""
DTYPES = ("float32", "bfloat16", "int8", "int4")
PACKED = {
    1: {
        ("rwkv4", "float32"): "d2ddf91a79a8",
        ("rwkv4", "bfloat16"): "9094064b9b78",
        ("rwkv4", "int8"): "df9d8cc3431a",
        ("rwkv4", "int4"): "c76d47feeafe",
        ("rwkv5.0", "float32"): "b9e199760a81",
        ("rwkv5.0", "bfloat16"): "c86fa7785022",
        ("rwkv5.0", "int8"): "5a1124899b32",
        ("rwkv5.0", "int4"): "733ac968aa21",
        ("rwkv5.1", "float32"): "624b866898b6",
        ("rwkv5.1", "bfloat16"): "d41c1e770e6d",
        ("rwkv5.1", "int8"): "1e43b2366b05",
        ("rwkv5.1", "int4"): "f64a79130697",
        ("rwkv5.2", "float32"): "06904fff16cc",
        ("rwkv5.2", "bfloat16"): "3a70f9625309",
        ("rwkv5.2", "int8"): "434a276fdfe8",
        ("rwkv5.2", "int4"): "24d598341799",
        ("rwkv6", "float32"): "6380954b8f65",
        ("rwkv6", "bfloat16"): "c3e046141c32",
        ("rwkv6", "int8"): "af9e729f398f",
        ("rwkv6", "int4"): "edb2509ed581",
        ("rwkv7", "float32"): "f9cf72816c55",
        ("rwkv7", "bfloat16"): "3ffb6f9b2aa7",
        ("rwkv7", "int8"): "671bc98cbf77",
        ("rwkv7", "int4"): "e0678857da05",
        ("rwkv7a", "float32"): "ffe4ae82b391",
        ("rwkv7a", "bfloat16"): "daf2f8ab8758",
        ("rwkv7a", "int8"): "79bab15fa0b9",
        ("rwkv7a", "int4"): "ba8215f91b25",
    }
}
COMPUTED = {
    1: {
        ("rwkv4", "float32"): "f7ccf18cf5a4",
        ("rwkv4", "bfloat16"): "634529f835b3",
        ("rwkv4", "int8"): "babd4dc1e4cd",
        ("rwkv4", "int4"): "62fc06862438",
        ("rwkv5.0", "float32"): "6a5d3ea0e9a2",
        ("rwkv5.0", "bfloat16"): "547b40b65b0e",
        ("rwkv5.0", "int8"): "7209d1f06f4e",
        ("rwkv5.0", "int4"): "aadaea1625ef",
        ("rwkv5.1", "float32"): "42d362430ba9",
        ("rwkv5.1", "bfloat16"): "ce36ac8e883e",
        ("rwkv5.1", "int8"): "31aeff090d1e",
        ("rwkv5.1", "int4"): "64125eba0814",
        ("rwkv5.2", "float32"): "564900e63815",
        ("rwkv5.2", "bfloat16"): "0934ad114331",
        ("rwkv5.2", "int8"): "6b1979a3b45e",
        ("rwkv5.2", "int4"): "26ccc16f5419",
        ("rwkv6", "float32"): "b420335d309b",
        ("rwkv6", "bfloat16"): "c9c3901c35ac",
        ("rwkv6", "int8"): "23f67ac52290",
        ("rwkv6", "int4"): "e1d8e3359f02",
        ("rwkv7", "float32"): "1a8771746f80",
        ("rwkv7", "bfloat16"): "c893ddf71228",
        ("rwkv7", "int8"): "d0a04a008d1b",
        ("rwkv7", "int4"): "4c3094b33a32",
        ("rwkv7a", "float32"): "8adca996baa8",
        ("rwkv7a", "bfloat16"): "f8c24b567722",
        ("rwkv7a", "int8"): "2a1548088871",
        ("rwkv7a", "int4"): "36b215efff80",
    }
}
PROMPT = [int(t) for t in np.random.Philox(1).random_raw(23) % 97]


def fixed_tensors(generation):
    """Values that no library decides: integers of a counter, scaled."""
    shapes = {n: v.shape for n, v in random_tensors(2, 128, 97, 64, generation=generation).items()}
    found = {}
    for name, shape in shapes.items():
        raw = np.random.Philox(zlib.crc32(name.encode())).random_raw(int(np.prod(shape)))
        values = ((raw >> 40).astype(np.float32) / 2**24 - np.float32(0.5)).reshape(shape)
        is_norm = ".ln" in name and name.endswith("weight")
        found[name] = values * np.float32(0.5) + np.float32(is_norm)
        if name.endswith("s_emb_x.weight"):  # else its products, which are BLAS's, were pinned
            found[name][:] = 0
    return found


def digest(*arrays):
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:12]


@pytest.fixture(scope="module", params=GENERATIONS)
def opened(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("golden") / "model.safetensors"
    return request.param, open_checkpoint(write_model(path, fixed_tensors(request.param)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_packed_bytes_are_those_of_the_revision(opened, dtype):
    generation, checkpoint = opened
    parts = storages_of(checkpoint, read_config(checkpoint), dtype)
    layout = layout_of(parts)
    arrays = {
        name: aligned_zeros(shape, NUMPY_DTYPES[kind]) for name, (kind, shape) in layout.items()
    }
    pack_weights(checkpoint, parts, arrays, Team(1), dtype, lambda *_: None)
    found = digest(*(arrays[name] for name in sorted(arrays)))
    assert found == PACKED[PACKING_REVISION][generation, dtype], (
        f"packing has changed: raise PACKING_REVISION, and pin {(generation, dtype)}: {found!r}"
    )


@pytest.mark.skipif(not TARGET.has_fma, reason="pinned are the bits of fused multiply-adds")
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_computed_bits_are_those_of_the_revision(opened, dtype):
    generation, checkpoint = opened
    config, team = read_config(checkpoint), Team(1)
    weights = load_weights(checkpoint, config, dtype, team, None, lambda *_: None)
    model = Model(config, weights, team, 64, 16)
    pool = StatePool(config, 2)
    model.forward(pack_batch([(PROMPT, 0, True)]), pool.state)
    logits = model.forward(pack_batch([([5], 0, True), ([6, 7], 1, True)]), pool.state)
    found = digest(*pool.state, logits[:, : config.vocab_size])
    assert found == COMPUTED[ARITHMETIC_REVISION][generation, dtype], (
        f"arithmetic has changed: raise ARITHMETIC_REVISION, and pin {(generation, dtype)}: "
        f"{found!r}"
    )
