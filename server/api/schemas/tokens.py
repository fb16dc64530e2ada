"""/tokenize, /detokenize, /tokenizer_info and /apply-template, in vLLM's and llama.cpp's words."""

from collections.abc import Callable
from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, FailFast, Field, model_validator
from pydantic_core import PydanticCustomError

from server.api.schemas.chat import ChatPromptRequest, Messages
from server.api.schemas.prompt import Fields, ModelRequest, Unsupported
from server.api.schemas.validation import Text, invalid

MOST_CHARACTERS = 4 << 20
"""Of a text that is tokenised."""
MOST_TOKENS = 1 << 20
"""That a text is made into, or that are made text of."""
MOST_TOKEN_TEXTS = 1 << 17
"""The same where the text of each is told. A token of the World vocabulary may have 128 bytes."""
MOST_TEXT_BYTES = 8 << 20
"""Of the text that tokens are made into, which the answer has twice."""


def _is_given(name: str) -> Callable[[Fields], bool]:
    return lambda fields: bool(fields.get(name))


_OF_TEMPLATES: Unsupported = {"chat_template": _is_given("chat_template")}
"""What would change the text that messages make."""

BoundedText = Annotated[Text, Field(max_length=MOST_CHARACTERS)]


class TokenizeRequest(ChatPromptRequest):
    """The body of POST /tokenize: `prompt` (or `content`, the same), or a chat's `messages`.

    What chat completions say of the prompt beside these has the same effect here.
    """

    unsupported: ClassVar[Unsupported] = _OF_TEMPLATES

    prompt: BoundedText | None = None
    content: BoundedText | None = Field(None, description="What llama.cpp calls prompt.")
    messages: Messages = Field(default_factory=list, min_length=1)
    add_special_tokens: bool = Field(
        True, description="Without effect: this server adds none to a prompt."
    )
    add_special: bool = Field(False, description="The same.")
    parse_special: bool = Field(
        False, description="Read names of special tokens as these, which prompts never do."
    )
    return_token_strs: bool = Field(False, description="Give the text of each token as well.")
    with_pieces: bool = Field(False, description="Make each of tokens an object, id and piece.")

    @model_validator(mode="after")
    def _check_input(self) -> Self:
        inputs = {"prompt": self.prompt, "content": self.content, "messages": self.messages or None}
        given = [name for name, value in inputs.items() if value is not None]
        if not given:
            raise PydanticCustomError(
                "missing_required_parameter",
                "or content or messages should be given",
                {"param": "prompt"},
            )
        if len(given) > 1:
            raise invalid("should not be given together with another input", given[-1])
        return self


class TokenPiece(BaseModel):
    """A token as llama.cpp shows it; bytes where they are a part of a character."""

    id: int
    piece: str | list[int]


class TokenizeResponse(BaseModel):
    """The answer of POST /tokenize."""

    count: int
    max_model_len: int
    """The longest prompt that this server takes; 2147483647 where there is no limit."""
    tokens: list[int] | list[TokenPiece]
    token_strs: list[str] | None
    """`bytes:\\xNN…` where a token is a part of a character."""


class DetokenizeRequest(ModelRequest):
    """The body of POST /detokenize."""

    tokens: Annotated[list[int], FailFast(), Field(max_length=MOST_TOKENS)]


class DetokenizeResponse(BaseModel):
    """The answer of POST /detokenize: the same text, as vLLM and as llama.cpp call it."""

    prompt: str
    content: str


class ApplyTemplateRequest(ChatPromptRequest):
    """The body of POST /apply-template: the fields of a chat that say what its prompt is."""

    unsupported: ClassVar[Unsupported] = _OF_TEMPLATES


class ApplyTemplateResponse(BaseModel):
    """The answer of POST /apply-template."""

    prompt: str
    tokens: list[int]
    """Its ids. As a text sent to /v1/completions it has no special tokens, as these it has."""


class TokenizerInfo(BaseModel):
    """The answer of GET /tokenizer_info."""

    model: str
    tokenizer_class: str
    vocab_size: int
    eos_token: str
    eos_token_id: int
    bos_token: str | None
    """Null where a document begins with the token that ends one, or with none."""
    pad_token: None = None
    special_tokens: dict[str, int]
    """Names → ids."""
    add_bos_token: bool = False
    model_max_length: int
    chat_template: str
    """Jinja."""
