"""What a model can do besides completing text, as its files tell."""

from server.checkpoints.locate import ModelFiles
from server.tokenizer.base import TokenizerError
from server.tokenizer.bounded_template import template_of
from server.tokenizer.fill_in_middle import can_fill
from server.tokenizer.load import load_tokenizer
from server.tokenizer.reasoning import reasoning_of

_WITHOUT_TEXT = {
    "rwkv7-embedding": "embed text",
    "rwkv7-reranker": "rerank, beside its embedding model (--reranker)",
}


def problems_of(files: ModelFiles, tokenizer: str, vocab_size: int) -> list[str]:
    """Why tokenizer or chat template keep a model from being served, a line for each.

    `tokenizer` is what choose_tokenizer() found; empty: nothing, which is no problem of the files.
    """
    found = []
    try:
        if tokenizer:
            load_tokenizer(tokenizer, vocab_size, files.eos_token, files.special_tokens)
    except TokenizerError as error:
        found.append(str(error))
    try:
        template_of(files)
    except TokenizerError as error:
        found.append(str(error))
    return found


def abilities_of(files: ModelFiles, architecture: str) -> list[str]:
    """`chat`, `tools`, `reasoning` and `fill in the middle`, where nothing is set otherwise.

    Models that complete no text have one ability: `embed text`, or of a reranker to rerank.
    """
    if architecture in _WITHOUT_TEXT:
        return [_WITHOUT_TEXT[architecture]]
    found = ["fill in the middle"] if can_fill("auto", architecture, files.names) else []
    try:
        template = template_of(files)
    except TokenizerError:
        return found  # the server says why it does not load
    if reasoning_of("auto", template, *files.names, architecture=architecture) != "off":
        found = ["reasoning", *found]
    if template.call_syntax is not None:
        found = ["tools", *found]
    return ["chat", *found]
