"""How one request wants its tokens chosen. Plain data: the API fills it, the sampler reads it."""

import msgspec

NEVER = float("-inf")
"""The bias of a token that must not be sampled."""

DRY_BREAKERS = ("\n", ":", '"', "*")
"""Those of llama.cpp."""

MOST_DRY_TOKENS = 16_384
"""How far back DRY looks, at most."""


MAX_WORDS = 64
MAX_WORD_BYTES = 128
"""Of bad_words: each is looked for at the end of the output, at every token."""


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True):
    """Sampling parameters of one request, complete: the API has already put in every default.

    They act in this order. On logits: grammar, allowed_token_ids, min_tokens, logit_bias,
    repetition penalty, presence and frequency penalties, DRY, bad_words, top-n-sigma, temperature.
    On probabilities, each
    among the tokens that the one before has left: top-k, typical-p, top-p, min-p, XTC, mirostat.
    Then the draw.
    """

    max_tokens: int
    """How many tokens may be generated; with 0 the prompt is taken in and nothing is sampled."""
    seed: int
    """Key of the counter-based generator, 0 ≤ seed < 2**64; a draw depends on (seed, position)."""
    allowed_token_ids: tuple[int, ...] = ()
    """Only these are sampled; empty allows all."""
    min_tokens: int = 0
    """Before so many tokens neither the end of document nor a stop token id is sampled."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """(token id, what is added to its logit); NEVER bans the token."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens generated so far; 1 is off."""
    presence_penalty: float = 0.0
    """Subtracted once from the logit of every token generated so far."""
    frequency_penalty: float = 0.0
    """Subtracted from a generated token's logit, times its count so far."""
    penalty_decay: float = 1.0
    """Counts are multiplied by this after each token (RWKV's custom is 0.996); 1 never forgets."""
    penalty_last_n: int = -1
    """Only the last so many generated tokens count for the penalties; −1: all."""
    dry_multiplier: float = 0.0
    """multiplier · base**(n − allowed length) is subtracted from the logit of a token that would
    extend a repetition of n tokens; 0 is off. sampling/repeats.py has the rules."""
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    """Repetitions of fewer tokens may be extended."""
    dry_penalty_last_n: int = -1
    """How many tokens of prompt and output are looked at; −1: MOST_DRY_TOKENS."""
    dry_sequence_breakers: tuple[str, ...] = DRY_BREAKERS
    """A repetition begins after the last of these strings."""
    bad_words: tuple[str, ...] = ()
    """Texts that the output never has, at most MAX_WORDS of MAX_WORD_BYTES bytes."""
    top_n_sigma: float = 0.0
    """Keep tokens whose logit is at most so many standard deviations of the finite logits below the
    largest; 0 keeps all."""
    temperature: float = 1.0
    """0 takes the most likely token (the lowest id among equals)."""
    top_k: int = 0
    """Keep this many of the most likely tokens; 0 keeps all."""
    typical_p: float = 1.0
    """Keep tokens whose surprise is nearest to the mean, up to this probability; 1 keeps all."""
    top_p: float = 1.0
    """Keep the fewest most likely tokens that reach this probability, at least one; 1 keeps all."""
    min_p: float = 0.0
    """Keep tokens at least this times as likely as the most likely one; 0 keeps all."""
    xtc_probability: float = 0.0
    """How often all tokens of at least the threshold are dropped but the least likely; 0 is off."""
    xtc_threshold: float = 0.1
    mirostat: int = 0
    """2 keeps tokens of at most mu bits, and leads mu so that tokens are worth tau; 0 is off."""
    mirostat_tau: float = 5.0
    """Bits; mu begins at twice that."""
    mirostat_eta: float = 0.1
    """How much of the difference from tau mu takes over after each token."""
    stop: tuple[str, ...] = ()
    """Strings that end the text; none of them appears in the output, but for shown_stop."""
    shown_stop: tuple[str, ...] = ()
    """Those of them with which the output ends when they end it."""
    stop_token_ids: tuple[int, ...] = ()
    """Token ids that end the output, besides the model's end-of-document token."""
    ignore_eos: bool = False
    """Go on after the model's end-of-document token."""
    logprobs: int = -1
    """k ≥ 0: each token comes with its log-probability and the k most likely tokens; −1: without.
    These are the model's own, before all of the above."""
    prompt_logprobs: int = -1
    """The same for the tokens of the prompt, but for its first one."""
    prompt_logprobs_from: int = 0
    """Index of the first token of the prompt that they are wanted for. From 1 on, the tokens before
    it may come from the state cache, and what is computed is not shared with other prompts."""
    grammar: str = ""
    """A grammar in llguidance's own forms that the output must match; empty: none."""


READS_ONLY = SamplingParams(max_tokens=0, seed=0)
"""For a task that takes its prompt in, and no more."""
