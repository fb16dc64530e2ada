"""The tokenizer and the chat template of a model, which travel with its weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.json_file import MAX_JSON_BYTES, read_text
from server.checkpoints.locate import (
    BYTES_VOCAB_SIZE,
    WORLD_VOCAB_SIZES,
    WORLD_VOCABULARY,
    ModelFiles,
    choose_tokenizer,
    locate,
)
from server.checkpoints.model_files import file_of
from server.convert.destination import Format
from server.home_folder import expanded
from server.regular_file import read_regular
from server.temporary_files import replacing
from server.tokenizer.base import TokenizerError
from server.tokenizer.bytes import ByteTokenizer
from server.tokenizer.huggingface import MAX_FILE_BYTES, HuggingFaceTokenizer
from server.tokenizer.load import load_tokenizer
from server.tokenizer.world import load_world_vocabulary

_TEMPLATE, _TOKENIZER = "chat_template.jinja", "tokenizer.json"
# What else of a Hugging Face folder says how text becomes ids.
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_GENERATION = "generation_config.json"


@dataclass(frozen=True)
class Companions:
    """What is written beside a model's weights, or into them."""

    files: dict[str, bytes] = field(default_factory=dict)
    """Name → content of the files to go beside."""
    vocabulary: Sequence[bytes] | None = None
    """A token's bytes by id, for a GGUF; None where these do not tell how to split a text."""
    tokenizer: str = ""
    """`world`, `bytes` or a file's name; empty if unknown."""
    chat_template: str | None = None
    """Jinja source, for a GGUF."""
    notes: tuple[str, ...] = ()
    """Lines for the user."""


def find_companions(files: ModelFiles, vocab_size: int, format: Format) -> Companions:
    """What belongs to a model. Raises CheckpointError for damaged files beside it."""
    found: dict[str, bytes] = {}
    vocabulary, notes, name = None, [], ""
    try:
        spec = choose_tokenizer(files, vocab_size)
        tokenizer = load_tokenizer(spec, vocab_size, files.eos_token)
    except (CheckpointError, TokenizerError) as error:
        notes.append(f"without a tokenizer: {error}")
    else:
        if isinstance(tokenizer, HuggingFaceTokenizer):
            name = _TOKENIZER
            found[name] = read_regular(expanded(spec), MAX_FILE_BYTES)
            if format == "gguf":
                notes.append(f"{name} is no vocabulary that a GGUF of RWKV holds: it goes beside")
        elif isinstance(tokenizer, ByteTokenizer):
            name = "bytes"
            if vocab_size == BYTES_VOCAB_SIZE:
                vocabulary = [bytes((byte,)) for byte in range(BYTES_VOCAB_SIZE)]
            else:
                notes.append("its tokenizer has no file: pass --tokenizer bytes with the model")
        else:
            vocabulary = [tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)]
            is_told = _is_published(vocabulary) and vocab_size in WORLD_VOCAB_SIZES
            name = "world" if is_told else WORLD_VOCABULARY
            if format == "huggingface" or (not is_told and format != "gguf"):
                found[WORLD_VOCABULARY] = _vocabulary_file(vocabulary)
    if files.chat_template is not None and format != "gguf":
        found[_TEMPLATE] = files.chat_template.encode()
    found |= _settings(files, format, _TOKENIZER in found)
    return Companions(found, vocabulary, name, files.chat_template, tuple(notes))


def write_beside(destination: Path, companions: Companions, source: ModelFiles) -> list[str]:
    """Write the files unless there are others of their names. Returns lines for the user.

    `source` is what the model at the destination was made of.
    """
    lines = []
    for name, content in companions.files.items():
        path = destination.parent / name
        if path.exists():
            if not _has_content(path, content):
                lines.append(f"kept {path}, which is not that of this model")
            continue
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        lines.append(f"wrote {path}")
    return [*lines, *_of_others(destination, source)]


def _of_others(destination: Path, source: ModelFiles) -> Iterator[str]:
    """What lies next to a model that has no such thing, and would be taken for its own."""
    found = locate(str(destination))
    if source.chat_template is None and found.chat_template is not None:
        template = destination.with_name(_TEMPLATE)
        path = template if template.exists() else destination.with_name(_SETTINGS[0])
        yield f"{path} is of another model, and its chat template is used with this one: move one"
    if not source.tokenizer and found.tokenizer not in ("", str(destination)):
        yield f"{found.tokenizer} is of another model, and is used with this one: move one"


def _has_content(path: Path, content: bytes) -> bool:
    try:
        return read_regular(path, len(content)) == content
    except OSError:  # another file, or none
        return False


def _settings(files: ModelFiles, format: Format, has_tokenizer: bool) -> dict[str, bytes]:
    names: tuple[str, ...] = (
        _SETTINGS if has_tokenizer or files.bos_token or files.eos_token else ()
    )
    if format == "huggingface" and files.checkpoint.is_dir():
        names = (*_SETTINGS, _GENERATION)
    found = {}
    for name in names:
        text = read_text(file_of(files.checkpoint, name), MAX_JSON_BYTES)
        if text is not None:
            found[name] = text.encode()
    return found


def _is_published(vocabulary: Sequence[bytes]) -> bool:
    tokens = {i: token for i, token in enumerate(vocabulary) if token}
    return tokens == load_world_vocabulary()


def _vocabulary_file(vocabulary: Sequence[bytes]) -> bytes:
    """In the format of the World vocabulary: id, literal, length."""
    lines = [f"{i} {t!r} {len(t)}\n" for i, t in enumerate(vocabulary) if t]
    return "".join(lines).encode()
