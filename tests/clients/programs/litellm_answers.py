"""Completions by litellm as OpenAI's, Anthropic's and Ollama's, whole and streamed."""

import sys

import litellm

SERVERS = {
    "openai/rwkv-embedded": f"{sys.argv[1]}/v1",
    "anthropic/rwkv-embedded": sys.argv[1],
    "ollama_chat/rwkv-embedded": sys.argv[1],
}
for model, url in SERVERS.items():
    asked = {
        "model": model,
        "api_base": url,
        "api_key": "none",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 16,
        "temperature": 0,
    }
    whole = litellm.completion(**asked).choices[0].message.content
    stream = litellm.completion(**asked, stream=True)
    parts = [part.choices[0].delta.content or "" for part in stream]
    assert whole, model
    assert "".join(parts).strip() == whole.strip(), (model, whole, parts)
