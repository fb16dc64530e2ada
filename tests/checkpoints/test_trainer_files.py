"""What trainers save: prefixes, dictionaries, what is beside the model, what shares a storage."""

import argparse
import collections
import pathlib

import numpy as np
import pytest

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.reader import open_checkpoint
from server.checkpoints.writer import write_safetensors
from server.model.config import read_config
from tests.checkpoints.huggingface_exports import fla7, official_tensors
from tests.checkpoints.torch_files import write_pth

torch = pytest.importorskip("torch")

PREFIXES = (
    "module.",
    "model.",
    "_forward_module.",
    "_orig_mod.",
    "_forward_module.model.",
    "module.model.",
    "model._orig_mod.",
    "_forward_module.module.model._orig_mod.",
    "_fsdp_wrapped_module.model.",
)


@pytest.fixture(scope="module")
def v7():
    return official_tensors("v7")


def assert_is(path, expected):
    checkpoint = open_checkpoint(path)
    read_config(checkpoint)
    assert set(checkpoint.tensors) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(checkpoint.tensors[name].to_float32(), values, err_msg=name)


def refused(path, match):
    with pytest.raises(CheckpointError, match=match) as error:
        read_config(open_checkpoint(path))
    assert "\n" not in str(error.value)
    assert path.name in str(error.value)


def write(path, tensors, metadata=None):
    stored = {name: (str(v.dtype), np.ascontiguousarray(v)) for name, v in tensors.items()}
    if path.suffix == ".pth":
        return write_pth(path, stored)
    write_safetensors(path, stored, metadata)
    return path


def torched(tensors):
    return {n: torch.from_numpy(np.ascontiguousarray(v)) for n, v in tensors.items()}


def save(path, content):
    torch.save(content, path)
    return path


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_of_trainers(tmp_path, v7, prefix, suffix):
    named = {prefix + name: values for name, values in v7.items()}
    assert_is(write(tmp_path / f"m{suffix}", named), v7)
    exported = {prefix.replace("model.", "") + name: v for name, v in fla7(v7).items()}
    assert_is(write(tmp_path / f"n{suffix}", exported), v7)


def test_prefixes_within_names(tmp_path, v7):
    """torch.compile and FSDP of single blocks."""
    named = {n.replace("blocks.1.", "blocks.1._orig_mod."): values for n, values in v7.items()}
    assert_is(write(tmp_path / "m.pth", named), v7)


@pytest.mark.parametrize(
    "names",
    [
        {"blocks.1": "module.blocks.1"},
        {"blocks.1": "model.blocks.1"},
        {"blocks.0": "rwkv7.blocks.0"},
    ],
)
def test_a_mixture_of_two_files_is_refused(tmp_path, v7, names):
    ((old, new),) = names.items()
    named = {n.replace(old, new) if n.startswith(old) else n: v for n, v in v7.items()}
    refused(write(tmp_path / "m.pth", named), "are named by two exporters: a mixture")
    half = {n: v for n, v in fla7(v7).items() if ".layers.1." not in n}
    half |= {n: v for n, v in v7.items() if "blocks.1." in n}
    refused(write(tmp_path / "n.safetensors", half), "are named by two exporters: a mixture")
    twice = v7 | {"module.emb.weight": v7["emb.weight"]}
    refused(write(tmp_path / "o.pth", twice), r"emb\.weight is there under two names")


def lightning(state):
    """What Lightning's Trainer.save_checkpoint() writes."""
    optimizer = {"step": torch.tensor(3.0), "exp_avg": torch.zeros(4), "exp_avg_sq": torch.ones(4)}
    return {
        "epoch": 2,
        "global_step": 40,
        "pytorch-lightning_version": "2.1.0",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 1}}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [{"state": {0: optimizer}, "param_groups": [{"betas": (0.9, 0.99)}]}],
        "lr_schedulers": [],
        "hyper_parameters": argparse.Namespace(
            n_embd=12, path=pathlib.PurePosixPath("x"), s={1, 2}
        ),
    }


def deepspeed(state):
    """What DeepSpeed writes as mp_rank_00_model_states.pt."""
    return {
        "module": collections.OrderedDict(state),
        "buffer_names": [],
        "optimizer": None,
        "param_shapes": [collections.OrderedDict((n, v.shape) for n, v in state.items())],
        "frozen_param_shapes": None,
        "lr_scheduler": {"base_lrs": [1e-4]},
        "data_sampler": None,
        "random_ltd": None,
        "skipped_steps": 0,
        "global_samples": np.int64(3),
        "dp_world_size": np.float32(1.0),
        "ds_config": collections.defaultdict(dict, {"a": {}}),
        "ds_version": "0.12",
        "dtype": torch.bfloat16,
    }


