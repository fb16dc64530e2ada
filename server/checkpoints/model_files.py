"""Which files belong to a model: those in its folder, or next to it, and no link leads elsewhere.

What somebody names may be a link. What comes with it may not lead out of its folder: a folder from
somewhere could otherwise make any file of this machine part of the model, and show it to clients.
"""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from server.checkpoints.checkpoint import CheckpointError

MAX_FILES = 10_000
"""Most entries of a folder that is looked through for models, or for the files of one."""


def file_of(model: Path, name: str) -> Path:
    """Where a file of this name would be: in the model's folder, or next to a model of one file.

    Raises CheckpointError when a link leads it out of that folder. In Hugging Face's cache links
    lead from a snapshot to the blobs of its repository, which belong to it.
    """
    is_folder = model.is_dir()
    path = (model if is_folder else model.parent) / name
    real = Path(os.path.realpath(path))
    roots = _roots(Path(os.path.realpath(model)), is_folder)
    if not is_folder:  # next to the name as given, or to what that is a link to
        roots += _roots(Path(os.path.realpath(model.parent)), is_folder=True)
    if not any(real.is_relative_to(root) for root in roots):
        raise CheckpointError(
            f"{path}: a link that leads out of the model's folder; put the file there, or name it "
            "in the settings"
        )
    return path


def entries_of(folder: Path) -> list[Path]:
    """What is in a folder, sorted. Raises CheckpointError, also for more than MAX_FILES."""
    try:
        with os.scandir(folder) as found:
            names = [entry.name for entry in itertools.islice(found, MAX_FILES + 1)]
    except OSError as error:
        raise CheckpointError(f"{folder}: {error.strerror or error}") from None
    if len(names) > MAX_FILES:
        raise CheckpointError(
            f"{folder}: more than {MAX_FILES} files in it; use a folder that has only models"
        )
    return [folder / name for name in sorted(names)]


def _roots(real: Path, is_folder: bool) -> list[Path]:
    """The folders that the files of a model may be in."""
    folder = real if is_folder else real.parent
    return [folder, *_blobs(folder)]


def _blobs(folder: Path) -> Iterator[Path]:
    """Of the repository, if the folder is in a snapshot: models--OWNER--NAME/snapshots/COMMIT."""
    for place in (folder, *folder.parents):
        snapshots = place.parent
        if snapshots.name == "snapshots" and snapshots.parent.name.startswith("models--"):
            yield snapshots.parent / "blobs"
