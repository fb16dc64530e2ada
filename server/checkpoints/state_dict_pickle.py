"""The pickle inside a PyTorch checkpoint, read by an interpreter that can only describe tensors.

Why not pickle.Unpickler with a strict find_class: its C code can be made to allocate by a memo
index or a length that the file merely claims, and to overflow the C stack by hashing nested
tuples. Here every opcode that is known does something harmless, and all others are errors.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# The largest RWKV has some 2500 tensors, about 250 bytes of pickle each.
MAX_PICKLE_BYTES = 4 << 20

STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
DTYPES = frozenset([*STORAGES.values(), "uint16", "uint32", "uint64"])


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


_MARK = object()


def read_state_dict(data: bytes) -> dict[str, TensorReference]:
    """Name → tensor. Raises PickleError for anything else than a plain state dict."""
    if len(data) > MAX_PICKLE_BYTES:
        raise PickleError(f"its pickle of {len(data)} bytes is too large")
    try:
        result = _Interpreter().run(data)
    except PickleError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise PickleError(f"its pickle is broken ({type(error).__name__})") from None
    if not isinstance(result, dict) or not result:
        raise PickleError("it does not hold a state dict")
    for name, value in result.items():
        if not isinstance(name, str) or not isinstance(value, TensorReference):
            raise PickleError(
                f"entry {str(name)[:80]} is not a tensor; save the model's state_dict() alone"
            )
    return result


class _Interpreter:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in _IGNORED:
                continue
            if opcode.name in _LITERALS:
                self.stack.append(argument)
            elif opcode.name in _CONSTANTS:
                self.stack.append(_CONSTANTS[opcode.name]())
            elif opcode.name == "STOP":
                return self.stack.pop()
            elif action := _ACTIONS.get(opcode.name):
                action(self, argument)
            else:
                raise PickleError(f"its pickle uses {opcode.name}, which no state dict needs")
        raise PickleError("its pickle has no end")

    def pop_to_mark(self) -> list[Any]:
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def put(self, argument: int | None) -> None:
        self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]

    def get(self, argument: int) -> None:
        self.stack.append(self.memo[argument])

    def tuple_of(self, argument: int) -> None:
        items = [self.stack.pop() for _ in range(argument)][::-1]
        self.stack.append(tuple(items))

    def marked_tuple(self, _: None) -> None:
        self.stack.append(tuple(self.pop_to_mark()))

    def set_items(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        # Only plain keys: hashing nested tuples recurses without limit.
        if type(target) is not dict or not all(type(key) in (str, int) for key in pairs[::2]):
            raise PickleError("its pickle sets items of something odd")
        target.update(zip(pairs[::2], pairs[1::2], strict=True))

    def set_marked_items(self, _: None) -> None:
        self.set_items(self.pop_to_mark())

    def set_item(self, _: None) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise PickleError("its pickle appends to something odd")
        self.stack[-1].extend(items)

    def append_marked(self, _: None) -> None:
        self.append(self.pop_to_mark())

    def append_one(self, _: None) -> None:
        item = self.stack.pop()
        self.append([item])

    def build(self, _: None) -> None:
        self.stack.pop()  # attributes such as state_dict._metadata: not needed
        if type(self.stack[-1]) is not dict:
            raise PickleError("its pickle sets attributes of something odd")

    def global_name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.push_global(module, name)

    def stack_global(self, _: None) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.push_global(module, name)

    def push_global(self, module: object, name: object) -> None:
        if not (isinstance(module, str) and isinstance(name, str)) or not _is_known(module, name):
            raise PickleError(
                f"its pickle asks for {str(module)[:60]}.{str(name)[:60]}: "
                "refused, since only plain tensors are read"
            )
        self.stack.append(Global(module, name))

    def persistent_id(self, _: None) -> None:
        kind, storage, key, _location, count = self.stack.pop()
        if kind != "storage" or type(key) is not str or type(count) is not int:
            raise PickleError("its pickle refers to an unknown kind of storage")
        if not isinstance(storage, Global) or not storage.name.endswith("Storage"):
            raise PickleError("its pickle refers to an unknown kind of storage")
        self.stack.append(Storage(STORAGES.get(storage.name), key, count))

    def reduce(self, _: None) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global) or type(arguments) is not tuple:
            raise PickleError("its pickle calls something odd")
        self.stack.append(_call(function.name, arguments))


def _is_known(module: str, name: str) -> bool:
    if module == "torch":
        return name in STORAGES or name in DTYPES
    return (module, name) in {
        ("collections", "OrderedDict"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_tensor_v3"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch.storage", "UntypedStorage"),
    }


def _call(function: str, arguments: tuple[Any, ...]) -> Any:
    if function == "OrderedDict" and not arguments:
        return {}
    if function == "_rebuild_parameter" and isinstance(arguments[0], TensorReference):
        return arguments[0]
    if function in ("_rebuild_tensor_v2", "_rebuild_tensor_v3"):
        storage, offset, shape, strides = arguments[:4]
        if not isinstance(storage, Storage):
            raise PickleError("its pickle has a tensor without a storage")
        dtype = storage.dtype
        if function == "_rebuild_tensor_v3":
            dtype = arguments[6].name if isinstance(arguments[6], Global) else None
        if dtype not in DTYPES or type(shape) is not tuple or type(strides) is not tuple:
            raise PickleError("its pickle has a tensor of unknown type or shape")
        return TensorReference(storage, dtype, offset, shape, strides)
    raise PickleError(f"its pickle calls {function} in an unknown way")


_IGNORED = frozenset({"PROTO", "FRAME"})
_LITERALS = frozenset(
    {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BININT", "BININT1", "BININT2"}
    | {"LONG1", "BINFLOAT"}
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "MARK": lambda: _MARK,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
}
_ACTIONS: dict[str, Callable[[_Interpreter, Any], None]] = {
    "MEMOIZE": _Interpreter.put,
    "BINPUT": _Interpreter.put,
    "LONG_BINPUT": _Interpreter.put,
    "BINGET": _Interpreter.get,
    "LONG_BINGET": _Interpreter.get,
    "TUPLE": _Interpreter.marked_tuple,
    "TUPLE1": lambda self, _: self.tuple_of(1),
    "TUPLE2": lambda self, _: self.tuple_of(2),
    "TUPLE3": lambda self, _: self.tuple_of(3),
    "SETITEM": _Interpreter.set_item,
    "SETITEMS": _Interpreter.set_marked_items,
    "APPEND": _Interpreter.append_one,
    "APPENDS": _Interpreter.append_marked,
    "BUILD": _Interpreter.build,
    "GLOBAL": _Interpreter.global_name,
    "STACK_GLOBAL": _Interpreter.stack_global,
    "BINPERSID": _Interpreter.persistent_id,
    "REDUCE": _Interpreter.reduce,
}
