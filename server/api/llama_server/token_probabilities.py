"""Log-probabilities of tokens as llama.cpp's server shows them."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from server.api.logprobs import LogprobEntry
from server.tokenizer.base import Tokenizer


def probabilities_of(entries: Sequence[LogprobEntry], tokenizer: Tokenizer) -> Iterator[bytes]:
    """An item as JSON for each token that is text, with the most likely ones at its place."""
    for entry in entries:
        if (known := entry.logprobs) is None or entry.is_stop:
            continue
        top = zip(known.top_ids, known.top_logprobs, strict=True)
        yield msgspec.json.encode(
            _item(entry.token_id, known.logprob, tokenizer)
            | {"top_logprobs": [_item(token, logprob, tokenizer) for token, logprob in top]}
        )


def _item(token_id: int, logprob: float, tokenizer: Tokenizer) -> dict[str, Any]:
    data = tokenizer.token_bytes(token_id)
    text = data.decode(errors="replace")
    return {"id": token_id, "token": text, "bytes": list(data), "logprob": logprob}
