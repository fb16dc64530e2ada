"""Anthropic's client against a real server: what needs a real engine."""

from anthropic import Anthropic

ASK = {
    "model": "rwkv-embedded",
    "max_tokens": 40,
    "messages": [{"role": "user", "content": "Tell me a story about a dog. " * 12}],
    "extra_body": {"temperature": 0},
}


def text_of(message):
    return "".join(block.text for block in message.content)


def test_a_stop_sequence_is_named_and_a_prompt_is_read_once(server):
    with Anthropic(base_url=server.url, api_key="messages", max_retries=0, timeout=60) as client:
        whole = client.messages.create(**ASK)
        counted = client.messages.count_tokens(model=ASK["model"], messages=ASK["messages"])
        stop = text_of(whole).split()[3]
        with client.messages.stream(**ASK, stop_sequences=["@@", stop]) as stream:
            cut = stream.get_final_message()
    assert cut.stop_reason == "stop_sequence"
    assert cut.stop_sequence == stop
    assert text_of(cut) == text_of(whole)[: text_of(whole).index(stop)]
    first, again = whole.usage, cut.usage
    parts = first.input_tokens, first.cache_creation_input_tokens, first.cache_read_input_tokens
    assert sum(parts) == counted.input_tokens
    assert first.input_tokens > 0  # no cache_control has asked for more than is kept anyway
    assert first.cache_creation_input_tokens == 0
    assert again.cache_read_input_tokens > 0
