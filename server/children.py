"""How the server starts child programs: the one place where another Python begins.

A child imports nothing from the folder that the user happens to be in, and its libraries read no
settings there: its working directory is an empty one that only this user may enter, so paths in its
arguments have to be absolute.
"""

import atexit
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple, NoReturn

from server.private_folder import PrivateFolder, is_private_folder

_PROGRAM = Path(__file__).parent.parent / "rwkv_server.py"
_EMPTY, _TEMPORARY = "empty", "tmp"

_WITHHELD = ("RWKV_SERVER_", "OTEL_", "PG")
"""What the names of variables begin with that children do not get: they are told their settings,
and trace nothing and ask no database."""
_SECRET = re.compile(
    r"(^|_)(API_?KEYS?|ACCESS_?KEY(_ID)?|PRIVATE_?KEY|SECRETS?|TOKENS?|PASSWORD|PASSWD|PASSPHRASE"
    r"|CREDENTIALS?|AUTHORIZATION"
    r"|(DATABASE|REDIS|MONGO(DB)?|MYSQL|POSTGRES(QL)?|AMQP|BROKER)_UR[IL])(_|$)"
    r"|PASS$|_(KEYS?|PWD|PAT|AUTH|DSN|COOKIES?|CONNECTION_STRING|WEBHOOK_URL)$"
)
"""The names of further variables that children have no use for, whoever reads them."""
_HUB = re.compile(r"(HF|HUGGING_?FACE)_")
"""The names of variables that the Hugging Face Hub's library reads, which has use for tokens."""

_PATHS = frozenset(
    "HOME NUMBA_CACHE_DIR XDG_CACHE_HOME XDG_CONFIG_HOME NETRC "
    "PYTHONHOME PYTHONUSERBASE PYTHONPYCACHEPREFIX "
    "SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE "
    "HF_HOME HF_HUB_CACHE HUGGINGFACE_HUB_CACHE HF_ASSETS_CACHE HUGGINGFACE_ASSETS_CACHE "
    "HF_XET_CACHE HF_TOKEN_PATH HF_STORED_TOKENS_PATH".split()
)
"""Variables that name files and folders, which may be relative to the working directory."""


class Child(NamedTuple):
    """What a child program is started with."""

    command: list[str]
    environment: dict[str, str]
    directory: str
    """Its working directory."""
    lock: int
    """A file descriptor that it inherits: the folder is not removed while it has that open."""

    def call(self) -> int:
        """Run it with this process's standard streams; returns its exit code."""
        return subprocess.call(
            self.command, env=self.environment, cwd=self.directory, pass_fds=[self.lock]
        )

    def replace_this_process(self) -> NoReturn:
        """Go on as the child (exec), which calls own_folder()."""
        sys.stdout.flush()
        sys.stderr.flush()
        os.set_inheritable(self.lock, True)
        os.chdir(self.directory)
        os.execve(self.command[0], self.command, self.environment)


def child(module: str, *arguments: str, with_hub_tokens: bool = False) -> Child:
    """A module of this package, such as `server.pull`, as a program of its own.

    Only one that talks to the Hugging Face Hub needs the tokens for it. Raises OSError.
    """
    if not _folder().path.is_dir():  # removed by somebody
        _folder.cache_clear()
    folder = _folder()
    flags = ["-P", *(["-E"] if sys.flags.ignore_environment else [])]
    flags += ["-s"] if sys.flags.no_user_site else []
    command = [sys.executable, *flags, str(_PROGRAM), module, *arguments]
    environment = _environment(with_hub_tokens) | {"TMPDIR": str(folder.path / _TEMPORARY)}
    return Child(command, environment, str(folder.path / _EMPTY), folder.lock)


def own_folder() -> None:
    """Remove the folder of a program that has replaced the one that made it when it ends."""
    here = Path.cwd()
    if here.name == _EMPTY and is_private_folder(here.parent):
        atexit.register(shutil.rmtree, here.parent, ignore_errors=True)


@cache
def _folder() -> PrivateFolder:
    """What children need: a folder to be in, and one for their temporary files, which a child that
    is killed leaves."""
    folder = PrivateFolder()
    atexit.register(folder.remove)
    (folder.path / _EMPTY).mkdir(mode=0o500)
    (folder.path / _TEMPORARY).mkdir(mode=0o700)
    return folder


def _environment(with_hub_tokens: bool) -> dict[str, str]:
    """This process's without secrets, and with paths that hold in any working directory."""
    found = {}
    for name, text in os.environ.items():
        upper = name.upper()
        for_hub = with_hub_tokens and _HUB.match(upper)
        if upper.startswith(_WITHHELD) or (_SECRET.search(upper) and not for_hub):
            continue
        found[name] = _absolute(name, text) if name in _PATHS else text
    path = [entry for entry in found.pop("PYTHONPATH", "").split(os.pathsep) if _is_full(entry)]
    return found | ({"PYTHONPATH": os.pathsep.join(path)} if path else {})


def _absolute(name: str, text: str) -> str:
    """A path in full; the Hub's library expands what begins with ~ or $."""
    is_expanded = _HUB.match(name) and text.startswith(("~", "$"))
    return text if not text or is_expanded else str(Path(text).absolute())


def _is_full(entry: str) -> bool:
    return Path(entry).is_absolute()
