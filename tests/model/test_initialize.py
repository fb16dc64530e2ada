"""Fresh weights have the statistics of the official initialisation, for every generation."""

import math

import numpy as np
import pytest

from server.model.config import tensor_shapes
from server.model.initialize import design, initialize

LAYERS, DIM, VOCAB, HEAD = 3, 64, 300, 16
HEADS = DIM // HEAD
GENERATIONS = ("rwkv4", "rwkv5.0", "rwkv5.1", "rwkv5.2", "rwkv6", "rwkv7", "rwkv7a")
PER_HEAD = ("rwkv5.0", "rwkv5.1")


def fresh(generation, seed=7):
    return dict(initialize(design(generation, LAYERS, DIM, VOCAB, HEAD), seed))


@pytest.fixture(scope="module", params=GENERATIONS)
def generation(request):
    return request.param


@pytest.fixture(scope="module")
def weights(generation):
    return fresh(generation)


# Proportions


def test_official_ranks():
    ranks = design("rwkv7", 12, 768, 65_536).ranks  # those of the published 0.1B
    assert ranks == {"decay": 64, "rate": 64, "first": 32, "gate": 128}
    config = design("rwkv7", 24, 2048, 65_536)
    assert config.ranks == {"decay": 128, "rate": 128, "first": 64, "gate": 224}
    assert config.ffn_dim == 8192
    assert design("rwkv7", 1, 64, 10).ranks["first"] == 0
    assert design("rwkv6", 24, 2048, 65_536).ranks == {"mix": 32, "decay": 64}
    assert design("rwkv6", 32, 4096, 65_536).ranks == {"mix": 64, "decay": 128}
    for generation in GENERATIONS[:4]:
        assert design(generation, 12, 768, 65_536).ranks == {}


@pytest.mark.parametrize(
    ("generation", "dim", "ffn_dim"),
    [
        ("rwkv4", 768, 3072),  # the published 169M
        ("rwkv5.0", 768, 3072),  # World 0.1B v1
        ("rwkv5.1", 1024, 3584),
        ("rwkv5.2", 2048, 7168),  # the published 1.5B
        ("rwkv6", 2560, 8960),  # the published 3B
        ("rwkv6", 96, 320),  # 336, down to a multiple of 32
        ("rwkv5.2", 8, 32),
        ("rwkv7", 768, 3072),
    ],
)
def test_official_channel_mixing(generation, dim, ffn_dim):
    assert design(generation, 12, dim, 65_536, 8).ffn_dim == ffn_dim


def test_heads():
    for generation in GENERATIONS[1:]:
        config = design(generation, 12, 768, 65_536)
        assert (config.generation, config.heads, config.head_size) == (generation, 12, 64)
    config = design("rwkv4", 12, 770, 50_277)
    assert (config.dim, config.vocab_size) == (770, 50_277)
    assert (config.heads, config.head_size) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("rwkv7", 1, 65, 10), "dim 65 is not a multiple of the head size 64"),
        (("rwkv6", 1, 65, 10), "dim 65 is not a multiple of the head size 64"),
        (("rwkv7", 1, 0, 10), "multiple"),
        (("rwkv7", 0, 64, 10), "at least one layer"),
        (("rwkv4", 1, 64, 0), "at least one layer and one token"),
        (("rwkv5.2", 1, 64, 10, 1), "head size 1"),
        (("rwkv4", 1, 1, 10), "dim 1 is less than 2"),
        (("rwkv5", 1, 64, 10), "'rwkv5' is not one of rwkv4, rwkv5.0, rwkv5.1, rwkv5.2, rwkv6"),
    ],
)
def test_impossible_models(arguments, match):
    with pytest.raises(ValueError, match=match) as caught:
        design(*arguments)
    assert "\n" not in str(caught.value)


def test_a_negative_seed(generation):
    with pytest.raises(ValueError, match="the seed must not be negative"):
        initialize(design(generation, LAYERS, DIM, VOCAB, HEAD), -1)


