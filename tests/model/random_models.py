"""Small random models on disk, with every parameter away from its trivial value."""

import zlib

import numpy as np

from server.checkpoints.checkpoint import float32_to_bfloat16
from server.checkpoints.reader import open_checkpoint
from server.checkpoints.writer import write_safetensors
from server.kernels.team import Team
from server.model.config import read_config
from server.model.initialize import design, initialize
from server.model.loading import load_weights
from server.model.model import Model


def random_tensors(layers=3, dim=60, vocab_size=97, head_size=20, seed=1, generation="rwkv7"):
    """Name → float32 array: the official initialisation, shaken so that nothing is zero or one."""
    config = design(generation, layers, dim, vocab_size, head_size)
    return {
        name: (values + 0.1 * _noise(name, seed).standard_normal(values.shape)).astype(np.float32)
        for name, values in initialize(config, seed)
    }


def _noise(name, seed):
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def write_model(path, tensors, dtype="float32"):
    """Write as safetensors; returns the path."""
    stored = {
        name: (dtype, float32_to_bfloat16(values) if dtype == "bfloat16" else values)
        for name, values in tensors.items()
    }
    write_safetensors(path, stored, {})
    return path


def load_model(path, dtype="float32", threads=1, max_tokens=64, max_rows=16):
    """A model that is ready to compute."""
    checkpoint = open_checkpoint(path)
    config = read_config(checkpoint)
    team = Team(threads)
    weights = load_weights(checkpoint, config, dtype, team, None, lambda *_: None)
    model = Model(config, weights, team, max_tokens, max_rows)
    model.compile()
    return model
