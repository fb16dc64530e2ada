"""Who calls: the owner of a key, and what the owner may do."""

import hashlib
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from server.config_models import Section

Role = Literal["user", "admin"]


class KeyLimits(Section):
    """What the owner of a key may ask for; 0 is no limit but the server's own."""

    max_requests: int = Field(0, ge=0, le=100_000, description="Running and waiting requests.")
    max_queued_tokens: int = Field(
        0, ge=0, le=10**12, description="Tokens of prompts that are not read yet."
    )
    requests_per_minute: int = Field(0, ge=0, le=10**9, description="HTTP requests for text.")
    tokens_per_minute: int = Field(
        0, ge=0, le=10**12, description="Tokens of prompts and answers together."
    )
    max_prompt_tokens: int = Field(
        0, ge=0, le=10**12, description="In the place of limits.max_prompt_tokens."
    )
    max_output_tokens: int = Field(
        0, ge=0, le=10**12, description="In the place of limits.max_output_tokens."
    )
    priority: int = Field(0, ge=-1000, le=1000, description="Requests of a lower one go first.")


@dataclass(frozen=True)
class Caller:
    """The owner of a verified key, or anybody where there are no keys."""

    name: str
    """Of the key; empty without keys."""
    role: Role
    limits: KeyLimits = field(default_factory=KeyLimits)

    @property
    def priority(self) -> int:
        """Requests of a lower one go first."""
        return self.limits.priority

    @property
    def tenant(self) -> str:
        """Whose states these are, in hexadecimal: the name's, so that a new key keeps them.

        Empty without keys.
        """
        if not self.name:
            return ""
        # Personalised, so that it is not what a plain digest of some token could be.
        digest = hashlib.blake2b(self.name.encode(), digest_size=16, person=b"rwkv key name")
        return digest.hexdigest()


ANYBODY = Caller("", "user")
"""Whoever calls a server without keys."""
