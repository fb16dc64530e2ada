"""Slow and obvious: what tokenizers did before they gave ids in pieces."""

from server.tokenizer.base import utf8


def world_twin(tokens):
    """Greedy longest match in plain Python, with the lengths that tokens with a beginning have."""
    ids = {token: token_id for token_id, token in tokens.items()}
    lengths = {}
    for token in ids:
        if len(token) > 1:
            lengths.setdefault(token[:2], {1}).add(len(token))
    lengths = {start: sorted(found, reverse=True) for start, found in lengths.items()}

    def encode(text):
        data, found, start = utf8(text), [], 0
        while start < len(data):
            for length in lengths.get(data[start : start + 2], (1,)):
                token = ids.get(data[start : start + length])
                if token is not None and start + length <= len(data):
                    found.append(token)
                    start += length
                    break
        return found

    return encode


def byte_twin(text):
    """The bytes of the whole text."""
    return list(utf8(text).replace(b"\0", b""))


def hugging_face_twin(tokenizer):
    """The library's own call for one text, over all of it."""
    tokenizer.encode_special_tokens = True

    def encode(text):
        return tokenizer.encode(utf8(text).decode(), add_special_tokens=False).ids

    return encode
