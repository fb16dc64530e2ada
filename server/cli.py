"""The command line: `rwkv-server COMMAND`. What the user got wrong is one line and exit code 2."""

import json
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from server.absolute_paths import (
    absolute_adapter,
    absolute_model,
    absolute_path,
    absolute_tokenizer,
)
from server.access.command import app as keys_app
from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.hub import DEFAULT_REVISION, PULL_PROGRAM
from server.checkpoints.locate import locate
from server.children import child
from server.config import LogLevel, SettingsError
from server.config_models import WeightChoice
from server.config_sources import load_settings
from server.fresh_model.command import init_model
from server.inspection import look_at
from server.local_models.command import list_models
from server.logs import setup_logging
from server.model.initialize import SHAPES
from server.model.tensors import FIELDS
from server.progress import ProgressDisplay
from server.serve import serve
from server.tokenizer.base import TokenizerError
from server.version import VERSION

_MODEL_HELP = (
    "File, folder, hf:OWNER/NAME[/FILE] or a short name (see `models`); "
    "without it the embedded model."
)

app = typer.Typer(
    name="rwkv-server",
    help="OpenAI-compatible inference server for RWKV language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # brackets are brackets
)
app.add_typer(keys_app, name="keys")
app.command("models")(list_models)
app.command("init")(init_model)


_Adapters = Annotated[
    list[str] | None, typer.Option(metavar="FILE[:ALPHA]", help="Adapter; repeatable.")
]
_States = Annotated[
    list[str] | None, typer.Option(metavar="NAME=FILE", help="Initial state; repeatable.")
]
_Reranker = Annotated[
    str | None, typer.Option(metavar="FILE", help="Reranker of an embedding model.")
]
_Folders = Annotated[
    list[str] | None, typer.Option(help="Folder of models to load on demand; repeatable.")
]
_ConfigFile = Annotated[
    Path | None, typer.Option(help="TOML file with settings, such as config/server.toml.")
]
_NoAuth = Annotated[bool, typer.Option("--no-auth", help="Listen on any address without API keys.")]


@app.command("version")
def show_version() -> None:
    """Print the version."""
    print(VERSION)


def _show_version(wanted: bool) -> None:
    if wanted:
        show_version()
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """OpenAI-compatible inference server for RWKV language models."""


@app.command("serve")
def serve_model(
    model: Annotated[str | None, typer.Argument(help=_MODEL_HELP)] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [127.0.0.1]")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 picks a free one. [8000]")
    ] = None,
    dtype: Annotated[
        WeightChoice | None, typer.Option(help="Weight type. [auto: int8 from 50 M parameters on]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of worker processes. [0: one per NUMA node]")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads per worker. [0: the usable cores, divided]")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Model id in the API. [the file's name]")] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="A tokenizer.json, `world` or `bytes`. [next to the model]"),
    ] = None,
    adapter: _Adapters = None,
    state: _States = None,
    reranker: _Reranker = None,
    model_dir: _Folders = None,
    no_auth: _NoAuth = False,
    log_level: Annotated[LogLevel | None, typer.Option(help="Minimum log level. [info]")] = None,
    config: _ConfigFile = None,
) -> None:
    """Serve a model over HTTP, by default the embedded one on http://127.0.0.1:8000."""
    overrides: dict[str, dict[str, Any]] = {
        "http": {"host": host, "port": port, "allow_no_keys": no_auth or None},
        "model": {"path": model, "name": name, "tokenizer": tokenizer, "dtype": dtype}
        | {"adapters": adapter or None, "states": _by_name(state) or None}
        | {"reranker": reranker, "directories": model_dir or None},
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
        str, typer.Option(help="A tokenizer.json, `world` or `bytes`. [next to the model]")
    ] = "",
    state: _States = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a checkpoint and describe it."""
    with ProgressDisplay() as show:
        checking = partial(show, "checking values")
        found = look_at(locate(model, tokenizer), _by_name(state), checking)
    if as_json:
        print(json.dumps(found.to_json()))
    else:
        Console(highlight=False).print(found.to_table())
    for line in found.warnings:
        print(f"warning: {line}", file=sys.stderr)


@app.command()
def bench(
    model: Annotated[str, typer.Argument(help=_MODEL_HELP)] = "",
    shape: Annotated[
        str,
        typer.Option(help=f"Random weights of a model's shape instead: {', '.join(SHAPES)}."),
    ] = "",
    generation: Annotated[str, typer.Option(help=f"With --shape: {', '.join(FIELDS)}.")] = "rwkv7",
    dtype: Annotated[
        WeightChoice, typer.Option(help="Weight type. [auto: int8 from 50 M parameters on]")
    ] = "auto",
    threads: Annotated[int, typer.Option(min=0, max=256, help="Threads; 0 uses all cores.")] = 0,
    rounds: Annotated[
        int, typer.Option(min=1, max=1000, help="Measurements per step; medians are shown.")
    ] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure prefill and decode, next to the limits of this machine's memory and arithmetic."""
    if model and shape:
        raise typer.BadParameter("give a model or --shape, not both")
    if shape and shape not in SHAPES:
        raise typer.BadParameter(f"--shape {shape}: want one of {', '.join(SHAPES)}")
    if generation not in FIELDS:
        raise typer.BadParameter(f"--generation {generation}: want one of {', '.join(FIELDS)}")
    # A process of its own: this one stays without Numba.
    options = [f"--dtype={dtype}", f"--threads={threads}", f"--rounds={rounds}"]
    options += [f"--shape={shape}", f"--generation={generation}"] if shape else []
    options += ["--json"] if as_json else []
    raise typer.Exit(child("server.bench", *options, "--", absolute_model(model)).call())


