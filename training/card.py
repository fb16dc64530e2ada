"""The model card and its loss curve, from the log and the report of a run."""

import json
import os
from pathlib import Path

import matplotlib

from training.evaluate import Report
from training.model import ModelConfig

matplotlib.use("Agg")
from matplotlib import pyplot  # the backend must be chosen first

# (name in the data, from, licence)
SOURCES = (
    ("self_dialogue", "jfainberg/self_dialogue_corpus", "BSD-3-Clause"),
    ("sgd", "google-research-datasets/dstc8-schema-guided-dialogue", "CC BY-SA 4.0"),
    ("children_classics", "mlschmitt/classic-books-markdown (children's books)", "public domain"),
    ("dolly", "Databricks Dolly 15k", "CC BY-SA 3.0"),
    ("chitchat", "chitchat-dataset (BYU)", "MIT"),
    ("topical_chat", "alexa/Topical-Chat", "CDLA-Sharing-1.0"),
    ("gsm8k", "openai/grade-school-math", "MIT"),
    ("oasst", "OpenAssistant OASST1, English (via TurkuNLP/oasst-fi)", "Apache-2.0"),
    ("fairytaleqa_qa, fairytales", "uci-soe/FairytaleQAData", "Apache-2.0"),
    ("trivia", "uberspot/OpenTriviaQA", "CC BY-SA 4.0"),
    ("tinystories", "TinyStories (samples)", "CDLA-Sharing-1.0"),
    ("onestop", "nishkalavallabhi/OneStopEnglishCorpus", "CC BY-SA 4.0"),
    ("wordnet_qa", "globalwordnet/english-wordnet", "CC BY 4.0"),
    ("picture_books", "African Storybook, Pratham StoryWeaver (CC BY stories)", "CC BY 4.0"),
    ("openstax_hs_physics", "openstax/osbooks-physics", "CC BY 4.0"),
    ("taskmaster", "google-research-datasets/Taskmaster (TM-4)", "CC BY 4.0"),
    ("chatterbot", "gunthercox/chatterbot-corpus", "BSD-3-Clause"),
    ("rasbt", "rasbt/LLMs-from-scratch", "Apache-2.0"),
    ("personality_chat", "Microsoft PersonalityChat", "MIT"),
    ("templates", "this project, training/templates.py", "as this project"),
)


def read_log(path: Path) -> list[tuple[int, float, int]]:
    """(tokens seen over both stages, loss, stage) of each step; a repeated step counts once."""
    steps = {}
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        steps[entry["stage"], entry["step"]] = (entry["tokens"], entry["loss"])
    first = max((tokens for (stage, _), (tokens, _) in steps.items() if stage == 1), default=0)
    return [
        (tokens + (first if stage == 2 else 0), loss, stage)
        for (stage, _), (tokens, loss) in sorted(steps.items())
    ]


def smooth(values: list[float], decay: float = 0.97) -> list[float]:
    """A running mean without a bias toward its start."""
    total, weight, result = 0.0, 0.0, []
    for value in values:
        total, weight = decay * total + value, decay * weight + 1
        result.append(total / weight)
    return result


def write_curve(log: Path, out: Path) -> None:
    """Draw the smoothed training loss of both stages over the tokens seen."""
    steps = read_log(log)
    figure, axes = pyplot.subplots(figsize=(6, 3), dpi=90)
    for stage, label in ((1, "stage 1: text"), (2, "stage 2: conversations")):
        points = [(tokens / 1e6, loss) for tokens, loss, s in steps if s == stage]
        if points:
            tokens, losses = zip(*points, strict=True)
            axes.plot(tokens, smooth(list(losses)), label=label, linewidth=1.2)
    axes.set_xlabel("million tokens")
    axes.set_ylabel("loss (nats a token)")
    axes.set_ylim(top=6)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(out)
    pyplot.close(figure)


def write_card(report: Report, config: ModelConfig, out: Path) -> None:
    """Write the card of the exported model."""
    rows = "\n".join(f"| {name} | {origin} | {licence} |" for name, origin, licence in SOURCES)
    bits = "\n".join(f"| {name} | {value:.2f} |" for name, value in report.by_source.items())
    out.write_text(
        _CARD.format(
            parameters=report.parameters / 1e6,
            layers=config.n_layer,
            width=config.n_embd,
            vocabulary=config.vocab_size,
            tokens=report.tokens_seen / 1e6,
            minutes=report.seconds / 60,
            cores=os.cpu_count(),
            bits=report.bits_per_byte,
            first_bits=report.stage_1_bits_per_byte,
            template=report.template_loss,
            sources=rows,
            by_source=bits,
            samples="\n\n".join(_conversation(turns) for turns in report.samples),
        ),
        encoding="utf-8",
    )


def _conversation(turns: list[str]) -> str:
    speakers = ("User", "Assistant")
    lines = (f"**{speakers[i % 2]}:** {turn}" for i, turn in enumerate(turns))
    return "\n".join(f"> {line}".replace("\n", "\n> ") + "  " for line in lines)


_CARD = """# The embedded model

A very small RWKV-7 that comes with rwkv-server, so that a fresh clone answers without a download.
It shows that the server works. It is a toy: it speaks simple English, repeats patterns that it was
shown, and is often wrong.

| | |
|---|---|
| Architecture | RWKV-7 "Goose" (x070), {layers} layers, width {width}, heads of 64 |
| Parameters | {parameters:.2f} million, bfloat16, official names; layer 0 has no v0, v1, v2 |
| Tokenizer | byte-level BPE, {vocabulary} tokens; id 0 is `<|endoftext|>`, the end of a document |
| Tokens seen | {tokens:.1f} million |
| Training time | {minutes:.0f} minutes on {cores} shared CPU cores, no GPU |
| Held-out text | {bits:.3f} bits per byte ({first_bits:.3f} after stage 1) |
| Held-out replies from templates | {template:.2f} nats a token |

Trained by `python -m training` (see training/README.md): first on plain text, then on
conversations, where only the assistant's words are learnt. Most of the second part comes from our
own templates, so what looks like knowledge in a demonstration is mostly recitation of them; the
held-out replies from templates share their wording with the training ones, so that number says
little about anything else.

![training loss](loss.png)

## Use

Text is laid out as `User: …\\n\\nAssistant: …`, with an optional `System: …\\n\\n` in front. A
prompt ends with `Assistant:` and no space after it. A reply begins with a space and ends with id 0.
Greedy decoding or a low temperature suits it best.

**Do not use it** for advice of any kind (health, law, money, safety), for facts, for decisions
about people, for anything that children use unattended, or to judge how good RWKV models are.
It has no safety training, its text comes from people and books of many times and views, and it can
say things that are wrong, odd or offensive. It saw English only, at most 256 tokens at a time.

## Samples

Greedy, by the exported weights, none left out. The last four are beyond it on purpose.

{samples}

## Held-out text by source

One document in a hundred was held out by a hash of its text; those with a paragraph that stage 2
trains on do not count. Bits per byte after both stages: the second trains on conversations alone,
which costs much of what was learnt of plain text. Nothing similar is known for conversations of
people, since stage 1 had read most of them. Of some sources there are only a few
hundred tokens here.

| source | bits per byte |
|---|---|
{by_source}

## Data

No text was written by a language model, except tinystories. Not every source was read in full.

| source | from | licence |
|---|---|---|
{sources}
"""
