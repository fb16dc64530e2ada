"""From what the user names as a model to the files that make it up."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.folders import check_whole, only_checkpoint, weights_of
from server.checkpoints.gguf_header import is_gguf, read_gguf_header
from server.checkpoints.gguf_vocabulary import RWKV, chat_template, control_tokens, tokenizer_kind
from server.checkpoints.hub import local_path, name_of_snapshot
from server.checkpoints.huggingface import find_weights
from server.checkpoints.json_file import read_json_object, read_text
from server.checkpoints.model_files import file_of
from server.checkpoints.named_facts import names_of, trained_length
from server.checkpoints.published import PUBLISHED, looks_like_short_name
from server.home_folder import expanded

EMBEDDED = Path(__file__).parent.parent / "assets" / "embedded"
EMBEDDED_NAME = "rwkv-embedded"

MAX_TEMPLATE_BYTES = 1 << 20

WORLD_VOCABULARY = "rwkv_vocab_v20230424.txt"
"""What the World tokenizer's vocabulary is called where a model brings it."""

BYTES_VOCAB_SIZE = 256
PILE_VOCAB_SIZES = range(50_277, 50_305)
"""The tokenizer has 50,277 tokens, as RWKV-4 has them; RWKV-7 of the Pile pads to 50,304."""
PILE_TOKENIZER = "20B_tokenizer.json"
"""What the tokenizer of RWKV-4 Pile and Raven is called where the official code brings it."""
WORLD_VOCAB_SIZES = range(65_530, 65_537)  # the largest id is 65,529; models pad to 65,536

_ID = re.compile("[0-9]{1,9}")
_SPECIAL_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclass(frozen=True)
class ModelFiles:
    """Where a model's parts are."""

    name: str
    """The model's id in the API, unless the user sets one."""
    checkpoint: Path
    tokenizer: str = ""
    """A tokenizer file, `world` or `bytes`; empty: choose_tokenizer tells by the vocabulary."""
    chat_template: str | None = None
    """Jinja source that came with the checkpoint."""
    bos_token: str = ""
    eos_token: str = ""
    special_tokens: Mapping[str, int] = field(default_factory=dict)
    """Ids by name, for a vocabulary that has none for them."""
    names: tuple[str, ...] = ()
    """All that the files call the model, `name` first."""
    trained_length: int | None = None
    """For how many tokens it was trained, if they tell."""


def locate(path: str, tokenizer: str = "") -> ModelFiles:
    """Find the parts of a model: a file, a folder, one on the Hub, or "" for the embedded one.

    On the Hub are `hf:REPO[/FILE]` and short names. A Hugging Face folder is a checkpoint as a
    whole. Raises CheckpointError when there is no checkpoint, or more than one in the folder.
    """
    target = expanded(local_path(path)) if path else EMBEDDED
    if not target.exists():
        hint = "" if path else "; the embedded model is not in this installation, name another"
        if looks_like_short_name(path):
            hint = f"; short names are {', '.join(PUBLISHED)}"
        raise CheckpointError(f"{target}: no such file or folder{hint}")
    checkpoint = find_checkpoint(target)
    header = read_gguf_header(checkpoint) if is_gguf(checkpoint) else None
    kind = tokenizer_kind(header) if header else ""
    inside = chat_template(header) if header else None
    if not tokenizer and kind != RWKV:
        tokenizer = _tokenizer_of(target)
    config = read_json_object(file_of(target, "tokenizer_config.json")) or {}
    template = _chat_template(target, config)
    name = name_of(target) if path else EMBEDDED_NAME
    sizes = read_json_object(file_of(target, "config.json")) if target.is_dir() else None
    names = names_of(target, name, sizes or {}, header)
    return ModelFiles(
        name=name,
        checkpoint=checkpoint,
        tokenizer=tokenizer or (str(checkpoint) if kind else ""),
        chat_template=inside if template is None else template,
        bos_token=_token_text(config.get("bos_token")),
        eos_token=_token_text(config.get("eos_token")),
        special_tokens=(control_tokens(header) if header else {}) | _special_tokens(target, config),
        names=names,
        trained_length=trained_length(names, sizes or {}, header),
    )


