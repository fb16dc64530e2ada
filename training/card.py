"""The model card and its loss curve, from the log and the report of a run."""

import json
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
    ("templates, tools", "this project, training/talk", "as this project"),
)


def read_log(path: Path) -> dict[str, list[tuple[int, float]]]:
    """(tokens seen, loss) of each step, of "text" and "chat"; a repeated step counts once."""
    steps = {entry["step"]: entry for entry in map(json.loads, path.read_text().splitlines())}
    entries = [steps[step] for step in sorted(steps)]
    return {
        kind: [(entry["tokens"], entry[kind]) for entry in entries if kind in entry]
        for kind in ("text", "chat")
    }


def smooth(values: list[float], decay: float = 0.97) -> list[float]:
    """A running mean without a bias toward its start."""
    total, weight, result = 0.0, 0.0, []
    for value in values:
        total, weight = decay * total + value, decay * weight + 1
        result.append(total / weight)
    return result


def write_curve(log: Path, out: Path) -> None:
    """Draw the smoothed training losses of text and conversations over the tokens seen."""
    figure, axes = pyplot.subplots(figsize=(6, 3), dpi=90)
    for kind, label in (("text", "plain text"), ("chat", "replies in conversations")):
        points = [(tokens / 1e6, loss) for tokens, loss in read_log(log)[kind]]
        if points:
            tokens, losses = zip(*points, strict=True)
            axes.plot(tokens, smooth(list(losses)), label=label, linewidth=1.2)
    axes.set_xlabel("million tokens of the last run")
    axes.set_ylabel("loss (nats a token)")
    axes.set_ylim(bottom=0, top=6)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(out)
    pyplot.close(figure)


def _rows(rows: list[tuple[object, ...]]) -> str:
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def text_table(report: Report) -> str:
    """The bits per byte of each source, as Markdown."""
    kinds = ("model", "5-gram", "xz", "bytes")
    rows = [(name, *(bits[kind] for kind in kinds)) for name, bits in report.by_source.items()]
    return "| source | model | 5-gram | xz | bytes |\n|---|---|---|---|---|\n" + _rows(rows)


def reply_table(report: Report) -> str:
    """How the scripted conversations and the samples went, as Markdown."""
    rows: list[tuple[object, ...]] = [
        (f"right: {kind}", _share(counts)) for kind, counts in report.scripted.items()
    ]
    rows += [(f"– of these {name}", _share(counts)) for name, counts in report.by_group.items()]
    for kind in report.loops:
        rows.append((f"loops, {kind}", _share(report.loops[kind])))
        rows.append((f"ended by itself, {kind}", _share(report.ended[kind])))
        rows.append((f"tokens of a reply, {kind}", report.tokens_of_a_reply[kind]))
    return "| scripted conversations | |\n|---|---|\n" + _rows(rows)


def _share(counts: list[int]) -> str:
    return f"{counts[0]} of {counts[1]}"


def write_card(report: Report, config: ModelConfig, out: Path) -> None:
    """Write the card of the exported model."""
    out.write_text(
        _CARD.format(
            parameters=report.parameters / 1e6,
            layers=config.n_layer,
            width=config.n_embd,
            vocabulary=config.vocab_size,
            tokens=report.tokens_seen / 1e6,
            minutes=report.seconds / 60,
            cores=report.cores,
            bits=report.bits_per_byte["all"],
            dialogue_bits=report.bits_per_byte["dialogue"],
            sources=_rows(list(SOURCES)),
            text=text_table(report),
            replies=reply_table(report),
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
It is a toy: it speaks simple English, knows what was in its tables, and is wrong about much else.

| | |
|---|---|
| Architecture | RWKV-7 "Goose" (x070), {layers} layers, width {width}, heads of 64 |
| Parameters | {parameters:.2f} million, bfloat16, official names; layer 0 has no v0, v1, v2 |
| Tokenizer | byte-level BPE, {vocabulary} tokens; id 0 is `<|endoftext|>`, the end of a document |
| Tokens seen | {tokens:.1f} million |
| Training time | {minutes:.0f} minutes on {cores} shared CPU cores, no GPU |
| Held-out text | {bits:.3f} bits per byte; {dialogue_bits:.3f} of dialogue |

Trained by `python -m training` (see training/README.md) on plain text and on conversations at once.
Nearly all conversations come from our own templates, so what looks like knowledge is recitation of
their tables: small sums, animals, colours, capitals, opposites, plurals, days, simple science.
For what lies outside it was taught to say that it does not know.

![training loss](loss.png)

## Use

Text is laid out as `User: …\\n\\nAssistant: …`, with an optional `System: …\\n\\n` in front. A
prompt ends with `Assistant:` and no space after it. A reply begins with a space and ends with id 0.
Greedy decoding or a low temperature suits it best.

**Do not use it** for advice of any kind (health, law, money, safety), for facts, for decisions
about people, for anything that children use unattended, or to judge how good RWKV models are.
It has no safety training, its text comes from people and books of many times and views, and it can
say things that are wrong, odd or offensive. It speaks English only and saw at most 384 tokens at a
time.

## Scripted conversations

300 conversations from the templates, greedy, each with a wording (or a pair of a wording and what
is filled in) that training never showed; right is one in which every reply passes its check. Who
wrote these wordings also wrote the trained ones, so other people's will go less well. A loop is
anything of three letters or more five times in a row; 1,000 replies were sampled.

{replies}

## Samples

Greedy, by the exported weights, chosen before it was trained, none left out.

{samples}

## Held-out text by source

One document in a hundred was held out by a hash of its text; those with a paragraph that
conversations train on do not count. Bits per byte, in rows of 256 tokens, beside a 5-gram model of
the same tokens (Witten-Bell, learnt from all training text of these sources) and `xz -9e`. Some
sources ask several questions about one text or repeat whole sentences, which a 5-gram model knows
by heart: there it wins.

{text}

## Data

No text was written by a language model, except tinystories. Not every source was read in full.

| source | from | licence |
|---|---|---|
{sources}
"""
