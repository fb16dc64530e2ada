import pytest

from tests.model.random_models import random_tensors, write_model


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A small RWKV-7 with random weights and a vocabulary of 256."""
    tensors = random_tensors(layers=2, dim=48, vocab_size=256, head_size=16)
    return write_model(tmp_path_factory.mktemp("model") / "random.safetensors", tensors)
