"""Fields of other servers that change an answer: those that have another name here, and the rest.

SGLang, vLLM, llama.cpp, text-generation-inference, LM Studio, OpenRouter, DeepSeek, Mistral and the
like extend the APIs of OpenAI, Anthropic and Ollama. What they have for the same thing is an alias;
what would change the answer and cannot be kept is refused by its name, with what to use.
"""

from collections.abc import Callable, Mapping
from typing import Any

Fields = dict[str, Any]
IsUsed = Callable[[Fields], bool]

ALIASES: Mapping[str, str] = {
    "max_new_tokens": "max_tokens",
    "n_predict": "max_tokens",
    "num_predict": "max_tokens",
    "min_new_tokens": "min_tokens",
    "repeat_penalty": "repetition_penalty",
    "repeat_last_n": "penalty_last_n",
    "repetition_context_size": "penalty_last_n",
    "repetition_penalty_range": "penalty_last_n",
    "no_stop_trim": "include_stop_str_in_output",
    "random_seed": "seed",
    "n_cmpl": "n",
    "mirostat_target": "mirostat_tau",
    "mirostat_lr": "mirostat_eta",
    "max_completion_tokens": "max_tokens",
    "stop_sequences": "stop",
    "bias": "logit_bias",
    "token_bias": "logit_bias",
    "sampler_override": "sampler",
}
"""Name elsewhere → name here, of fields that mean the same."""


SCORE_NAMES: Mapping[str, tuple[str, ...]] = {
    "text_1": ("text_1", "queries", "data_1"),
    "text_2": ("text_2", "documents", "data_2", "items"),
}
"""What the fields of /v1/score are called by others, the first one here."""


def in_use(name: str) -> IsUsed:
    """Whether a field has a value other than null, false, 0 and empty ones."""
    return lambda fields: bool(fields.get(name))


def other_than(name: str, *neutral: object) -> IsUsed:
    """Whether a field has a value other than null and neutral ones."""
    return lambda fields: fields.get(name) is not None and fields[name] not in neutral


def _is_positive(name: str, least: float = 0) -> IsUsed:
    """Whether a field is over a number, or no number at all."""

    def check(fields: Fields) -> bool:
        value = fields.get(name)
        return value is not None and not (isinstance(value, int | float) and value <= least)

    return check


