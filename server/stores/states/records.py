"""What is known of a state that a client keeps under an id, and what can go wrong with it."""

from dataclasses import dataclass


class UnknownStateError(Exception):
    """This tenant has no state of this id, or has it no more."""


class StatesFullError(Exception):
    """There is no room for another state: one line."""


class DiskFullError(StatesFullError):
    """The disk is full: one line, with the file, which is not for clients."""


class StatesUnavailableError(Exception):
    """The file cannot be opened, read or written: one line."""


class StatesDamagedError(StatesUnavailableError):
    """The file is damaged, or not of this version: one line that says what to do."""


@dataclass(frozen=True)
class NewState:
    """What is known of a state before it is kept."""

    model: str
    """The model's id in the API."""
    fingerprint: str
    tokens: int
    """How many token ids it has taken in."""
    has_logits: bool
    """Whether generation can begin with it, without a prompt."""
    name: str
    """Free text; may be empty, need not be unique."""
    ttl_seconds: int
    """Counted from the last use; 0: never expires."""
    pinned: bool
    """Never expires, whatever its ttl."""


@dataclass(frozen=True)
class NamedState(NewState):
    """A state that is kept, without its bytes."""

    id: str
    bytes: int
    created: float
    used: float
    """Times in seconds since 1970."""

    @property
    def expires_at(self) -> float | None:
        """When it vanishes unless it is used before."""
        never = self.pinned or not self.ttl_seconds
        return None if never else self.used + self.ttl_seconds
