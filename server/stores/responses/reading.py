"""Items as they are read: in pages, by their ids, and in order; never more than fits.

What is to be read is measured first, by the sizes in its rows, so that too much of it is refused
before any of it is in memory.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, func, select

from server.json_pieces import encode_pieces
from server.stores.responses.records import Item, ItemPage, Page, TooMuchTextError
from server.stores.responses.tables import items, threads

PAGE_BYTES = 16 << 20
"""A page ends here, with one item at least."""
_IDS_AT_ONCE = 500
"""In one query."""


_SHORT_ITEM = 64 << 10
"""Characters; items that are longer are decoded in part."""


def to_json(value: Any) -> str:
    """As a row has it."""
    return "".join([piece.decode() for piece in encode_pieces(value)])


def from_json(text: str) -> Any:
    """The inverse of to_json()."""
    return msgspec.json.decode(text)


def item_of(text: str) -> Item:
    """The item of a row. Log-probabilities of long ones stay JSON: nobody looks at them.

    To decode a megabyte of them takes a tenth of a second, in which no other thread goes on.
    """
    if len(text) <= _SHORT_ITEM:
        item: Item = from_json(text)
        return item
    fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    return {name: _field(name, value) for name, value in fields.items()}


def _field(name: str, value: msgspec.Raw) -> Any:
    if name != "content" or not bytes(value).startswith(b"["):
        return msgspec.json.decode(value)
    parts = msgspec.json.decode(value, type=list[dict[str, msgspec.Raw]])
    raw, decode = "logprobs", msgspec.json.decode
    return [{k: v if k == raw else decode(v) for k, v in part.items()} for part in parts]


def check_size(size: int, most: int, source: str) -> None:
    """Raise TooMuchTextError when a request would read more stored bytes than `most`."""
    if size > most:
        raise TooMuchTextError(
            f"{source} have {size} bytes, over the limit of {most} that one request may read "
            "(responses.max_context_bytes)"
        )


def read_page(db: Connection, condition: ColumnElement[bool], page: Page) -> ItemPage | None:
    """A page of items; None where none has the id that the page comes after."""
    where = [condition]
    if page.after:
        first = items.c.number
        place = select(first).where(condition, items.c.id == page.after)
        start = db.execute(place).scalar_one_or_none()
        if start is None:
            return None
        where.append(first < start if page.newest_first else first > start)
    order = items.c.number.desc() if page.newest_first else items.c.number
    sizes = select(items.c.number, items.c.size).where(*where).order_by(order)
    found = db.execute(sizes.limit(page.limit + 1)).all()
    numbers: list[int] = []
    size = 0
    for row in found[: page.limit]:
        size += row.size
        if numbers and size > PAGE_BYTES:
            break
        numbers.append(row.number)
    rows = select(items.c.id, items.c.body).where(items.c.number.in_(numbers)).order_by(order)
    read = db.execute(rows).all()
    bodies = [row.body for row in read]
    return ItemPage([row.id for row in read], bodies, len(found) > len(numbers))


def read_items(
    db: Connection, condition: ColumnElement[bool], most: int | None = None
) -> tuple[Item, ...]:
    """All items of a condition, in order. Raises TooMuchTextError for more bytes than `most`."""
    if most is not None:
        total = select(func.coalesce(func.sum(items.c.size), 0)).where(condition)
        check_size(int(db.execute(total).scalar_one()), most, "The items that it continues")
    query = select(items.c.body).where(condition).order_by(items.c.number)
    return tuple(item_of(body) for body in db.execute(query).scalars())


def find_items(
    db: Connection, mine: ColumnElement[bool], idents: Sequence[str], most: int
) -> dict[str, Item]:
    """Items by their ids, of the threads for which `mine` holds.

    Raises TooMuchTextError for more than `most` bytes, where each counts as often as it is named.
    """
    sizes: dict[str, int] = {}
    numbers: list[int] = []
    distinct = list(dict.fromkeys(idents))
    for begin in range(0, len(distinct), _IDS_AT_ONCE):
        named = items.c.id.in_(distinct[begin : begin + _IDS_AT_ONCE])
        query = select(items.c.number, items.c.id, items.c.size).join(threads).where(mine, named)
        for row in db.execute(query):
            sizes[row.id] = row.size
            numbers.append(row.number)
    check_size(sum(sizes.get(ident, 0) for ident in idents), most, "The items that it refers to")
    found: dict[str, Item] = {}
    for begin in range(0, len(numbers), _IDS_AT_ONCE):
        here = items.c.number.in_(numbers[begin : begin + _IDS_AT_ONCE])
        for body in db.execute(select(items.c.body).where(here)).scalars():
            item = item_of(body)
            found[item["id"]] = item
    return found


def history_until(end: int | None) -> ColumnElement[bool]:
    """The condition of items of a conversation up to a number; of none without one."""
    return and_(items.c.listed, items.c.number <= (-1 if end is None else end))