@app.command()
def convert(
    source: Annotated[
        str, typer.Argument(help="File, folder, short name or hf:OWNER/NAME[/FILE].")
    ],
    destination: Annotated[
        Path, typer.Argument(help="NAME.safetensors, NAME.gguf, NAME.packed or a folder.")
    ],
    dtype: Annotated[
        str, typer.Option(help="float32, float16, bfloat16; q8_0 …; int8, int4. [as stored]")
    ] = "auto",
    format: Annotated[
        Literal["safetensors", "gguf", "huggingface", "packed"] | None,
        typer.Option(help="Format to write. [by the destination's name]"),
    ] = None,
    program: Annotated[
        Literal["fla", "transformers", "ai00"] | None,
        typer.Option("--for", help="Program that is to load the model. [fla]"),
    ] = None,
    adapter: Annotated[
        list[str] | None, typer.Option(help="Adapter to merge, FILE[:ALPHA]; repeatable.")
    ] = None,
    tokenizer: Annotated[
        str, typer.Option(help="A tokenizer.json, `world` or `bytes`. [next to the model]")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Convert a model, merge adapters or pack it; the result is read back and compared."""
    options = [f"--dtype={dtype}", f"--tokenizer={absolute_tokenizer(tokenizer)}"]
    options += [f"--format={format}"] if format else []
    options += [f"--for={program}"] if program else []
    options += [f"--adapter={absolute_adapter(spec)}" for spec in adapter or ()]
    options += ["--force"] if force else []
    # In place of this process, which stays without Numba: signals are then for the one that writes.
    child(
        "server.convert", *options, "--", absolute_model(source), absolute_path(str(destination))
    ).replace_this_process()


@app.command()
def pull(
    model: Annotated[str, typer.Argument(help="OWNER/NAME, OWNER/NAME/FILE or a short name.")],
    revision: Annotated[
        str, typer.Option(help="Branch, tag or commit of the repository.")
    ] = DEFAULT_REVISION,
    local_dir: Annotated[
        Path | None, typer.Option(help="Folder to download to. [Hugging Face's cache]")
    ] = None,
) -> None:
    """Download a model from the Hugging Face Hub and print its path."""
    options = [f"--revision={revision}"]
    options += [f"--local-dir={absolute_path(str(local_dir))}"] if local_dir else []
    # In place of this process, so that signals are for the one that downloads.
    child(PULL_PROGRAM, *options, "--", model, with_hub_tokens=True).replace_this_process()


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
    if twice := [name for name, count in Counter(name for name, *_ in pairs).items() if count > 1]:
        raise typer.BadParameter(f"--state: {twice[0][:80]} is named twice")
    return {name: file for name, _, file in pairs}


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
