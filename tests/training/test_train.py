"""The loop: learning, resuming, exporting and the commands' errors."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the train extra")
pytest.importorskip("safetensors.torch")
pytest.importorskip("matplotlib")

from typer.testing import CliRunner  # noqa: E402

from training.batches import Batches  # noqa: E402
from training.chat_format import IGNORE  # noqa: E402
from training.cli import app  # noqa: E402
from training.data import Documents  # noqa: E402
from training.export import LARGEST, export  # noqa: E402
from training.generate import complete  # noqa: E402
from training.model import ModelConfig  # noqa: E402
from training.tokenizer import load_tokenizer, train_tokenizer  # noqa: E402
from training.train import TrainConfig, Trainer, train  # noqa: E402

MODEL = ModelConfig(vocab_size=320, n_layer=2, n_embd=64, rank_decay=8, rank_rate=8, rank_gate=8)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work folder with a few documents, as prepare leaves it."""
    texts = ["The cat sat on the mat.", "A dog ran home."]
    tokenizer = train_tokenizer(texts * 5, 320)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    text, chat = Documents(), Documents()
    for item in texts * 10:
        ids = [*tokenizer.encode(item).ids, 0]
        text.add(ids)
        chat.add(ids, [IGNORE] * 2 + ids[3:] + [IGNORE])
    text.save(tmp_path / "text-tinystories.npz", bytes=390)
    chat.save(tmp_path / "chat-templates.npz")
    return tmp_path


def config(stage: int = 1, minutes: float = 1.0) -> TrainConfig:
    return TrainConfig(stage, minutes, 3e-3, 0.1, rows=2, length=32)


def test_batches_are_decided_by_seed_and_step(work: Path) -> None:
    for stage in (1, 2):
        ids, targets = Batches(work, stage, 2, 32, seed=1).batch(7)
        again, _ = Batches(work, stage, 2, 32, seed=1).batch(7)
        other, _ = Batches(work, stage, 2, 32, seed=1).batch(8)
        assert torch.equal(ids, again)
        assert not torch.equal(ids, other)
        follows = targets[:, :-1] == ids[:, 1:]
        assert bool((follows | (targets[:, :-1] == IGNORE)).all())


def test_resume_goes_on_at_the_same_step_with_the_same_result(work: Path) -> None:
    torch.set_num_threads(1)
    straight = Trainer(config(), MODEL, work)
    first = [straight.train_step() for _ in range(3)]
    straight.save()
    rest = [straight.train_step() for _ in range(3)]
    resumed = Trainer(config(), MODEL, work)
    assert resumed.resume()
    assert (resumed.step, resumed.tokens) == (3, 3 * 2 * 32)
    np.testing.assert_allclose([resumed.train_step() for _ in range(3)], rest, rtol=1e-3)
    assert min(rest) < first[0]


def test_both_stages_and_an_export_that_the_server_can_read(work: Path) -> None:
    for stage in (1, 2):
        trainer = train(config(stage, minutes=0.01), MODEL, work)
        assert trainer.step > 0
    entries = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    assert {entry["stage"] for entry in entries} == {1, 2}
    model = export(work, work / "out")
    assert sum(path.stat().st_size for path in (work / "out").iterdir()) < LARGEST
    trained = trainer.model.state_dict()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, trained[name], atol=1e-4, rtol=1e-2)
    assert isinstance(complete(model, load_tokenizer(work / "tokenizer.json"), "The", 4), str)


def test_stage_2_needs_stage_1(work: Path) -> None:
    with pytest.raises(FileNotFoundError, match="train stage 1 first"):
        train(config(stage=2), MODEL, work)


@pytest.mark.parametrize(
    "arguments",
    [
        ["prepare", "--data", "nowhere"],
        ["train", "--work-dir", "nowhere"],
        ["evaluate", "--work-dir", "nowhere"],
        ["export", "--work-dir", "nowhere"],
    ],
)
def test_missing_data_is_one_line_and_exit_code_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "python -m training" in result.stderr or "--data" in result.stderr