_ANY: Mapping[str, str] = {
    # How the tokens are chosen.
    "use_beam_search": "use best_of",
    "early_stopping": "use stop, or best_of",
    "samplers": "the order of samplers is fixed (docs/sampling.md); leave it out",
    "sampler_order": "the order of samplers is fixed (docs/sampling.md); leave it out",
    "sampler_priority": "the order of samplers is fixed (docs/sampling.md); leave it out",
    "temperature_last": "the order of samplers is fixed (docs/sampling.md); leave it out",
    "dynamic_temperature": "use temperature with min_p",
    "dynatemp_range": "use temperature with min_p",
    "smoothing_factor": "use temperature with min_p",
    "top_a": "use min_p",
    "epsilon_cutoff": "use min_p",
    "eta_cutoff": "use min_p",
    "penalty_alpha": "use dry_multiplier",
    "no_repeat_ngram_size": "use dry_multiplier",
    "repetition_detection": "use dry_multiplier",
    "negative_prompt": "say it in the prompt",
    "logits_processors": "use logit_bias, bad_words or a grammar",
    "custom_logit_processor": "use logit_bias, bad_words or a grammar",
    "custom_params": "use logit_bias, bad_words or a grammar",
    "vllm_xargs": "use the fields in docs/api.md",
    "bad_words_ids": "use logit_bias or bad_words",
    "sequence_bias": "use logit_bias",
    "global_penalty": "use logit_bias",
    "watermark": "leave it out",
    # What ends or shapes the text.
    "stop_regex": "use stop, or a regular expression for the whole output in regex",
    "structural_tag": "use tools, or a grammar",
    "guided_whitespace_pattern": "use a grammar",
    "grammar_string": "use grammar",
    "grammar_lazy": "a grammar holds from the first token; use tools for calls",
    "grammar_triggers": "a grammar holds from the first token; use tools for calls",
    "suffix": "use it on /v1/completions",
    "input_prefix": "use /infill, or prompt and suffix on /v1/completions",
    "input_suffix": "use /infill, or prompt and suffix on /v1/completions",
    "input_extra": "use /infill, or prompt and suffix on /v1/completions",
    "return_full_text": "use echo on /v1/completions",
    # What the model reads.
    "chat_template": "the model's own is used; use chat_template_kwargs, or /v1/completions",
    "inputs": "use prompt on /v1/completions, or messages on /v1/chat/completions",
    "prompt_embeds": "send text or token ids",
    "multimodal_data": "the model reads text only",
    "image_data": "the model reads text only",
    "role_mapping": "the roles are the chat template's; use /v1/completions for others",
    "tool_prompt": "say it in a system message",
    "guideline": "say it in a system message",
    "safe_prompt": "say it in a system message",
    "safe_mode": "say it in a system message",
    "guardrails": "say it in a system message",
    "prompt_mode": "use reasoning_effort",
    "presystem": "use it on /v1/chat/completions",
    "user_name": "use it on /v1/chat/completions",
    "assistant_name": "use it on /v1/chat/completions",
    "system_name": "use it on /v1/chat/completions",
    "names": "use it on /v1/chat/completions",
    "template": "the chat template is the model's; use /v1/completions for another",
    "generation_prompt": "the chat template is the model's; use /v1/completions for another",
    "chat_parser": "answers are read as the chat template's model writes them; leave it out",
    "chat_format": "answers are read as the chat template's model writes them; leave it out",
    "plugins": "do it in the client, or with tools",
    "web_search_options": "search in the client, or with tools",
    "search_parameters": "search in the client, or with tools",
    "enable_search": "search in the client, or with tools",
    "session_params": "use state_id",
    # Which weights answer.
    "models": "name one model in model",
    "lora": "serve the adapter as a model, and name it in model",
    "lora_path": "serve the adapter as a model, and name it in model",
    "adapter_id": "serve the adapter as a model, and name it in model",
    "adapters": "serve the adapter as a model, and name it in model",
    # What the response says besides the text.
    "return_token_ids": "use /tokenize",
    "return_tokens": "use /tokenize",
    "return_tokens_as_token_ids": "use /tokenize",
    "return_hidden_states": "use /v1/embeddings",
    "return_routed_experts": "leave it out",
    "post_sampling_probs": "log-probabilities are the model's own; leave it out",
    "response_fields": "the response has all fields; leave it out",
    "n_probs": "use logprobs, and top_logprobs in chats",
    "top_n_tokens": "use logprobs, and top_logprobs in chats",
    "details": "use logprobs",
    "decoder_input_details": "use echo with logprobs on /v1/completions",
}
"""Refused with any value but null, false, 0 and empty ones."""

_NEUTRAL: Mapping[str, tuple[tuple[object, ...], str]] = {
    "num_beams": ((0, 1), "use best_of"),
    "length_penalty": ((0, 1), "use best_of"),
    "diversity_penalty": ((0,), "use n with a temperature"),
    "do_sample": ((True,), "use temperature 0 for the most likely tokens"),
    "tfs_z": ((1,), "use min_p"),
    "tfs": ((1,), "use min_p"),
    "guidance_scale": ((1,), "say it in the prompt"),
    "encoder_repetition_penalty": ((1,), "use repetition_penalty"),
    "penalize_nl": ((True,), "line breaks are penalised as any other token; use logit_bias"),
    "penalize_newline": ((True,), "line breaks are penalised as any other token; use logit_bias"),
    "n_indent": ((0,), "use a grammar"),
    "detokenize": ((True,), "use /tokenize for ids"),
    "skip_special_tokens": ((True,), "special tokens have no text here"),
    "truncate_prompt_tokens": ((-1,), "there is no context limit: shorten the prompt yourself"),
    "prompt_truncate_len": ((-1, 0), "there is no context limit: shorten the prompt yourself"),
    "prompt_logprobs": ((), "use echo with logprobs on /v1/completions"),
    "modalities": ((["text"], []), "the model writes text only"),
    **dict.fromkeys(
        (
            *("thinking_token_budget", "thinking_budget", "thinking_budget_tokens"),
            *("reasoning_budget", "reasoning_budget_tokens"),
        ),
        ((-1,), "reasoning has no bound of its own; use enable_thinking or max_tokens"),
    ),
}
"""Refused with any value but null and these."""

_OVER: Mapping[str, tuple[float, str]] = {
    "min_keep": (1, "filters leave at least one token; leave it out"),
    "t_max_predict_ms": (0, "use max_tokens"),
    "adaptive_target": (-1e-300, "use mirostat"),
}
"""Refused with any number over these."""

UNSUPPORTED: dict[str, IsUsed] = {
    **{name: in_use(name) for name in _ANY},
    **{name: other_than(name, *neutral) for name, (neutral, _) in _NEUTRAL.items()},
    **{name: _is_positive(name, least) for name, (least, _) in _OVER.items()},
}
"""Refused wherever text is generated: name → is it in use?"""

