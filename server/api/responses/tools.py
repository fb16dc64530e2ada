"""The tools of a request for a response: which of them the model is offered, and how it calls them.

A function is offered as it is, a namespace as functions `NAMESPACE.NAME`, and a custom tool, whose
input is text, as a function with one text. Hosted tools and unknown ones are passed over.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from server.api.errors import ApiError
from server.api.schemas.tools import MOST_TOOLS

log = logging.getLogger(__name__)

IGNORED_HEADER = "x-rwkv-ignored-tools"
INPUT = "input"
"""The one argument of a custom tool, as the model sees it."""

Tool = Mapping[str, Any]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_INDEX = re.compile(r"\btools\[(\d+)\]")
CALLABLE = ("function", "custom")
_NOT_SHOWN = ("type", "name", "execution")
_OF_ITEMS = "input.tools"
_SHOWN_NAMES, _SHOWN_CHARACTERS = 16, 64
_MOST_KNOWN = 1024
"""Names of tools that were found by searches, of which more are not told apart."""


@dataclass(frozen=True)
class Callee:
    """What a call is to be called in the output."""

    name: str
    namespace: str | None = None
    kind: Literal["function", "custom", "tool_search"] = "function"

    @property
    def of_item(self) -> dict[str, str]:
        """The fields of an item that say it."""
        return {"name": self.name} | ({"namespace": self.namespace} if self.namespace else {})


@dataclass
class OfferedTools:
    """The functions of a request's chat, and what they are in the words of responses."""

    functions: list[dict[str, Any]] = field(default_factory=list)
    """As chat has them."""
    places: list[str] = field(default_factory=list)
    """Where each is in the request, such as tools[4].tools[0]."""
    ignored: list[str] = field(default_factory=list)
    """The types of tools that the model is not told of."""
    _callees: dict[str, Callee] = field(default_factory=dict)
    _bare: dict[str, Callee | None] = field(default_factory=dict)
    """The same by names without namespaces; None: several have it."""

    @property
    def found_names(self) -> tuple[str, ...]:
        """All that the model may call, with what it has found by searches."""
        return tuple(self._callees)

    def callee(self, name: str) -> Callee:
        """What the model called; a namespace that it forgot is found if there is only one."""
        found = self._callees.get(name) or self._bare.get(name)
        return found or Callee(name)

    def chat_name(self, name: str, namespace: str | None = None) -> str:
        """The name that the model knows a tool by."""
        return f"{namespace}.{name}" if namespace else name

    def place(self, param: str) -> str:
        """The name of a field of chat's tools, in terms of this request."""
        found = _INDEX.match(param)
        if found is None or int(found[1]) >= len(self.places):
            return param
        return self.places[int(found[1])] + param[found.end() :]

    @property
    def headers(self) -> dict[str, str]:
        """Of the response: what was passed over."""
        if not self.ignored:
            return {}
        names = [printable_kind(name) for name in self.ignored[:_SHOWN_NAMES]]
        return {IGNORED_HEADER: ", ".join(names)}

    def add(self, tools: Iterable[Any], at: str, namespace: str | None = None) -> None:
        """Offer some of a request. Raises ApiError."""
        for number, tool in enumerate(tools):
            place = f"{at}[{number}]"
            if len(self.functions) >= MOST_TOOLS or number >= MOST_TOOLS:
                message = f"must be at most {MOST_TOOLS} in all, with those of namespaces"
                raise _invalid("tools", message)
            if not isinstance(tool, dict):
                raise _invalid(place, "must be an object")
            kind = tool.get("type")
            if kind == "namespace" and namespace is None:
                self.add(_within(tool, place), f"{place}.tools", _namespace(tool, place))
            elif kind in CALLABLE or _is_client_search(tool):
                self._offer(tool, place, namespace)
            else:
                if not isinstance(kind, str):
                    raise _invalid(f"{place}.type", "must be the name of a type of tools")
                self._ignore(kind)

    def know(self, tools: Iterable[Any]) -> None:
        """Tools that were offered in another way: what the model calls is told apart all the same.

        What is wrong with them is passed over.
        """
        for tool, namespace in _named_tools(tools):
            if len(self._callees) < _MOST_KNOWN:
                self._name(tool, namespace)

    def _offer(self, tool: dict[str, Any], place: str, namespace: str | None) -> None:
        name = self._name(tool, namespace, place)
        function = _custom(tool, place) if tool["type"] == "custom" else tool
        function = {key: value for key, value in function.items() if key not in _NOT_SHOWN}
        shown = {"type": "function", "function": {"name": name} | function}
        if place.startswith(_OF_ITEMS):
            for number, each in enumerate(self.functions):
                if each["function"]["name"] == name:  # an item of an earlier turn brought it, too
                    self.functions[number], self.places[number] = shown, place
                    return
        self.functions.append(shown)
        self.places.append(place)

    def _name(self, tool: dict[str, Any], namespace: str | None, place: str = "") -> Any:
        name: Any = "tool_search" if tool["type"] == "tool_search" else tool.get("name")
        if not _is_name(name):
            if place and (namespace or tool["type"] != "function"):
                raise _invalid(f"{place}.name", "must be 1 to 64 letters, digits, _ or -")
            return name  # chat says what is wrong with it
        callee = Callee(name, namespace, tool["type"])
        self._callees[self.chat_name(name, namespace)] = callee
        if namespace:
            self._bare[name] = callee if self._bare.get(name, callee) == callee else None
        return self.chat_name(name, namespace)

    def _ignore(self, kind: str) -> None:
        if kind not in self.ignored:
            self.ignored.append(kind)


