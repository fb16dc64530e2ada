"""A task that is cut after any of its tokens goes on with the ids and the text of the whole run."""

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.protocol.cache_use import CacheUse
from server.protocol.task import Task
from server.state_cache.state_cache import StateCache
from tests.engine.test_engine import build, params

ROOM = 64 << 20
PROMPT = [int(t) for t in np.random.default_rng(8).integers(1, 256, 90)]
# The bytes of é and 語: their text comes with the last one only.
CHARACTERS = [*"é語é".encode()]


@pytest.fixture(scope="module")
def engines(checkpoint):
    """Without a cache, and with one that all examples share."""
    return {
        room: build(checkpoint, cache=StateCache(room) if room else None)[0] for room in (0, ROOM)
    }


@pytest.fixture(scope="module")
def base(engines):
    """An encoded state to go on from."""
    task = Task(PROMPT[:40], params(max_tokens=0), keeps_state=True)
    (*_, last) = run(engines[0], base=task)["base"]
    return last.state


def run(engine, **tasks):
    """Name → its outputs, one for each token."""
    for name, task in tasks.items():
        engine.add(name, task)
    found = {name: [] for name in tasks}
    while engine.has_work:
        for output in engine.step():
            found[output.request_id].append(output)
    return found


def said(outputs):
    """All that a client could see of some outputs, and the state that the last one brings."""
    text = "".join(output.text for output in outputs)
    ids = [token for output in outputs for token in output.token_ids]
    mus = [output.mu for output in outputs]
    return ids, text, outputs[-1].finish_reason, outputs[-1].state, mus


def resumed(task, outputs, cut):
    ids = [token for output in outputs[:cut] for token in output.token_ids]
    return msgspec.structs.replace(task, generated_ids=ids, mu=outputs[cut - 1].mu if cut else None)


how = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**64 - 1),
        "temperature": st.sampled_from([0, 0.8, 2.0]),
        "max_tokens": st.integers(1, 24),
        "frequency_penalty": st.sampled_from([0.0, 0.7]),
        "presence_penalty": st.sampled_from([0.0, 0.4]),
        "repetition_penalty": st.sampled_from([1.0, 1.3]),
        "penalty_decay": st.sampled_from([1.0, 0.9]),
        "ignore_eos": st.booleans(),
        "min_tokens": st.sampled_from([0, 10]),
        "logit_bias": st.sampled_from([(), ((0, 3.0), (7, 4.0))]),
        "dry_multiplier": st.sampled_from([0.0, 0.9]),
        "dry_allowed_length": st.just(1),
        "xtc_probability": st.sampled_from([0.0, 0.5]),
        "xtc_threshold": st.just(0.02),
        "mirostat": st.sampled_from([0, 2]),
        "mirostat_tau": st.sampled_from([2.0, 5.0]),
    }
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    how=how,
    room=st.sampled_from([0, ROOM]),
    with_base=st.booleans(),
    keeps_state=st.booleans(),
    use=st.sampled_from([CacheUse(), CacheUse(reads=False), CacheUse(boundaries={35: "message"})]),
    length=st.integers(1, len(PROMPT)),
    cuts=st.lists(st.integers(0, 23), min_size=1, max_size=3),
    stop_at=st.none() | st.tuples(st.integers(0, 20), st.integers(1, 4)),
)
def test_any_cut_of_any_task(
    engines, base, how, room, with_base, keeps_state, use, length, cuts, stop_at
):
    start = base if with_base else b""
    task = Task(PROMPT[:length], params(**how), use=use, base=start, keeps_state=keeps_state)
    (whole,) = run(engines[0], whole=task).values()
    if stop_at:  # a string that the text really has, over the tokens of several steps
        text = "".join(output.text for output in whole)
        if stop := text[stop_at[0] : sum(stop_at)]:
            task = msgspec.structs.replace(task, params=params(**how, stop=(stop, "never")))
            (whole,) = run(engines[0], whole=task).values()
    cuts = sorted({cut % len(whole) for cut in cuts})
    tasks = {f"cut{cut}": resumed(task, whole, cut) for cut in cuts}
    for name, outputs in run(engines[room], **tasks).items():
        cut = int(name.removeprefix("cut"))
        assert said(outputs) == said(whole[cut:])
        if cut:
            assert not any(output.cached_tokens + output.written_tokens for output in outputs)


class Scripted:
    """A sampler that chooses what a list says, by position; nothing else of the engine is faked."""

    def __init__(self, tokens, first):
        self.tokens, self.first = tokens, first

    def sample(self, _, rows):
        return [self.tokens[row.position - self.first] for row in rows]


@pytest.mark.parametrize("stop", [(), ("é語é!",), ("語é",)])
def test_characters_and_stop_strings_that_are_cut_in_two(checkpoint, stop):
    tokens = [*b"ab", *CHARACTERS, *b"!c", 0]
    engine, runner = build(checkpoint)
    runner._sampler = Scripted(tokens, first=5)
    task = Task(PROMPT[:5], params(max_tokens=40, stop=stop, ignore_eos=False))
    whole = run(engine, whole=task)["whole"]
    assert said(whole)[1] == {(): "abé語é!c", ("é語é!",): "ab", ("語é",): "abé"}[stop]
    for cut in range(len(whole)):
        assert said(run(engine, rest=resumed(task, whole, cut))["rest"]) == said(whole[cut:])


def test_what_is_taken_in_again_shares_its_steps_with_others(checkpoint):
    engine, runner = build(checkpoint, step_tokens=8)
    tasks = {str(n): Task(PROMPT[: 9 * n], params(n, max_tokens=30)) for n in range(1, 8)}
    whole = run(engine, **tasks)
    rest = {name: resumed(task, whole[name], 4 * int(name)) for name, task in tasks.items()}
    for name, outputs in run(engine, **rest).items():
        assert said(outputs) == said(whole[name][4 * int(name) :])
    assert runner.free_slots == 4


def test_choices_go_on_together_from_one_prefill(engines):
    tasks = {str(seed): Task(PROMPT, params(seed=seed)) for seed in range(4)}
    whole = run(engines[ROOM], **tasks)
    rest = {name: resumed(task, whole[name], 3) for name, task in tasks.items()}
    for name, outputs in run(engines[ROOM], **rest).items():
        assert said(outputs) == said(whole[name][3:])


def test_one_that_is_aborted_while_it_is_taken_in_leaves_nothing_wrong(checkpoint):
    engine, runner = build(checkpoint, step_tokens=4, cache=StateCache(ROOM))
    task = Task(PROMPT[:40], params(max_tokens=30))
    whole = run(engine, whole=task)["whole"]
    for steps in (1, 3, 5):
        engine.add("rest", resumed(task, whole, 20))
        for _ in range(steps):
            engine.step()
        engine.abort("rest")
        assert said(run(engine, again=task)["again"]) == said(whole)
    ids = said(whole)[0]
    longer = Task(PROMPT[:40] + ids[:25], params(max_tokens=5))
    cold = msgspec.structs.replace(longer, use=CacheUse(reads=False, writes=False))
    assert said(run(engine, x=longer)["x"]) == said(run(engine, x=cold)["x"])
    assert runner.free_slots == 4
