"""Fetching a model: choose its files, download those that are missing, say where they are."""

from pathlib import Path, PurePosixPath

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.hub import HubModel, check_file_name
from server.checkpoints.huggingface import shard_names
from server.progress import OnProgress
from server.pull.choice import choose_beside, choose_weights, model_path
from server.pull.places import CachePlace, FolderPlace, Place, cached_snapshot
from server.pull.repository import Repository, read_repository

_INDEX = ".index.json"


def pull(model: HubModel, revision: str, folder: Path | None, on_progress: OnProgress) -> Path:
    """Download a model into the cache or a folder; returns what to serve.

    Small files come first, so that weights that are there are never without them. Raises
    CheckpointError, OSError and the library's errors.
    """
    check_file_name(model.repo, revision)
    repository = read_repository(model.repo, revision)
    weights = choose_weights(model, repository.files)
    beside = choose_beside(weights, repository.files)
    place: Place = FolderPlace(repository, folder) if folder else CachePlace(repository)
    for name in (*beside, weights):
        place.add(repository.files[name], on_progress)
    for name in _shards(weights, place.root):
        _check_known(repository, name)
        place.add(repository.files[name], on_progress)
    place.finish(revision)
    return model_path(weights, place.root)


def find_pulled(model: HubModel, revision: str) -> Path | None:
    """Where a model is in the cache, if all of it is there; asks nobody."""
    snapshot = cached_snapshot(model.repo, revision)
    if snapshot is None:
        return None
    names = {p.relative_to(snapshot).as_posix() for p in snapshot.rglob("*") if p.is_file()}
    try:
        weights = choose_weights(model, names)
        whole = names.issuperset(_shards(weights, snapshot))
    except CheckpointError:
        return None
    return model_path(weights, snapshot) if whole else None


def _shards(weights: str, root: Path) -> list[str]:
    """The files that an index names, if the weights are one."""
    if not weights.endswith(_INDEX):
        return []
    folder = PurePosixPath(weights).parent
    return sorted({str(folder / name) for name in shard_names(root / weights).values()})


def _check_known(repository: Repository, name: str) -> None:
    if name not in repository.files:
        raise CheckpointError(f"{repository.name}: its index names {name[:120]}, which it lacks")
