"""Responses and items that say little."""

import itertools
import json

from server.stores.responses.records import Context, NewResponse, Page

NUMBERS = itertools.count()
ALL = Page(100, newest_first=False)


def item(text):
    """An item with an id of its own."""
    return {"id": f"msg_{next(NUMBERS)}", "type": "message", "text": text}


def texts(items):
    return [each["text"] for each in items]


def new(ident, *inputs, outputs=("ok",), status="completed", **fields):
    """A response that read and said these texts."""
    body = {"id": ident, "status": status}
    said = [item(text) for text in outputs] if status == "completed" else []
    return NewResponse(body, [item(text) for text in inputs], said, **fields)


def add(stores, ident, *inputs, after="", tenant="me", **fields):
    """Keep a response that goes on from another one."""
    context = stores.responses.context(tenant, after)[0] if after else Context()
    stores.responses.add(tenant, context, new(ident, *inputs, **fields))


def response(stores, ident, tenant="me"):
    """What is kept of a response."""
    return json.loads(stores.responses.read(tenant, ident))


def history(stores, ident, tenant="me"):
    """What one reads that goes on from a response."""
    return texts(stores.responses.context(tenant, ident)[0].items)


def inputs(stores, ident, page=ALL, tenant="me"):
    return texts(stores.responses.input_items(tenant, ident, page).items)
