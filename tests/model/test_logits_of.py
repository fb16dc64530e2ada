"""The logits of many tokens of a step, which come in pieces."""

import numpy as np
import pytest

from server.model.model import LOGIT_ROWS, pack_batch
from server.model.state import StatePool
from tests.model.random_models import load_model, random_tensors, write_model

TOKENS = [int(t) for t in np.random.default_rng(2).integers(0, 97, 2 * LOGIT_ROWS + 5)]


@pytest.mark.parametrize(
    ("generation", "dtype"), [("rwkv7", "int8"), ("rwkv6", "float32"), ("rwkv4", "float32")]
)
@pytest.mark.parametrize("max_rows", [3, LOGIT_ROWS + 7])
def test_they_are_the_bits_of_one_token_at_a_time(tmp_path, generation, dtype, max_rows):
    tensors = random_tensors(generation=generation)
    path = write_model(tmp_path / "model.safetensors", tensors)
    model = load_model(path, dtype, threads=2, max_tokens=80, max_rows=max_rows)
    state = StatePool(model.config, 2).state
    batch = pack_batch([(TOKENS[:50], 0, False), (TOKENS[50:], 1, True)])
    last = model.forward(batch, state).copy()
    places = np.array([p for p in range(len(TOKENS)) if p % 7], dtype=np.int64)
    pieces = [piece.copy() for piece in model.logits_of(places)]
    assert [len(piece) for piece in pieces[:-1]] == [max(max_rows, LOGIT_ROWS)] * (len(pieces) - 1)
    found = np.concatenate(pieces)
    state = StatePool(model.config, 2).state
    steps = [pack_batch([([t], int(place >= 50), True)]) for place, t in enumerate(TOKENS)]
    alone = np.concatenate([model.forward(step, state).copy() for step in steps])
    np.testing.assert_array_equal(found[:, :97], alone[places, :97])
    np.testing.assert_array_equal(last[:, :97], alone[-1:, :97])
