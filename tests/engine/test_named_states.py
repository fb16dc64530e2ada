"""States that leave the engine as bytes, and prompts that go on from such bytes."""

import msgspec
import numpy as np
import pytest

from server.protocol.cache_use import CacheUse
from server.protocol.task import Task
from server.state_cache.encoding import SnapshotError, decode_snapshot, encode_snapshot
from server.state_cache.state_cache import StateCache
from tests.engine.test_engine import build, params

ROOM = 64 << 20
TEXT = [int(t) for t in np.random.default_rng(5).integers(1, 256, 60)]
READS_NOTHING = CacheUse(reads=False, writes=False)


def run(engine, **tasks):
    """Name → all its outputs as one."""
    for name, task in tasks.items():
        engine.add(name, task)
    found = {}
    while engine.has_work:
        for output in engine.step():
            before = found.get(output.request_id)
            ids = before.token_ids + output.token_ids if before else output.token_ids
            found[output.request_id] = msgspec.structs.replace(output, token_ids=ids)
    return found


def read(engine, ids, base=b"", **fields):
    """The encoded state after a prompt."""
    task = Task(ids, params(max_tokens=0), base=base, keeps_state=True, **fields)
    output = run(engine, read=task)["read"]
    assert (output.token_ids, output.text, output.finish_reason) == ([], "", "length")
    return output.state


@pytest.mark.parametrize("cut", [1, 17, 59, 60])
@pytest.mark.parametrize("cache", [False, True])
def test_a_prompt_that_goes_on_from_a_state_is_the_whole_prompt(checkpoint, cut, cache):
    engine, _ = build(checkpoint, cache=StateCache(ROOM) if cache else None)
    how = params(frequency_penalty=0.3)
    whole = run(engine, whole=Task(TEXT, how, use=READS_NOTHING))["whole"]
    state = read(engine, TEXT[:cut])
    for _ in range(2):  # the second one from the cache
        rest = run(engine, rest=Task(TEXT[cut:], how, base=state))["rest"]
        assert rest.token_ids == whole.token_ids


def test_a_state_can_be_gone_on_from_in_steps(checkpoint):
    engine, _ = build(checkpoint, cache=StateCache(ROOM))
    at_once = read(engine, TEXT)
    in_steps = read(engine, TEXT[40:], base=read(engine, TEXT[10:40], base=read(engine, TEXT[:10])))
    again = read(engine, TEXT)  # an exact hit
    uncached = read(engine, TEXT, use=READS_NOTHING)
    assert at_once == in_steps == again == uncached
    stored = decode_snapshot(at_once, {"shift": (2, 2, 48), "wkv": (2, 3, 16, 16)}, 256)
    assert stored.snapshot.tokens == 60
    assert stored.snapshot.logits is not None


def test_states_and_prompts_do_not_mix(checkpoint):
    engine, _ = build(checkpoint, cache=StateCache(ROOM))
    first, second = read(engine, TEXT[:20]), read(engine, TEXT[20:40])
    how, rest = params(), TEXT[40:]

    def ask(base, use):
        return Task(rest, how, base=base, use=use)

    for use in (READS_NOTHING, CacheUse(), CacheUse()):
        tasks = {"plain": ask(b"", use), "first": ask(first, use), "second": ask(second, use)}
        ids = {name: output.token_ids for name, output in run(engine, **tasks).items()}
        if use is READS_NOTHING:
            expected = ids
        assert ids == expected
    assert len({tuple(each) for each in expected.values()}) == 3


def test_what_is_no_state_of_this_model_is_refused(checkpoint):
    engine, _ = build(checkpoint)
    state = read(engine, TEXT)
    damaged = bytearray(state)
    damaged[-1] ^= 1
    stored = decode_snapshot(state, {"shift": (2, 2, 48), "wkv": (2, 3, 16, 16)}, 256)
    foreign = encode_snapshot(type(stored)(stored.snapshot, "another"))
    bare = type(stored.snapshot)(60, stored.snapshot.state)
    without_logits = encode_snapshot(type(stored)(bare, "random"))
    for data, why in (
        (bytes(damaged), "checksum"),
        (foreign, "other weights"),
        (without_logits, "no logits"),
    ):
        with pytest.raises(SnapshotError, match=why):
            engine.add("r", Task([], params(), base=data))
    assert not engine.has_work
