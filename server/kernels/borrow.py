"""Arrays without reference counts, for kernels whose caller keeps the arrays alive."""

from typing import Any

from numba import types

from server.kernels.jit import intrinsic


@intrinsic
def borrowed(typing: Any, arrays: Any):
    """The same (possibly nested) tuple of arrays, whose slices cost nothing to make.

    Numba counts references to an array's memory, atomically, whenever a slice is made or passed on:
    threads that slice the same buffers would wait for each other's counts. An array that owns no
    memory is not counted. Valid for as long as the original is.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _borrow(context, builder, signature.args[0], args[0])

    return arrays(arrays), codegen


def _borrow(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = context.get_constant_null(types.MemInfoPointer(kind.dtype))
        array.parent = context.get_constant_null(types.pyobject)
        return array._getvalue()
    items = [
        _borrow(context, builder, item, builder.extract_value(value, index))
        for index, item in enumerate(kind.types)
    ]
    return context.make_tuple(builder, kind, items)
