"""A model opened: its checkpoint with adapters merged, and the states that sequences begin with."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from server.checkpoints.adapters import apply_adapter
from server.checkpoints.checkpoint import Checkpoint, CheckpointError
from server.checkpoints.reader import open_checkpoint
from server.model.config import ModelConfig, read_config
from server.model.initial_state import StateArrays, initial_state, read_initial_state
from server.model.packed_config import is_packed
from server.model.tensors import RERANKER
from server.model_names import split_adapter


def open_parts(
    path: Path, adapters: Iterable[str], states: Mapping[str, str]
) -> tuple[Checkpoint, ModelConfig, dict[str, StateArrays]]:
    """Open a checkpoint; merge adapters (FILE[:ALPHA]); read states (name → file), "" is its own.

    No weight is read. Raises CheckpointError.
    """
    checkpoint = open_checkpoint(path)
    config = read_config(checkpoint)
    if config.generation == RERANKER:
        raise CheckpointError(
            f"{path}: a reranker, not a model: serve its embedding model with --reranker FILE"
        )
    for text in adapters:
        if is_packed(checkpoint):  # an adapter may be of any form, also one that is no adapter
            raise CheckpointError(
                f"{path}: a packed model takes no adapter (got {text[:200]}): convert the model "
                "that it was made of with --adapter"
            )
        try:
            file, alpha = split_adapter(text)
        except ValueError as error:
            raise CheckpointError(f"adapter {text}: {error}") from None
        checkpoint = apply_adapter(checkpoint, Path(file).expanduser(), alpha)
    found = {"": initial_state(config, path, checkpoint.tensors)}
    for name, file in states.items():
        found[name] = read_initial_state(config, Path(file))
    return checkpoint, config, found
