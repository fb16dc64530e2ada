"""Quantisations of other programs, told by names of their tensors."""

import re
from collections.abc import Iterable

_QUANTISED = (
    (r"\.weight_[mr][xy]$", "ChatRWKV or the rwkv package (int8 of a strategy such as fp16i8)"),
    (r"\.quant_state\.bitsandbytes__", "bitsandbytes (4 bits)"),
    (r"\.(?:nested_)?(?:absmax|quant_map)$", "bitsandbytes (4 bits)"),
    (r"\.(?:SCB|weight_format)$", "bitsandbytes (8 bits)"),
    (r"\.(?:qweight|qzeros|g_idx)$", "GPTQ or AWQ"),
    (r"\.weight_(?:packed|scale|scale_inv|zero_point)$", "compressed-tensors or FP8"),
    (r"\.input_scale$", "compressed-tensors or FP8"),
    (r"\.W_q$", "HQQ"),
)
_MADE_FROM = "which is not read; name the checkpoint that it was made from"
_OTHERS = tuple((re.compile(pattern), f"{maker}, {_MADE_FROM}") for pattern, maker in _QUANTISED)


def other_model(names: Iterable[str]) -> tuple[str, str] | None:
    """The first tensor that only another kind of model has, and in words what that is."""
    for name in names:
        for pattern, what in _OTHERS:
            if pattern.search(name):
                return name, what
    return None
