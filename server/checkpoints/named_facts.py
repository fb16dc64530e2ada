"""What the files of a model say of it beside its tensors: what it is called, how it was trained."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gguf.constants import Keys

from server.checkpoints.gguf_header import GgufHeader
from server.checkpoints.hub import name_of_snapshot

MAX_LENGTH = (1 << 20) - 1
"""In tokens. What converters write that do not know it, a million and more, is no length."""

_LENGTHS = (
    "max_position_embeddings",
    "max_context_length",
    "context_length",
    "max_sequence_length",
    "n_ctx",
    "ctx_len",
)
_OF_A_TRAINING = re.compile(
    r"rwkv[-_]?(?:[0-9]+|init|final|last|latest|best|merged?|(?:step|epoch)[-_=]?[0-9]+)",
    re.IGNORECASE,
)
"""What trainers call what they write, whatever model it is: rwkv-12, rwkv-final."""
_CTX = re.compile(r"(?<![A-Za-z0-9])ctx[-_ ]?([0-9]{1,7})(k?)(?![A-Za-z0-9])", re.IGNORECASE)


def names_of(
    target: Path, given: str, config: Mapping[str, Any], header: GgufHeader | None
) -> tuple[str, ...]:
    """What a model is called, the most certain first.

    `given` is the name of its file or folder, `config` is its config.json. A file that is not named
    after its model, such as model.safetensors or rwkv-0.pth, has the name of its folder as well.
    """
    names = [given]
    says_little = "rwkv" not in given.lower() or _OF_A_TRAINING.fullmatch(given)
    if not target.is_dir() and says_little:
        folder = target.absolute().parent
        names.append(name_of_snapshot(folder) or folder.name)
    if isinstance(said := config.get("_name_or_path"), str):
        names.append(said.rstrip("/\\").replace("\\", "/").rpartition("/")[2])
    metadata = header.metadata if header is not None else {}
    inside = [metadata.get(key) for key in (Keys.General.NAME, Keys.General.BASENAME)]
    return (*names, *(text for text in inside if isinstance(text, str)))


def trained_length(
    names: Iterable[str], config: Mapping[str, Any], header: GgufHeader | None
) -> int | None:
    """For how many tokens a model was trained, as its name, config.json or GGUF says; else None."""
    said: list[object] = []
    for name in names:
        said += [int(number) << (10 if k else 0) for number, k in _CTX.findall(name)]
    said += [config.get(key) for key in _LENGTHS]
    if header is not None and (architecture := header.text(Keys.General.ARCHITECTURE)):
        said.append(header.metadata.get(Keys.LLM.CONTEXT_LENGTH.format(arch=architecture)))
    return next((n for n in said if type(n) is int and 0 < n <= MAX_LENGTH), None)
