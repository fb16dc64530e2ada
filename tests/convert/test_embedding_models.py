"""Embedding models converted: to what holds them, exactly or packed, and no further."""

import pytest

from server.bench import program
from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.reader import open_checkpoint
from server.checkpoints.safetensors import read_safetensors
from server.memory_needs import weights_bytes
from server.model.config import read_config
from server.model.layout import parts_of
from server.model.loading import layout_of, storages_of
from tests.convert.converting import assert_same, run, values_of
from tests.engine.test_embedding_models import ALL, Files, build
from tests.engine.test_embedding_models import run as compute
from tests.model.embedding_models import embedding_tensors, reranker_tensors, write_pth


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_pth(tmp_path_factory.mktemp("m") / "emb.pth", embedding_tensors(), "bfloat16")


def embeddings(path):
    files = Files.__new__(Files)
    files.model_path = path
    engine = build(files, dtype="auto" if path.suffix == ".packed" else "int8", reranker=False)
    tasks = {name: task for name, task in ALL.items() if task.pooling == "ends"}
    return {name: output.embedding for name, output in compute(engine, tasks).items()}


def test_safetensors_are_exact_and_have_the_names_of_released_files(tmp_path, source):
    lines = run(source, tmp_path / "b.safetensors")
    assert "(safetensors, bfloat16): all values are exact" in lines[0]
    assert_same(values_of(tmp_path / "b.safetensors"), values_of(source))
    names = set(read_safetensors(tmp_path / "b.safetensors").tensors)
    assert {"rwkv.emb.weight", "head.cls_head.fc1.weight"} < names
    assert not any(name.startswith(("vit.", "proj.")) for name in names)
    assert "rwkv.head.weight" not in names
    config = read_config(open_checkpoint(tmp_path / "b.safetensors"))
    assert config == read_config(open_checkpoint(source))


def test_packed_it_makes_the_same_vectors(tmp_path, source):
    run(source, tmp_path / "b.packed", "int8")
    config = read_config(open_checkpoint(tmp_path / "b.packed"))
    assert (config.generation, config.packed_as) == ("rwkv7-embedding", "int8")
    assert embeddings(tmp_path / "b.packed") == embeddings(source)


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("b.gguf", {}, "RWKV-7 embedding model does not fit format gguf.*use safetensors or pack"),
        ("folder", {}, "RWKV-7 embedding model does not fit format huggingface"),
        ("b.st", {"program": "ai00"}, "RWKV-7 embedding model, which Ai00 does not run"),
    ],
)
def test_other_formats_refuse_it(tmp_path, source, name, options, match):
    with pytest.raises(CheckpointError, match=match):
        run(source, tmp_path / name, **options)
    assert not (tmp_path / name).exists()


def test_a_reranker_is_served_as_it_is(tmp_path):
    reranker = write_pth(tmp_path / "r.pth", reranker_tensors())
    with pytest.raises(CheckpointError, match="a reranker, not a model"):
        run(reranker, tmp_path / "b.safetensors")


@pytest.mark.parametrize("kind", ["model", "reranker"])
def test_memory_is_known_before_it_is_packed(tmp_path, source, kind):
    path = source
    if kind == "reranker":
        path = write_pth(tmp_path / "r.pth", reranker_tensors(), "bfloat16")
    checkpoint = open_checkpoint(path)
    config = read_config(checkpoint)
    assert len(parts_of(config)) > 30
    sizes = {"uint8": 1, "uint16": 2, "int16": 2, "float32": 4}
    for dtype in ("int8", "int4"):
        layout = layout_of(storages_of(checkpoint, config, dtype))
        count = 0
        for stored, shape in layout.values():
            size = sizes[stored]
            for n in shape:
                size *= n
            count += size
        assert weights_bytes(config, dtype) == count


@pytest.mark.parametrize("tensors", [embedding_tensors, reranker_tensors])
def test_bench_measures_language_models(tmp_path, tensors, capsys):
    path = write_pth(tmp_path / "m.pth", tensors())
    assert program.main([str(path), "--json"]) == 2
    assert "bench measures language models" in capsys.readouterr().err
