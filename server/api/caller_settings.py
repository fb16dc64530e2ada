"""The settings as they are for one caller, whose key may have limits of its own."""

from server.access.caller import Caller
from server.config import Settings


def settings_of(caller: Caller, settings: Settings) -> Settings:
    """The settings, with the caller's own limits of tokens."""
    names = ("max_prompt_tokens", "max_output_tokens")
    changes = {name: limit for name in names if (limit := getattr(caller.limits, name))}
    if not changes:
        return settings
    changed = settings.limits.model_copy(update=changes)
    return settings.model_copy(update={"limits": changed})