def find_checkpoint(target: Path) -> Path:
    """The file, or the folder as a whole, that holds the weights of a file or folder that is there.

    Raises CheckpointError when there is no checkpoint, or more than one in the folder.
    """
    if not target.is_dir():
        if not target.is_file():
            raise CheckpointError(f"{target}: not a regular file; name a checkpoint or its folder")
        check_whole(target, [target])
        return target
    return target if find_weights(target) else only_checkpoint(target)


def name_of(target: Path) -> str:
    """A model's id in the API, unless the user sets one, by its file or folder."""
    if target.is_dir():
        return name_of_snapshot(target) or target.resolve().name
    return target.stem


def bytes_on_disk(checkpoint: Path) -> int:
    """Bytes of a checkpoint: of the file, or of all files of weights if it is a folder."""
    try:
        return sum(path.stat().st_size for path in weights_of(checkpoint))
    except OSError as error:
        raise CheckpointError(f"{error.filename}: {error.strerror}") from None


def choose_tokenizer(files: ModelFiles, vocab_size: int) -> str:
    """The tokenizer's file, `world` or `bytes`, by what was named or else by the vocabulary.

    Raises CheckpointError when neither tells.
    """
    if files.tokenizer:
        return files.tokenizer
    if vocab_size == BYTES_VOCAB_SIZE:
        return "bytes"
    if vocab_size in WORLD_VOCAB_SIZES:
        return "world"
    if vocab_size in PILE_VOCAB_SIZES:
        beside = file_of(files.checkpoint, PILE_TOKENIZER)
        if beside.exists():
            return str(beside)
        raise CheckpointError(
            f"{files.checkpoint}: a model of {vocab_size} tokens (Pile, Raven) needs "
            f"{PILE_TOKENIZER} beside it; or pass --tokenizer FILE"
        )
    raise CheckpointError(
        f"{files.checkpoint}: no tokenizer.json beside it, and a vocabulary of {vocab_size} does "
        "not tell the tokenizer; pass --tokenizer FILE"
    )


def _tokenizer_of(model: Path) -> str:
    for name in ("tokenizer.json", WORLD_VOCABULARY):
        path = file_of(model, name)
        if path.exists():
            return str(path)
    return ""


def _chat_template(model: Path, config: dict[str, Any]) -> str | None:
    source = read_text(file_of(model, "chat_template.jinja"), MAX_TEMPLATE_BYTES)
    if source is not None:
        return source
    found = config.get("chat_template")
    if isinstance(found, list):  # several templates by name
        named = [entry for entry in found if isinstance(entry, dict)]
        found = next((e.get("template") for e in named if e.get("name") == "default"), None)
    return found if isinstance(found, str) else None


def _special_tokens(model: Path, config: dict[str, Any]) -> dict[str, int]:
    """Ids by name: of tokenizer_config.json, or in the older form, of a file beside it."""
    declared = config.get("added_tokens_decoder")
    by_id = declared if isinstance(declared, dict) else {}
    found: dict[str, object] = {
        _token_text(token): int(number)
        for number, token in by_id.items()
        if isinstance(token, dict) and token.get("special") is True and _ID.fullmatch(number)
    }
    added = read_json_object(file_of(model, "added_tokens.json")) or {}
    names = {_token_text(config.get(role)) for role in _SPECIAL_ROLES}
    found |= {name: added[name] for name in names & added.keys()}
    return {
        name: token_id
        for name, token_id in found.items()
        if name and type(token_id) is int and token_id >= 0
    }


def _token_text(token: object) -> str:
    """A special token of tokenizer_config.json: its text, or an object that holds it."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else ""
