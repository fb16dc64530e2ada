"""What the pickle of a checkpoint is read as: tensors described, all else as it is or opaque."""

from dataclasses import dataclass
from typing import Any


class PickleError(ValueError):
    """What is wrong with the pickle, without the file's name."""


@dataclass(frozen=True)
class Global:
    """A name that the pickle refers to; never imported."""

    module: str
    name: str


@dataclass(frozen=True)
class Storage:
    """A record of the archive: `count` elements of `dtype`, or bytes if the dtype is None."""

    dtype: str | None
    key: str
    count: int


@dataclass(frozen=True)
class TensorReference:
    """A tensor over a storage; offset and strides count elements. Nothing is checked yet."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[Any, ...]
    strides: tuple[Any, ...]


class Foreign:
    """Where an object of a trainer's would be; nothing is known of it, and nothing was called."""


_TRAINERS = frozenset(
    {"accelerate", "argparse", "datetime", "deepspeed", "lightning", "lightning_fabric"}
    | {"lightning_utilities", "numpy", "omegaconf", "pathlib", "peft", "pytorch_lightning"}
    | {"transformers"}
)
"""Packages whose objects trainers save beside a model; none is ever imported."""
_PLAIN = frozenset(
    [("torch", name) for name in ("Size", "device")]
    + [("torch", f"{kind}{bits}") for kind in ("float", "int") for bits in (8, 16, 32, 64)]
    + [("torch", "bfloat16"), ("torch", "bool"), ("torch", "uint8"), ("_codecs", "encode")]
    + [("collections", name) for name in ("defaultdict", "deque", "Counter")]
    + [
        (builtins, name)
        for builtins in ("builtins", "__builtin__")
        for name in "set frozenset list dict tuple int float bool slice complex range".split()
    ]
)


def is_foreign(module: str, name: str) -> bool:
    """Whether a global is what trainers use, and no tensor is made of."""
    return module.partition(".")[0] in _TRAINERS or (module, name) in _PLAIN
