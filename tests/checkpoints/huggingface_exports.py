"""Random tensors of the official shapes, and what exporters make of them, written out by hand."""

import json

import numpy as np

from server.checkpoints.writer import write_safetensors
from tests.model.random_models import random_tensors

LAYERS, DIM, HEADS, HEAD, FFN, VOCAB, RANK, DECAY_RANK = 2, 12, 3, 4, 20, 17, 5, 3


def official_tensors(generation, seed=3):
    """Name → float32 array of a small model: v4, v5.2, v6 or v7."""
    if generation == "v7":
        return random_tensors(layers=LAYERS, dim=DIM, vocab_size=VOCAB, head_size=HEAD, seed=seed)
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in _shapes(generation).items()
    }


def _shapes(generation):
    row, square, norm = (1, 1, DIM), (DIM, DIM), (DIM,)
    att = {f"{matrix}.weight": square for matrix in ("receptance", "key", "value", "output")}
    ffn = {"key.weight": (FFN, DIM), "receptance.weight": square, "value.weight": (DIM, FFN)}
    if generation == "v4":
        att |= {"time_decay": norm, "time_first": norm}
    else:
        att |= {"ln_x.weight": norm, "ln_x.bias": norm, "gate.weight": square}
        att |= {"time_faaaa": (HEADS, HEAD), "time_decay": (HEADS, HEAD)}
    if generation == "v6":
        att |= {f"time_maa_{kind}": row for kind in "xwkvrg"}
        att |= {"time_maa_w1": (DIM, 5 * RANK), "time_maa_w2": (5, RANK, DIM), "time_decay": row}
        att |= {"time_decay_w1": (DIM, DECAY_RANK), "time_decay_w2": (DECAY_RANK, DIM)}
        ffn |= {"time_maa_k": row, "time_maa_r": row}
    else:
        att |= {f"time_mix_{kind}": row for kind in ("kvr" if generation == "v4" else "kvrg")}
        ffn |= {"time_mix_k": row, "time_mix_r": row}
    shapes = {"emb.weight": (VOCAB, DIM), "head.weight": (VOCAB, DIM)}
    norms = ["ln_out", "blocks.0.ln0"]
    for layer in range(LAYERS):
        norms += [f"blocks.{layer}.ln1", f"blocks.{layer}.ln2"]
        shapes |= {f"blocks.{layer}.att.{name}": shape for name, shape in att.items()}
        shapes |= {f"blocks.{layer}.ffn.{name}": shape for name, shape in ffn.items()}
    return shapes | {f"{name}.{kind}": norm for name in norms for kind in ("weight", "bias")}


def fla7(official):
    """As fla's converter does it: names, transposed low ranks, rows without their ones."""
    exported = {}
    for name, values in official.items():
        new = (
            name.replace("blocks.", "model.layers.")
            .replace("emb.", "model.embeddings.")
            .replace("ln_out", "model.norm")
            .replace("head.", "lm_head.")
            .replace(".att.", ".attn.")
            .replace(".ln0", ".pre_norm")
            .replace(".ln1", ".attn_norm")
            .replace(".ln2", ".ffn_norm")
            .replace(".ln_x", ".g_norm")
        )
        if ".attn." in new:
            for old, short in zip(("receptance", "key", "value", "output"), "rkvo", strict=True):
                new = new.replace(f".{old}.", f".{short}_proj.")
        last = new.rpartition(".")[2]
        if len(last) == 2 and last[0] in "wavg" and last[1] in "012":
            inner = ("2.bias", "0.weight", "2.weight")[int(last[1])]
            new = f"{new[:-2]}{last[0]}_lora.lora.{inner}"
            values = values.reshape(-1) if last[1] == "0" else values.T
        elif values.shape[:2] == (1, 1) and ".attn.x_" not in new:
            values = values.reshape(-1)
        exported[new] = values
    return exported


