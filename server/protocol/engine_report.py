"""What an operator sees of an engine. Plain data, also on the wire."""

import msgspec


class EngineReport(msgspec.Struct):
    """Counts since the engine was made, but for `running`, which is as of now."""

    steps: int = 0
    """Those that computed something."""
    rows: int = 0
    """Requests that a step got on with, summed over the steps."""
    tokens: int = 0
    """Tokens that were computed, of prompts and of answers."""
    seconds: float = 0.0
    """That the steps took."""
    running: int = 0
    """Requests that have a slot, without those in the background."""
