"""A model as the API process sees it: its name, and what turns text into token ids."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from server.checkpoints.adapter_files import INITIAL_PISSA
from server.checkpoints.checkpoint import Checkpoint, CheckpointError
from server.checkpoints.hub import local_path
from server.checkpoints.locate import ModelFiles, choose_tokenizer, locate
from server.checkpoints.model_files import entries_of
from server.home_folder import expanded
from server.model.config import ModelConfig
from server.model.open_parts import open_parts
from server.model.reranker_file import open_reranker
from server.model.tensors import EMBEDDING, END_TOKEN
from server.model_names import split_adapter
from server.protocol.messages import ModelSpec
from server.regular_file import open_regular
from server.tokenizer.base import Tokenizer
from server.tokenizer.bounded_template import BoundedTemplate, template_of
from server.tokenizer.chat_template import ChatTemplate
from server.tokenizer.fill_in_middle import can_fill
from server.tokenizer.load import load_tokenizer
from server.tokenizer.reasoning import Reasoning, ThinkingWords, reasoning_of, thinking_words
from server.tokenizer.turn_ends import TurnEnds, turn_ends_of
from server.version import VERSION

_SAMPLES = 64
_SAMPLE_BYTES = 1 << 16
_BESIDE = (
    "tokenizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "chat_template.jinja",
)

_END_OF_INPUT = "<|rwkv_embedding_end_of_input|>"
"""What END_TOKEN is called, which has no name elsewhere."""

FilesStamp = tuple[tuple[str, int, int], ...]
"""Path, size in bytes and time of modification in nanoseconds of each file of a model."""


@dataclass(frozen=True)
class ServedModel:
    """What routes need of a model; the weights are in the workers."""

    spec: ModelSpec
    """What its workers are told."""
    created: int
    """Unix time in seconds."""
    tokenizer: Tokenizer
    chat_template: ChatTemplate | BoundedTemplate
    generation: str
    """Which RWKV it is, such as "rwkv7"."""
    parameters: int
    vocab_size: int
    """How many logits there are, which may be more than the tokenizer has tokens."""
    dim: int
    """How many channels a hidden state has."""
    state_shapes: Mapping[str, tuple[int, ...]]
    """Of the arrays of a state."""
    system_fingerprint: str
    """`fp_…`: changes when the weights or the arithmetic do."""
    stamp: FilesStamp
    """Of the files that all this was read from."""
    reasoning: Reasoning = "off"
    """Whether it thinks before it answers."""
    thinking_words: ThinkingWords | None = None
    """How questions say how much to think; None: it does not."""
    trained_length: int | None = None
    """For how many tokens it was trained, if that is known."""
    turn_ends: TurnEnds = field(default_factory=TurnEnds)
    """What ends an answer in a chat."""
    fills_middle: bool = False
    """Whether it can complete the text between a prefix and a suffix."""
    end_token: int | None = None
    """Ends the inputs of an embedding model, which has no head for text; None: it is none."""
    reranks: bool = False
    """Whether it has a reranker, as only embedding models have."""

    @property
    def embeds(self) -> bool:
        """Whether it is an embedding model."""
        return self.end_token is not None


def open_model(spec: ModelSpec) -> ServedModel:
    """Read all of a model but its weights.

    Raises CheckpointError or TokenizerError, also for states and adapters that are not there.
    """
    # Workers get what was found, and need no network.
    reranker = spec.reranker and local_path(spec.reranker)
    spec = msgspec.structs.replace(spec, path=local_path(spec.path), reranker=reranker)
    stamp = stamp_files(spec)
    _check_parts(spec)
    files = locate(spec.path, spec.tokenizer)
    checkpoint, config, _ = open_parts(files.checkpoint, spec.adapters, spec.states)
    if spec.reranker:
        open_reranker(Path(spec.reranker), config, files.checkpoint)
    template = template_of(files)
    embeds = config.generation == EMBEDDING
    tokenizer = _open_tokenizer(files, config)
    wanted = "off" if embeds else spec.reasoning
    reasoning = reasoning_of(wanted, template, *files.names, architecture=config.generation)
    return ServedModel(
        spec=spec,
        created=checkpoint.modified_ns // 10**9,
        tokenizer=tokenizer,
        chat_template=template,
        turn_ends=turn_ends_of(template, tokenizer),
        generation=config.generation,
        parameters=config.parameters,
        vocab_size=config.vocab_size,
        dim=config.dim,
        state_shapes=config.state_shapes,
        system_fingerprint=_fingerprint(checkpoint, spec),
        stamp=stamp,
        reasoning=reasoning,
        thinking_words=thinking_words(files.names) if reasoning != "off" else None,
        trained_length=files.trained_length,
        fills_middle=can_fill(spec.fill_in_middle, config.generation, files.names),
        end_token=END_TOKEN if embeds else None,
        reranks=bool(spec.reranker),
    )


def _open_tokenizer(files: ModelFiles, config: ModelConfig) -> Tokenizer:
    """Raises TokenizerError."""
    special = dict(files.special_tokens)
    if config.generation == EMBEDDING:
        special[_END_OF_INPUT] = END_TOKEN
    which = choose_tokenizer(files, config.vocab_size)
    return load_tokenizer(which, config.vocab_size, files.eos_token, special)


def stamp_files(spec: ModelSpec) -> FilesStamp:
    """What tells whether a model's files have changed since; files that are not there are left out.

    Raises CheckpointError when a folder cannot be read.
    """
    stamp = []
    for path in sorted(set(_files(spec))):
        try:
            status = path.stat()
        except OSError:
            continue
        stamp.append((str(path), status.st_size, status.st_mtime_ns))
    return tuple(stamp)


def _files(spec: ModelSpec) -> Iterator[Path]:
    target = expanded(spec.path)
    if spec.path and target.is_dir():
        yield from (path for path in entries_of(target) if path.is_file())
    elif spec.path:
        yield target
        yield from (target.parent / name for name in _BESIDE)
    if spec.tokenizer:
        yield expanded(spec.tokenizer)
    for part in map(Path, _parts(spec).values()):
        yield from entries_of(part) if part.is_dir() else (part, part.parent / INITIAL_PISSA)


def _parts(spec: ModelSpec) -> dict[str, str]:
    """What else belongs to the model, in words → its file."""
    parts = {f"adapter {number} of {spec.id}": split_adapter(text)[0]
             for number, text in enumerate(spec.adapters, 1)}  # fmt: skip
    if spec.reranker:
        parts[f"reranker of {spec.id}"] = spec.reranker
    return parts | {f"state {name} of {spec.id}": file for name, file in spec.states.items()}


def _check_parts(spec: ModelSpec) -> None:
    for part, file in _parts(spec).items():
        if not Path(file).exists():
            raise CheckpointError(f"{file}: no such file, named as {part}")


def _fingerprint(checkpoint: Checkpoint, spec: ModelSpec) -> str:
    """Of the program's version, the weight type, and samples of the weights and further files."""
    # Adapters are in the digest of the checkpoint's changes.
    text = f"{VERSION} {spec.dtype} {checkpoint.changes} "
    digest = hashlib.blake2b(text.encode(), digest_size=6)
    further = [*spec.states.values(), *filter(None, [spec.reranker])]
    paths = (*checkpoint.files, *map(Path, further))
    for path in paths:
        _add_samples(digest, path, max(1, _SAMPLES // len(paths)))
    return f"fp_{digest.hexdigest()}"


def _add_samples(digest: "hashlib.blake2b", path: Path, samples: int) -> None:
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(str(size).encode())
        for sample in range(samples):
            file.seek(size * sample // samples)
            digest.update(file.read(_SAMPLE_BYTES))
