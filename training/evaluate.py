"""How good the model is: bits per byte of held-out text, scripted conversations, loops, samples."""

import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training.batches import TEXT_SHARES, Source
from training.chat_format import prompt_text, reply_ends
from training.generate import Reply, complete
from training.measures import NGrams, loops, xz_bits
from training.model import RWKV7
from training.prompts import openings, scripted
from training.talk.script import Script
from training.tokenizer import END_ID

DIALOGUE = ("self_dialogue", "chitchat", "topical_chat", "sgd", "taskmaster", "chatterbot")
SAMPLED, TEMPERATURE = 1000, 0.8
# Each a conversation up to the user's last turn, chosen before any model was trained.
SAMPLES = (
    ["Hello"],
    ["Who are you?"],
    ["What can you do?"],
    ["What is the capital of France?"],
    ["What is 2 + 3?"],
    ["What is the opposite of hot?"],
    ["Tell me a story about a fox."],
    ["My name is Anna.", "Nice to meet you, Anna! How can I help you?", "What is my name?"],
    ["What is a rainbow?"],
    ["Name three animals."],
    ["Thanks!"],
    ["Why is the sky blue?"],
    ["Which is heavier, a car or a pencil?"],
    ["What is 17 + 26?"],
    ["Who wrote Romeo and Juliet?"],
)