# Every generation


def test_names_and_shapes(generation, weights):
    shapes = tensor_shapes(design(generation, LAYERS, DIM, VOCAB, HEAD))
    assert {name: array.shape for name, array in weights.items()} == shapes
    assert list(weights) == list(shapes)
    for array in weights.values():
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert np.isfinite(array).all()


def test_deterministic(generation, weights):
    again, other = fresh(generation), fresh(generation, seed=8)
    for name, array in weights.items():
        np.testing.assert_array_equal(array, again[name])
    assert not np.array_equal(weights["head.weight"], other["head.weight"])
    first, second = weights["blocks.0.att.value.weight"], weights["blocks.1.att.value.weight"]
    assert not np.array_equal(first, second)


def test_a_tensor_depends_on_nothing_drawn_before_it(generation, weights):
    deeper = dict(initialize(design(generation, LAYERS + 1, DIM, VOCAB, HEAD), 7))
    for name in ("emb.weight", "head.weight", "blocks.2.att.value.weight"):
        np.testing.assert_array_equal(weights[name], deeper[name])


@pytest.mark.parametrize("sizes", [(1, 64, 10, 64), (1, 2, 1, 2), (2, 8, 3, 4)])
def test_the_smallest_models_are_finite(generation, sizes):
    for name, array in initialize(design(generation, *sizes), 0):
        assert np.isfinite(array).all(), name


GAINS = {
    # receptance, key, value, gate of the attention; key of the channel mixing
    "rwkv4": (0, 0, 1, None, 2),  # [4 D, D]: √4
    "rwkv5.0": (1, 1, 1, None, 2),
    "rwkv5.1": (1, 1, 1, 1, math.sqrt(3.5)),
    "rwkv5.2": (1, 0.1, 1, 0.1, 1),
    "rwkv6": (1, 0.1, 1, 0.1, 1),
    "rwkv7": (1, 0.1, 1, None, 1),
    "rwkv7a": (1, 0.1, 1, None, 1),
}


def assert_orthogonal(matrix, gain):
    matrix = matrix.astype(np.float64)
    product = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(product, gain**2 * np.eye(len(product)), atol=2e-6)


def test_matrices(generation, weights):
    names = ("att.receptance", "att.key", "att.value", "att.gate", "ffn.key")
    for layer in range(LAYERS):
        for name, gain in zip(names, GAINS[generation], strict=True):
            if gain is not None:
                assert_orthogonal(weights[f"blocks.{layer}.{name}.weight"], gain)
        for name in ("att.output", "ffn.value", "ffn.receptance"):
            if not generation.startswith("rwkv7") or name != "ffn.receptance":
                assert not weights[f"blocks.{layer}.{name}.weight"].any()
    assert_orthogonal(weights["head.weight"], 0.5 * np.sqrt(VOCAB / DIM))


def test_a_head_of_fewer_tokens_than_channels(generation):
    few = dict(initialize(design(generation, 1, DIM, 20, HEAD), 0))
    assert_orthogonal(few["head.weight"], 0.5)


def test_embedding_and_norms(generation, weights):
    limit = 6e-4 if generation in ("rwkv4", *PER_HEAD) else 1e-4
    embedding = weights["emb.weight"]
    assert 0.99 * limit < np.abs(embedding).max() <= np.float32(limit)
    assert abs(embedding.mean()) < 0.02 * limit
    assert embedding.std() == pytest.approx(limit / math.sqrt(3), rel=0.02)
    for layer in range(LAYERS):
        if generation != "rwkv4":
            scale = weights[f"blocks.{layer}.att.ln_x.weight"]
            np.testing.assert_allclose(scale, ((layer + 1) / LAYERS) ** 0.7)
            assert not weights[f"blocks.{layer}.att.ln_x.bias"].any()
        for norm in ("ln1", "ln2"):
            np.testing.assert_array_equal(weights[f"blocks.{layer}.{norm}.weight"], 1)
            assert not weights[f"blocks.{layer}.{norm}.bias"].any()
    for norm in ("blocks.0.ln0", "ln_out"):
        np.testing.assert_array_equal(weights[f"{norm}.weight"], 1)
        assert not weights[f"{norm}.bias"].any()


