"""Log-probabilities with the text of their tokens, each as JSON of its own as it comes."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from server.protocol.outputs import RequestOutput
from server.sampling.params import SamplingParams
from server.sampling.token_logprobs import TokenLogprobs
from server.tokenizer.base import Tokenizer
from server.tokenizer.detokenizer import Detokenizer


class LogprobEntry(NamedTuple):
    """A token, its log-probabilities, and where it is in a text."""

    token_id: int
    logprobs: TokenLogprobs | None
    """None for the first token of a prompt."""
    offset: int
    """How many characters of the text are before that in which it begins."""
    is_stop: bool = False
    """Whether it ended the text, and is no part of it."""
    shown: bytes | None = None
    """What is shown of it, if that is not all."""
    item: bytes = b""
    """That of chat's lists, if it was made already."""


class LogprobText:
    """Lets the log-probabilities of a choice out with the text that their tokens begin in.

    Those of a stop string, which never comes out, do not come out either; unless some of the token
    is text before it.
    """

    def __init__(self, tokenizer: Tokenizer, params: SamplingParams) -> None:
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer)
        self._stop_ids = set(params.stop_token_ids)
        if not params.ignore_eos:
            self._stop_ids.add(tokenizer.eos_id)
        self._held: deque[LogprobEntry] = deque()
        self._decoded = 0  # characters
        self._shown = 0

    def push(self, output: RequestOutput) -> list[LogprobEntry]:
        """Take in tokens; return what goes with the output's text."""
        for token, logprobs in zip(output.token_ids, output.logprobs, strict=True):
            is_stop = token in self._stop_ids
            text = "" if is_stop else self._detokenizer.push([token])
            begin = self._decoded + _broken_before(token, text, self._tokenizer)
            self._held.append(LogprobEntry(token, logprobs, begin, is_stop))
            self._decoded += len(text)
        self._shown += len(output.text)
        is_whole = False
        if output.finish_reason is not None:
            self._decoded += len(self._detokenizer.flush())
            is_whole = self._decoded == self._shown
        entries = []
        while self._held and (is_whole or self._held[0].offset < self._shown):
            entries.append(self._held.popleft())
        return entries


class PromptText:
    """The same of a prompt, whose text is all there; its log-probabilities come in parts."""

    def __init__(self, ids: Sequence[int], tokenizer: Tokenizer) -> None:
        """`ids` are those that have log-probabilities."""
        self._ids = iter(ids)
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer)
        self._length = 0

    def push(self, logprobs: Sequence[TokenLogprobs | None]) -> list[LogprobEntry]:
        """Take in those of the next tokens."""
        entries = []
        for each in logprobs:
            token = next(self._ids)
            text = self._detokenizer.push([token])
            begin = self._length + _broken_before(token, text, self._tokenizer)
            entries.append(LogprobEntry(token, each, begin))
            self._length += len(text)
        return entries


def _broken_before(token: int, text: str, tokenizer: Tokenizer) -> int:
    """How many characters of what a token let out are U+FFFD for bytes before it.

    Those that it cannot go on with, since it begins with a character of its own.
    """
    try:
        own = tokenizer.token_bytes(token).decode()
    except UnicodeDecodeError:
        return 0
    return max(0, len(text) - len(own))


def chat_tokens(entries: Iterable[LogprobEntry], tokenizer: Tokenizer) -> Iterator[bytes]:
    """The items of chat's lists, without that of a token that is no text but ended it."""
    for entry in entries:
        if entry.logprobs is not None and not entry.is_stop:
            yield entry.item or chat_token(entry, entry.logprobs, tokenizer)


def chat_token(entry: LogprobEntry, logprobs: TokenLogprobs, tokenizer: Tokenizer) -> bytes:
    """An item of chat's lists as JSON."""
    own = _chat_token(entry.token_id, logprobs.logprob, tokenizer, entry.shown)
    top = [_chat_token(token, logprob, tokenizer) for token, logprob in _top(logprobs)]
    return msgspec.json.encode({**own, "top_logprobs": top})


def token_text(token_id: int, tokenizer: Tokenizer) -> str:
    r"""The text of a token; `bytes:\xe2\x80` if it is not whole characters, else a name."""
    data = tokenizer.token_bytes(token_id)
    if not data:
        return "<|endoftext|>" if token_id == tokenizer.eos_id else f"<|token_{token_id}|>"
    return _as_text(data)


def _as_text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def _chat_token(
    token_id: int, logprob: float, tokenizer: Tokenizer, shown: bytes | None = None
) -> dict[str, Any]:
    data = tokenizer.token_bytes(token_id) if shown is None else shown
    text = token_text(token_id, tokenizer) if shown is None else _as_text(shown)
    return {"token": text, "logprob": logprob, "bytes": list(data) or None}


def top_by_text(entry: LogprobEntry, tokenizer: Tokenizer) -> dict[str, float] | None:
    """The most likely tokens, and the token itself after them if it is not among them."""
    if entry.logprobs is None:
        return None
    own = token_text(entry.token_id, tokenizer)
    found: dict[str, float] = {}
    for token, logprob in _top(entry.logprobs):
        text = token_text(token, tokenizer)
        if token != entry.token_id and (text in found or text == own):
            text = f"token_id:{token}"  # another one of the same bytes
        found[text] = logprob
    found[own] = entry.logprobs.logprob
    return found


def _top(logprobs: TokenLogprobs) -> Iterable[tuple[int, float]]:
    return zip(logprobs.top_ids, logprobs.top_logprobs, strict=True)
