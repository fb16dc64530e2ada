"""Converting a model: read, write, compare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from server.checkpoints.ai00 import with_values_per_channel
from server.checkpoints.checkpoint import Checkpoint, CheckpointError
from server.checkpoints.contents import is_tuned_state
from server.checkpoints.locate import locate
from server.checkpoints.reader import open_checkpoint
from server.checkpoints.writer import Progress
from server.convert.companions import find_companions, write_beside
from server.convert.destination import (
    Format,
    Program,
    check_destination,
    choose_format,
    choose_program,
    staged,
)
from server.convert.precision import AS_STORED, choose_dtype_of
from server.convert.verify import verify
from server.convert.writers import (
    Model,
    write_as_gguf,
    write_as_huggingface,
    write_as_packed,
    write_as_safetensors,
    write_for_ai00,
)
from server.home_folder import expanded
from server.kernels.team import Team
from server.model.config import ModelConfig, read_config
from server.model.loading import OnProgress, load_weights
from server.model.open_parts import open_parts
from server.model.packed_config import is_packed
from server.model.tensors import title_of
from server.model_names import split_adapter

_AI00_HEAD = 64
_AI00_EPSILON = 64e-5
"""Of group norm; it has no other."""
_HOLDS: Mapping[Format, tuple[str, ...]] = {
    "gguf": ("rwkv6", "rwkv7"),
    "huggingface": ("rwkv7",),
}
"""The generations of formats that do not hold all; neither holds tuned states."""


@dataclass(frozen=True)
class Request:
    """What the user wants."""

    source: str
    """As `serve` takes it."""
    destination: Path
    dtype: str = AS_STORED
    format: str = ""
    """One of destination.FORMATS; empty: by the destination's name."""
    adapters: Sequence[str] = ()
    tokenizer: str = ""
    force: bool = False
    program: str = ""
    """One of destination.PROGRAMS; empty: fla for a folder, and ours for a file."""


def convert(request: Request, threads: int, on_progress: OnProgress) -> list[str]:
    """Write the model and compare it with its source. Returns lines that say what was done.

    Raises CheckpointError or OSError; then there is nothing at the destination that was not there.
    """
    destination = request.destination
    files = locate(request.source, request.tokenizer)
    checkpoint, config, _ = open_parts(files.checkpoint, request.adapters, {})
    if is_packed(checkpoint):
        raise CheckpointError(
            f"{checkpoint.path}: a packed model cannot be converted; convert what it was made of"
        )
    format = choose_format(destination, request.format)
    program = choose_program(request.program, format)
    _check_holds(checkpoint, config, format)
    wanted = choose_dtype_of(format, request.dtype, config)
    if program == "ai00":
        checkpoint, config = _for_ai00(checkpoint, config, wanted)
    adapters = (expanded(split_adapter(text)[0]) for text in request.adapters)
    sources = (files.checkpoint, *checkpoint.files, *adapters)
    check_destination(destination, format, sources, request.force)
    companions = find_companions(files, config.vocab_size, format)
    model = Model(files.name, checkpoint, config, companions)
    with staged(destination, format) as temporary:
        if format == "packed":
            team = Team(threads)
            dtype = write_as_packed(model, temporary, wanted, team, on_progress)
            result = _verify_packed(temporary, model, team, on_progress)
        else:
            writing = partial(on_progress, f"writing {destination.name}")
            checking = partial(on_progress, f"checking {destination.name}")
            dtype = _write(model, format, program, temporary, wanted, writing)
            result = verify(checkpoint, temporary, config, checking)
    lines = [f"wrote {destination} ({format}, {dtype}): {result}"]
    if format != "huggingface":
        lines += write_beside(destination, companions, files)
    return [*lines, *companions.notes]


def _write(
    model: Model,
    format: Format,
    program: Program | None,
    path: Path,
    wanted: str,
    progress: Progress,
) -> str:
    if format == "gguf":
        return write_as_gguf(model, path, wanted, progress)
    if format == "huggingface":
        return write_as_huggingface(model, path, wanted, program, progress)
    if program == "ai00":
        return write_for_ai00(model, path, progress)
    return write_as_safetensors(model, path, wanted, progress)


def _check_holds(checkpoint: Checkpoint, config: ModelConfig, format: Format) -> None:
    if format not in _HOLDS:
        return
    held = _HOLDS[format]
    if config.generation not in held:
        raise CheckpointError(
            f"{checkpoint.path}: {title_of(config.generation)} does not fit format {format}, which "
            f"holds {' and '.join(map(title_of, held))}; use safetensors or packed"
        )
    for name in checkpoint.tensors:
        if is_tuned_state(name):
            raise CheckpointError(
                f"{checkpoint.path}: tensor {name}: format {format} holds no initial state; use "
                "safetensors or packed"
            )


def _for_ai00(
    checkpoint: Checkpoint, config: ModelConfig, wanted: str
) -> tuple[Checkpoint, ModelConfig]:
    """The model as Ai00 can hold it. Raises CheckpointError for what it cannot."""
    if wanted not in (AS_STORED, "float16"):
        raise CheckpointError(f"--dtype {wanted}: Ai00 reads float16 only; leave --dtype out")
    if not config.writes_text:
        raise CheckpointError(f"{checkpoint.path}: {config.title}, which Ai00 does not run")
    if config.generation == "rwkv5.0":
        raise CheckpointError(
            f"{checkpoint.path}: RWKV-5.0 has no gate, without which Ai00 runs no RWKV-5"
        )
    if config.generation == "rwkv7a":
        raise CheckpointError(
            f"{checkpoint.path}: Ai00 has no DeepEmbed, and would run it as RWKV-7"
        )
    if config.head_size not in (0, _AI00_HEAD):
        raise CheckpointError(
            f"{checkpoint.path}: heads of {config.head_size}; Ai00 runs heads of {_AI00_HEAD} only"
        )
    if config.group_norm_epsilon != _AI00_EPSILON:
        raise CheckpointError(
            f"{checkpoint.path}: its group norm has epsilon {config.group_norm_epsilon:g}, and "
            f"Ai00's has {_AI00_EPSILON:g}; convert the original .pth"
        )
    if config.generation == "rwkv5.1":
        checkpoint = with_values_per_channel(checkpoint, config.dim)
        config = read_config(checkpoint)
    return checkpoint, config


def _verify_packed(path: Path, model: Model, team: Team, on_progress: OnProgress) -> str:
    """Load it as a worker does: every array at its place, with its checksum."""
    checkpoint = open_checkpoint(path)
    config = read_config(checkpoint)
    if (config.generation, config.parameters) != (model.config.generation, model.config.parameters):
        raise CheckpointError(f"{path}: reads as {config}, expected {model.config}")
    load_weights(checkpoint, config, config.packed_as, team, None, on_progress)  # type: ignore[arg-type]
    return "all arrays have their checksums"
