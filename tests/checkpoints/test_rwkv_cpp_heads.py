"""What rwkv.cpp's converter does to values of heads, by generation and number of heads."""

import pytest

from server.checkpoints.reader import open_checkpoint
from server.model.config import read_config
from tests.checkpoints.official_models import assert_same, random_model
from tests.checkpoints.test_rwkv_cpp import write


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("generation", ["5.0", "5.1", "5.2", "6"])
def test_bonuses_of_official_files(tmp_path, generation, heads):
    """Official 5.1 has time_faaaa for each head; a single head's dimension is squeezed away."""
    model = random_model(generation)
    for name, values in list(model.items()):
        kind = name.rpartition(".")[2]
        if kind == "time_first":
            del model[name]
            name = name.replace("time_first", "time_faaaa")
        if kind in ("time_first", "time_faaaa") or (kind == "time_decay" and generation != "6"):
            per_head = generation in ("5.0", "5.1")
            model[name] = values.reshape(-1)[:heads] if per_head else values.reshape(heads, -1)
    path = tmp_path / "m.bin"
    write(path, generation, model)
    checkpoint = open_checkpoint(path)
    assert read_config(checkpoint).heads == heads
    assert read_config(checkpoint).generation == f"rwkv{generation}"
    assert_same(checkpoint, model, rtol=1e-5, atol=1e-6)
