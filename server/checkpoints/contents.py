"""Whether a file holds a model, an adapter or a state, by the names of its tensors alone."""

import re
from collections.abc import Collection, Iterable
from itertools import islice
from typing import Literal, NamedTuple

Form = Literal["LoRA", "PiSSA", "Bone", "PEFT block"]
"""LoRA: a pair of low-rank matrices; PiSSA: their values before training; Bone: the one matrix of
RWKV-PEFT (called Bone, then DiSHA); PEFT block: that of PEFT (Bone, then MiSS)."""

_FORMS: dict[str, Form] = {
    "lora_A": "LoRA",
    "lora_B": "LoRA",
    "init_lora_A": "PiSSA",
    "init_lora_B": "PiSSA",
    "bone": "Bone",
    "disha": "Bone",
    "miss": "Bone",
    "bone_block": "PEFT block",
    "miss_block": "PEFT block",
}
_PART = re.compile(rf"(.+)\.({'|'.join(_FORMS)})(?:\.default)?(?:\.weight)?")
_OF_AI00 = re.compile(r"(.+?)(?:\.weight)?\.lora\.([01])")
"""As Ai00's converter calls a LoRA's pairs; fla's low-rank matrices have a suffix."""
_TUNED_STATE = re.compile(r"blocks\.\d{1,4}\.(?:att\.(?:time|ts)_state|ffn\.ts_state)", re.ASCII)
_PAIR = {"0": "lora_A", "1": "lora_B"}
_WHOLE_MODEL = ("emb.weight", "blocks.0.att.key.weight", "blocks.0.ffn.key.weight")


class Part(NamedTuple):
    """One tensor of an adapter."""

    module: str
    """The name of the tensor that it changes, without `.weight`."""
    kind: str
    """A key such as lora_A; "" for a whole tensor that replaces the model's."""
    form: Form | None


def part_of(name: str) -> Part:
    """What a tensor's name makes it in an adapter."""
    match = _PART.fullmatch(name)
    if match is None:
        match = _OF_AI00.fullmatch(name)
        return Part(name, "", None) if match is None else Part(match[1], _PAIR[match[2]], "LoRA")
    return Part(match[1], match[2], _FORMS[match[2]])


def is_turned(name: str) -> bool:
    """Whether a tensor is the A of a LoRA as Ai00's converter writes it: [inputs, r]."""
    match = _OF_AI00.fullmatch(name)
    return match is not None and match[2] == "0"


def is_tuned_state(name: str) -> bool:
    """Whether a tensor is a part of a layer's initial state, as state tuning (RWKV-PEFT) writes it.

    att.time_state [H, N, N] is values by keys; of `fullstate` att.ts_state and ffn.ts_state [C] are
    what the first token's token shifts see. A checkpoint may have them next to its weights.
    """
    return _TUNED_STATE.fullmatch(name) is not None


def is_state(names: Collection[str]) -> bool:
    """Whether a file is a tuned initial state."""
    return bool(names) and all(map(is_tuned_state, names))


def is_adapter(names: Iterable[str]) -> bool:
    """Whether a file has the low-rank tensors of an adapter."""
    return any(part_of(name).form for name in names)


def is_whole_model(names: Collection[str]) -> bool:
    """Whether a file has a model's tensors, and not only some that replace those of another."""
    return all(name in names for name in _WHOLE_MODEL) and not is_adapter(names)


def some_of(names: Iterable[str]) -> str:
    """Three names of a file's tensors, to recognise it by."""
    first = list(islice(names, 4))
    if not first:
        return "it has no tensors"
    more = ", …" if len(first) > 3 else ""
    return "its tensors are " + ", ".join(name[:80] for name in first[:3]) + more
