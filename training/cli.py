"""The commands: prepare, train, evaluate, export."""

import json
import shutil
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from training.card import reply_table, text_table, write_card, write_curve
from training.data import prepare
from training.evaluate import Report, evaluate
from training.export import export, history_of, load_exported, read_history
from training.memory import keep_freed_memory
from training.model import RWKV7, ModelConfig
from training.tokenizer import load_tokenizer
from training.train import TrainConfig, Trainer, load_checkpoint

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
console = Console(stderr=True)

Data = Annotated[Path, typer.Option(help="Folder with text.jsonl.xz and chat.jsonl.xz.")]
Work = Annotated[Path, typer.Option(help="Folder for prepared data, checkpoints and logs.")]
Out = Annotated[Path, typer.Option(help="Folder of the embedded model.")]
Threads = Annotated[int, typer.Option(help="CPU threads of torch.")]
Rows = Annotated[int, typer.Option(help="Rows of held-out text to read of each source.")]
ROWS = 60
REPORT = "evaluation.json"  # beside the card, which is made from it
WORK, OUT = Path("build/training"), Path("server/assets/embedded")


def fail(message: object) -> typer.Exit:
    console.print(f"error: {message}", style="red", markup=False)
    return typer.Exit(2)


def set_up_torch(threads: int) -> None:
    keep_freed_memory()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


@app.command("prepare")
def prepare_command(
    data: Data = Path("../shared/data"),
    work_dir: Work = WORK,
    vocabulary: Annotated[int, typer.Option(help="Tokens of a newly learnt tokenizer.")] = 4096,
    conversations: Annotated[int, typer.Option(help="How many to make from templates.")] = 150_000,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Take this tokenizer.json instead of learning one.")
    ] = None,
    seed: int = 1,
) -> None:
    """Learn the tokenizer and encode the training text."""
    for path in (data / "text.jsonl.xz", data / "chat.jsonl.xz", tokenizer):
        if path is not None and not path.is_file():
            raise fail(f"{path} is missing: name the folder with --data")
    with console.status("encoding"):
        work_dir.mkdir(parents=True, exist_ok=True)
        if tokenizer is not None:
            shutil.copyfile(tokenizer, work_dir / "tokenizer.json")
        counts = prepare(data, work_dir, vocabulary, conversations, seed)
    console.print(f"{sum(counts.values()):,} tokens in {work_dir}")
    print(json.dumps(counts))


@app.command("train")
def train_command(
    work_dir: Work = WORK,
    minutes: Annotated[
        float, typer.Option(help="Wall clock of what runs, counted over resumes.")
    ] = 240,
    decay: Annotated[
        float, typer.Option(help="The last minutes, in which the learning rate falls.")
    ] = 20,
    init_from: Annotated[
        Path | None, typer.Option(help="Exported weights to begin with, such as the embedded ones.")
    ] = None,
    layers: Annotated[int, typer.Option(help="Of a model from nothing.")] = 6,
    width: Annotated[int, typer.Option(help="A multiple of 64, of a model from nothing.")] = 192,
    rows: Annotated[int, typer.Option(help="Sequences in a batch.")] = 4,
    length: Annotated[
        int, typer.Option(help="Tokens of a sequence, a multiple of 16; long ones begin with text.")
    ] = 384,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 1.5e-3,
    text: Annotated[float, typer.Option(help="The share of plain text before the decay.")] = 0.4,
    last_text: Annotated[float, typer.Option(help="The share of plain text in the decay.")] = 0.15,
    threads: Threads = 2,
    seed: int = 1,
    bfloat16: Annotated[bool, typer.Option(help="Multiply matrices in bfloat16.")] = True,
    compile: Annotated[
        bool, typer.Option(help="Fuse with torch.compile; needs a C++ compiler.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, or another device of torch.")] = "cpu",
) -> None:
    """Train, or go on: plain text and conversations at once, to the end of the minutes."""
    set_up_torch(threads)
    config = TrainConfig(
        minutes, rate, decay, text_share=text, last_text_share=last_text, rows=rows, length=length,
        seed=seed,
        bfloat16=bfloat16, compile=compile, device=device,
    )  # fmt: skip
    try:
        trainer = make_trainer(config, work_dir, layers, width, init_from)
    except (FileNotFoundError, ValueError) as error:
        raise fail(error) from None
    trainer.run()
    if trainer.stopped:
        raise typer.Exit(130)


