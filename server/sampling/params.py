"""How one request wants its tokens chosen. Plain data: the API fills it, the sampler reads it."""

import msgspec


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True):
    """Sampling parameters of one request, complete: the API has already put in every default.

    The order in which they act is: grammar, repetition penalty, presence and frequency penalties,
    temperature, top-k, top-p, draw.
    """

    max_tokens: int
    """How many tokens may be generated; with 0 the prompt is taken in and nothing is sampled."""
    seed: int
    """Key of the counter-based generator, 0 ≤ seed < 2**64; a draw depends on (seed, position)."""
    temperature: float = 1.0
    """0 takes the most likely token (the lowest id among equals)."""
    top_p: float = 1.0
    """Keep the smallest set of most likely tokens that reaches this probability; 1 keeps all."""
    top_k: int = 0
    """Keep this many of the most likely tokens; 0 keeps all."""
    presence_penalty: float = 0.0
    """Subtracted once from the logit of every token generated so far."""
    frequency_penalty: float = 0.0
    """Subtracted from a generated token's logit, times its count so far."""
    penalty_decay: float = 1.0
    """Counts are multiplied by this after each token (RWKV's custom is 0.996); 1 never forgets."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens generated so far; 1 is off."""
    stop: tuple[str, ...] = ()
    """Strings that end the text; none of them appears in the output."""
    stop_token_ids: tuple[int, ...] = ()
    """Token ids that end the output, besides the model's end-of-document token."""
    ignore_eos: bool = False
    """Go on after the model's end-of-document token."""
    grammar: str = ""
    """A grammar in llguidance's own forms that the output must match; empty: none."""