_OF_CHATS: dict[str, IsUsed] = {
    "enable_thinking": other_than("enable_thinking"),
    "include_reasoning": other_than("include_reasoning", True),
    **{
        name: in_use(name)
        for name in (
            *("reasoning_effort", "reasoning_format", "chat_template_kwargs", "documents", "echo"),
            *("functions", "function_call"),
        )
    },
}
"""What the other APIs with conversations have their own fields for."""

NOT_IN_CHATS: dict[str, IsUsed] = {
    **{name: in_use(name) for name in ("audio", "echo", "system", "instructions")},
    **{
        name: other_than(name, True)
        for name in ("separate_reasoning", "stream_reasoning", "parse_tool_calls")
    },
}
NOT_IN_MESSAGES: dict[str, IsUsed] = {
    **_OF_CHATS,
    **{name: other_than(name, 1) for name in ("n", "best_of")},
    **{
        name: in_use(name)
        for name in (
            *("reasoning", "instructions", "input", "logprobs", "save_state"),
            *("container", "mcp_servers"),
        )
    },
}
NOT_IN_RESPONSES = _OF_CHATS | {
    name: in_use(name)
    for name in ("thinking", "messages", "system", "continue_final_message", "state")
}
"""Refused besides on /v1/chat/completions, /v1/messages and /v1/responses."""

ADVICE: dict[str, str] = {
    **_ANY,
    **{name: advice for name, (_, advice) in _NEUTRAL.items()},
    **{name: advice for name, (_, advice) in _OVER.items()},
    # Of some routes.
    "audio": "the model writes text only",
    "container": "run tools in the client",
    "mcp_servers": "run tools in the client",
    "logprobs": "use /v1/chat/completions",
    "n": "send the request once for each answer",
    "best_of": "send the request once for each answer",
    "state_id": "use /v1/chat/completions",
    "state": "name a tuned initial state in model, as MODEL:STATE",
    "save_state": "use /v1/chat/completions",
    "echo": "use it on /v1/completions",
    "system": "send a message of role system",
    "instructions": "send a message of role system",
    "input": "use prompt here",
    "messages": "use prompt here, or /v1/chat/completions",
    "tools": "use /v1/chat/completions",
    "functions": "use tools",
    "function_call": "use tool_choice",
    "chat_template_kwargs": "use it on /v1/chat/completions",
    "documents": "send them as text in messages",
    "separate_reasoning": "reasoning is always apart from content",
    "stream_reasoning": "a stream has the reasoning as it comes",
    "reasoning_format": "reasoning is in reasoning_content, or hidden with include_reasoning",
    "parse_tool_calls": "calls are always read; use tool_choice none",
    "enable_thinking": "use thinking on /v1/messages, and reasoning.effort on /v1/responses",
    "reasoning_effort": "use output_config.effort or, on /v1/responses, reasoning.effort",
    "reasoning": "use thinking and output_config.effort",
    "thinking": "use reasoning.effort",
    "include_reasoning": "use thinking.display on /v1/messages",
    "continue_final_message": "use /v1/chat/completions",
    "fast_mode": "use pooling",
    "label_token_ids": "use logprobs on /v1/completions",
}
"""What to do instead, by the name of what is refused."""


def take_aliases(fields: Fields, known: Mapping[str, Any]) -> tuple[Fields, str]:
    """The fields under their names here; and the name of one that contradicts another, or "".

    `known` are the fields of the request; what it knows by the same name is no alias.
    """
    names = {name: here for name, here in ALIASES.items() if name in fields and name not in known}
    if not names:
        return fields, ""
    taken = {name: value for name, value in fields.items() if name not in names}
    for name, here in names.items():
        here = name_within(here, known)
        if here in taken and taken[here] != fields[name]:
            return fields, name
        taken[here] = fields[name]
    return taken, ""


def name_within(name: str, known: Mapping[str, Any]) -> str:
    """What a field is called in a request that has these."""
    return "max_output_tokens" if name == "max_tokens" and "max_output_tokens" in known else name


def as_sent(name: str, body: object) -> str:
    """The name under which the client has sent a field: an alias, if that is in the body."""
    if not isinstance(body, dict) or body.get(name) is not None:
        return name
    here = "max_tokens" if name == "max_output_tokens" else name
    aliases = SCORE_NAMES.get(name) or [each for each, ours in ALIASES.items() if ours == here]
    return next((alias for alias in aliases if body.get(alias) is not None), name)
