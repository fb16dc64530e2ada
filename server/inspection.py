"""What `rwkv-server inspect` shows of a model."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from server.checkpoints.checkpoint import Checkpoint, CheckpointError
from server.checkpoints.locate import ModelFiles, choose_tokenizer
from server.checkpoints.reader import format_of, open_checkpoint
from server.model.config import ModelConfig, read_config
from server.model.packed_config import TOKENIZER_KEY
from server.model.tensors import is_tuned_state


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
    has_initial_state: bool
    packed_with: str = ""
    """The tokenizer that a packed model had: `world`, `bytes` or a file's name."""

    def to_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {
            "name": self.files.name,
            "checkpoint": str(self.files.checkpoint),
            "format": self.format,
            **asdict(self.config),
            "stored_bytes": dict(self.stored),
            "tokenizer": self.tokenizer or None,
            "chat_template": self.files.chat_template is not None,
            "initial_state": self.has_initial_state,
            "state_bytes": self.config.state_bytes,
        }

    def to_table(self) -> Table:
        """What matters, for people."""
        config = self.config
        heads = f" ({config.heads} × head of {config.head_size})" if config.heads else ""
        is_inside = self.tokenizer == str(self.files.checkpoint)
        had = f" (it was packed with {self.packed_with[:80]})" if self.packed_with else ""
        missing = f"unknown: pass --tokenizer FILE{had}"
        ranks = ", ".join(f"{name} {rank}" for name, rank in config.ranks.items())
        rows = {
            "checkpoint": str(self.files.checkpoint),
            "format": self.format,
            "generation": config.generation.upper().replace("RWKV", "RWKV-"),
            "parameters": f"{config.parameters:,}",
            "stored as": _shares(self.stored),
            "layers": f"{config.layers}",
            "dimension": f"{config.dim:,}" + heads,
            "feed-forward": f"{config.ffn_dim:,}",
            "low ranks": ranks or "none",
            "vocabulary": f"{config.vocab_size:,}",
            "tokenizer": "inside the file" if is_inside else self.tokenizer or missing,
            "chat template": "its own" if self.files.chat_template is not None else "built in",
            "state": f"{config.state_bytes:,} bytes per conversation, of whatever length",
        }
        if config.packed_as:
            rows["stored as"] = f"{config.packed_as}, packed for the kernels"
        if config.group_norm_epsilon != ModelConfig.group_norm_epsilon:
            rows["group norm"] = f"epsilon {config.group_norm_epsilon:g}"
        if self.has_initial_state:
            rows["initial state"] = "tuned, in the checkpoint"
        table = Table(title=self.files.name, show_header=False, title_justify="left")
        table.add_column()
        table.add_column(overflow="fold")
        for label, value in rows.items():
            table.add_row(label, value)
        return table


def look_at(files: ModelFiles) -> Inspection:
    """Check a model's tensors without reading their values. Raises CheckpointError."""
    checkpoint = open_checkpoint(files.checkpoint)
    config = read_config(checkpoint)
    try:
        tokenizer = choose_tokenizer(files, config.vocab_size)
    except CheckpointError:
        tokenizer = ""  # a model can be looked at without one
    return Inspection(
        files=files,
        format="packed" if config.packed_as else format_of(files.checkpoint),
        config=config,
        stored=_stored(checkpoint),
        tokenizer=tokenizer,
        has_initial_state=any(map(is_tuned_state, checkpoint.tensors)),
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
