"""The official client's files and batches, from the upload to the answers."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types import Batch, FileObject

from tests.api.batches_harness import OVER, BatchesHarness, jsonl, line
from tests.api.harness import CHAT, MODEL, serving
from tests.fakes import PATIENCE

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "hi"}]
CONTENT = jsonl(*(line(f"{n}", CHAT, model=MODEL, messages=HELLO) for n in range(3)))


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[BatchesHarness]:
    """A server that computes batches."""
    api = BatchesHarness(tmp_path)
    async with api.running():
        yield api


@pytest.fixture
async def sdk(api: BatchesHarness) -> AsyncIterator[AsyncOpenAI]:
    """The asynchronous client, without its retries."""
    async with (
        serving(api.app) as url,
        AsyncOpenAI(base_url=f"{url}/v1", api_key="-", max_retries=0) as client,
    ):
        yield client


async def finished(sdk: AsyncOpenAI, batch: Batch) -> Batch:
    """The batch when it is over."""
    while batch.status not in OVER:
        batch = await sdk.batches.retrieve(batch.id)
    return batch


async def start(sdk: AsyncOpenAI, file: FileObject) -> Batch:
    """A batch of the file."""
    return await sdk.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"night": "1"},
        output_expires_after={"anchor": "created_at", "seconds": 7200},
    )


async def test_files(sdk: AsyncOpenAI) -> None:
    expiry = {"anchor": "created_at", "seconds": 3600}
    file = await sdk.files.create(
        file=("in.jsonl", CONTENT),
        purpose="batch",
        expires_after=expiry,  # type: ignore[arg-type]
    )
    assert (file.filename, file.bytes, file.purpose) == ("in.jsonl", len(CONTENT), "batch")
    assert file.expires_at == file.created_at + 3600
    assert await sdk.files.retrieve(file.id) == file
    other = await sdk.files.create(file=b"x", purpose="user_data")
    assert [each.id async for each in sdk.files.list(limit=1)] == [other.id, file.id]
    assert [each.id async for each in sdk.files.list(order="asc")] == [file.id, other.id]
    assert [each.id async for each in sdk.files.list(purpose="batch")] == [file.id]
    assert (await sdk.files.content(file.id)).content == CONTENT
    assert (await sdk.files.wait_for_processing(file.id)).status == "processed"
    assert (await sdk.files.delete(file.id)).deleted
    with pytest.raises(openai.NotFoundError) as missing:
        await sdk.files.retrieve(file.id)
    assert missing.value.code == "file_not_found"


async def test_a_batch_from_upload_to_answers(sdk: AsyncOpenAI) -> None:
    file = await sdk.files.create(file=("in.jsonl", CONTENT), purpose="batch")
    created = await start(sdk, file)
    batch = await finished(sdk, created)
    assert (batch.status, batch.model, batch.metadata) == ("completed", MODEL, {"night": "1"})
    assert batch.request_counts is not None
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (3, 3, 0)
    assert batch.usage is not None
    assert batch.usage.output_tokens == 9
    assert batch.output_file_id is not None
    assert batch.to_dict().keys() <= Batch.model_fields.keys()
    output = await sdk.files.retrieve(batch.output_file_id)
    assert output.expires_at == output.created_at + 7200
    text = (await sdk.files.content(batch.output_file_id)).text
    answers = [json.loads(each) for each in text.splitlines()]
    assert [each["custom_id"] for each in answers] == ["0", "1", "2"]
    for each in answers:
        answer = openai.types.chat.ChatCompletion.model_validate(each["response"]["body"])
        assert answer.choices[0].message.content == "Hello, wörld"
    assert [each.id async for each in sdk.batches.list(limit=1)] == [batch.id]
    with pytest.raises(openai.ConflictError):
        await sdk.batches.cancel(batch.id)


async def test_a_bad_file_and_a_cancelled_batch(api: BatchesHarness, sdk: AsyncOpenAI) -> None:
    bad = await sdk.files.create(file=("in.jsonl", b"{"), purpose="batch")
    failed = await finished(sdk, await start(sdk, bad))
    assert failed.errors is not None
    assert failed.errors.data is not None
    assert [error.line for error in failed.errors.data] == [1]
    api.worker.hold_after = 0
    file = await sdk.files.create(file=("in.jsonl", CONTENT), purpose="batch")
    batch = await start(sdk, file)
    await api.worker.until(lambda: len(api.worker.generated) == 3)
    assert (await sdk.batches.cancel(batch.id)).status == "cancelling"
    batch = await finished(sdk, batch)
    assert batch.status == "cancelled"
    assert len(api.worker.aborted) == 3


async def test_the_synchronous_client_uploads_from_a_path(
    api: BatchesHarness, tmp_path: Path
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(CONTENT)

    def upload(url: str) -> FileObject:
        with OpenAI(base_url=f"{url}/v1", api_key="-") as client:
            return client.files.create(file=path, purpose="batch")

    async with serving(api.app) as url:
        file = await asyncio.wait_for(asyncio.to_thread(upload, url), PATIENCE)
    assert (file.filename, file.bytes) == ("in.jsonl", len(CONTENT))
