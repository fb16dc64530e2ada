"""The command `rwkv-server keys`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from server.access.keys_file import append_key, new_key, table_of

app = typer.Typer(help="API keys.", no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Make API keys; the server keeps their hashes only."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Of the key's owner; a new key keeps its states.")],
    admin: Annotated[
        bool, typer.Option("--admin", help="Also for /v1/admin, /v1/cache and /metrics.")
    ] = False,
    file: Annotated[
        Path | None, typer.Option(help="The keys file to add it to, made if need be.")
    ] = None,
) -> None:
    """Print a fresh key, once, and the table for the keys file (http.keys_file)."""
    key = new_key()
    table = table_of(name, key, "admin" if admin else "user")
    if file is None:
        print(f"{key}\n\n{table}", end="")
        return
    append_key(file, name, table)
    print(key)
    print(f"{name} is in {file}; a running server reads it on SIGHUP", file=sys.stderr)
