"""The commands: prepare, train, evaluate, export."""

import json
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from training.card import write_card, write_curve
from training.data import prepare
from training.evaluate import evaluate, from_checkpoint, newest_checkpoint
from training.export import export, load_exported
from training.memory import keep_freed_memory
from training.model import ModelConfig
from training.tokenizer import load_tokenizer
from training.train import TrainConfig, load_checkpoint, train

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
console = Console(stderr=True)

Data = Annotated[Path, typer.Option(help="Folder with text.jsonl.xz and chat.jsonl.xz.")]
Work = Annotated[Path, typer.Option(help="Folder for prepared data, checkpoints and logs.")]
Out = Annotated[Path, typer.Option(help="Folder of the embedded model.")]
Threads = Annotated[int, typer.Option(help="CPU threads of torch.")]
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
    conversations: Annotated[int, typer.Option(help="How many to make from templates.")] = 60_000,
    seed: int = 1,
) -> None:
    """Learn the tokenizer and encode the training text."""
    for name in ("text.jsonl.xz", "chat.jsonl.xz"):
        if not (data / name).is_file():
            raise fail(f"{data / name} is missing: name the folder with --data")
    with console.status("encoding"):
        counts = prepare(data, work_dir, vocabulary, conversations, seed)
    console.print(f"{sum(counts.values()):,} tokens in {work_dir}")
    print(json.dumps(counts))


@app.command("train")
def train_command(
    work_dir: Work = WORK,
    stage: Annotated[int, typer.Option(help="1, 2, or 0 for both in turn.")] = 0,
    minutes: Annotated[
        float, typer.Option(help="Wall clock of what runs, counted over resumes.")
    ] = 25,
    layers: int = 6,
    width: Annotated[int, typer.Option(help="A multiple of 64.")] = 192,
    rows: Annotated[int, typer.Option(help="Sequences of 256 tokens in a batch.")] = 8,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 3e-3,
    threads: Threads = 2,
    seed: int = 1,
    bfloat16: Annotated[bool, typer.Option(help="Multiply matrices in bfloat16.")] = True,
    compile: Annotated[
        bool, typer.Option(help="Fuse with torch.compile; needs a C++ compiler.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, or another device of torch.")] = "cpu",
) -> None:
    """Train, or go on: 60 % of the time on plain text, 40 % on conversations."""
    set_up_torch(threads)
    model = ModelConfig(n_layer=layers, n_embd=width)
    try:
        for number, share, first, last in ((1, 0.6, rate, 0.35), (2, 0.4, 0.6 * rate, 0.02)):
            if stage in (0, number):
                part = minutes * (share if stage == 0 else 1)
                config = TrainConfig(
                    number, part, first, last, rows, seed=seed,
                    bfloat16=bfloat16, compile=compile, device=device,
                )  # fmt: skip
                if train(config, model, work_dir).stopped:
                    raise typer.Exit(130)
    except FileNotFoundError as error:
        raise fail(error) from None


@app.command("evaluate")
def evaluate_command(
    work_dir: Work = WORK,
    rows: Annotated[int, typer.Option(help="Rows of held-out text to read of each source.")] = 60,
    threads: Threads = 2,
) -> None:
    """Print held-out bits per byte and sample conversations; the last line is JSON."""
    set_up_torch(threads)
    try:
        state = load_checkpoint(newest_checkpoint(work_dir))
        tokenizer = load_tokenizer(work_dir / "tokenizer.json")
    except FileNotFoundError as error:
        raise fail(error) from None
    with console.status("evaluating"):
        report = evaluate(from_checkpoint(state), tokenizer, work_dir, rows)
    table = Table("source", "bits per byte")
    for name, bits in report.by_source.items():
        table.add_row(name, f"{bits:.3f}")
    table.add_row("all", f"{report.bits_per_byte:.3f}")
    console.print(table)
    for turns in report.samples:
        console.print("\n".join(turns), "\n", markup=False)
    (work_dir / "report.json").write_text(json.dumps(report.as_dict(), indent=1))
    print(json.dumps(report.as_dict()))


@app.command("export")
def export_command(
    work_dir: Work = WORK,
    out: Out = OUT,
    rows: Annotated[int, typer.Option(help="Rows of held-out text to read of each source.")] = 60,
    threads: Threads = 2,
) -> None:
    """Write the newest checkpoint for the server, then measure the written file for its card."""
    set_up_torch(threads)
    try:
        export(work_dir, out)
    except (FileNotFoundError, ValueError) as error:
        raise fail(error) from None
    with console.status("evaluating"):
        tokenizer = load_tokenizer(out / "tokenizer.json")
        report = evaluate(load_exported(out), tokenizer, work_dir, rows)
    write_curve(work_dir / "log.jsonl", out / "loss.png")
    write_card(report, load_exported(out).config, out / "MODEL_CARD.md")
    console.print(f"wrote {out}")
    print(json.dumps(report.as_dict()))
