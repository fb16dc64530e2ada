"""What a repository on the Hugging Face Hub holds, as its server tells."""

import re
from dataclasses import dataclass

from huggingface_hub import HfApi, constants

from server.checkpoints.checkpoint import CheckpointError

_SECONDS = 30.0
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class RemoteFile:
    """A file at some commit."""

    name: str
    size: int
    """Bytes."""
    digest: str
    """Hexadecimal: SHA-256 of the content (64 digits), or SHA-1 of it as a git blob (40)."""


@dataclass(frozen=True)
class Repository:
    """All files of a repository at one commit."""

    name: str
    commit: str
    files: dict[str, RemoteFile]


def read_repository(name: str, revision: str) -> Repository:
    """Ask the server. Raises CheckpointError for a strange answer, and the library's errors."""
    try:
        info = HfApi(endpoint=constants.ENDPOINT).model_info(
            name, revision=revision, files_metadata=True, timeout=_SECONDS
        )
        files = {
            entry.rfilename: RemoteFile(
                entry.rfilename,
                entry.lfs.size if entry.lfs else entry.size or 0,
                (entry.lfs.sha256 if entry.lfs else entry.blob_id) or "",
            )
            for entry in info.siblings or ()
        }
        strange = not _COMMIT.fullmatch(info.sha or "") or not all(
            type(file.size) is int and file.size >= 0 and _DIGEST.fullmatch(file.digest)
            for file in files.values()
        )
    except OSError:
        raise  # of the connection: errors.py explains it
    except (ValueError, TypeError, KeyError, AttributeError):
        strange = True
    if strange:
        raise CheckpointError(
            f"{name}: {constants.ENDPOINT} does not answer as the Hugging Face Hub does "
            "(commit, sizes and checksums of files); check HF_ENDPOINT"
        )
    return Repository(name, str(info.sha), files)
