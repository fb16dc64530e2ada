"""What the request schemas promise beyond single fields."""

from typing import Any

import pytest
from pydantic import ValidationError

from server.api.schemas.chat import ChatCompletionRequest
from server.api.schemas.completions import CompletionRequest

MANY: list[Any] = [1.5] * 10_000
HELLO = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": MANY},
        {"messages": [{"role": "assistant", "tool_calls": MANY}]},
        {"messages": [{"role": "user", "content": MANY}]},
        {"prompt": MANY},
        {"prompt": [MANY]},
        {"stop": MANY},
        {"stop_token_ids": MANY},
    ],
)
def test_a_list_of_mistakes_makes_few_errors(fields: dict[str, Any]) -> None:
    # An error object for each of the millions of items that fit into a body would take the server
    # down for half a minute.
    schema = CompletionRequest if "prompt" in fields else ChatCompletionRequest
    with pytest.raises(ValidationError) as failure:
        schema.model_validate({"messages": [HELLO]} | fields)
    assert failure.value.error_count() == 1


def test_what_an_assistant_refused_with_is_text() -> None:
    parts = [{"type": "text", "text": "Well."}, {"type": "refusal", "refusal": "No."}]
    chat = ChatCompletionRequest.model_validate(
        {"messages": [HELLO, {"role": "assistant", "content": parts}, HELLO]}
    )
    assert chat.messages[1].content == "Well.\nNo."