@pytest.mark.parametrize("prefix", ["", "model.", "_forward_module.model."])
@pytest.mark.parametrize(
    "trainer", [lightning, deepspeed, lambda state: {"model": state, "iter": 1}]
)
def test_dictionaries_of_trainers(tmp_path, v7, trainer, prefix):
    state = torched({prefix + name: values for name, values in v7.items()})
    assert_is(save(tmp_path / "m.ckpt", trainer(state)), v7)
    both = trainer(state) | {"state_dict": state, "module": state}
    refused(save(tmp_path / "n.ckpt", both), "it holds two models, state_dict and ")


def test_parameters_that_carry_attributes(tmp_path, v7):
    state = {n: torch.nn.Parameter(values) for n, values in torched(v7).items()}
    for parameter in state.values():
        parameter.ds_numel = 3
    assert_is(save(tmp_path / "m.pth", state), v7)


class Trainer:
    """Somebody's own class, of a package that nobody knows."""


def test_what_is_no_trainers_is_still_refused(tmp_path, v7):
    state = torched(v7)
    path = save(tmp_path / "m.pth", {"state_dict": state, "trainer": Trainer()})
    refused(path, r"asks for tests\.checkpoints\.test_trainer_files\.Trainer: refused")
    refused(save(tmp_path / "n.pth", {"state_dict": state, "f": eval}), "eval: refused")
    refused(save(tmp_path / "o.pth", state | {"epoch": 3}), "entry epoch is not a tensor")
    refused(save(tmp_path / "p.pth", {"optimizer": state}), "entry optimizer is not a tensor")


def test_models_converted_for_a_strategy_are_named(tmp_path, v7):
    strategy = {"_strategy": "cuda fp16i8", "_version": "0.7", "_rescale_layer": 6}
    refused(save(tmp_path / "m.pth", torched(v7) | strategy), "for strategy 'cuda fp16i8', which")


def test_what_is_beside_a_model_is_left_out(tmp_path, v7):
    beside = {
        "optimizer.state.0.exp_avg": np.zeros(4, np.float32),
        "lr_scheduler.last_epoch": np.zeros(1, np.int64),
        "blocks.0.att.steps_seen": np.zeros(1, np.int64),
        "num_batches_tracked": np.zeros((), np.int64),
    }
    assert_is(save(tmp_path / "m.pth", torched(v7 | beside)), v7)
    assert_is(write(tmp_path / "m.safetensors", v7 | beside), v7)
    stranger = v7 | {"head_q.weight": np.zeros((4, 12), np.float32)}
    refused(write(tmp_path / "n.pth", stranger), r"head_q\.weight is not part of RWKV-7")
    quantised = v7 | {"blocks.0.att.key.weight": np.zeros((12, 12), np.uint8)}
    refused(save(tmp_path / "o.pth", torched(quantised)), r"att\.key\.weight has dtype uint8")


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32])
@pytest.mark.parametrize("which", ["r_k", "x_r", "w1", "weight", ""])
def test_integers_are_weights_unless_they_are_few(tmp_path, v7, which, dtype):
    """Somebody's quantisation is named as what it is, and not as a model without tensors."""
    integers = {n: v.astype(dtype) if n.endswith(which) else v for n, v in v7.items()}
    refused(write(tmp_path / "m.safetensors", integers), rf"tensor .*{which} has dtype u?int")


def test_what_is_left_of_a_model_by_zero_3(tmp_path, v7):
    empty = {name: np.zeros(0, np.float32) for name in v7}
    refused(write(tmp_path / "m.safetensors", empty), r"shape \[0\]: it is empty, as ZeRO-3 saves")


def test_a_head_is_the_embedding_only_where_the_file_says_so(tmp_path, v7):
    tied = v7 | {"head.weight": v7["emb.weight"]}
    without = {name: values for name, values in v7.items() if name != "head.weight"}
    refused(write(tmp_path / "a.safetensors", without), r"head\.weight is missing")
    refused(write(tmp_path / "a.pth", without), r"head\.weight is missing")
    said = {"head.weight": "emb.weight", "format": "pt"}  # as safetensors' save_model() does
    assert_is(write(tmp_path / "b.safetensors", without, said), tied)
    exported = {n: v for n, v in fla7(v7).items() if n != "lm_head.weight"}
    said = {"lm_head.weight": "model.embeddings.weight"}
    assert_is(write(tmp_path / "c.safetensors", exported, said), tied)
    said = {"head.weight": "blocks.9.emb.weight"}
    refused(
        write(tmp_path / "d.safetensors", without, said), r"shares blocks\.9\.emb\.weight, which"
    )
    state = torched(without)
    assert_is(save(tmp_path / "e.pth", state | {"head.weight": state["emb.weight"]}), tied)
