"""What tests of models ask: logits and states of a prompt, however it is cut and batched."""

import numpy as np

from server.model.model import pack_batch
from server.model.state import StatePool
from tests import naive
from tests.kernels.test_quantize import quantize, unpack_int4
from tests.model.random_models import load_model

PROMPT = [int(t) for t in np.random.default_rng(0).integers(0, 97, 45)]


def read(model, chunks, slot=0, pool=None):
    """Logits after the chunks, read one after another."""
    pool = pool or StatePool(model.config, 4)
    for chunk in chunks:
        logits = model.forward(pack_batch([(chunk, slot, True)]), pool.state)
    return logits[0, : model.config.vocab_size].copy(), pool


def states_of(pool, slot=0):
    return b"".join(array[slot].tobytes() for array in pool.state)


def rounded_as(dtype):
    """What becomes of a large matrix; the head has at least 8 bits."""
    done = {}

    def rounded(name, matrix):
        if dtype == "int8" or name == "head.weight":
            return naive.rounded_to_int8(matrix, np.float16)
        if name not in done:  # as the kernel does it, which has tests of its own
            found = unpack_int4(*quantize(matrix, 4))
            done[name] = found.reshape(len(found), -1)[: matrix.shape[0], : matrix.shape[1]]
        return done[name]

    return rounded


def assert_same_bits(checkpoint, dtype):
    """The prompt's logits and state, whatever the chunks, the neighbours and the threads."""
    whole, pool = read(load_model(checkpoint, dtype), [PROMPT])
    expected = (whole.tobytes(), states_of(pool))
    for threads in (1, 2, 3):
        model = load_model(checkpoint, dtype, threads=threads)
        for sizes in ([1] * 45, [44, 1], [1, 44], [7, 8, 9, 21], [16, 29]):
            ends = np.cumsum(sizes)
            chunks = [PROMPT[e - s : e] for s, e in zip(sizes, ends, strict=True)]
            logits, pool = read(model, chunks)
            assert (logits.tobytes(), states_of(pool)) == expected
        assert _among_others(model) == expected


def _among_others(model):
    """The prompt in uneven chunks, batched with two other sequences."""
    pool = StatePool(model.config, 4)
    rng = np.random.default_rng(7)
    done = 0
    while done < len(PROMPT):
        size = min(int(rng.integers(1, 9)), len(PROMPT) - done)
        others = [list(rng.integers(0, 97, int(n))) for n in rng.integers(1, 12, 2)]
        batch = [(others[0], 3, False), (PROMPT[done : done + size], 1, True), (others[1], 2, True)]
        logits = model.forward(pack_batch(batch), pool.state)[0, :97].copy()
        done += size
    return logits.tobytes(), states_of(pool, slot=1)
