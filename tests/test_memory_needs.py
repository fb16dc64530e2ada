"""What weights are said to take is what packing makes of them."""

from math import prod

import numpy as np
import pytest

from server.checkpoints.checkpoint import NUMPY_DTYPES
from server.checkpoints.reader import open_checkpoint
from server.memory_needs import weights_bytes
from server.model.config import read_config
from server.model.initialize import design, initialize
from server.model.loading import layout_of, storages_of
from server.model.tensors import FIELDS
from tests.model.random_models import write_model


@pytest.mark.parametrize("generation", FIELDS)
@pytest.mark.parametrize("dtype", ["int8", "int4"])
@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("layers", "dim", "tokens"), [(1, 64, 256), (3, 96, 71)])
def test_of_every_generation(tmp_path, generation, dtype, stored, layers, dim, tokens):
    sizes = design(generation, layers, dim, tokens, 32)
    tensors = dict(initialize(sizes, 0))
    if stored == "float16":
        tensors = {name: values.astype(np.float16) for name, values in tensors.items()}
    path = write_model(tmp_path / "a.safetensors", tensors, stored)
    checkpoint = open_checkpoint(path)
    config = read_config(checkpoint)
    layout = layout_of(storages_of(checkpoint, config, dtype))
    size = sum(NUMPY_DTYPES[kind].itemsize * prod(shape) for kind, shape in layout.values())
    assert weights_bytes(config, dtype) == size