def offered(tools: Sequence[Any], further: Iterable[Sequence[Any]] = ()) -> OfferedTools:
    """The tools of a request, and of items that bring more of them. Raises ApiError."""
    found = OfferedTools()
    found.add(tools, "tools")
    for more in further:
        found.add(more, _OF_ITEMS)
    if found.ignored:
        log.info("the model is not offered tools of these types: %s", found.headers[IGNORED_HEADER])
    return found


def as_shown(tools: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tools of a request as its response repeats them: functions have all their fields."""
    names = ("type", "name", "description", "parameters", "strict")
    blank = dict.fromkeys(names)
    return [blank | tool if tool.get("type") == "function" else tool for tool in tools]


def _is_client_search(tool: dict[str, Any]) -> bool:
    """Whether it is a search for tools that the client does itself: a function by another name."""
    return (
        tool.get("type") == "tool_search"
        and tool.get("execution") == "client"
        and isinstance(tool.get("parameters"), dict)
    )


def _custom(tool: dict[str, Any], place: str) -> dict[str, Any]:
    """A function with one text. A pattern is kept to; a grammar of Lark is told to the model.

    JSON has a text within quotes and escapes, which no grammar of the text itself can know.
    """
    text: dict[str, Any] = {"type": "string"}
    described = tool.get("description")
    if not isinstance(described, str | None):
        raise _invalid(f"{place}.description", "must be a string")
    form = tool.get("format")
    if not isinstance(form, dict | None):
        raise _invalid(f"{place}.format", "must be an object")
    function: dict[str, Any] = {}
    if form is not None and form.get("type") == "grammar":
        definition = form.get("definition")
        if not isinstance(definition, str) or form.get("syntax") not in ("lark", "regex"):
            message = "must have a definition, and the syntax lark or regex"
            raise _invalid(f"{place}.format", message)
        if form["syntax"] == "regex":
            text["pattern"] = f"^(?:{definition})$"
            function["strict"] = True
        else:
            grammar = f"The input must follow this Lark grammar:\n{definition}"
            described = f"{described}\n{grammar}" if described else grammar
    if described:
        function["description"] = described
    parameters = {"type": "object", "properties": {INPUT: text}, "required": [INPUT]}
    return function | {"parameters": parameters | {"additionalProperties": False}}


def _named_tools(
    tools: Iterable[Any], namespace: str | None = None
) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Those that are as they should be, and their namespaces."""
    for tool in tools:
        if not isinstance(tool, dict) or not _is_name(tool.get("name")):
            continue
        if tool.get("type") in CALLABLE:
            yield tool, namespace
        elif namespace is None and isinstance(within := tool.get("tools"), list):
            yield from _named_tools(within, tool["name"])


def _within(namespace: dict[str, Any], place: str) -> list[Any]:
    tools = namespace.get("tools")
    if not isinstance(tools, list):
        raise _invalid(f"{place}.tools", "must be a list of tools")
    return tools


def _namespace(tool: dict[str, Any], place: str) -> str:
    name = tool.get("name")
    if not _is_name(name):
        raise _invalid(f"{place}.name", "must be 1 to 64 letters, digits, _ or -")
    return str(name)


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def printable_kind(name: str) -> str:
    """The type of a tool as a header or message may have it."""
    return re.sub(r"[^A-Za-z0-9_.-]", "?", name[:_SHOWN_CHARACTERS])


def _invalid(param: str, what: str) -> ApiError:
    return ApiError("invalid_value", f"{param}: {what}", param)