def fla6(official):
    """As fla's converter from transformers' RWKV-6 does it."""
    exported = {
        "model.embeddings.weight": official["emb.weight"],
        "lm_head.weight": official["head.weight"],
    }
    norms = {"ln_out": "model.norm", "blocks.0.ln0": "model.layers.0.pre_norm"}
    for layer in range(LAYERS):
        old, new = f"blocks.{layer}.", f"model.layers.{layer}."
        norms |= {f"{old}ln1": f"{new}attn_norm", f"{old}ln2": f"{new}ffn_norm"}
        norms |= {f"{old}att.ln_x": f"{new}attn.g_norm"}
        att = {n.removeprefix(f"{old}att."): v for n, v in official.items() if f"{old}att." in n}
        ffn = {n.removeprefix(f"{old}ffn."): v for n, v in official.items() if f"{old}ffn." in n}
        w, k, v, r, g = np.split(att["time_maa_w1"], 5, axis=1)
        down = np.concatenate((r, w, k, v, g), axis=1).T
        w, k, v, r, g = att["time_maa_w2"]
        up = np.concatenate((r, w, k, v, g), axis=0).T
        layer_tensors = {
            "attn.x_proj.0.mu": att["time_maa_x"].reshape(-1),
            "attn.x_proj.0.linear.weight": down,
            "attn.x_proj.2.weight": up,
            "attn.x_bias": np.stack([att[f"time_maa_{kind}"].reshape(-1) for kind in "rwkvg"]),
            "attn.r_proj.linear.weight": att["receptance.weight"],
            "attn.k_proj.linear.weight": att["key.weight"],
            "attn.v_proj.linear.weight": att["value.weight"],
            "attn.g_proj.linear.weight": att["gate.weight"],
            "attn.o_proj.weight": att["output.weight"],
            "attn.w_proj.linear.lora.0.weight": att["time_decay_w1"].T,
            "attn.w_proj.linear.lora.2.weight": att["time_decay_w2"].T,
            "attn.w_proj.linear.lora.2.bias": att["time_decay"].reshape(-1),
            "attn.bonus": att["time_faaaa"],
            "ffn.key.linear.weight": ffn["key.weight"],
            "ffn.key.mu": ffn["time_maa_k"].reshape(-1),
            "ffn.value.weight": ffn["value.weight"],
            "ffn.receptance.linear.weight": ffn["receptance.weight"],
            "ffn.receptance.mu": ffn["time_maa_r"].reshape(-1),
        }
        exported |= {new + name: values for name, values in layer_tensors.items()}
    for old, new in norms.items():
        exported |= {f"{new}.{kind}": official[f"{old}.{kind}"] for kind in ("weight", "bias")}
    return exported


def transformers(official):
    """As the converters of transformers (v4) and of the RWKV organisation (v5, v6) do it."""
    exported = {}
    for name, values in official.items():
        new = name.replace("emb.", "embeddings.").replace(".ln0", ".pre_ln")
        new = new.replace(".att.", ".attention.").replace(".ffn.", ".feed_forward.")
        for long in ("key", "value", "receptance", "gate"):
            if new.endswith(f"time_mix_{long[0]}"):
                new = new[:-1] + long
        exported[new if name == "head.weight" else f"rwkv.{new}"] = values
    return exported


def write_folder(folder, tensors, config=(), shards=1):
    """model.safetensors, or shards and their index; and config.json unless config is None."""
    folder.mkdir(exist_ok=True)
    names = sorted(tensors)
    files = {"model.safetensors": names}
    if shards > 1:
        files = {
            f"model-{n + 1:05}-of-{shards:05}.safetensors": names[n::shards] for n in range(shards)
        }
        weight_map = {name: file for file, members in files.items() for name in members}
        write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})
    for file, members in files.items():
        arrays = {name: ("float32", np.ascontiguousarray(tensors[name])) for name in members}
        write_safetensors(folder / file, arrays)
    if config is not None:
        write_json(folder / "config.json", dict(config))
    return folder


def write_json(path, content):
    path.write_text(json.dumps(content))
