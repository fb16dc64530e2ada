"""Which files of a repository make up the model that is meant."""

from collections.abc import Collection
from pathlib import Path, PurePosixPath

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.folders import SUFFIXES, TRAINER_SUFFIXES, is_shard
from server.checkpoints.hub import HubModel, check_file_name
from server.checkpoints.huggingface import CONFIG, WEIGHTS
from server.checkpoints.locate import PILE_TOKENIZER, WORLD_VOCABULARY

BESIDE = (
    CONFIG,
    "tokenizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "chat_template.jinja",
    WORLD_VOCABULARY,
    PILE_TOKENIZER,
)
"""What is read beside a checkpoint."""

_MAX_LISTED = 10


def choose_weights(model: HubModel, names: Collection[str]) -> str:
    """The file of weights, or the index of its shards, among all files of the repository.

    Raises CheckpointError when there is none, or when the user has to choose.
    """
    if model.file:
        if model.file not in names:
            raise CheckpointError(f"{model.repo}: no file {model.file} in it{_listed(names)}")
        return model.file
    for name in WEIGHTS:
        if name in names and CONFIG in names:
            return name
    checkpoints = _checkpoints(names)
    if not checkpoints:
        raise CheckpointError(f"{model.repo}: no checkpoint in it ({', '.join(SUFFIXES)})")
    stems = {str(PurePosixPath(name).with_suffix("")) for name in checkpoints}
    if len(stems) > 1:
        raise CheckpointError(
            f"{model.repo}: {len(checkpoints)} checkpoints in it, name one as "
            f"{model.repo}/FILE{_listed(names)}"
        )
    # The same in several formats: the first that we name is the one that maps best.
    return min(checkpoints, key=lambda name: SUFFIXES.index(PurePosixPath(name).suffix))


def choose_beside(weights: str, names: Collection[str]) -> list[str]:
    """The small files that belong to the weights. Raises CheckpointError for hostile names."""
    folder = PurePosixPath(weights).parent
    chosen = [str(folder / name) for name in BESIDE if str(folder / name) in names]
    for name in (*chosen, weights):
        check_file_name("the repository", name)
    return chosen


def is_folder_of_weights(weights: str) -> bool:
    """Whether the model is the folder that the weights are in, rather than the file."""
    return PurePosixPath(weights).name in WEIGHTS


def model_path(weights: str, root: Path) -> Path:
    """What to name to use the model, when the repository's files are in a folder."""
    path = root / weights
    return path.parent if is_folder_of_weights(weights) else path


def _checkpoints(names: Collection[str]) -> list[str]:
    """Those that are whole models: not the shards that only an index makes one of.

    What only trainers call so counts where there is nothing else: it may be anything of a training.
    """
    found = sorted(n for n in names if _suffix(n) in SUFFIXES and not is_shard(PurePosixPath(n)))
    return [name for name in found if _suffix(name) not in TRAINER_SUFFIXES] or found


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix


def _listed(names: Collection[str]) -> str:
    """`: a, b, …`, or nothing."""
    found = _checkpoints(names)
    more = f", … ({len(found) - _MAX_LISTED} more)" if len(found) > _MAX_LISTED else ""
    return f": {', '.join(found[:_MAX_LISTED])}{more}" if found else ""
