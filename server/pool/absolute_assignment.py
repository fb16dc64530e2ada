"""What a worker is told, in terms that hold in its own working directory."""

import re
from urllib.parse import quote, unquote

import msgspec

from server.absolute_paths import (
    absolute_adapter,
    absolute_model,
    absolute_path,
    absolute_tokenizer,
)
from server.config import Settings
from server.protocol.messages import ModelSpec

_FILE_OF_URL = re.compile(r"([?&]ssl_(?:ca_certs|ca_path|certfile|keyfile)=)([^&#]+)")


def absolute_spec(spec: ModelSpec) -> ModelSpec:
    """A model with all its files in full."""
    return msgspec.structs.replace(
        spec,
        path=absolute_model(spec.path),
        tokenizer=absolute_tokenizer(spec.tokenizer),
        states={name: absolute_path(file) for name, file in spec.states.items()},
        adapters=[absolute_adapter(text) for text in spec.adapters],
        reranker=absolute_model(spec.reranker),
    )


def absolute_settings(settings: Settings) -> Settings:
    """Settings with the files and folders that workers use in full."""
    cache, engine = settings.cache, settings.engine
    found = {
        "directory": cache.directory and absolute_path(cache.directory),
        "shared_url": _FILE_OF_URL.sub(_in_full, cache.shared_url),
    }
    folder = engine.cache_dir and absolute_path(engine.cache_dir)
    return settings.model_copy(
        update={
            "cache": cache.model_copy(update=found),
            "engine": engine.model_copy(update={"cache_dir": folder}),
        }
    )


def _in_full(parameter: re.Match[str]) -> str:
    return parameter[1] + quote(absolute_path(unquote(parameter[2])))
