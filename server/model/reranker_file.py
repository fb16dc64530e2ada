"""A reranker's file, checked against the embedding model that it goes with."""

from pathlib import Path
from typing import NamedTuple

from server.checkpoints.checkpoint import Checkpoint, CheckpointError
from server.checkpoints.embedding_rwkv import LAYERS_KEY, layers_read
from server.checkpoints.reader import open_checkpoint
from server.model.config import ModelConfig, read_config
from server.model.tensors import EMBEDDING, RERANKER


class RerankerFile(NamedTuple):
    """A reranker whose weights are not read yet."""

    checkpoint: Checkpoint
    config: ModelConfig
    layers: list[int]
    """The layers of the embedding model whose states its own layers begin with."""


def open_reranker(path: Path, model: ModelConfig, model_path: Path) -> RerankerFile:
    """Open a reranker and check that it fits the embedding model. Raises CheckpointError."""
    if model.generation != EMBEDDING:
        raise CheckpointError(
            f"{path}: a reranker scores the states of an embedding model (EmbeddingRWKV), and "
            f"{model_path} is {model.title}; leave out --reranker"
        )
    checkpoint = open_checkpoint(path)
    config = read_config(checkpoint)
    if config.generation != RERANKER:
        raise CheckpointError(
            f"{path}: {config.title}, not a reranker (reranker.* tensors); serve it as MODEL"
        )
    if (config.heads, config.head_size) != (model.heads, model.head_size):
        raise CheckpointError(
            f"{path}: tensor blocks.0.att.r_k has shape {[config.heads, config.head_size]}, but "
            f"that of {model_path} has {[model.heads, model.head_size]}: they are not a pair; "
            "use the reranker that was trained for this embedding model"
        )
    return RerankerFile(checkpoint, config, _layers(checkpoint, config, model, model_path))


def _layers(
    checkpoint: Checkpoint, config: ModelConfig, model: ModelConfig, model_path: Path
) -> list[int]:
    path, named = checkpoint.path, layers_read(checkpoint)
    # Without a list, rwkv_emb reads the first ones.
    layers = list(range(config.layers)) if named is None else named
    if len(layers) != config.layers:
        raise CheckpointError(
            f"{path}: {LAYERS_KEY} names {len(layers)} layers, but the reranker has "
            f"{config.layers} (blocks.*)"
        )
    for layer, source in enumerate(layers):
        if not -model.layers <= source < model.layers:
            raise CheckpointError(
                f"{path}: tensor blocks.{layer}.att.r_k reads layer {source}, but {model_path} has "
                f"{model.layers} layers: they are not a pair; use the reranker that was trained "
                "for this embedding model"
            )
    return [source % model.layers for source in layers]