def make_trainer(
    config: TrainConfig, work: Path, layers: int, width: int, init_from: Path | None
) -> Trainer:
    """A trainer that goes on from its checkpoint, or begins from weights or from nothing.

    Raises ValueError if the weights belong to another tokenizer than that of the work folder.
    """
    if init_from is None:
        path = work / "checkpoint.pt"
        model = ModelConfig(n_layer=layers, n_embd=width)
        if path.exists():
            model = ModelConfig(**load_checkpoint(path)["model_config"])
        trainer = Trainer(config, model, work)
        trainer.resume()
        return trainer
    if (init_from / "tokenizer.json").read_bytes() != (work / "tokenizer.json").read_bytes():
        raise ValueError(
            f"{init_from / 'tokenizer.json'} is not the tokenizer of {work}: "
            f"run `python -m training prepare --tokenizer {init_from / 'tokenizer.json'}`"
        )
    weights = load_exported(init_from)
    trainer = Trainer(config, weights.config, work)
    if not trainer.resume():
        trainer.start_from(weights, read_history(init_from))
    return trainer


@app.command("evaluate")
def evaluate_command(
    work_dir: Work = WORK,
    model: Annotated[
        Path | None, typer.Option(help="Exported weights to measure, not the checkpoint.")
    ] = None,
    rows: Rows = ROWS,
    threads: Threads = 2,
) -> None:
    """Print held-out bits per byte and how scripted conversations went; the last line is JSON."""
    set_up_torch(threads)
    try:
        if model is None:
            state = load_checkpoint(work_dir / "checkpoint.pt")
            weights, history = RWKV7.from_state_dict(state["model"]).eval(), history_of(state)
        else:
            weights, history = load_exported(model), read_history(model)
        tokenizer = load_tokenizer((model or work_dir) / "tokenizer.json")
    except FileNotFoundError as error:
        raise fail(f"{error}: run `python -m training train`") from None
    with console.status("evaluating"):
        log = work_dir / "replies.jsonl"
        report = evaluate(weights, tokenizer, work_dir, history, rows, log)
    show(report)
    (work_dir / "report.json").write_text(json.dumps(report.as_dict(), indent=1))
    print(json.dumps(report.as_dict()))


def show(report: Report) -> None:
    console.print(text_table(report), markup=False)
    console.print(reply_table(report), markup=False)
    for turns in report.samples:
        console.print("\n".join(turns), "\n", markup=False)


@app.command("export")
def export_command(
    work_dir: Work = WORK,
    out: Out = OUT,
    rows: Rows = ROWS,
    threads: Threads = 2,
) -> None:
    """Write the checkpoint for the server, then measure the written file for its card."""
    set_up_torch(threads)
    try:
        export(work_dir, out)
    except (FileNotFoundError, ValueError) as error:
        raise fail(f"{error}: run `python -m training train`") from None
    with console.status("evaluating"):
        tokenizer = load_tokenizer(out / "tokenizer.json")
        log = work_dir / "replies.jsonl"
        history = read_history(out)
        report = evaluate(load_exported(out), tokenizer, work_dir, history, rows, log)
    write_curve(work_dir / "log.jsonl", out / "loss.png")
    write_card(report, load_exported(out).config, out / "MODEL_CARD.md")
    (out / REPORT).write_text(json.dumps(report.as_dict(), indent=1) + "\n", encoding="utf-8")
    show(report)
    console.print(f"wrote {out}")
    print(json.dumps(report.as_dict()))
