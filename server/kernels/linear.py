"""Matrix products with weights of any type.

A step is written once: which code a product becomes is decided when the step is compiled, by the
type of its weights (matrices.py).
"""

from numba.extending import overload

from server.kernels.jit import TIER, inner_kernel, kernel
from server.kernels.matrices import Activations, FloatMatrix
from server.kernels.simd import GROUP
from server.kernels.simd_quantize import quantize_group
from server.kernels.team import share
from server.kernels.tile import make_tile

# For many tokens: as many sums as fit into the registers, 32 of 64 bytes or 16 of 32 bytes.
ROW_BLOCKS, WIDEST = (2, 8) if TIER == "avx512vnni" else (1, 4)
_HALF_WIDTH = WIDEST // 2
_widest = make_tile(ROW_BLOCKS, WIDEST)
_half = make_tile(ROW_BLOCKS, _HALF_WIDTH)
_pair = make_tile(ROW_BLOCKS, 2)
# For one token: as many rows as keep enough loads in flight.
_four_blocks = make_tile(4, 1)
_single = make_tile(1, 1)


@kernel
def multiply(w, x, y, tokens, begin, end):
    """Row blocks begin … end − 1 of y[t] = W x[t] for t < tokens.

    w is one matrix; x is what it reads: values [≥ tokens, ≥ K] float32, or for a quantised one the
    Activations of one slot; y [≥ tokens, ≥ 16 · blocks] float32. Bitwise the same for a token
    whatever its neighbours and whatever the block range.
    """
    block = begin
    while tokens == 1 and block + 4 <= end:
        _four_blocks(w, x, y, block, 0, _ahead(block, 4, end))
        block += 4
    while tokens > 1 and block + ROW_BLOCKS <= end:
        _many_tokens(w, x, y, tokens, block, _ahead(block, ROW_BLOCKS, end))
        block += ROW_BLOCKS
    while block < end:
        for t in range(tokens):
            _single(w, x, y, block, t, 0)
        block += 1


@inner_kernel
def _ahead(block, step, end):
    """How far to fetch ahead: the next blocks of the same rows, if they are this thread's."""
    return step if block + 2 * step <= end else 0


@inner_kernel
def _many_tokens(w, x, y, tokens, block, ahead):
    """ROW_BLOCKS blocks for 2 or more tokens. The last tile overlaps the one before."""
    t = 0
    if tokens >= WIDEST:
        while t < tokens:
            _widest(w, x, y, block, min(t, tokens - WIDEST), ahead)
            t, ahead = t + WIDEST, 0
    elif tokens >= _HALF_WIDTH:
        while t < tokens:
            _half(w, x, y, block, min(t, tokens - _HALF_WIDTH), ahead)
            t, ahead = t + _HALF_WIDTH, 0
    else:
        while t < tokens:
            _pair(w, x, y, block, min(t, tokens - 2), ahead)
            t, ahead = t + 2, 0


@kernel
def share_rows(thread, threads, blocks):
    """The row blocks of a matrix that belong to a thread: pairs, which are whole groups of 32."""
    begin, end = share(thread, threads, (blocks + 1) // 2)
    return 2 * begin, min(2 * end, blocks)


@kernel
def quantize_row(values, codes, scales, sums, first, last):
    """Quantise groups first … last − 1 of 32 inputs of one token.

    values [≥ 32 · last] float32 → codes int8 of the same shape, scales float32 and sums int32
    [≥ last]. A sum is −128 times the sum of its group's codes.
    """
    for group in range(first, last):
        quantize_group(
            values.ctypes.data + group * GROUP * 4,
            codes.ctypes.data + group * GROUP,
            scales.ctypes.data + group * 4,
            sums.ctypes.data + group * 4,
        )


def layer_of(w, layer):
    """One layer's matrix of a stack; in compiled code only."""
    raise NotImplementedError


def inputs_of(w, inputs, slot):
    """What products with w read of a slot of Activations; in compiled code only."""
    raise NotImplementedError


def quantize(w, inputs, slot, t, first, last):
    """Prepare inputs first … last − 1 of a token for products with w; in compiled code only.

    first is a multiple of 32; a group that is begun is quantised to its end.
    """
    raise NotImplementedError


@overload(layer_of)
def _layer_of(w, layer):
    kind = w.instance_class
    if kind is FloatMatrix:
        return lambda w, layer: FloatMatrix(w.codes[layer])
    return lambda w, layer: kind(w.codes[layer], w.scales[layer])


@overload(inputs_of)
def _inputs_of(w, inputs, slot):
    if w.instance_class is FloatMatrix:
        return lambda w, inputs, slot: inputs.values[slot]

    def integers(w, inputs, slot):
        codes, scales, sums = inputs.codes[slot], inputs.scales[slot], inputs.sums[slot]
        return Activations(inputs.values[slot], codes, scales, sums)

    return integers


@overload(quantize)
def _quantize(w, inputs, slot, t, first, last):
    if w.instance_class is FloatMatrix:
        return lambda w, inputs, slot, t, first, last: None

    def integers(w, inputs, slot, t, first, last):
        quantize_row(
            inputs.values[slot, t],
            inputs.codes[slot, t],
            inputs.scales[slot, t],
            inputs.sums[slot, t],
            first // GROUP,
            (last + GROUP - 1) // GROUP,
        )

    return integers
