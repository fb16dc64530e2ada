"""The model that this server serves, as the API sees it."""

from dataclasses import dataclass

from server.tokenizer.base import Tokenizer
from server.tokenizer.chat_template import ChatTemplate


@dataclass(frozen=True)
class ServedModel:
    """Its name to clients, and what turns text into token ids; the weights are in the workers."""

    id: str
    created: int
    """Unix time in seconds."""
    tokenizer: Tokenizer
    chat_template: ChatTemplate
    generation: str
    """Which RWKV it is, such as "rwkv7"."""
    system_fingerprint: str
    """`fp_…`: changes when the weights or the arithmetic do."""
