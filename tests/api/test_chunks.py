"""Chunks for news that a worker's timing makes hard to provoke."""

import pytest

from server.api.choices import News
from server.api.chunks import ChatChunks, ChatStream, Chunks, CompletionChunks
from server.api.completion_form import CompletionForm
from server.api.plan import READS_ONLY, Plan
from server.assistant.answer import Delta
from server.protocol.task import Task

PLAN = Plan([[1]], [Task([1], READS_ONLY)] * 3)
BOTH = [CompletionChunks({}, False, CompletionForm(PLAN)), ChatChunks({}, ChatStream(1))]


@pytest.mark.parametrize("chunks", BOTH)
def test_text_that_is_held_back_makes_no_chunk(chunks: Chunks) -> None:
    assert chunks.news(News(0, "", None)) == []


@pytest.mark.parametrize("chunks", BOTH)
def test_the_last_text_may_come_with_the_finish_reason(chunks: Chunks) -> None:
    made = [
        chunk["choices"][0]
        for chunk in chunks.news(News(2, "end", "stop", deltas=[Delta(content="end")]))
    ]
    texts = [choice["text"] if "text" in choice else choice["delta"] for choice in made]
    assert texts in (["end"], [{"content": "end"}, {}])
    assert [choice["index"] for choice in made] == [2] * len(made)
    assert [choice["finish_reason"] for choice in made[:-1]] == [None] * (len(made) - 1)
    assert made[-1]["finish_reason"] == "stop"
