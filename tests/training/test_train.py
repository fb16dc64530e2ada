"""The loop: learning, resuming, beginning with weights, exporting and the commands' errors."""

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
from training.cli import app, make_trainer  # noqa: E402
from training.data import Documents  # noqa: E402
from training.export import LARGEST, export, read_history  # noqa: E402
from training.model import ModelConfig  # noqa: E402
from training.prompts import scripted  # noqa: E402
from training.tokenizer import train_tokenizer  # noqa: E402
from training.train import TrainConfig, Trainer, load_checkpoint, token_losses  # noqa: E402

MODEL = ModelConfig(vocab_size=320, n_layer=2, n_embd=64, rank_decay=8, rank_rate=8, rank_gate=8)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work folder with a few documents, as prepare leaves it."""
    texts = ["The cat sat on the mat.", "A dog ran home."]
    tokenizer = train_tokenizer([*texts * 5, "User: Assistant:"], 320)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    text, chat = Documents(), Documents()
    for item in texts * 10:
        ids = [*tokenizer.encode(item).ids, 0]
        text.add(ids)
        chat.add(ids, [IGNORE] * 2 + ids[3:] + [IGNORE])
    text.save(tmp_path / "text-tinystories.npz", bytes=390)
    text.save(tmp_path / "held-tinystories.npz", bytes=390)
    chat.save(tmp_path / "chat-templates.npz")
    return tmp_path


def config(minutes: float = 1.0, decay: float = 0.2) -> TrainConfig:
    return TrainConfig(minutes, 3e-3, decay, rows=2, length=32)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_batches_are_decided_by_seed_and_step(work: Path, share: float) -> None:
    ids, targets, is_text = Batches(work, 2, 32, seed=1).batch(7, share)
    again, _, _ = Batches(work, 2, 32, seed=1).batch(7, share)
    other, _, _ = Batches(work, 2, 32, seed=1).batch(8, share)
    assert torch.equal(ids, again)
    assert not torch.equal(ids, other)
    follows = targets[:, :-1] == ids[:, 1:]
    assert bool((follows | (targets[:, :-1] == IGNORE)).all())
    assert bool((targets[is_text] != IGNORE).all())
    assert share not in (0.0, 1.0) or is_text.tolist() == [bool(share)] * 2


def test_half_of_the_long_rows_begin_with_a_text_that_is_not_learnt(work: Path) -> None:
    batches = Batches(work, 40, 1600, seed=1)
    opening = batches.opening.tolist()
    ids, targets, _ = batches.batch(3, 0.0)
    begun = [row[: len(opening)].tolist() == opening for row in ids]
    assert 8 < sum(begun) < 32
    for is_begun, row in zip(begun, targets, strict=True):
        learnt = (row != IGNORE).nonzero()
        assert len(learnt) > 100  # conversations follow
        assert not is_begun or learnt[0] > 200
    short, _, _ = Batches(work, 40, 384, seed=1).batch(3, 0.0)
    assert not any(row[: len(opening)].tolist() == opening for row in short)


def test_only_learnt_tokens_go_through_the_head(work: Path) -> None:
    trainer = Trainer(config(), MODEL, work)
    ids, targets, _ = trainer.batches.batch(1, 0.0)
    losses, learnt = token_losses(trainer.model, ids, targets)
    assert learnt.sum() == len(losses) < ids.numel()
    logits = trainer.model(ids).flatten(0, 1)
    mean = torch.nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=IGNORE)
    torch.testing.assert_close(losses.mean(), mean)


def test_resume_goes_on_at_the_same_step_with_the_same_result(work: Path) -> None:
    torch.set_num_threads(1)
    straight = Trainer(config(), MODEL, work)
    first = [straight.train_step()["loss"] for _ in range(3)]
    straight.save()
    rest = [straight.train_step()["loss"] for _ in range(3)]
    resumed = Trainer(config(), MODEL, work)
    assert resumed.resume()
    assert (resumed.step, resumed.tokens) == (3, 3 * 2 * 32)
    again = [resumed.train_step()["loss"] for _ in range(3)]
    np.testing.assert_allclose(again, rest, rtol=1e-3)
    assert min(rest) < first[0]


def test_the_decay_may_be_begun_at_any_time(work: Path) -> None:
    trainer = Trainer(config(minutes=10, decay=1), MODEL, work)
    trainer.step, trainer.seconds = 100, 60.0
    assert trainer.schedule() == (3e-3, 0.4)
    trainer.config = config(minutes=2, decay=2)  # one minute is left, of two that it falls
    rate, share = trainer.schedule()
    assert (rate, share) == (pytest.approx(1.5e-3), 0.15)
    trainer.seconds = 1000.0
    assert trainer.schedule()[0] == pytest.approx(0.02 * 3e-3)


def test_an_export_that_the_next_run_begins_with(work: Path) -> None:
    trainer = Trainer(config(minutes=0.01), MODEL, work)
    trainer.run()
    assert trainer.step > 0
    entries = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == list(range(1, trainer.step + 1))
    out = work / "out"
    model = export(work, out)
    assert sum(path.stat().st_size for path in out.iterdir()) < LARGEST
    trained = trainer.model.state_dict()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, trained[name], atol=1e-4, rtol=1e-2)
    assert read_history(out) == {"tokens": trainer.tokens, "seconds": trainer.seconds}

    (work / "checkpoint.pt").unlink()
    following = make_trainer(config(), work, 9, 640, init_from=out)  # the sizes are of the weights
    assert (following.step, following.before) == (0, read_history(out))
    for name, weight in following.model.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name])
    following.train_step()
    following.save()
    resumed = make_trainer(config(), work, 9, 640, init_from=None)
    assert (resumed.step, resumed.before) == (1, read_history(out))
    assert load_checkpoint(resumed.path)["before"]["tokens"] == trainer.tokens


def test_weights_of_another_tokenizer_are_refused(work: Path) -> None:
    Trainer(config(), MODEL, work).save()
    export(work, work / "out")
    train_tokenizer(["something else"], 300).save(str(work / "tokenizer.json"))
    arguments = ["train", "--work-dir", str(work), "--init-from", str(work / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "is not the tokenizer of" in result.stderr.replace("\n", " ")


def test_the_card_has_the_numbers_of_the_evaluation(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {kind: pairs[:3] for kind, pairs in scripted().items()}
    monkeypatch.setattr("training.evaluate.scripted", lambda: few)
    monkeypatch.setattr("training.evaluate.SAMPLED", 4)
    monkeypatch.setattr("training.evaluate.SAMPLES", (["Hello"],))
    Trainer(config(), MODEL, work).save()
    losses = [{"step": step, "tokens": 64 * step, "text": 2.0, "chat": 3.0} for step in (1, 2)]
    (work / "log.jsonl").write_text("\n".join(map(json.dumps, losses)))
    arguments = ["--work-dir", str(work), "--rows", "1"]
    measured = CliRunner().invoke(app, ["evaluate", *arguments])
    assert measured.exit_code == 0, measured.output
    out = work / "out"
    exported = CliRunner().invoke(app, ["export", *arguments, "--out", str(out)])
    assert exported.exit_code == 0, exported.output
    card = (out / "MODEL_CARD.md").read_text()
    for result in (measured, exported):
        report = json.loads(result.stdout.splitlines()[-1])
        for kind, (right, of) in report["scripted"].items():
            assert f"| right: {kind} | {right} of {of} |" in card
        assert report["loops"]["at 0.8"][1] == 4
    assert f"{report['bits_per_byte']['all']:.3f} bits per byte" in card
    assert len((work / "replies.jsonl").read_text().splitlines()) == 9


@pytest.mark.parametrize(
    "arguments",
    [
        ["prepare", "--data", "nowhere"],
        ["train", "--work-dir", "nowhere"],
        ["train", "--work-dir", "nowhere", "--init-from", "nothing"],
        ["evaluate", "--work-dir", "nowhere"],
        ["evaluate", "--work-dir", "nowhere", "--model", "nothing"],
        ["export", "--work-dir", "nowhere"],
    ],
)
def test_missing_data_is_one_line_and_exit_code_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert result.exception is None or isinstance(result.exception, SystemExit)
    output = result.stderr.replace("\n", " ")
    assert "python -m training" in output or "--data" in output or "nothing" in output
