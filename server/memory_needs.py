"""How much memory a model's weights take once they are packed, known before anything is read."""

from math import prod

from server.model.config import ModelConfig
from server.model.layout import Part, parts_of

PROCESSES_BYTES = 350_000_000
"""What the API process and one worker have besides weights and states: code, kernels, buffers."""

_LANES, _GROUP = 16, 32  # of kernels/simd.py and kernels/quantize.py, which import Numba


def weights_bytes(config: ModelConfig, dtype: str) -> int:
    """Bytes of a model's packed weights as int8 or int4.

    Small matrices and the embedding keep 16 bits each if the checkpoint has no more, and small
    matrices 32 otherwise.
    """
    is_short = config.stored_dtype in ("bfloat16", "float16")
    return sum(_part_bytes(part, dtype, is_short) for part in parts_of(config))


def needed_bytes(config: ModelConfig, dtype: str) -> int:
    """Memory to expect of a server with this model, without cached states."""
    return weights_bytes(config, dtype) + PROCESSES_BYTES


def _part_bytes(part: Part, dtype: str, is_short: bool) -> int:
    count = prod(part.leading)
    if part.kind in ("vectors", "setting"):
        return 4 * count * part.columns
    if part.kind in ("embedding", "deep_embedding"):
        return 2 * count * part.rows * part.columns
    rows = -(-part.rows // _LANES) * _LANES
    if part.kind in ("low_rank", "exact_matrix"):
        is_short = is_short or not any(part.sources)  # zeros: a single layer has no value residual
        return count * rows * part.columns * (2 if is_short else 4)
    groups = -(-part.columns // _GROUP)
    bits = 4 if dtype == "int4" and part.field != "head" else 8
    return count * rows * groups * (_GROUP * bits // 8 + 2)
