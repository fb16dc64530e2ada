"""Bodies that the description of the API shows: each gets an answer."""

from typing import Any

_HELLO = [{"role": "user", "content": "Who are you?"}]
_CAT_OR_DOG = {"query": "Who barks?", "documents": ["The dog is loud.", "The cat sleeps."]}
_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "messages": _HELLO,
        "max_tokens": 40,
        "seed": 1,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "who", "schema": _SCHEMA},
        },
    },
    "/v1/completions": {"prompt": "Once upon a time", "max_tokens": 20, "logprobs": 1},
    "/completion": {"prompt": "Once upon a time", "n_predict": 20},
    "/infill": {"input_prefix": "def add(a, b):\n", "input_suffix": "", "prompt": "    "},
    "/v1/responses": {"input": "Who are you?", "max_output_tokens": 40},
    "/v1/responses/input_tokens": {"input": "Who are you?"},
    "/v1/responses/compact": {"model": "", "input": "A long conversation."},
    "/v1/conversations": {"items": [{"role": "user", "content": "Who are you?"}]},
    "/v1/messages": {"max_tokens": 40, "messages": _HELLO, "stop_sequences": ["."]},
    "/v1/messages/count_tokens": {"messages": _HELLO},
    "/api/chat": {"messages": _HELLO, "options": {"num_predict": 40}},
    "/api/generate": {"prompt": "Who are you?", "stream": False},
    "/api/embed": {"input": ["a dog", "a cat"]},
    "/api/embeddings": {"prompt": "a dog"},
    "/api/show": {"model": ""},
    "/v1/embeddings": {"input": ["a dog", "a cat"], "encoding_format": "float"},
    "/v1/rerank": _CAT_OR_DOG,
    "/v1/score": {"text_1": "The dog is loud.", "text_2": ["Who barks?", "Who sleeps?"]},
    "/v1/chooses": {"input": "The dog", "choices": [" barks", " sings"]},
    "/embedding": {"content": "a dog"},
    "/v1/tokenize": {"prompt": "Once upon a time"},
    "/v1/detokenize": {"tokens": [80, 111]},
    "/v1/apply-template": {"messages": _HELLO},
    "/v1/states": {"prompt": "A long document.", "name": "document"},
}
