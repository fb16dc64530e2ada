"""What `rwkv-server inspect` shows of a model."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from server.abilities import abilities_of, problems_of
from server.byte_sizes import shown_bytes
from server.checkpoints.checkpoint import Checkpoint, CheckpointError
from server.checkpoints.contents import is_tuned_state
from server.checkpoints.finite_values import MAX_BYTES, OnProgress, Values, check_values
from server.checkpoints.locate import ModelFiles, bytes_on_disk, choose_tokenizer
from server.checkpoints.reader import format_of, open_checkpoint
from server.home_folder import expanded
from server.machine.memory import available_bytes
from server.memory_needs import needed_bytes, weights_bytes
from server.model.config import ModelConfig, official_epsilon, read_config
from server.model.initial_state import read_initial_state
from server.model.packed_config import TOKENIZER_KEY
from server.model.tensors import RERANKER

_RANKS = {"decay": "w", "rate": "a", "first": "v"}
"""Low-rank pairs by the letters of RWKV-7's paper, where ours have other names."""


@dataclass(frozen=True)
class Inspection:
    """A model that was looked at."""

    files: ModelFiles
    format: str
    config: ModelConfig
    stored: Mapping[str, int]
    """Dtype → bytes, the most first."""
    tokenizer: str
    """Empty if it is not known."""
    file_bytes: int
    """Of all files of weights."""
    has_initial_state: bool
    abilities: tuple[str, ...] = ()
    """What it can do, besides completing text if it does."""
    states: tuple[str, ...] = ()
    """Names of further initial states, as requests write them."""
    values: Values | None = None
    """What was found among the values; None of a packed model: it was checked when it was made."""
    problems: tuple[str, ...] = ()
    """Why its tokenizer or chat template keep it from being served."""
    packed_with: str = ""
    """The tokenizer that a packed model had: `world`, `bytes` or a file's name."""

    def to_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {
            "name": self.files.name,
            "checkpoint": str(self.files.checkpoint),
            "format": self.format,
            **asdict(self.config),
            "file_bytes": self.file_bytes,
            "stored_bytes": dict(self.stored),
            "needed_bytes": self.needs,
            "available_bytes": available_bytes(),
            "tokenizer": self.tokenizer or None,
            "chat_template": self.files.chat_template is not None,
            "initial_state": self.has_initial_state,
            "abilities": list(self.abilities),
            "states": list(self.states),
            "state_bytes": self.config.state_bytes,
            "values_checked": None if self.values is None else round(self.values.checked, 4),
            "not_finite": {} if self.values is None else dict(self.values.not_finite),
            "problems": list(self.problems),
            "trained_length": self.files.trained_length,
        }

    @property
    def needs(self) -> dict[str, int]:
        """Weight type → bytes of memory to expect of a server, without cached states."""
        types = (self.config.packed_as,) if self.config.packed_as else ("int8", "int4")
        return {dtype: needed_bytes(self.config, dtype) for dtype in types}

    def _packed(self) -> str:
        """`1.6 GB as int8, 950 MB as int4`."""
        sizes = {dtype: weights_bytes(self.config, dtype) for dtype in self.needs}
        return ", ".join(f"{shown_bytes(size)} as {dtype}" for dtype, size in sizes.items())

    def _memory(self) -> str:
        """`about 1.9 GB as int8, 1.3 GB as int4; 21 GB are available here`."""
        needs = ", ".join(f"{shown_bytes(size)} as {dtype}" for dtype, size in self.needs.items())
        available = available_bytes()
        fits = min(self.needs.values()) <= available
        return f"about {needs}; {shown_bytes(available)} {'are' if fits else 'only'} available here"

    @property
    def warnings(self) -> list[str]:
        """Why it does not load, a line for each reason."""
        lines = [f"{line}; so the model does not load" for line in self.problems]
        return [*lines, *filter(None, [self._not_finite()])]

    def _not_finite(self) -> str:
        found = {} if self.values is None else self.values.not_finite
        if not found:
            return ""
        some = ", ".join(f"{name[:80]} ({count:,})" for name, count in list(found.items())[:3])
        more = ", …" if len(found) > 3 else ""
        return (
            f"{sum(found.values()):,} values in {len(found)} tensors are not finite, so the model "
            f"does not load: {some}{more}"
        )

    def to_table(self) -> Table:
        """What matters, for people."""
        table = Table(title=self.files.name, show_header=False, title_justify="left")
        table.add_column()
        table.add_column(overflow="fold")
        for label, value in (self._usual_rows() | self._further_rows()).items():
            if value:
                table.add_row(label, value)
        return table

    def _usual_rows(self) -> dict[str, str]:
        config = self.config
        heads = f" ({config.heads} × head of {config.head_size})" if config.heads else ""
        is_inside = self.tokenizer == str(self.files.checkpoint)
        had = f" (it was packed with {self.packed_with[:80]})" if self.packed_with else ""
        missing = f"unknown: pass --tokenizer FILE{had}"
        ranks = ", ".join(f"{_RANKS.get(n, n)} {rank}" for n, rank in config.ranks.items())
        length = self.files.trained_length
        writes = config.writes_text
        what = "conversation" if writes else "text"
        return {
            "checkpoint": str(self.files.checkpoint),
            "format": self.format,
            "architecture": config.title,
            "parameters": f"{config.parameters:,}",
            "file size": shown_bytes(self.file_bytes),
            "stored as": _shares(self.stored),
            "packed": self._packed(),
            "memory": self._memory(),
            "layers": f"{config.layers}",
            "dimension": f"{config.dim:,}" + heads,
            "feed-forward": f"{config.ffn_dim:,}",
            "low-rank": ranks or "none",
            "vocabulary": f"{config.vocab_size:,}",
            "tokenizer": "inside the file" if is_inside else self.tokenizer or missing,
            "trained for": f"{length:,} tokens" if length else "unknown",
            "chat template": "its own" if self.files.chat_template is not None else "built in",
            "can": ", ".join(("complete text",) * writes + self.abilities),
            "state": f"{shown_bytes(config.state_bytes)} per {what} of any length",
        }

    def _further_rows(self) -> dict[str, str]:
        """What only some models have, or in the place of what others have; empty: nothing."""
        config, rows = self.config, dict[str, str]()
        if self.values is not None:
            part = f" in the {_percent(self.values.checked)} that were read"
            rows["values"] = (
                self._not_finite() or f"all finite{part if self.values.checked < 1 else ''}"
            )
        if config.packed_as:
            rows["stored as"] = f"{config.packed_as}, packed for the kernels"
        if config.group_norm_epsilon != official_epsilon(config.generation, config.head_size):
            rows["group norm"] = f"epsilon {config.group_norm_epsilon:g}"
        if self.has_initial_state:
            rows["initial state"] = "tuned, in the checkpoint"
        if self.states:
            rows["states"] = ", ".join(self.states)
        if not config.writes_text:
            rows["chat template"] = ""
        if config.generation == RERANKER:
            rows |= {"tokenizer": "that of its embedding model", "state": "", "vocabulary": ""}
        return rows


