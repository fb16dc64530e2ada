"""What `rwkv-server models` prints: tables for people, one object for programs."""

from dataclasses import replace
from math import prod
from typing import Any

from rich.table import Table

from server.byte_sizes import shown_bytes
from server.checkpoints.published import PUBLISHED, PublishedModel
from server.local_models.caches import Cached
from server.local_models.found import LocalModel
from server.memory_needs import needed_bytes
from server.model.config import ModelConfig, tensor_shapes
from server.model.initialize import design

_EMBEDDED = "(embedded)"
_WORLD_TOKENS = 65_536


def local_table(models: list[LocalModel], available: int) -> Table:
    """What can be served without a download."""
    table = _table("On this machine", "name", "model", "file", "int8", "int4", "fits")
    for model in models:
        name = model.name or _EMBEDDED
        if model.config is None:
            table.add_row(name, f"cannot be served: {model.error}")
            continue
        needs = model.needs
        table.add_row(
            name,
            f"{model.config.title}, {model.config.parameters / 1e6:,.0f} M",
            shown_bytes(model.file_bytes),
            *(shown_bytes(needs[d]) if d in needs else "–" for d in ("int8", "int4")),
            _fitting(needs, available),
        )
    return table


def published_table(models: list[LocalModel], available: int) -> Table:
    """What short names stand for."""
    title = "Short names (serve NAME downloads it)"
    table = _table(title, "name", "repository and file", "file", "int8", "int4", "fits")
    here = {model.name for model in models}
    for name, known in PUBLISHED.items():
        config = config_of(known)
        needs = {dtype: needed_bytes(config, dtype) for dtype in ("int8", "int4")}
        table.add_row(
            f"{name} (here)" if name in here else name,
            f"{known.repo}/{known.file}",
            shown_bytes(2 * config.parameters),
            *map(shown_bytes, needs.values()),
            _fitting(needs, available),
        )
    return table


def cache_table(cached: list[Cached]) -> Table:
    """What is kept between runs, and what --prune would remove."""
    table = _table("Cache", "what", "size", "")
    for item in cached:
        table.add_row(item.what, shown_bytes(item.size), item.stale and f"{item.stale}: --prune")
    return table


def to_json(models: list[LocalModel], cached: list[Cached], available: int) -> dict[str, Any]:
    """All of it, for programs."""
    return {
        "available_bytes": available,
        "models": [_model_to_json(model) for model in models],
        "short_names": {
            name: {"repository": known.repo, "file": known.file, **_sizes(known)}
            for name, known in PUBLISHED.items()
        },
        "cache": [
            {"path": str(i.path), "what": i.what, "bytes": i.size, "stale": i.stale or None}
            for i in cached
        ],
    }


def config_of(known: PublishedModel) -> ModelConfig:
    """The sizes of a published model, which nobody has to download to know."""
    config = design("rwkv7", known.layers, known.dim, _WORLD_TOKENS)
    parameters = sum(map(prod, tensor_shapes(config).values()))
    return replace(config, parameters=parameters, stored_dtype="bfloat16")


def _sizes(known: PublishedModel) -> dict[str, Any]:
    config = config_of(known)
    needs = {dtype: needed_bytes(config, dtype) for dtype in ("int8", "int4")}
    return {"file_bytes": 2 * config.parameters, "needed_bytes": needs}


def _model_to_json(model: LocalModel) -> dict[str, Any]:
    return {
        "name": model.name or None,
        "path": str(model.path),
        "file_bytes": model.file_bytes,
        "generation": model.config and model.config.generation,
        "parameters": model.config and model.config.parameters,
        "needed_bytes": model.needs,
        "error": model.error or None,
    }


def _fitting(needs: dict[str, int], available: int) -> str:
    """The first weight type that fits into memory."""
    return next((dtype for dtype, size in needs.items() if size <= available), "no")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