@dataclass
class Report:
    """The numbers of one evaluation; shares are [right, of]."""

    parameters: int
    tokens_seen: int
    seconds: int
    cores: int
    bits_per_byte: dict[str, float] = field(default_factory=dict)  # of all, of dialogue
    by_source: dict[str, dict[str, float]] = field(default_factory=dict)
    scripted: dict[str, list[int]] = field(default_factory=dict)
    by_group: dict[str, list[int]] = field(default_factory=dict)
    loops: dict[str, list[int]] = field(default_factory=dict)
    ended: dict[str, list[int]] = field(default_factory=dict)
    tokens_of_a_reply: dict[str, float] = field(default_factory=dict)
    samples: list[list[str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@torch.no_grad()
def text_bits(model: RWKV7, work: Path, tokens: NDArray[np.uint16], length: int = 256) -> float:
    """The bits of tokens[1:] in rows of `length`, each from an empty state.

    Where a user's turn follows, the end of a reply is told by a blank line or by END_ID: training
    shows the one as input and the other as target, so their chances are added.
    """
    rows = (len(tokens) - 2) // length
    ids = torch.from_numpy(tokens[: rows * length].astype(np.int64)).view(rows, length)
    targets, following = tokens[1 : rows * length + 1], tokens[2 : rows * length + 2]
    ends = torch.from_numpy(reply_ends(work)(targets, following)).view(rows, length)
    wanted = torch.from_numpy(targets.astype(np.int64)).view(rows, length)
    nats = 0.0
    for start in range(0, rows, 8):
        part = slice(start, start + 8)
        chances = torch.log_softmax(model(ids[part]).float(), -1)  # [8, T, V]
        chance = chances.gather(-1, wanted[part, :, None])[..., 0]
        either = torch.logaddexp(chance, chances[..., END_ID])
        nats -= float(torch.where(ends[part], either, chance).sum())
    return nats / math.log(2)


def measure_text(model: RWKV7, tokenizer: Tokenizer, work: Path, rows: int, report: Report) -> None:
    """Bits per byte of at most `rows` rows of each source, beside xz and a 5-gram model."""
    names = [name for name in sorted(TEXT_SHARES) if (work / f"held-{name}.npz").exists()]
    grams = NGrams([Source(work / f"text-{name}.npz").tokens for name in names])
    totals = dict.fromkeys(("all", "dialogue"), (0.0, 0.0))
    for name in names:
        tokens = Source(work / f"held-{name}.npz").tokens[: rows * 256 + 2]
        scored = tokens[1 : (len(tokens) - 2) // 256 * 256 + 1]
        if not len(scored):
            continue
        text = tokenizer.decode(scored.tolist()).encode()
        bits = text_bits(model, work, tokens)
        five = grams.bits(tokens[: len(scored) + 1])
        report.by_source[name] = {
            "model": round(bits / len(text), 3),
            "5-gram": round(five / len(text), 3),
            "xz": round(xz_bits(text), 3),
            "bytes": len(text),
        }
        for kind in ("all", "dialogue") if name in DIALOGUE else ("all",):
            totals[kind] = (totals[kind][0] + bits, totals[kind][1] + len(text))
    report.bits_per_byte = {
        kind: round(bits / max(1.0, size), 4) for kind, (bits, size) in totals.items()
    }


def converse(model: RWKV7, tokenizer: Tokenizer, scripts: list[Script]) -> list[list[Reply]]:
    """The model's replies to the user's turns of each script, given its own earlier replies."""
    said: list[list[Reply]] = [[] for _ in scripts]
    for turn in range(max(len(script.exchanges) for script in scripts)):
        at = [i for i, script in enumerate(scripts) if turn < len(script.exchanges)]
        prompts = []
        for i in at:
            turns: list[str] = []
            for exchange, reply in zip(scripts[i].exchanges, said[i], strict=False):
                turns += [exchange.user, reply.text]
            prompts.append(prompt_text([*turns, scripts[i].exchanges[turn].user]))
        for i, reply in zip(at, complete(model, tokenizer, prompts), strict=True):
            said[i].append(reply)
    return said


def measure_scripts(model: RWKV7, tokenizer: Tokenizer, report: Report, log: Path | None) -> None:
    """Run the scripted conversations; right is one in which every checked reply is right."""
    everything: list[Reply] = []
    lines = []
    for kind, pairs in scripted().items():
        said = converse(model, tokenizer, [script for _, script in pairs])
        right = 0
        for (group, script), replies in zip(pairs, said, strict=True):
            good = all(
                exchange.check is None or exchange.check(reply.text)
                for exchange, reply in zip(script.exchanges, replies, strict=True)
            )
            right += good
            counts = report.by_group.setdefault(group, [0, 0])
            counts[0], counts[1] = counts[0] + good, counts[1] + 1
            turns = [
                text
                for exchange, reply in zip(script.exchanges, replies, strict=True)
                for text in (exchange.user, reply.text)
            ]
            lines.append(json.dumps({"kind": kind, "group": group, "right": good, "turns": turns}))
            everything += replies
        report.scripted[kind] = [right, len(pairs)]
    _measure_replies("greedy", everything, report)
    if log is not None:
        log.write_text("\n".join(lines) + "\n", encoding="utf-8")


def measure_samples(model: RWKV7, tokenizer: Tokenizer, report: Report) -> None:
    """Loops of sampled replies, and the sample conversations."""
    prompts = [prompt_text([opening]) for opening in openings(SAMPLED)]
    replies = complete(model, tokenizer, prompts, temperature=TEMPERATURE)
    _measure_replies(f"at {TEMPERATURE}", replies, report)
    for turns in SAMPLES:
        reply = complete(model, tokenizer, [prompt_text(turns)])[0]
        report.samples.append([*turns, reply.text])


def _measure_replies(kind: str, replies: list[Reply], report: Report) -> None:
    report.loops[kind] = [sum(loops(reply.text) for reply in replies), len(replies)]
    report.ended[kind] = [sum(reply.ended for reply in replies), len(replies)]
    mean = sum(reply.tokens for reply in replies) / max(1, len(replies))
    report.tokens_of_a_reply[kind] = round(mean, 1)


def evaluate(
    model: RWKV7,
    tokenizer: Tokenizer,
    work: Path,
    history: dict[str, float],
    rows: int,
    log: Path | None = None,
) -> Report:
    """Measure the model; `log` receives the scripted conversations, one JSON object a line."""
    report = Report(
        parameters=sum(p.numel() for p in model.parameters()),
        tokens_seen=int(history.get("tokens", 0)),
        seconds=round(history.get("seconds", 0)),
        cores=os.cpu_count() or 1,
    )
    measure_text(model, tokenizer, work, rows, report)
    measure_scripts(model, tokenizer, report, log)
    measure_samples(model, tokenizer, report)
    return report