def look_at(
    files: ModelFiles,
    states: Mapping[str, str] | None = None,
    on_progress: OnProgress = lambda *_: None,
    max_bytes: int = MAX_BYTES,
) -> Inspection:
    """Check a model's tensors, the first `max_bytes` of their values, and states.

    `states` are files of initial states by name; on_progress is called with bytes done and in all.
    Raises CheckpointError.
    """
    checkpoint = open_checkpoint(files.checkpoint)
    config = read_config(checkpoint)
    try:
        tokenizer = choose_tokenizer(files, config.vocab_size)
    except CheckpointError:
        tokenizer = ""  # a model can be looked at without one
    for file in (states or {}).values():
        read_initial_state(config, expanded(file))
    return Inspection(
        files=files,
        format="packed" if config.packed_as else format_of(files.checkpoint),
        config=config,
        stored=_stored(checkpoint),
        file_bytes=bytes_on_disk(files.checkpoint),
        tokenizer=tokenizer,
        has_initial_state=any(map(is_tuned_state, checkpoint.tensors)),
        abilities=tuple(abilities_of(files, config.generation)),
        states=tuple(f"{files.name}:{name}" for name in states or ()),
        values=None if config.packed_as else check_values(checkpoint, on_progress, max_bytes),
        problems=tuple(problems_of(files, tokenizer, config.vocab_size)),
        packed_with=checkpoint.metadata.get(TOKENIZER_KEY, "") if config.packed_as else "",
    )


def _stored(checkpoint: Checkpoint) -> dict[str, int]:
    sizes = Counter[str]()
    for tensor in checkpoint.tensors.values():
        sizes[tensor.dtype] += tensor.nbytes
    return dict(sizes.most_common())


def _shares(stored: Mapping[str, int]) -> str:
    """`bfloat16`, or `q5_1 87 %, float32 13 %`."""
    total = sum(stored.values())
    if len(stored) == 1 or not total:
        return "".join(stored)
    return ", ".join(f"{dtype} {_percent(size / total)}" for dtype, size in stored.items())


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "< 1%"
