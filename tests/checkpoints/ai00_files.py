"""What the converters of Ai00 and web-rwkv make of official tensors, written out by hand."""

import numpy as np

from server.checkpoints.writer import write_safetensors

RENAMES = {"time_faaaa": "time_first", "time_maa": "time_mix"}
OLD_TURNED = ("time_mix_w1", "time_mix_w2", "time_decay_w1", "time_decay_w2", "time_state")
TURNED = (*OLD_TURNED, "w1", "w2", "a1", "a2", "g1", "g2", "v1", "v2")


def converted(official, turned=TURNED, repeats=True, dtype=np.float16):
    """As assets/scripts/convert_safetensors.py does it.

    The one written in Rust, and the script before RWKV-7, turn only OLD_TURNED; the one in Rust
    does not repeat what RWKV-5.1 has for each head.
    """
    per_head = _is_rwkv5_1(official) and repeats
    exported = {}
    for name, values in official.items():
        if per_head and ("time_decay" in name or "time_faaaa" in name):
            channels = official["emb.weight"].shape[1] // values.shape[0]
            values = np.repeat(values[:, None], channels, axis=1)
        for old, new in RENAMES.items():
            name = name.replace(old, new)
        if any(part in name for part in turned):
            values = np.swapaxes(values, -1, -2)
        exported[name] = np.ascontiguousarray(values.astype(dtype))
    return exported


def _is_rwkv5_1(official):
    has_gate = any("gate.weight" in name for name in official)
    is_v6 = any("time_maa" in name for name in official)
    return has_gate and not is_v6 and official["blocks.0.att.time_decay"].ndim == 1


def halves(official):
    """The same model with values that float16 holds."""
    return {name: v.astype(np.float16).astype(np.float32) for name, v in official.items()}


def write_st(path, tensors, metadata=None):
    """An .st file of arrays of any dtype."""
    stored = {n: (str(v.dtype), np.ascontiguousarray(v)) for n, v in tensors.items()}
    write_safetensors(path, stored, {"format": "pt"} if metadata is None else metadata)
    return path
