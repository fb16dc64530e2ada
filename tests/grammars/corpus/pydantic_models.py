"""Models of pydantic, made systematically: each kind of value in each place."""

import enum
import random
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

from pydantic import AnyUrl, BaseModel, ConfigDict, Field, SecretStr, create_model
from pydantic.types import (
    UUID4,
    Base64Bytes,
    FutureDate,
    NegativeFloat,
    NonNegativeInt,
    PositiveInt,
    StrictInt,
    StrictStr,
)
from typing_extensions import TypedDict

T = TypeVar("T")


class Colour(enum.Enum):
    """Of strings."""

    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    """Of integers."""

    LOW = 1
    HIGH = 2


class Point(BaseModel):
    """A model within others."""

    x: int
    y: float = 0.0


class Closed(BaseModel):
    """One that forbids other fields."""

    model_config = ConfigDict(extra="forbid")
    name: str
    size: int | None = None


class Open(BaseModel):
    """One that allows them."""

    model_config = ConfigDict(extra="allow")
    name: str


class Tree(BaseModel):
    """A model that refers to itself."""

    value: int
    children: list["Tree"] = []
    parent: "Tree | None" = Field(None, description="Up.")


class Cat(BaseModel):
    """One of a discriminated union."""

    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    """Another."""

    kind: Literal["dog", "puppy"]
    name: str


class Box(BaseModel, Generic[T]):
    """A generic one: brackets are in its name."""

    content: T


class Pair(NamedTuple):
    """A tuple with names."""

    left: int
    right: str


class Options(TypedDict, total=False):
    """A dict with names."""

    depth: int
    label: str


KINDS: list[Any] = [
    str, int, float, bool, bytes, None, Any, object, date, datetime, time, timedelta, Decimal, UUID,
    UUID4, Path, AnyUrl, IPv4Address, IPv6Address, SecretStr, StrictInt, StrictStr, PositiveInt,
    NonNegativeInt, NegativeFloat, FutureDate, Base64Bytes, Colour, Level, Point, Closed, Open,
    Tree, Box[int], Box[list[Point]], Pair, Options, dict, list,
    Literal["a", "b"], Literal[1, 2, 3], Literal["x", 4, None, True], Literal["it"],
    Annotated[int, Field(ge=0, le=100)], Annotated[int, Field(gt=-5, lt=5)],
    Annotated[int, Field(multiple_of=3)], Annotated[int, Field(ge=-(2**63), le=2**63 - 1)],
    Annotated[int, Field(ge=0, le=2**64 - 1)], Annotated[float, Field(ge=0.5, le=1.5)],
    Annotated[float, Field(gt=0)], Annotated[float, Field(multiple_of=0.5)],
    Annotated[Decimal, Field(max_digits=5, decimal_places=2)],
    Annotated[str, Field(min_length=1, max_length=10)], Annotated[str, Field(min_length=3)],
    Annotated[str, Field(pattern=r"^[A-Z]{3}-\d{2,4}$")], Annotated[str, Field(pattern=r"\d")],
    Annotated[str, Field(pattern=r"^[a-z]+$", max_length=6)],
    Annotated[str, Field(examples=["a"], title="T", description="D")],
    Annotated[str, Field(json_schema_extra={"format": "password", "deprecated": True})],
    Annotated[Cat | Dog, Field(discriminator="kind")], Cat | Dog, int | str, Point | Closed | None,
    int | float | bool, set[str], frozenset[int], set[Colour], set[Literal[1, 2, 3]],
    str | list[str], Point | str, list[int] | dict[str, int],
]  # fmt: skip

PLACES: dict[str, Callable[[Any], Any]] = {
    "it": lambda kind: kind,
    "or none": lambda kind: (kind | None) if kind is not None else None,
    "list": lambda kind: list[kind],
    "few": lambda kind: Annotated[list[kind], Field(min_length=1, max_length=3)],
    "one": lambda kind: Annotated[list[kind], Field(max_length=1)],
    "dict": lambda kind: dict[str, kind],
    "dict of ids": lambda kind: dict[UUID, kind],
    "dict of numbers": lambda kind: dict[int, kind],
    "dict of words": lambda kind: dict[Literal["a", "b"], kind],
    "dict of colours": lambda kind: dict[Colour, kind],
    "dict of codes": lambda kind: dict[Annotated[str, Field(pattern="^c[0-9]+$")], kind],
    "dict of short names": lambda kind: dict[Annotated[str, Field(max_length=3)], kind],
    "some": lambda kind: Annotated[dict[str, kind], Field(min_length=1, max_length=2)],
    "tuple": lambda kind: tuple[kind, int],
    "any tuple": lambda kind: tuple[kind, ...],
    "nested": lambda kind: list[dict[str, list[kind]]],
    "union": lambda kind: kind | list[kind] | None if kind is not None else None,
    "box": lambda kind: Box[kind],
    "set": lambda kind: Annotated[set[kind], Field(max_length=1)],
}


def pydantic_schemas() -> Iterator[dict[str, Any]]:
    """Each kind in each place, as a field of several forms; and models of random fields."""
    number = 0
    for name, place in PLACES.items():
        for kind in KINDS:
            if name == "set" and kind not in (str, int, UUID, Colour):
                continue
            number += 1
            if number % 2 and name not in ("it", "or none"):
                continue
            default: Any = [..., Field(description="d"), None][number % 3]
            yield _schema(number, {"field": (place(kind), default), "other": (int, 1)})
    rng = random.Random(15)
    places = [place for name, place in PLACES.items() if name != "set"]
    for number in range(220):
        fields = {
            f"field_{index}": (rng.choice(places)(rng.choice(KINDS)), rng.choice([..., None]))
            for index in range(rng.randint(1, 5))
        }
        yield _schema(number, fields)


def _schema(number: int, fields: dict[str, Any]) -> dict[str, Any]:
    extra: Any = [None, "forbid", "allow"][number % 3]
    config = ConfigDict(extra=extra, arbitrary_types_allowed=True)
    model = create_model(f"Model{number}", __config__=config, **fields)
    mode: Any = ["validation", "serialization"][number % 2]
    found: dict[str, Any] = model.model_json_schema(mode=mode)
    return found
