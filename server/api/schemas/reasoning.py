"""How much to think and what to show, in the words of OpenRouter, DeepSeek, Groq and others."""

from typing import Any

from pydantic_core import PydanticCustomError

from server.api.schemas.validation import invalid

Fields = dict[str, Any]

_TYPES: dict[object, bool | None] = {"enabled": True, "disabled": False, "adaptive": None}
_TYPES |= {"auto": None}
_SHOWN = ("", "auto", "parsed", "deepseek")
_NO_BUDGET = "is not supported by this server; reasoning has no bound of its own: use max_tokens"


def in_our_fields(fields: Fields) -> Fields:
    """A request's `reasoning`, `thinking` and `reasoning_format` in the fields that are here.

    Raises validation errors.
    """
    found: Fields = {}
    if (reasoning := fields.get("reasoning")) is not None:
        found |= _of_reasoning(reasoning)
    if (thinking := fields.get("thinking")) is not None:
        found |= _of_thinking(thinking)
    if (form := fields.get("reasoning_format")) is not None and form not in _SHOWN:
        if form != "hidden":
            raise invalid(
                "should be auto, parsed, deepseek or hidden: reasoning is apart from content",
                "reasoning_format",
            )
        found["include_reasoning"] = False
    for name, value in found.items():
        if fields.get(name) not in (None, value):
            raise invalid("differs from what reasoning, thinking or reasoning_format says", name)
    return fields | found


def _of_reasoning(reasoning: Any) -> Fields:
    if not isinstance(reasoning, dict):
        raise invalid("should be an object, such as one with an effort", "reasoning")
    if reasoning.get("max_tokens") is not None:
        raise PydanticCustomError(
            "unsupported_parameter", _NO_BUDGET, {"param": "reasoning.max_tokens"}
        )
    found: Fields = {}
    if reasoning.get("effort") is not None:
        found["reasoning_effort"] = reasoning["effort"]
    if reasoning.get("enabled") is not None:
        found["enable_thinking"] = reasoning["enabled"]
    if reasoning.get("exclude"):
        found["include_reasoning"] = False
    return found


def _of_thinking(thinking: Any) -> Fields:
    if not isinstance(thinking, dict) or thinking.get("type") not in _TYPES:
        raise invalid("should be an object with the type enabled or disabled", "thinking")
    if thinking.get("budget_tokens") is not None:
        raise PydanticCustomError(
            "unsupported_parameter", _NO_BUDGET, {"param": "thinking.budget_tokens"}
        )
    wanted = _TYPES[thinking["type"]]
    return {} if wanted is None else {"enable_thinking": wanted}
