"""Token routes of the real server: what they make of a chat is the prompt that the chat reads."""

import pytest

USER = {"role": "user", "content": "What is the weather in Oslo – today?"}
CALL = {
    "role": "assistant",
    "tool_calls": [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"place": "Oslo"}'},
        }
    ],
}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "rain"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather at a place.",
            "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
        },
    }
]
CHATS = {
    "plain": {"messages": [{"role": "system", "content": "Be kind."}, USER]},
    "tools": {"messages": [USER], "tools": TOOLS},
    "hidden tools": {"messages": [USER], "tools": TOOLS, "tool_choice": "none"},
    "turns with tools": {"messages": [USER, CALL, RESULT], "tools": TOOLS},
    "thinking": {"messages": [USER], "chat_template_kwargs": {"enable_thinking": True}},
    "continued": {
        "messages": [USER, {"role": "assistant", "content": "It is"}],
        "continue_final_message": True,
    },
}


@pytest.mark.parametrize("name", CHATS)
def test_a_chat_has_the_tokens_that_tokenize_gives(server, name):
    with server.client() as http:
        chat = http.post("/v1/chat/completions", json={**CHATS[name], "max_tokens": 1}).json()
        found = http.post("/tokenize", json=CHATS[name]).json()
        prompt = http.post("/apply-template", json=CHATS[name]).json()["prompt"]
        assert found["count"] == len(found["tokens"]) == chat["usage"]["prompt_tokens"]
        assert http.post("/detokenize", json={"tokens": found["tokens"]}).json()["prompt"] == prompt


def test_tools_are_in_the_prompt_unless_they_are_hidden(server):
    with server.client() as http:
        shown = http.post("/apply-template", json=CHATS["tools"]).json()["prompt"]
        hidden = http.post("/apply-template", json=CHATS["hidden tools"]).json()["prompt"]
    assert "The weather at a place." in shown
    assert "The weather at a place." not in hidden
