"""A worker whose tokens, texts and log-probabilities agree, as an engine's do."""

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from server.engine.batch import Batch, BatchResult, Chunk
from server.engine.output_processor import OutputProcessor
from server.engine.request import Request
from server.protocol.messages import Generate
from server.protocol.outputs import RequestOutput
from server.protocol.task import Task
from server.sampling.token_logprobs import TokenLogprobs
from tests.api.harness import Harness
from tests.fake_text import FakeTokenizer

Script = Callable[[Task], list[int]]


def logprobs_of(token: int, place: int, count: int, seed: int = 0) -> TokenLogprobs:
    """Made up. The token is the second most likely one at every third place, else beyond all."""
    top_ids = [(token + number) % 257 for number in range(3, 3 + count)]
    if place % 3 == 0 and count > 1:
        top_ids[1] = token
    top = [-0.125 - number - place / 1024 - seed * 7 % 10 for number in range(count)]
    own = dict(zip(top_ids, top, strict=True)).get(token, -30.0 - place / 7 - seed * 7 % 10)
    return TokenLogprobs(own, top_ids, top)


def outputs_of(task: Task, tokens: list[int], request_id: str = "r") -> list[RequestOutput]:
    """What the engine says when these are sampled."""
    request = Request(request_id, replace(task, prompt_ids=task.prompt_ids[:1] or [0]))
    request.prompt_logprobs = None  # nothing has computed them
    processor = OutputProcessor(FakeTokenizer())
    processor.add(request)
    outputs: list[RequestOutput] = []
    count, seed = task.params.logprobs, task.params.seed
    for place, token in enumerate([*tokens, 0]):
        logprobs = {request_id: logprobs_of(token, place, count, seed)} if count >= 0 else {}
        result = BatchResult({request_id: token}, logprobs)
        outputs += processor.process(Batch([Chunk(request, 1)]), result)[0]
        request.token_ids.append(token)
        if outputs[-1].finish_reason is not None:
            break
    count = task.params.prompt_logprobs
    if count >= 0 and task.prompt_ids:
        ids = task.prompt_ids
        known = [logprobs_of(token, place, count) for place, token in enumerate(ids)]
        wanted = [None, *known[1:]][task.params.prompt_logprobs_from :]
        outputs[0] = replace(outputs[0], prompt_logprobs=wanted)
    return outputs


def scoring(script: Script, **sections: dict[str, Any]) -> Harness:
    """An API whose worker samples the tokens that a script says, then the end of the document."""
    api = Harness(sections)
    worker = api.worker

    async def answer(request: Generate) -> None:
        for output in outputs_of(request.task, script(request.task), request.request_id):
            worker.client.deliver(worker.link, [output])
            await asyncio.sleep(0)

    worker._answer = answer  # type: ignore[method-assign]
    return api
