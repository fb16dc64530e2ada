"""Tells of requests that are longer than what their model was trained for; none is refused."""

import logging
from collections.abc import Sequence

from server.api.call import Call
from server.api.choices import GeneratedChoice
from server.api.plan import Plan
from server.registry.served_model import ServedModel

log = logging.getLogger(__name__)

HEADER = "x-trained-length"
"""Of a response: for how many tokens the model was trained, if the request goes beyond that."""

_told: set[str] = set()
"""Fingerprints of models in whose log it was said."""


def watch_length(
    call: Call, model: ServedModel, plan: Plan, choices: Sequence[GeneratedChoice]
) -> None:
    """Have the response tell of it; `choices` are those that are generated, as far as they are."""
    if model.trained_length is not None:
        call.trained_length = lambda: _beyond(model, model.trained_length or 0, plan, choices)


def length_header(call: Call) -> list[tuple[bytes, bytes]]:
    """The header of the response, if there is to be one; a line in the log, once for a model."""
    length = call.trained_length() if call.trained_length is not None else 0
    return [(HEADER.encode(), str(length).encode())] if length else []


def _beyond(model: ServedModel, length: int, plan: Plan, choices: Sequence[GeneratedChoice]) -> int:
    """The length if some prompt with what follows it is longer; else 0."""
    said = {choice.index: len(choice.token_ids) for choice in choices}
    sizes = [len(task.prompt_ids) + said.get(n, 0) for n, task in enumerate(plan.choices)]
    found = plan.base_tokens + max(sizes, default=0)
    if found <= length:
        return 0
    if model.system_fingerprint not in _told:
        _told.add(model.system_fingerprint)
        log.warning(
            "model %s: a request of %d tokens exceeds the %d that it was trained for; it is "
            "answered, perhaps less well (said once)",
            model.spec.id,
            found,
            length,
        )
    return length
