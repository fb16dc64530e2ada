"""The command `rwkv-server models`."""

from pathlib import Path
from typing import Annotated

import typer

from server.absolute_paths import absolute_path
from server.children import child
from server.config_sources import load_settings


def list_models(
    model_dir: Annotated[
        list[Path] | None, typer.Option(help="Folder of models to list as well; repeatable.")
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove cached files that nothing will use again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file with settings, see config/server.toml.")
    ] = None,
) -> None:
    """List models on this machine, short names of published ones, and what the cache holds."""
    settings = load_settings(config, {})
    folders = [*settings.model.directories, *map(str, model_dir or ())]
    options = ["--prune"] if prune else []
    options += ["--json"] if as_json else []
    if settings.engine.cache_dir:
        options += [f"--cache-dir={absolute_path(settings.engine.cache_dir)}"]
    # A process of its own: this one stays without Numba and the Hub's library.
    program = child("server.local_models", *options, "--", *map(absolute_path, folders))
    raise typer.Exit(program.call())
