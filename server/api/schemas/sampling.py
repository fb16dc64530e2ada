"""Fields that say how tokens are chosen; docs/sampling.md has their formulas and their order."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    FailFast,
    Field,
    PlainValidator,
    model_validator,
)

from server.api.schemas.ai00_sampler import Sampler, with_whole_numbers
from server.api.schemas.prompt import PromptRequest
from server.api.schemas.validation import Text, check_unicode, invalid
from server.api.schemas.whole_numbers import as_whole
from server.sampling.params import (
    DRY_BREAKERS,
    MAX_WORD_BYTES,
    MAX_WORDS,
    MOST_DRY_TOKENS,
    NEVER,
)

MOST_BIASES = 1024
LARGEST_BIAS = 100

TokenId = Annotated[int, Field(ge=0)]
LogitBias = list[tuple[int | str, float]]
LogitBiasInput = dict[str, float | Literal[False]] | list[tuple[int | str, float | Literal[False]]]


def _as_biases(value: Any) -> LogitBias:
    """OpenAI's object or llama.cpp's list of pairs, as pairs of a token id or a text and a bias."""
    if isinstance(value, dict):
        pairs: Any = [(_as_token(key), bias) for key, bias in value.items()]
    # Pairs are tuples in what was made of a request of another API.
    elif isinstance(value, list) and all(
        isinstance(x, list | tuple) and len(x) == 2 for x in value
    ):
        pairs = value
    else:
        raise invalid("should be an object or a list of pairs: token and bias")
    if len(pairs) > MOST_BIASES:
        raise invalid(f"should have at most {MOST_BIASES} tokens")
    return [(_checked_token(token), _checked_bias(bias)) for token, bias in pairs]


def _as_token(key: str) -> int | str:
    """The keys of a JSON object are strings: one of digits is a token id."""
    return int(key) if key.isascii() and key.isdigit() and len(key) < 10 else key


def _checked_token(token: Any) -> int | str:
    if isinstance(token, str):
        return check_unicode(token)
    token = as_whole(token)
    # type() rather than isinstance(): a bool is no token id.
    if type(token) is not int:
        raise invalid("should have token ids or strings as tokens")
    return token


def _checked_bias(bias: Any) -> float:
    if bias is False or (type(bias) in (int, float) and bias <= -LARGEST_BIAS):
        return NEVER
    if type(bias) not in (int, float) or not bias <= LARGEST_BIAS:
        raise invalid(f"should have numbers of at most {LARGEST_BIAS} as biases, or false")
    return float(bias)


def _check_word(word: str) -> str:
    if not 0 < len(word.encode()) <= MAX_WORD_BYTES:
        raise invalid(f"should have 1 to {MAX_WORD_BYTES} bytes")
    return word


BadWord = Annotated[Text, AfterValidator(_check_word)]


class SamplingRequest(PromptRequest):
    """Fields of sampling."""

    seed: int | None = Field(None, description="Taken modulo 2**64; random if absent.")
    allowed_token_ids: Annotated[list[TokenId], FailFast()] = Field(
        default_factory=list,
        min_length=1,
        max_length=4096,
        description="Only these are sampled; all if absent.",
    )
    min_tokens: int = Field(
        0, ge=0, description="Before so many tokens neither the end nor a stop id is sampled."
    )
    logit_bias: Annotated[
        LogitBias, PlainValidator(_as_biases, json_schema_input_type=LogitBiasInput)
    ] = Field(
        default_factory=list,
        description="Token id, or a string that is one token → what is added to its logit; "
        "-100 and less, or false, bans it.",
    )
    repetition_penalty: float = Field(
        1.0, gt=0, le=10, description="Divides or multiplies logits of generated tokens; 1 is off."
    )
    presence_penalty: float = Field(
        0.0, ge=-2, le=2, description="Off the logits of tokens that were generated."
    )
    frequency_penalty: float = Field(
        0.0, ge=-2, le=2, description="The same, times how often they were."
    )
    penalty_decay: float = Field(
        1.0, ge=0, le=1, description="How much of a token's penalty is left after each token."
    )
    penalty_last_n: int = Field(
        -1,
        ge=-1,
        description="Tokens generated before the last so many are not penalised; -1: all are, 0: "
        "none.",
    )
    dry_multiplier: float = Field(0.0, ge=0, le=100, description="0 is off.")
    dry_base: float = Field(
        1.75, ge=1, le=10, description="The penalty grows so many times with each token."
    )
    dry_allowed_length: int = Field(
        2, ge=1, le=MOST_DRY_TOKENS, description="Shorter repetitions may be extended."
    )
    dry_penalty_last_n: int = Field(
        -1, ge=-1, le=MOST_DRY_TOKENS, description=f"-1 looks at the last {MOST_DRY_TOKENS} tokens."
    )
    dry_sequence_breakers: Annotated[
        list[Annotated[Text, Field(min_length=1, max_length=64)]], FailFast()
    ] = Field(
        list(DRY_BREAKERS), max_length=64, description="No repetition goes on over these texts."
    )
    temperature: float | None = Field(
        None, ge=0, le=10, description="0 takes the most likely token; the server's if absent."
    )
    top_n_sigma: float = Field(
        0.0,
        ge=-1,
        le=100,
        description="Keeps tokens whose logit is within this many standard deviations of the "
        "largest; 0 or less keeps all.",
    )
    bad_words: Annotated[list[BadWord], FailFast()] = Field(
        default_factory=list,
        max_length=MAX_WORDS,
        description=f"Texts that the output never has, of at most {MAX_WORD_BYTES} bytes each.",
    )
    top_k: int = Field(0, ge=-1, description="0 or -1 keeps all tokens.")
    typical_p: float = Field(1.0, gt=0, le=1, description="1 keeps all tokens.")
    top_p: float | None = Field(
        None,
        ge=0,
        le=1,
        description="1 keeps all tokens; the server's if absent, or 1 with mirostat.",
    )
    min_p: float = Field(0.0, ge=0, le=1, description="0 keeps all tokens.")
    xtc_probability: float = Field(0.0, ge=0, le=1, description="0 is off.")
    xtc_threshold: float = Field(0.1, ge=0, le=1, description="Over 0.5 nothing is dropped.")
    mirostat: Literal[0, 2] = Field(0, description="2 is mirostat 2, 0 is off.")
    mirostat_mode: Literal[0, 2] = Field(0, description="Another name of mirostat.")
    mirostat_tau: float = Field(5.0, ge=0, le=100, description="Bits that tokens shall be worth.")
    mirostat_eta: float = Field(0.1, ge=0, le=1, description="How fast mirostat learns.")

    sampler: Annotated[
        Sampler | None,
        BeforeValidator(with_whole_numbers),
        Field(
            discriminator="type",
            description="Ai00's: Nucleus, Typical or Mirostat, with its defaults for what it does "
            "not say; docs/migrate.md has what differs.",
        ),
    ] = None

    @model_validator(mode="after")
    def _take_sampler(self) -> Self:
        for name, value in self.sampler.fields().items() if self.sampler else ():
            if name in self.model_fields_set and getattr(self, name) != value:
                raise invalid("differs from sampler, which says it as well", name)
            setattr(self, name, value)
        return self

    @model_validator(mode="after")
    def _take_alias(self) -> Self:
        if "mirostat_mode" in self.model_fields_set:
            if "mirostat" in self.model_fields_set and self.mirostat != self.mirostat_mode:
                raise invalid("differs from mirostat, whose other name it is", "mirostat_mode")
            self.mirostat = self.mirostat_mode
        return self
