"""Opening an adapter: a file, or a folder of PEFT with its configuration."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.checkpoints.checkpoint import CheckpointError, Tensor
from server.checkpoints.contents import Form, is_state, is_turned, is_whole_model, part_of
from server.checkpoints.derived import transposed
from server.checkpoints.huggingface import find_weights
from server.checkpoints.json_file import read_json_object
from server.checkpoints.model_files import file_of
from server.checkpoints.reader import open_checkpoint

PEFT_CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
INITIAL_PISSA = "init_pissa.pth"
"""What RWKV-PEFT calls the values that PiSSA started from; it writes them where it writes the
trained ones, whose tensors are called as those of a LoRA."""

_UNSUPPORTED = (
    *("use_rslora", "use_dora", "fan_in_fan_out", "alpha_pattern", "rank_pattern", "lora_bias"),
    *("use_qalora", "use_bdlora", "layer_replication", "alora_invocation_tokens", "arrow_config"),
    *("target_parameters", "trainable_token_indices", "megatron_config", "kasa_config"),
    "monteclora_config",
)
"""Options of PEFT that change the formula or the names."""
_CHANGES_THE_MODEL = {
    "pissa": "PiSSA",
    "olora": "OLoRA",
    "loftq": "LoftQ",
    "corda": "CorDA",
    "lora_ga": "LoRA-GA",
}
"""How PEFT calls initialisations which take something out of the model's weights."""


@dataclass(frozen=True)
class Adapter:
    """The tensors of an adapter and what its configuration says."""

    path: Path
    """What errors call it."""
    tensors: Mapping[str, Tensor]
    alpha: float | None = None
    """Of a LoRA, where the configuration says it."""
    expected: Form | None = None
    """What its tensors have to be, where the configuration says it."""
    rank: int | None = None
    shared: str | bool | None = None
    """`init_weights` of MiSS and Bone: "bat", "mini", or a truth value; None is unknown."""
    mini_rank: int = 0


def open_adapter(path: Path) -> Adapter:
    """Open an adapter. Raises CheckpointError, also for other files: it says what they are."""
    folder = path if path.is_dir() else path.parent
    if path.is_dir() or path.name in _WEIGHTS:
        config = file_of(folder, PEFT_CONFIG)
        found = read_json_object(config)
        if found is not None:
            return _configured(folder, config, found)
        if path.is_dir():
            if find_weights(path):
                raise CheckpointError(f"{path}: a whole model, not an adapter; serve it as MODEL")
            raise CheckpointError(
                f"{path}: not an adapter (a folder without {PEFT_CONFIG}); name the adapter's file"
            )
    tensors = _turned_back(open_checkpoint(path).tensors)
    _check_is_adapter(path, tensors)
    forms = {part_of(name).form for name in tensors}
    initial = file_of(path, INITIAL_PISSA)
    if "LoRA" in forms and "PiSSA" not in forms and initial.exists():
        tensors = {**tensors, **_initial_pissa(initial)}
    return Adapter(path, tensors)


def _turned_back(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo what Ai00's converter does to a LoRA; what has another shape is refused later."""
    return {
        name: transposed(tensor) if is_turned(name) and len(tensor.shape) == 2 else tensor
        for name, tensor in tensors.items()
    }


def _configured(folder: Path, config: Path, found: Mapping[str, Any]) -> Adapter:
    kind = found.get("peft_type", "LORA")
    if kind not in ("LORA", "MISS", "BONE"):
        raise CheckpointError(
            f"{config}: peft_type {str(kind)[:40]} is not supported (LORA, MISS and BONE are); "
            "merge the adapter first"
        )
    _check_options(config, found)
    weights = next((file for file in map(folder.joinpath, _WEIGHTS) if file.exists()), None)
    weights = file_of(folder, weights.name if weights else _WEIGHTS[0])
    tensors = open_checkpoint(weights).tensors
    _check_is_adapter(weights, tensors)
    rank = found.get("r")
    if rank is not None and (type(rank) is not int or rank < 1):
        raise CheckpointError(f"{config}: r must be a positive integer")
    if kind == "LORA":
        alpha = found.get("lora_alpha")
        if (
            isinstance(alpha, bool)
            or not isinstance(alpha, int | float)
            or not 0 < alpha < math.inf
        ):
            raise CheckpointError(f"{config}: lora_alpha must be a positive number")
        return Adapter(weights, tensors, float(alpha), "LoRA", rank)
    shared, mini = found.get("init_weights", True), found.get("mini_r", 0)
    if not isinstance(shared, bool) and shared not in ("bat", "mini"):
        raise CheckpointError(f"{config}: init_weights must be true, false, 'bat' or 'mini'")
    if shared == "mini" and (type(mini) is not int or mini < 1):
        raise CheckpointError(f"{config}: mini_r must be a positive integer")
    return Adapter(weights, tensors, None, "PEFT block", rank, shared, mini)


def _check_options(config: Path, found: Mapping[str, Any]) -> None:
    for option in _UNSUPPORTED:
        if found.get(option):
            raise CheckpointError(f"{config}: {option} is not supported; merge the adapter first")
    initial = str(found.get("init_lora_weights", True)).lower()
    for prefix, title in _CHANGES_THE_MODEL.items():
        if initial.startswith(prefix):
            raise CheckpointError(
                f"{config}: {title} changes the model's weights before training, so they are "
                "missing here: save it again with path_initial_model_for_weight_conversion, or "
                "merge it first"
            )


def _check_is_adapter(path: Path, tensors: Mapping[str, Tensor]) -> None:
    if not tensors:
        raise CheckpointError(f"{path}: there is no tensor in it")
    if is_state(tensors):
        raise CheckpointError(
            f"{path}: tensor {next(iter(tensors))}: a tuned state, not an adapter; pass it as "
            "--state NAME=FILE"
        )
    if is_whole_model(tensors):
        raise CheckpointError(
            f"{path}: tensor emb.weight: a whole model, not an adapter; serve it as MODEL"
        )
    if {part_of(name).form for name in tensors} == {"PiSSA"}:
        raise CheckpointError(
            f"{path}: tensor {next(iter(tensors))[:120]}: the initial weights of PiSSA, not an "
            "adapter; name the trained file (rwkv-N.pth) and leave this one next to it as "
            f"{INITIAL_PISSA}"
        )


def _initial_pissa(path: Path) -> Mapping[str, Tensor]:
    tensors = open_checkpoint(path).tensors
    for name in tensors:
        if part_of(name).form != "PiSSA":
            raise CheckpointError(
                f"{path}: tensor {name[:120]} is not part of PiSSA's initial weights; move the "
                "file away if the adapter next to it is a LoRA"
            )
    return tensors
