"""A converted model computes what its source does, bit for bit."""

import numpy as np
import pytest

from server.checkpoints.writer import write_safetensors
from tests.checkpoints.torch_files import write_pth
from tests.convert.converting import assert_same, dtypes_of, run, values_of
from tests.model.random_models import load_model, random_tensors
from tests.model.reading import PROMPT, read


@pytest.mark.parametrize(("model", "stored"), [("4v0-660K", "FP16"), ("4v0-660K", "Q5_1"),
                                               ("5v2-730K", "FP32"), ("6v0-3m", "Q5_1"),
                                               ("7v0-834K", "Q5_1")])  # fmt: skip
def test_rwkv_cpp_to_safetensors_has_the_same_logits(fixtures_dir, tmp_path, model, stored):
    source = fixtures_dir / "tiny-rwkv" / f"tiny-rwkv-{model}-{stored}.bin"
    run(source, tmp_path / "a.safetensors")
    assert_same(values_of(tmp_path / "a.safetensors"), values_of(source))
    expected, _ = read(load_model(source), [list(b'"in')])
    logits, _ = read(load_model(tmp_path / "a.safetensors"), [list(b'"in')])
    assert logits.tobytes() == expected.tobytes()


def test_float16_weights_have_the_same_logits_in_every_format(tmp_path):
    stored = {n: ("float16", v.astype(np.float16)) for n, v in random_tensors().items()}
    pth = write_pth(tmp_path / "a.pth", stored)
    write_safetensors(tmp_path / "a.safetensors", stored)
    run(pth, tmp_path / "b.safetensors")
    run(pth, tmp_path / "b.gguf")
    run(pth, tmp_path / "folder")
    assert dtypes_of(tmp_path / "b.gguf")["head.weight"] == "float16"
    for dtype in ("float32", "bfloat16"):
        expected, _ = read(load_model(pth, dtype), [PROMPT])
        for name in ("a.safetensors", "b.safetensors", "b.gguf", "folder"):
            logits, _ = read(load_model(tmp_path / name, dtype), [PROMPT])
            assert logits.tobytes() == expected.tobytes(), name
