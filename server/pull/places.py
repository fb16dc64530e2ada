"""Where downloaded files go: the cache that all of Hugging Face's tools share, or a folder."""

import re
from pathlib import Path
from typing import Protocol

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.file_download import repo_folder_name

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.hub import check_file_name
from server.progress import OnProgress
from server.pull.repository import RemoteFile, Repository
from server.pull.transfer import has_content, transfer
from server.regular_file import read_regular

_MAX_REFERENCE_BYTES = 1024
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Place(Protocol):
    """A folder with the files of a repository."""

    root: Path

    def add(self, file: RemoteFile, on_progress: OnProgress) -> None:
        """Download a file, unless it is there."""

    def finish(self, revision: str) -> None:
        """Note that all files of the revision that are wanted are there."""


class CachePlace:
    """The snapshot of one commit in Hugging Face's cache (HF_HOME, HF_HUB_CACHE)."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._storage = _storage(repository.name)
        self.root = self._storage / "snapshots" / repository.commit

    def add(self, file: RemoteFile, on_progress: OnProgress) -> None:
        """Download into the cache's blobs and let the library link the snapshot to it."""
        link, blob = self.root / file.name, self._storage / "blobs" / file.digest
        if link.is_file() and link.stat().st_size == file.size:
            return
        link.unlink(missing_ok=True)
        if not (blob.is_file() and has_content(blob, file, on_progress)):
            transfer(self._repository, file, blob, on_progress)
        hf_hub_download(
            self._repository.name,
            file.name,
            revision=self._repository.commit,
            cache_dir=constants.HF_HUB_CACHE,
            endpoint=constants.ENDPOINT,
        )
        # The library goes by what the server says now: it may have fetched something else.
        if not link.samefile(blob) and not has_content(link, file, on_progress):
            link.unlink()
            raise CheckpointError(
                f"{self._repository.name}/{file.name}: it has just changed; pull again"
            )

    def finish(self, revision: str) -> None:
        """Let the name of a branch or tag stand for the commit, as the library does."""
        if _COMMIT.fullmatch(revision):
            return
        reference = self._storage / "refs" / revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(self._repository.commit)


class FolderPlace:
    """A folder that the user names."""

    def __init__(self, repository: Repository, root: Path) -> None:
        self._repository = repository
        self.root = root

    def add(self, file: RemoteFile, on_progress: OnProgress) -> None:
        """Download a file, also in place of one that has another content."""
        target = self.root / file.name
        if not (target.is_file() and has_content(target, file, on_progress)):
            transfer(self._repository, file, target, on_progress)

    def finish(self, revision: str) -> None:
        """Nothing: a folder has no revisions."""


def cached_snapshot(repo: str, revision: str) -> Path | None:
    """The folder of a revision in the cache, without asking anybody; None if there is none."""
    check_file_name(repo, revision)
    storage = _storage(repo)
    reference = storage / "refs" / revision
    commit = _commit_of(reference) or revision
    snapshot = storage / "snapshots" / commit
    return snapshot if _COMMIT.fullmatch(commit) and snapshot.is_dir() else None


def _commit_of(reference: Path) -> str:
    """What a branch or tag stands for; empty if that is not known here."""
    try:
        return read_regular(reference, _MAX_REFERENCE_BYTES).decode("ascii", "replace").strip()
    except OSError:
        return ""


def _storage(repo: str) -> Path:
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")
