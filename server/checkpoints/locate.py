"""From what the user names as a model to the files that make it up."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.gguf_header import is_gguf, read_gguf_header
from server.checkpoints.gguf_vocabulary import RWKV, chat_template, tokenizer_kind
from server.checkpoints.hub import local_path, name_of_snapshot
from server.checkpoints.huggingface import find_weights
from server.checkpoints.json_file import read_json_object, read_text
from server.checkpoints.rwkv_cpp import MAGIC as RWKV_CPP_MAGIC

EMBEDDED = Path(__file__).parent.parent / "assets" / "embedded"
EMBEDDED_NAME = "rwkv-embedded"
SUFFIXES = (".safetensors", ".st", ".pth", ".gguf", ".bin", ".packed")

MAX_TEMPLATE_BYTES = 1 << 20

WORLD_VOCABULARY = "rwkv_vocab_v20230424.txt"
"""What the World tokenizer's vocabulary is called where a model brings it."""

BYTES_VOCAB_SIZE = 256
PILE_VOCAB_SIZE = 50_277
PILE_TOKENIZER = "20B_tokenizer.json"
"""What the tokenizer of RWKV-4 Pile and Raven is called where the official code brings it."""
WORLD_VOCAB_SIZES = range(65_530, 65_537)  # the largest id is 65,529; models pad to 65,536


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


def locate(path: str, tokenizer: str = "") -> ModelFiles:
    """Find the parts of a model: a file, a folder, `hf:REPO[/FILE]`, or "" for the embedded one.

    A Hugging Face folder is a checkpoint as a whole. Raises CheckpointError when there is no
    checkpoint, or more than one in the folder.
    """
    target = Path(local_path(path)).expanduser() if path else EMBEDDED
    if not target.exists():
        hint = "" if path else "; the embedded model is not in this installation, name another"
        raise CheckpointError(f"{target}: no such file or folder{hint}")
    checkpoint, folder, name = target, target.parent, target.stem
    if target.is_dir():
        folder, name = target, name_of_snapshot(target) or target.resolve().name
        checkpoint = target if find_weights(target) else _only_checkpoint(target)
    kind, inside = _inside(checkpoint)
    if not tokenizer and kind != RWKV:
        tokenizer = _tokenizer_in(folder)
    config = read_json_object(folder / "tokenizer_config.json") or {}
    template = _chat_template(folder, config)
    return ModelFiles(
        name=name if path else EMBEDDED_NAME,
        checkpoint=checkpoint,
        tokenizer=tokenizer or (str(checkpoint) if kind else ""),
        chat_template=inside if template is None else template,
        bos_token=_token_text(config.get("bos_token")),
        eos_token=_token_text(config.get("eos_token")),
    )


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
    if vocab_size == PILE_VOCAB_SIZE:
        beside = files.checkpoint.parent / PILE_TOKENIZER
        if beside.is_file():
            return str(beside)
        raise CheckpointError(
            f"{files.checkpoint}: a model of {vocab_size} tokens (Pile, Raven) needs "
            f"{PILE_TOKENIZER} beside it; or pass --tokenizer FILE"
        )
    raise CheckpointError(
        f"{files.checkpoint}: no tokenizer.json beside it, and a vocabulary of {vocab_size} does "
        "not tell the tokenizer; pass --tokenizer FILE"
    )


def _inside(checkpoint: Path) -> tuple[str, str | None]:
    """The kind of tokenizer and the chat template that a GGUF file holds; others hold none."""
    if not is_gguf(checkpoint):
        return "", None
    header = read_gguf_header(checkpoint)
    return tokenizer_kind(header), chat_template(header)


def _only_checkpoint(folder: Path) -> Path:
    try:
        found = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES and _holds_weights(p))
    except OSError as error:
        raise CheckpointError(f"{folder}: {error.strerror or error}") from None
    if len(found) == 1:
        return found[0]
    if not found:
        raise CheckpointError(f"{folder}: no checkpoint in it ({', '.join(SUFFIXES)})")
    names = ", ".join(path.name for path in found[:8]) + (", …" if len(found) > 8 else "")
    raise CheckpointError(f"{folder}: {len(found)} checkpoints in it, name one: {names}")


def _holds_weights(path: Path) -> bool:
    """Whether a file is one; .bin is also what much else is called, such as training_args.bin."""
    if not path.is_file():
        return False
    if path.suffix != ".bin":
        return True
    with path.open("rb") as file:
        return file.read(4) == RWKV_CPP_MAGIC


def _tokenizer_in(folder: Path) -> str:
    for name in ("tokenizer.json", WORLD_VOCABULARY):
        if (folder / name).is_file():
            return str(folder / name)
    return ""


def _chat_template(folder: Path, config: dict[str, Any]) -> str | None:
    source = read_text(folder / "chat_template.jinja", MAX_TEMPLATE_BYTES)
    if source is not None:
        return source
    found = config.get("chat_template")
    if isinstance(found, list):  # several templates by name
        named = [entry for entry in found if isinstance(entry, dict)]
        found = next((e.get("template") for e in named if e.get("name") == "default"), None)
    return found if isinstance(found, str) else None


def _token_text(token: object) -> str:
    """A special token of tokenizer_config.json: its text, or an object that holds it."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else ""
