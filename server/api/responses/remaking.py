"""What is kept of a request so that its response can be made again, and becomes the same."""

import secrets

from server.api.schemas.responses import ResponseRequest


def with_seed(body: ResponseRequest) -> ResponseRequest:
    """The request with a seed."""
    return body if body.seed is not None else body.model_copy(update={"seed": secrets.randbits(63)})


def as_sent(body: ResponseRequest) -> str:
    """The request as JSON without its items, which are kept by themselves."""
    return body.model_dump_json(exclude={"input"}, exclude_unset=True)
