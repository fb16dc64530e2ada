"""Models as Ollama's clients see them."""

import hashlib
from datetime import UTC, datetime
from typing import Any

from server.api.schemas.ollama import OllamaDetails, OllamaModel, OllamaShown
from server.registry.hosted_model import HostedModel
from server.registry.served_model import ServedModel
from server.tokenizer.fill_in_middle import fill_head

NO_LIMIT = 1 << 20
"""Told as the length of the context, which has no limit: clients want a number."""

_TYPES = {
    "int8": "Q8_0",
    "int4": "Q4_0",
    "bfloat16": "BF16",
    "float16": "F16",
    "float32": "F32",
}
_UNITS = ((1e9, "B"), (1e6, "M"), (1e3, "K"))


def listed(model: HostedModel) -> OllamaModel:
    """A model in a list, loaded or not."""
    served = model.served
    known = served.system_fingerprint if served else model.entry.id
    return OllamaModel(
        name=model.entry.id,
        model=model.entry.id,
        modified_at=_time(model.created),
        size=sum(size for _, size, _ in served.stamp) if served else 0,
        digest=hashlib.sha256(known.encode()).hexdigest(),
        details=_details(model),
    )


def shown(model: HostedModel, served: ServedModel) -> OllamaShown:
    """All about a model that is loaded."""
    capabilities = ["embedding" if served.embeds else "completion"]
    if served.chat_template.call_syntax is not None and not served.embeds:
        capabilities.append("tools")
    if served.reasoning != "off":
        capabilities.append("thinking")
    if served.fills_middle:
        capabilities.append("insert")
    kind = served.generation
    info: dict[str, Any] = {
        "general.architecture": kind,
        "general.basename": model.entry.id,
        "general.parameter_count": served.parameters,
        f"{kind}.context_length": served.trained_length or NO_LIMIT,
        f"{kind}.embedding_length": served.dim,
        f"{kind}.vocab_size": served.vocab_size,
    }
    return OllamaShown(
        template=_template(served),
        details=_details(model),
        model_info=info,
        capabilities=capabilities,
        modified_at=_time(model.created),
    )


def _template(served: ServedModel) -> str:
    """The chat template, after that of a suffix: clients look for `.Suffix` in it."""
    chat = served.chat_template.source
    if not served.fills_middle:
        return chat
    head = fill_head("{{ .Suffix }}")
    return f"{{{{- if .Suffix }}}}{head}{{{{ .Prompt }}}}{{{{- else }}}}{chat}{{{{- end }}}}"


def _details(model: HostedModel) -> OllamaDetails:
    served, deployment = model.served, model.deployment
    dtype = deployment.ready[0].dtype if deployment and deployment.ready else ""
    kind = served.generation if served else "rwkv"
    return OllamaDetails(
        format="rwkv",
        family=kind,
        families=[kind],
        parameter_size=_size(served.parameters) if served else "",
        quantization_level=_TYPES.get(dtype, dtype),
    )


def _size(parameters: int) -> str:
    for size, unit in _UNITS:
        if parameters >= size:
            return f"{parameters / size:.1f}{unit}"
    return str(parameters)


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
