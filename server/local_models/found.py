"""Models on this machine: in Hugging Face's cache, and in folders that the user names."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.folders import SUFFIXES
from server.checkpoints.hub import PREFIX
from server.checkpoints.locate import bytes_on_disk, find_checkpoint
from server.checkpoints.model_files import entries_of
from server.checkpoints.published import PUBLISHED
from server.checkpoints.reader import open_checkpoint
from server.memory_needs import needed_bytes
from server.model.config import ModelConfig, read_config

MAX_MODELS = 1000
"""Models that are opened and listed; what lies beyond is counted by nobody."""


@dataclass(frozen=True)
class LocalModel:
    """A model that can be served without a download, or a file that cannot and why."""

    name: str
    """What to pass to `serve`: a path, a short name or `hf:REPO[/FILE]`."""
    path: Path
    file_bytes: int
    config: ModelConfig | None
    error: str = ""
    """Why it cannot be served; empty if it can."""

    @property
    def needs(self) -> dict[str, int]:
        """Weight type → bytes of memory to expect; a packed model has one type."""
        if self.config is None:
            return {}
        if self.config.packed_as:
            return {self.config.packed_as: needed_bytes(self.config, self.config.packed_as)}
        return {dtype: needed_bytes(self.config, dtype) for dtype in ("int8", "int4")}


def models_in_folder(folder: Path) -> Iterator[LocalModel]:
    """Every checkpoint in a folder, also folders that are one, by name.

    Raises CheckpointError when the folder cannot be read.
    """
    for path in sorted(entries_of(folder)):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            try:
                checkpoint = find_checkpoint(path)
            except CheckpointError:
                continue  # another folder may hold something else
            yield opened(str(path), checkpoint)
        elif path.suffix in SUFFIXES:
            yield opened(str(path), path)


def models_in_hub_cache() -> Iterator[LocalModel]:
    """Every RWKV checkpoint in Hugging Face's cache; what else lies there is passed over."""
    for storage in sorted(Path(constants.HF_HUB_CACHE).glob("models--*--*")):
        owner, _, name = storage.name.removeprefix("models--").partition("--")
        snapshots = sorted((storage / "snapshots").glob("*"), key=_modified)
        for snapshot in snapshots[-1:]:
            yield from _models_of_snapshot(f"{owner}/{name}", snapshot)


def _models_of_snapshot(repo: str, snapshot: Path) -> Iterator[LocalModel]:
    try:
        whole = find_checkpoint(snapshot)
        names = [(f"{PREFIX}{repo}", whole)]
    except CheckpointError:
        paths = sorted(p for p in snapshot.rglob("*") if p.suffix in SUFFIXES and p.is_file())
        names = [(_hub_name(repo, str(p.relative_to(snapshot))), p) for p in paths]
    else:
        if whole.is_file():
            names = [(_hub_name(repo, str(whole.relative_to(snapshot))), whole)]
    for name, path in names:
        found = opened(name, path)
        if found.config is not None:
            yield found


def _hub_name(repo: str, file: str) -> str:
    """The short name of a file, if it has one."""
    short = (n for n, known in PUBLISHED.items() if (known.repo, known.file) == (repo, file))
    return next(short, f"{PREFIX}{repo}/{file}")


def opened(name: str, path: Path) -> LocalModel:
    """A checkpoint of which the header is read."""
    config, size, error = None, 0, ""
    try:
        size = bytes_on_disk(path)
        config = read_config(open_checkpoint(path))
    except CheckpointError as problem:
        error = str(problem)
    except OSError as problem:
        error = f"{path}: {problem.strerror or problem}"
    return LocalModel(name, path, size, config, error)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
