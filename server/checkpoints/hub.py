"""Models that are named as `hf:REPO[/FILE]` or `g1:1.5b`: from the name to files on this machine.

What downloads is `python -m server.pull`, a process of its own: huggingface_hub takes longer to
import (0.1 to 0.2 s) than the rest of the command line may, and stays out of the API process.
"""

import logging
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.published import published
from server.children import child

PREFIX = "hf:"
PULL_PROGRAM = "server.pull"
DEFAULT_REVISION = "main"

_INTERRUPTED = 130
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*", re.ASCII)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HubModel:
    """A repository on the Hugging Face Hub, and the file in it that is meant."""

    repo: str
    """owner/name"""
    file: str = ""
    """A path in the repository; empty: whatever the model in it consists of."""

    def __str__(self) -> str:
        return f"{self.repo}/{self.file}" if self.file else self.repo


def is_on_hub(text: str) -> bool:
    """Whether a text names a model on the Hub, not a file: `hf:…` or a short name."""
    return text.startswith(PREFIX) or published(text) is not None


def parse_model(text: str) -> HubModel:
    """Read `[hf:]OWNER/NAME[/FILE]` or a short name. Raises CheckpointError for anything else."""
    if known := published(text):
        return HubModel(known.repo, known.file)
    owner, _, rest = text.removeprefix(PREFIX).partition("/")
    name, slash, file = rest.partition("/")
    if not all(_PART.fullmatch(part) and "--" not in part and ".." not in part
               for part in (owner, name)) or (slash and not file):  # fmt: skip
        raise CheckpointError(
            f"{text}: want OWNER/NAME or OWNER/NAME/FILE of a repository, or a short "
            "name as `rwkv-server models` lists them"
        )
    if file:
        check_file_name(text, file)
    return HubModel(f"{owner}/{name}", file)


def check_file_name(where: str, name: str) -> None:
    """Raise CheckpointError unless joining the name to a folder gives a path in that folder."""
    parts = name.split("/")
    if any(part in ("", ".", "..") or re.search(r"[\\:\0-\x1f]", part) for part in parts):
        raise CheckpointError(f"{where}: file name {name[:120]!r} leaves the folder or is not one")


def local_path(model: str) -> str:
    """Where a model is: on the Hub what was pulled, downloaded first if need be; else as given.

    Raises CheckpointError.
    """
    if not is_on_hub(model):
        return model
    parse_model(model)
    found = _pull("--only-pulled", "--", model)
    if found.returncode != 0:
        log.info("%s is not on this machine yet: downloading it", model)
        found = _pull("--", model)
    if found.returncode == _INTERRUPTED:
        raise KeyboardInterrupt
    if found.returncode != 0:
        raise CheckpointError(found.stdout.strip() or f"{model}: the download failed")
    return found.stdout.rstrip("\n")


def name_of_snapshot(folder: Path) -> str | None:
    """The repository's name, if that is a folder of Hugging Face's cache, which a commit names."""
    *_, storage, snapshots, _ = ("", "", *folder.resolve().parts)
    if snapshots != "snapshots" or not storage.startswith("models--"):
        return None
    return storage.rpartition("--")[2]


def _pull(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Its progress goes to the terminal; its standard output is a path, or else an error."""
    puller = child(PULL_PROGRAM, "--machine", *arguments, with_hub_tokens=True)
    return subprocess.run(
        puller.command,
        env=puller.environment,
        cwd=puller.directory,
        pass_fds=[puller.lock],
        stdin=subprocess.DEVNULL,  # a worker's is its lifeline
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
