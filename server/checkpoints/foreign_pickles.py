"""What a pickle holds that is not a plain state dict, by what it asks for or by its entries."""

from collections.abc import Mapping

STRATEGY = "_strategy"
"""An entry that the `rwkv` package makes."""
_HINTS = (
    ("torch._utils._rebuild_qtensor", "quantised tensors of PyTorch; save the float model"),
    ("torch.per_", "quantised tensors of PyTorch; save the float model"),
    ("torch.q", "quantised tensors of PyTorch; save the float model"),
    ("torch._utils._rebuild_sparse", "sparse tensors; save dense ones"),
    ("torch.float8", "8-bit floats; save the tensors as bfloat16"),
    ("torch._utils._rebuild_device_tensor", "tensors of a TPU; save them from the CPU"),
    ("torch._utils._rebuild_wrapper_subclass", "quantised tensors (torchao); save the float model"),
    ("torchao.", "quantised tensors (torchao); save the float model"),
    ("bitsandbytes.", "quantised tensors (bitsandbytes); save the float model"),
    ("torch.distributed", "shards of a distributed training; gather them into one state dict"),
    ("__torch__", "TorchScript; save the model's state_dict()"),
    ("builtins.", "Python code; never run a file that does, unless you trust it"),
    ("__builtin__.", "Python code; never run a file that does, unless you trust it"),
    ("os.", "Python code; never run a file that does, unless you trust it"),
    ("posix.", "Python code; never run a file that does, unless you trust it"),
    ("subprocess.", "Python code; never run a file that does, unless you trust it"),
    ("torch.nn.", "a whole model object (torch.save(model)); save model.state_dict() instead"),
)


def explain_global(module: str, name: str) -> str:
    """What a pickle holds that refers to such a global, and what to do."""
    full = f"{module}.{name}"
    for prefix, what in _HINTS:
        if full.startswith(prefix):
            return f"it holds {what}"
    if name[:1].isupper() and not module.startswith("torch"):
        return "it holds a whole object (torch.save(model)?); save model.state_dict() instead"
    return "save the model's state_dict() alone"


def explain_entries(entries: Mapping[object, object]) -> str | None:
    """What made a dictionary that is not a plain state dict; None if that is not known."""
    if STRATEGY in entries:
        strategy, version = str(entries[STRATEGY])[:60], str(entries.get("_version", "?"))[:20]
        return (
            f"converted by ChatRWKV or the rwkv package (version {version}) for strategy "
            f"{strategy!r}, which changes the weights; name the checkpoint that it was made from"
        )
    if "quantizer_state" in entries or "quant_config" in entries:
        return "quantised weights of another program; name the checkpoint that they were made from"
    return None
