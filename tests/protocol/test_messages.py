import msgspec
import pytest

from server.protocol.engine_report import EngineReport
from server.protocol.messages import (
    Abort,
    Assignment,
    EngineAnswer,
    EngineQuery,
    Failed,
    Generate,
    ModelSpec,
    Outputs,
    Ping,
    Pong,
    Progress,
    Ready,
    Shutdown,
    Sleep,
    Wake,
    decode_from_worker,
    decode_to_worker,
    encode,
)
from server.protocol.outputs import RequestOutput
from server.protocol.task import Task
from server.sampling.params import NEVER, SamplingParams

PARAMS = SamplingParams(
    max_tokens=3,
    seed=2**64 - 1,
    stop=("a", "é"),
    stop_token_ids=(5,),
    logit_bias=((5, 1.5), (6, NEVER)),
)


@pytest.mark.parametrize(
    "message",
    [
        Generate("r1", Task([1, 2, 65535], PARAMS)),
        Generate("r1", Task([1], PARAMS, "poet")),
        Generate("r1", Task([1], PARAMS, tenant="someone", priority=-2)),
        Abort("r1"),
        Generate("r1.2", Task([1], PARAMS, generated_ids=[7, 8], mu=8.5)),
        EngineQuery(3),
        Ping(),
        Sleep("r1"),
        Wake("r1"),
        Shutdown(),
    ],
)
def test_to_worker_round_trip(message):
    assert decode_to_worker(encode(message)) == message


@pytest.mark.parametrize(
    "message",
    [
        Progress("loading weights", 3, 10),
        Ready("float32", 2, 0.1, 3.5),
        Failed("no such file"),
        EngineAnswer(3, EngineReport(1, 2, 3, 0.5, 1)),
        Pong(),
        Outputs([RequestOutput("r1", "é", [7]), RequestOutput("r2", "", [], "error", "why")]),
        Outputs([RequestOutput("r1", "", [], "error", "why", "poison_request")]),
        Outputs([RequestOutput("r1", "a", [7], mu=8.5)]),
    ],
)
def test_from_worker_round_trip(message):
    assert decode_from_worker(encode(message)) == message


def test_the_assignment_is_json():
    model = ModelSpec("org/a", "a.pth", "world", "int8", {"poet": "p.pth"}, ["x.pth:0.5"])
    assignment = Assignment("worker-0", "ipc://x", 2, [4, 5], 1 << 30, model, "{}")
    assert msgspec.json.decode(msgspec.json.encode(assignment), type=Assignment) == assignment


@pytest.mark.parametrize("data", [b"", b"\xc1", encode(Abort("r1"))[:-1], encode({"type": "X"})])
def test_garbage_is_an_error(data):
    with pytest.raises(msgspec.DecodeError):
        decode_to_worker(data)
