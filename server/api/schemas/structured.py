"""What the output must be like: OpenAI's field for it, vLLM's and llama.cpp's."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from server.api.bodies.count import TooManyValuesError, check_sizes
from server.api.schemas.bounds import MAX_CHOICES, MAX_FIELDS, check_items
from server.api.schemas.prompt import PromptRequest
from server.api.schemas.validation import Text, invalid


@dataclass(frozen=True)
class JsonOutput:
    """JSON that a schema describes."""

    schema: Mapping[str, Any]


@dataclass(frozen=True)
class RegexOutput:
    """A text all of which a regular expression matches."""

    regex: str


@dataclass(frozen=True)
class ChoiceOutput:
    """One of some strings."""

    choices: list[str]


@dataclass(frozen=True)
class GrammarOutput:
    """A text of a grammar, in Lark's syntax or as GBNF."""

    grammar: str


@dataclass(frozen=True)
class KbnfOutput:
    """A text of a grammar in Ai00's syntax."""

    grammar: str


Output = KbnfOutput | JsonOutput | RegexOutput | ChoiceOutput | GrammarOutput

ANY_OBJECT = {"type": "object"}
MAX_SCHEMA_VALUES = 50_000
"""Of a schema that is sent as text; a grammar has room for half of that."""


def _parse_json(value: Any) -> Any:
    """vLLM's clients may send a schema as text."""
    if not isinstance(value, str):
        return value
    try:
        check_sizes([value], MAX_SCHEMA_VALUES)
        return json.loads(value)
    except TooManyValuesError:
        raise invalid("should be a JSON schema of fewer values") from None
    except (ValueError, RecursionError):
        raise invalid("should be a JSON schema") from None


def _check_choices(choices: list[str] | None) -> list[str] | None:
    if choices == []:
        raise invalid("should have at least one choice")
    return choices


Schema = Annotated[
    dict[str, Any], BeforeValidator(_parse_json, json_schema_input_type=dict[str, Any] | str)
]
Choices = Annotated[
    list[Text] | None,
    FailFast(),
    Field(max_length=MAX_CHOICES),
    AfterValidator(_check_choices),
]


class _Format(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class NamedSchema(_Format):
    """OpenAI's way to send a schema."""

    name: Text = ""
    description: Text | None = None
    content: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = Field(None, description="Without effect: schemas are always kept to.")


class ResponseFormat(_Format):
    """OpenAI's field; llama.cpp's `schema` beside `json_object` as well."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None
    content: dict[str, Any] | None = Field(None, alias="schema")

    @model_validator(mode="after")
    def _check_schema(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise invalid("is needed with the type json_schema", "response_format.json_schema")
        return self

    def output(self) -> tuple[str, Output] | None:
        """The name of what asks for something, and what it asks for."""
        if self.type == "json_object":
            if self.content is not None:
                return "response_format.schema", JsonOutput(self.content)
            return "response_format", JsonOutput(ANY_OBJECT)
        if self.type == "json_schema" and self.json_schema is not None:
            schema = self.json_schema.content
            name = "response_format.json_schema.schema"
            return name, JsonOutput(ANY_OBJECT if schema is None else schema)
        return None


class StructuredOutputs(_Format):
    """vLLM's field. What it has besides is refused."""

    model_config = ConfigDict(extra="forbid")

    content: Schema | None = Field(None, alias="json")
    regex: Text = ""
    choice: Choices = None
    grammar: Text = ""
    json_object: bool = False

    @model_validator(mode="before")
    @classmethod
    def _drop_defaults(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        check_items(fields, MAX_FIELDS)  # each that is not known is an error
        return {name: value for name, value in fields.items() if value not in (None, False)}

    def outputs(self) -> dict[str, Output]:
        """What it asks for, by the names of its fields."""
        of_json = ANY_OBJECT if self.json_object else None
        return {
            **_outputs("structured_outputs.", self.content, self.regex, self.choice, self.grammar),
            **_outputs("structured_outputs.", of_json, json_name="json_object"),
        }


class StructuredRequest(PromptRequest):
    """Fields for what the output must be like; at most one of them."""

    response_format: ResponseFormat | None = Field(
        None, description="Text, a JSON object, or JSON of a schema."
    )
    structured_outputs: StructuredOutputs | None = Field(
        None, description="vLLM's: json, regex, choice, grammar or json_object."
    )
    guided_json: Schema | None = Field(None, description="A JSON schema, also as text.")
    guided_regex: Text = Field("", description="That the whole text matches.")
    guided_choice: Choices = Field(None, description="The text is one of these.")
    guided_grammar: Text = Field("", description="Lark or GBNF.")
    grammar: Text = Field("", description="Lark or GBNF.")
    regex: Text = Field("", description="SGLang's guided_regex.")
    ebnf: Text = Field("", description="SGLang's: Lark or GBNF.")
    json_schema: Schema | None = Field(None, description="A JSON schema, also as text.")
    bnf_schema: Text = Field(
        "", description="Ai00's: KBNF of rules, literals and regular expressions."
    )

    @model_validator(mode="after")
    def _check_outputs(self) -> Self:
        outputs = list(self._outputs().items())
        for name, output in outputs[1:]:
            # The same twice comes from clients that do not know which name is understood.
            if output != outputs[0][1]:
                raise PydanticCustomError(
                    "invalid_value",
                    "cannot be used with {other}",
                    {"param": name, "other": outputs[0][0]},
                )
        return self

    @property
    def output(self) -> tuple[str, Output] | None:
        """The name of the field that asks for a certain output, and what it asks for."""
        return next(iter(self._outputs().items()), None)

    def _outputs(self) -> dict[str, Output]:
        found: dict[str, Output] = {}
        if self.response_format and (output := self.response_format.output()):
            found |= [output]
        if self.structured_outputs:
            found |= self.structured_outputs.outputs()
        found |= _outputs(
            "guided_", self.guided_json, self.guided_regex, self.guided_choice, self.guided_grammar
        )
        schema, regex, grammar = self.json_schema, self.regex, self.grammar
        found |= _outputs("", schema, regex, grammar=grammar, json_name="json_schema")
        if self.ebnf:
            found["ebnf"] = GrammarOutput(self.ebnf)
        if self.bnf_schema:
            found["bnf_schema"] = KbnfOutput(self.bnf_schema)
        return found


def _outputs(
    prefix: str,
    schema: dict[str, Any] | None,
    regex: str = "",
    choices: list[str] | None = None,
    grammar: str = "",
    json_name: str = "json",
) -> dict[str, Output]:
    """Those that are there; an empty text is as good as none, as clients send it."""
    found: dict[str, Output] = {}
    if schema is not None:
        found[f"{prefix}{json_name}"] = JsonOutput(schema)
    if regex:
        found[f"{prefix}regex"] = RegexOutput(regex)
    if choices is not None:
        found[f"{prefix}choice"] = ChoiceOutput(choices)
    if grammar:
        found[f"{prefix}grammar"] = GrammarOutput(grammar)
    return found
