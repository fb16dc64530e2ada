"""`rwkv-server init`: a fresh model in a file."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from server.checkpoints.folders import SAFETENSORS_SUFFIXES, SUFFIXES
from server.fresh_model.writing import write_fresh_model
from server.launch import INTERRUPTED
from server.machine.cores import usable_cores
from server.model.initialize import design
from server.model.tensors import FIELDS
from server.progress import ProgressDisplay
from server.temporary_files import interrupted_when_ended


def init_model(
    out: Annotated[Path, typer.Argument(help="The safetensors file to write.")],
    layers: Annotated[int, typer.Option(min=1, max=1000, help="Blocks.")],
    dim: Annotated[int, typer.Option(min=2, max=1 << 16, help="Channels.")],
    generation: Annotated[str, typer.Option(help=f"One of {', '.join(FIELDS)}.")] = "rwkv7",
    vocab_size: Annotated[
        int, typer.Option(min=1, max=1 << 24, help="Token ids; 256: bytes, 65536: World.")
    ] = 65_536,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same model.")] = 0,
    head_size: Annotated[int, typer.Option(min=2, help="Channels per head.")] = 64,
    dtype: Annotated[
        Literal["float32", "bfloat16"], typer.Option(help="How the weights are stored.")
    ] = "float32",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a fresh, untrained model, initialised as in the official training code."""
    try:
        config = design(generation, layers, dim, vocab_size, head_size)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if out.suffix in SUFFIXES and out.suffix not in SAFETENSORS_SUFFIXES:
        raise typer.BadParameter(
            f"{out} is to be a safetensors file, not {out.suffix}; name it .safetensors or .st"
        )
    if out.exists() and not force:
        raise typer.BadParameter(f"{out} exists; pass --force to overwrite it")
    try:
        with interrupted_when_ended(), ProgressDisplay() as display:
            writing = partial(display, f"writing {out.name}")
            write_fresh_model(out, config, seed, dtype, usable_cores(), writing)
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    print(f"wrote {out}", file=sys.stderr)
