"""Greedy text from a model in training; short and slow, since the server has the fast way."""

import torch
from tokenizers import Tokenizer

from training.model import RWKV7
from training.tokenizer import END_ID
from training.wkv7 import CHUNK

STOP = "\n\nUser:"


@torch.no_grad()
def complete(model: RWKV7, tokenizer: Tokenizer, prompt: str, limit: int = 80) -> str:
    """What the model says after prompt: up to `limit` tokens, the end of document or STOP."""
    ids = tokenizer.encode(prompt).ids
    asked = len(ids)
    for _ in range(limit):
        # The fast recurrence takes whole chunks; padding after the end cannot change the past.
        padded = ids + [END_ID] * (-len(ids) % CHUNK)
        features = model.features(torch.tensor([padded]))[0, len(ids) - 1]  # [C]
        ids.append(int((model.head.weight @ features).argmax()))
        text: str = tokenizer.decode(ids[asked:])
        if ids[-1] == END_ID or STOP in text:
            break
    return text.split(STOP)[0]
