"""Formats are told by content, and files that are not checkpoints by one line."""

import numpy as np
import pytest

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.reader import open_checkpoint
from server.checkpoints.writer import write_safetensors


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "empty"),
        (b"GGUF" + bytes(60), "GGUF version 0"),
        (b"fmgg" + bytes(60), r"rwkv\.cpp file of unknown version 0"),
        (b"lmgg" + bytes(60), "before GGUF"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "before 1.6"),
        (b"PK\x03\x04", "broken or truncated zip"),
        (b"#!/bin/sh\necho hello", "not a known checkpoint"),
        (b"<html>", "not a known checkpoint"),
        (bytes(100), "not a known checkpoint"),
    ],
)
def test_foreign_files(tmp_path, content, match):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=match):
        open_checkpoint(path)


def test_no_file(tmp_path):
    with pytest.raises(CheckpointError, match="No such file"):
        open_checkpoint(tmp_path / "missing")
    with pytest.raises(CheckpointError, match="directory"):
        open_checkpoint(tmp_path)


def test_trained_fixture(fixtures_dir):
    folder = fixtures_dir / "tiny-rwkv"
    checkpoint = open_checkpoint(folder / "tiny-rwkv-7v0-834K.safetensors")
    embedding = checkpoint.tensors["emb.weight"]
    assert embedding.shape == (256, 64)
    assert np.isfinite(embedding.to_float32()).all()


@pytest.mark.parametrize("layers", [1, 2])
def test_the_bonus_of_rwkv5_0_is_no_logarithm_here(tmp_path, layers):
    tensors = {"blocks.0.att.ln_x.weight": ("float32", np.ones(4, np.float32))}
    logarithms = np.array([-3, 0.5], np.float32)
    for layer in range(layers):
        tensors[f"blocks.{layer}.att.time_first"] = ("float32", logarithms)
    path = tmp_path / "model.safetensors"
    write_safetensors(path, tensors)
    found = open_checkpoint(path).tensors
    assert not any("time_first" in name for name in found)
    for layer in range(layers):
        bonus = found[f"blocks.{layer}.att.time_faaaa"]
        np.testing.assert_allclose(bonus.to_float32(), np.exp(logarithms), rtol=1e-6)
    del tensors["blocks.0.att.ln_x.weight"]  # RWKV-4, whose bonus is what it is
    write_safetensors(path, tensors)
    assert open_checkpoint(path).tensors["blocks.0.att.time_first"].is_plain