# RWKV-4 to 6: the official code's loops, channel by channel


def expected_shares(n, layer):
    """Kind → share of the current token."""
    depth, rest = layer / (LAYERS - 1), 1 - layer / LAYERS
    share = (n / DIM) ** rest
    shares = {f"att.{letter}": share for letter in "kwx"}
    shares |= {f"att.{letter}": (n / DIM) ** (0.5 * rest) for letter in "rg"}
    shares["att.v"] = share + 0.3 * depth
    return shares | {"ffn.k": share, "ffn.r": share}


@pytest.mark.parametrize("generation", GENERATIONS[:5])
def test_token_shifts_before_rwkv7(generation):
    weights, found = fresh(generation), set()
    for layer in range(LAYERS):
        for n in range(DIM):
            for kind, share in expected_shares(n, layer).items():
                part, letter = kind.split(".")
                block = f"blocks.{layer}.{part}"
                if f"{block}.time_mix_{letter}" in weights:
                    value = weights[f"{block}.time_mix_{letter}"][0, 0, n]
                elif f"{block}.time_maa_{letter}" in weights:
                    value = 1 - weights[f"{block}.time_maa_{letter}"][0, 0, n]
                else:
                    continue
                found.add(kind)
                assert value == pytest.approx(share, abs=1e-6), (kind, layer, n)
    letters = {"rwkv4": "rkv", "rwkv5.0": "rkv", "rwkv6": "rkvgwx"}.get(generation, "rkvg")
    assert found == {f"att.{letter}" for letter in letters} | {"ffn.k", "ffn.r"}


def expected_decay(generation, position, layer):
    slowest, span = (-5, 8) if generation == "rwkv4" else (-6, 5)
    return slowest + span * position ** (0.7 + 1.3 * layer / (LAYERS - 1))


@pytest.mark.parametrize("generation", GENERATIONS[:5])
def test_decays_before_rwkv7(generation):
    weights = fresh(generation)
    count = HEADS if generation in PER_HEAD else DIM
    for layer in range(LAYERS):
        decay = weights[f"blocks.{layer}.att.time_decay"].reshape(-1)
        assert len(decay) == count
        for n in range(count):
            expected = expected_decay(generation, n / (count - 1), layer)
            assert decay[n] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("generation", GENERATIONS[:5])
def test_bonuses_before_rwkv7(generation):
    weights = fresh(generation)
    for layer in range(LAYERS):
        depth = layer / (LAYERS - 1)
        att = f"blocks.{layer}.att."
        bonus = weights[att + ("time_first" if generation == "rwkv4" else "time_faaaa")].reshape(-1)
        for n, value in enumerate(bonus):
            zigzag = (n + 1) % 3 - 1
            if generation == "rwkv4":
                expected = math.log(0.3) + 0.5 * zigzag
            elif generation in PER_HEAD:
                head = n / (HEADS - 1)
                expected = math.exp(-3) if generation == "rwkv5.0" else depth * (1 - head)
            else:
                expected = depth * (1 - n / (DIM - 1)) + 0.1 * zigzag
            assert value == pytest.approx(expected, abs=1e-6)


def test_low_rank_of_rwkv6():
    weights = fresh("rwkv6")
    for layer in range(LAYERS):
        for kind in ("time_maa", "time_decay"):
            assert not weights[f"blocks.{layer}.att.{kind}_w1"].any()
            up = weights[f"blocks.{layer}.att.{kind}_w2"]
            assert 0.0099 < np.abs(up).max() <= np.float32(0.01)
            assert up.std() == pytest.approx(0.01 / math.sqrt(3), rel=0.03)
