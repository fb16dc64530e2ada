"""The command line: `rwkv-server COMMAND`. What the user got wrong is one line and exit code 2."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from server.access.command import app as keys_app
from server.checkpoints.checkpoint import CheckpointError, float32_to_bfloat16
from server.checkpoints.hub import DEFAULT_REVISION, PULL_COMMAND
from server.checkpoints.locate import locate
from server.checkpoints.writer import stream_safetensors
from server.config import LogLevel, SettingsError
from server.config_models import WeightChoice
from server.config_sources import load_settings
from server.inspection import look_at
from server.logs import setup_logging
from server.model.config import tensor_shapes
from server.model.initialize import SHAPES, design, initialize
from server.model.tensors import FIELDS
from server.serve import serve
from server.tokenizer.base import TokenizerError
from server.version import VERSION

_CONVERT_COMMAND = [sys.executable, "-m", "server.convert"]
_MODEL_HELP = "File, folder or hf:OWNER/NAME[/FILE]; without it the embedded model."

app = typer.Typer(
    name="rwkv-server",
    help="OpenAI-compatible inference server for RWKV language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # brackets are brackets
)
app.add_typer(keys_app, name="keys")


_Adapters = Annotated[
    list[str] | None, typer.Option(metavar="FILE[:ALPHA]", help="Adapter; repeatable.")
]
_States = Annotated[
    list[str] | None, typer.Option(metavar="NAME=FILE", help="Initial state; repeatable.")
]
_Folders = Annotated[
    list[str] | None, typer.Option(help="Folder of models to load on demand; repeatable.")
]
_NoAuth = Annotated[
    bool, typer.Option("--no-auth", help="Listen on any address though there are no keys.")
]


@app.command("version")
def show_version() -> None:
    """Print the version."""
    print(VERSION)


@app.command("serve")
def serve_model(
    model: Annotated[str | None, typer.Argument(help=_MODEL_HELP)] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0: a free one. [8000]")] = None,
    dtype: Annotated[
        WeightChoice | None, typer.Option(help="Weights. [auto: int8 from 50 M parameters on]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Worker processes. [0: one for each NUMA node]")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads per worker. [0: the usable cores, shared]")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Its id in the API. [the file's name]")] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="A tokenizer.json, `world` or `bytes`. [found by the model]")
    ] = None,
    adapter: _Adapters = None,
    state: _States = None,
    model_dir: _Folders = None,
    no_auth: _NoAuth = False,
    log_level: Annotated[
        LogLevel | None, typer.Option(help="The least severe level that is logged. [info]")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file with settings, see config/server.toml.")
    ] = None,
) -> None:
    """Serve a model over HTTP, by default the embedded one on http://127.0.0.1:8000."""
    overrides: dict[str, dict[str, Any]] = {
        "http": {"host": host, "port": port, "allow_no_keys": no_auth or None},
        "model": {"path": model, "name": name, "tokenizer": tokenizer, "dtype": dtype}
        | {"adapters": adapter or None, "states": _by_name(state) or None}
        | {"directories": model_dir or None},
        "engine": {"workers": workers, "threads": threads},
        "logging": {"level": log_level},
    }
    settings = load_settings(config, overrides)
    setup_logging(settings.logging)
    raise typer.Exit(serve(settings, lambda: load_settings(config, overrides)))


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help=_MODEL_HELP)] = "",
    tokenizer: Annotated[
        str, typer.Option(help="A tokenizer file, `world` or `bytes`, to use with it.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a checkpoint and show what it is."""
    files = locate(model, tokenizer)
    found = look_at(files)
    if as_json:
        print(json.dumps(found.to_json()))
    else:
        Console(highlight=False).print(found.to_table())


@app.command()
def bench(
    model: Annotated[str, typer.Argument(help=_MODEL_HELP)] = "",
    shape: Annotated[
        str,
        typer.Option(help=f"Random weights of a model's shape instead: {', '.join(SHAPES)}."),
    ] = "",
    generation: Annotated[str, typer.Option(help=f"With --shape: {', '.join(FIELDS)}.")] = "rwkv7",
    dtype: Annotated[
        WeightChoice, typer.Option(help="Weights. [auto: int8 from 50 M parameters on]")
    ] = "auto",
    threads: Annotated[int, typer.Option(min=0, max=256, help="Threads; 0: the usable cores.")] = 0,
    rounds: Annotated[
        int, typer.Option(min=1, max=1000, help="Measurements of each step; medians are shown.")
    ] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure prefill and decode, beside what this machine's memory and arithmetic allow."""
    if model and shape:
        raise typer.BadParameter("give a model or --shape, not both")
    if shape and shape not in SHAPES:
        raise typer.BadParameter(f"--shape {shape}: want one of {', '.join(SHAPES)}")
    if generation not in FIELDS:
        raise typer.BadParameter(f"--generation {generation}: want one of {', '.join(FIELDS)}")
    # A process of its own: this one stays without Numba.
    command = [sys.executable, "-m", "server.bench", "--dtype", dtype, "--threads", str(threads)]
    command += [f"--shape={shape}", f"--generation={generation}"] if shape else []
    command += [f"--rounds={rounds}"]
    command += ["--json"] if as_json else []
    raise typer.Exit(subprocess.call([*command, "--", model]))


@app.command()
def convert(
    source: Annotated[str, typer.Argument(help="File, folder or hf:OWNER/NAME[/FILE].")],
    destination: Annotated[
        Path, typer.Argument(help="NAME.safetensors, NAME.gguf, NAME.packed or a folder.")
    ],
    dtype: Annotated[
        str, typer.Option(help="float32, float16, bfloat16; q8_0 …; int8, int4. [as stored]")
    ] = "auto",
    format: Annotated[
        Literal["safetensors", "gguf", "huggingface", "packed"] | None,
        typer.Option(help="What to write. [by the destination's name]"),
    ] = None,
    adapter: Annotated[
        list[str] | None, typer.Option(help="FILE[:ALPHA] to merge; may be repeated.")
    ] = None,
    tokenizer: Annotated[
        str, typer.Option(help="A tokenizer.json, `world` or `bytes`. [found by the model]")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Convert a model, merge adapters or pack it; what is written is read again and compared."""
    command = [*_CONVERT_COMMAND, f"--dtype={dtype}", f"--tokenizer={tokenizer}"]
    command += [f"--format={format}"] if format else []
    command += [f"--adapter={spec}" for spec in adapter or ()]
    command += ["--force"] if force else []
    # In place of this process, which stays without Numba: signals are then for the one that writes.
    os.execv(command[0], [*command, "--", source, str(destination)])


@app.command()
def pull(
    model: Annotated[str, typer.Argument(help="OWNER/NAME or OWNER/NAME/FILE.")],
    revision: Annotated[
        str, typer.Option(help="A branch, tag or commit of the repository.")
    ] = DEFAULT_REVISION,
    local_dir: Annotated[
        Path | None, typer.Option(help="A folder to download to. [Hugging Face's cache]")
    ] = None,
) -> None:
    """Download a model from the Hugging Face Hub and print where it is."""
    command = [*PULL_COMMAND, f"--revision={revision}"]
    command += [f"--local-dir={local_dir}"] if local_dir else []
    raise typer.Exit(subprocess.call([*command, "--", model]))


@app.command()
def init(
    out: Annotated[Path, typer.Argument(help="The safetensors file to write.")],
    layers: Annotated[int, typer.Option(min=1, max=1000, help="Blocks.")],
    dim: Annotated[int, typer.Option(min=2, max=1 << 16, help="Channels.")],
    generation: Annotated[str, typer.Option(help=f"One of {', '.join(FIELDS)}.")] = "rwkv7",
    vocab_size: Annotated[int, typer.Option(min=1, max=1 << 24, help="Token ids.")] = 256,
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
    if out.exists() and not force:
        raise typer.BadParameter(f"{out} exists; pass --force to overwrite it")
    layout = {name: (dtype, shape) for name, shape in tensor_shapes(config).items()}
    weights = initialize(config, seed)
    with _progress_bar(f"writing {out.name}") as advance:
        stream_safetensors(
            out, layout, _stored(weights, dtype), {"generation": generation}, progress=advance
        )
    Console(stderr=True, highlight=False).print(f"wrote {out}", soft_wrap=True)


def main() -> None:
    """Run a command; what `python -m server` and the installed program call."""
    try:
        app()
    except (CheckpointError, TokenizerError, SettingsError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _by_name(texts: list[str] | None) -> dict[str, str]:
    """NAME=FILE texts as a dictionary."""
    pairs = [text.partition("=") for text in texts or ()]
    for name, _, file in pairs:
        if not name or not file:
            raise typer.BadParameter("--state: want NAME=FILE")
    return {name: file for name, _, file in pairs}


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _stored(
    weights: Iterator[tuple[str, npt.NDArray[np.float32]]], dtype: str
) -> Iterator[npt.NDArray[np.generic]]:
    for _, values in weights:
        yield float32_to_bfloat16(values) if dtype == "bfloat16" else values


class _progress_bar:
    """A bar of bytes on standard error, if that is a terminal."""

    def __init__(self, label: str) -> None:
        console = Console(stderr=True)
        columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._progress.add_task(label, total=None)

    def __enter__(self) -> Callable[[int, int], None]:
        self._progress.start()
        return self._advance

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _advance(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)
