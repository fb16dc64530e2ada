"""Single tokens as text, and texts with the names of special tokens in them."""

import re
from collections.abc import Iterable

from server.tokenizer.base import Tokenizer


def token_text(token_id: int, tokenizer: Tokenizer) -> str:
    r"""A text for each token: its own, its name if it is special, or bytes:\xNN… where it is a
    part of a character.
    """
    piece = token_piece(token_id, tokenizer)
    return piece if isinstance(piece, str) else "bytes:" + "".join(f"\\x{b:02x}" for b in piece)


def token_piece(token_id: int, tokenizer: Tokenizer) -> str | list[int]:
    """The text of a token, its name if it is special, or its bytes if they are not UTF-8."""
    data = tokenizer.token_bytes(token_id) or _names(tokenizer).get(token_id, b"")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)


def encode_with_names(text: str, tokenizer: Tokenizer) -> list[int]:
    """Ids of a text in which the names of special tokens stand for these."""
    special = tokenizer.special_tokens
    if not special:
        return tokenizer.encode(text)
    # Where one name begins as another does, the longer one counts.
    names = sorted(special, key=len, reverse=True)
    pieces = re.split("(" + "|".join(map(re.escape, names)) + ")", text)
    return [
        token_id
        for number, piece in enumerate(pieces)
        for token_id in ([special[piece]] if number % 2 else tokenizer.encode(piece))
    ]


def decode_with_names(ids: Iterable[int], tokenizer: Tokenizer) -> str:
    """Text of whole ids, special ones by their names; bytes that are not UTF-8 become U+FFFD."""
    names = _names(tokenizer)
    data = b"".join(tokenizer.token_bytes(each) or names.get(each, b"") for each in ids)
    return data.decode("utf-8", "replace")


def _names(tokenizer: Tokenizer) -> dict[int, bytes]:
    return {token_id: name.encode() for name, token_id in tokenizer.special_tokens.items()}
