"""/v1/chooses: Ai00's way to ask which of some texts follows best."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, FailFast, Field

from server.api.schemas.bounds import MAX_CHOICES
from server.api.schemas.prompt import PromptRequest
from server.api.schemas.validation import Text


def _joined(value: object) -> object:
    """As there, a list is one text in parts."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "".join(value)
    return value


class ChooseRequest(PromptRequest):
    """The body of POST /v1/chooses."""

    input: Annotated[Text, BeforeValidator(_joined, json_schema_input_type=str | list[str])] = (
        Field("", description="What the choices follow; a list is one text in parts.")
    )
    choices: Annotated[
        list[Annotated[Text, Field(min_length=1)]],
        FailFast(),
        Field(min_length=1, max_length=MAX_CHOICES),
    ] = Field(description="The texts to choose from.")
    calibrate: bool = Field(
        False, description="Take off what a choice is worth without the input before it."
    )
    priority: int = Field(0, ge=0, le=1000, description="Requests of a lower one go first.")


class Choice(BaseModel):
    """One of them."""

    object: Literal["choice"] = "choice"
    index: int
    rank: int
    choice: str
    perplexity: float
    """The mean of the negative log-probabilities of its tokens, as Ai00 calls it."""


class ChooseList(BaseModel):
    """All of them, the best first."""

    object: Literal["list"] = "list"
    model: str
    data: list[Choice]
