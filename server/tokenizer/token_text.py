"""Single tokens as text, and texts with the names of special tokens in them."""

from collections.abc import Iterator

from server.tokenizer.base import Tokenizer
from server.tokenizer.prompt_parts import parts_at_names


def token_text(token_id: int, tokenizer: Tokenizer) -> str:
    r"""A text for each token: its own, its name if it is special, or bytes:\xNN… where it is a
    part of a character.
    """
    piece = token_piece(token_id, tokenizer)
    return piece if isinstance(piece, str) else "bytes:" + "".join(f"\\x{b:02x}" for b in piece)


def token_piece(token_id: int, tokenizer: Tokenizer) -> str | list[int]:
    """The text of a token, its name if it is special, or its bytes if they are not UTF-8."""
    data = tokenizer.token_bytes(token_id) or names_of_special(tokenizer).get(token_id, b"")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)


def split_at_names(text: str, tokenizer: Tokenizer) -> Iterator[str | int]:
    """A text in which the names of special tokens stand for these: their ids, and what is between.

    Texts that are empty are left out.
    """
    for part in parts_at_names(text, [(0, len(text))], tokenizer):
        yield text[part.start : part.end] if part.token_id is None else part.token_id


def names_of_special(tokenizer: Tokenizer) -> dict[int, bytes]:
    """Ids of special tokens → their names."""
    return {token_id: name.encode() for name, token_id in tokenizer.special_tokens.items()}
