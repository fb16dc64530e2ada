"""The pickle inside a PyTorch checkpoint, read by an interpreter that can only describe tensors.

Why not pickle.Unpickler with a strict find_class: its C code can be made to allocate by a memo
index or a length that the file merely claims, and to overflow the C stack by hashing nested
tuples. Here every opcode that is known does something harmless, and all others are errors.
"""

import pickletools
from collections.abc import Callable
from typing import Any

from server.checkpoints.foreign_pickles import explain_global
from server.checkpoints.pickled_values import (
    Foreign,
    Global,
    PickleError,
    Storage,
    TensorReference,
    is_foreign,
)
from server.checkpoints.training_files import MAX_TENSORS, StateDict, model_in

__all__ = ["MAX_PICKLE_BYTES", "MAX_TENSORS", "PickleError", "TensorReference", "read_state_dict"]

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


_MARK = object()


def read_state_dict(data: bytes) -> StateDict:
    """The tensors of a state dict or of a trainer's dictionary that has one in it.

    Raises PickleError for anything else.
    """
    if len(data) > MAX_PICKLE_BYTES:
        raise PickleError(f"its pickle of {len(data)} bytes is too large")
    try:
        result = _Interpreter().run(data)
    except PickleError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise PickleError(f"its pickle is broken ({type(error).__name__})") from None
    return model_in(result)


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
        if type(target) is Foreign:
            return
        # Only plain keys: hashing nested tuples recurses without limit.
        if type(target) is not dict or not all(type(key) in _KEYS for key in pairs[::2]):
            raise PickleError("its pickle sets items of something odd")
        target.update(zip(pairs[::2], pairs[1::2], strict=True))

    def set_marked_items(self, _: None) -> None:
        self.set_items(self.pop_to_mark())

    def set_item(self, _: None) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is Foreign:
            return
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
        if type(self.stack[-1]) not in (dict, Foreign):
            raise PickleError("its pickle sets attributes of something odd")

    def global_name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.push_global(module, name)

    def stack_global(self, _: None) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.push_global(module, name)

    def push_global(self, module: object, name: object) -> None:
        is_name = isinstance(module, str) and isinstance(name, str)
        if is_name and is_foreign(str(module), str(name)) and not _is_known(str(module), str(name)):
            self.stack.append(Foreign())
            return
        if not is_name or not _is_known(str(module), str(name)):
            hint = explain_global(str(module), str(name))
            raise PickleError(
                f"its pickle asks for {str(module)[:60]}.{str(name)[:60]}: "
                f"refused, since only plain tensors are read; {hint}"
            )
        self.stack.append(Global(str(module), str(name)))

    def persistent_id(self, _: None) -> None:
        kind, storage, key, _location, count = self.stack.pop()
        if kind != "storage" or type(key) is not str or type(count) is not int:
            raise PickleError("its pickle refers to an unknown kind of storage")
        if not isinstance(storage, Global) or not storage.name.endswith("Storage"):
            raise PickleError("its pickle refers to an unknown kind of storage")
        self.stack.append(Storage(STORAGES.get(storage.name), key, count))

    def reduce(self, _: None) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is Foreign and type(arguments) is tuple:
            self.stack.append(Foreign())
            return
        if not isinstance(function, Global) or type(arguments) is not tuple:
            raise PickleError("its pickle calls something odd")
        self.stack.append(_call(function.name, arguments))

    def new_object(self, _: None) -> None:
        self.stack.pop()
        if type(self.stack.pop()) is not Foreign:
            raise PickleError("its pickle makes an object of something odd")
        self.stack.append(Foreign())

    def frozen_set(self, _: None) -> None:
        self.pop_to_mark()
        self.stack.append(Foreign())


def _is_known(module: str, name: str) -> bool:
    if module == "torch":
        return name in STORAGES or name in DTYPES
    return (module, name) in {
        ("collections", "OrderedDict"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_tensor_v3"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch._utils", "_rebuild_parameter_with_state"),
        ("torch.storage", "UntypedStorage"),
    }


def _call(function: str, arguments: tuple[Any, ...]) -> Any:
    if function == "OrderedDict" and not arguments:
        return {}
    if function.startswith("_rebuild_parameter") and isinstance(arguments[0], TensorReference):
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


_KEYS = (str, int, float, bool, type(None), Foreign)
_IGNORED = frozenset({"PROTO", "FRAME"})
_LITERALS = frozenset(
    {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BININT", "BININT1", "BININT2"}
    | {"LONG1", "BINFLOAT", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"}
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "MARK": lambda: _MARK,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_SET": Foreign,
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
    "ADDITEMS": _Interpreter.append_marked,
    "FROZENSET": _Interpreter.frozen_set,
    "NEWOBJ": _Interpreter.new_object,
    "BUILD": _Interpreter.build,
    "GLOBAL": _Interpreter.global_name,
    "STACK_GLOBAL": _Interpreter.stack_global,
    "BINPERSID": _Interpreter.persistent_id,
    "REDUCE": _Interpreter.reduce,
}
