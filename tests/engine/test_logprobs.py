"""Log-probabilities of answers and prompts: the model's own, and the same bits whatever goes on."""

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.model.model import pack_batch
from server.model.state import StatePool
from server.protocol.cache_use import CacheUse
from server.protocol.task import Task
from server.state_cache.state_cache import StateCache
from tests import naive
from tests.engine.test_engine import build, params
from tests.model.random_models import load_model

ROOM = 64 << 20
COLD = CacheUse(reads=False, writes=False)
CONTEXT = [int(t) for t in np.random.default_rng(8).integers(1, 256, 100)]
ANSWERS = [[7, 8, 9], [7, 8, 10, 11], [200], [7], [3, 4, 5, 6, 7]]


def scored(ids, max_tokens=1, k=1, **changes):
    how = params(max_tokens=max_tokens, logprobs=k, prompt_logprobs=k, temperature=0)
    return Task(ids, how, **changes)


def run(engine, tasks, on_step=lambda _: None):
    """Name → (ids, logprobs, prompt logprobs)."""
    found = {name: ([], [], []) for name in tasks}
    for name, task in tasks.items():
        engine.add(name, task)
    step = 0
    while engine.has_work:
        for output in engine.step():
            ids, logprobs, of_prompt = found[output.request_id]
            assert not (ids and output.prompt_logprobs), "only with the first token"
            ids += output.token_ids
            logprobs += output.logprobs
            of_prompt += output.prompt_logprobs
        step += 1
        on_step(step)
    return found


def computed(engine, tasks):
    """The results, and how many tokens were computed for them."""
    before = engine.report.tokens
    return run(engine, tasks), engine.report.tokens - before


def alone(checkpoint, tasks, **how):
    """What each task gives on an engine of its own, without a cache."""
    return {
        name: run(build(checkpoint, **how)[0], {name: task})[name] for name, task in tasks.items()
    }


def test_they_are_the_log_softmax_of_the_logits_before_all_that_bends_these(checkpoint):
    how = {"temperature": 0.7, "top_k": 3, "frequency_penalty": 2.0, "repetition_penalty": 3.0}
    how |= {"logprobs": 4, "prompt_logprobs": 2}
    task = Task(CONTEXT[:40], params(max_tokens=9, **how))
    ids, logprobs, of_prompt = run(build(checkpoint)[0], {"x": task})["x"]
    model = load_model(checkpoint)
    state = StatePool(model.config, 1).state
    text = CONTEXT[:40] + ids
    rows = [model.forward(pack_batch([([t], 0, True)]), state)[0, :256].copy() for t in text]
    expected = naive.log_softmax(np.array(rows))
    assert of_prompt[0] is None
    assert (len(of_prompt), len(logprobs)) == (40, 9)
    found = of_prompt[1:] + logprobs
    for place, each in enumerate(found):
        k = 2 if place < 39 else 4
        order = np.argsort(-expected[place], kind="stable")[:k]
        assert each.top_ids == order.tolist()
        assert each.logprob == pytest.approx(expected[place, text[place + 1]], abs=1e-6)
        np.testing.assert_allclose(each.top_logprobs, expected[place, order], rtol=0, atol=1e-6)


TASKS = {
    **{f"scored{i}": scored(CONTEXT + answer, k=2) for i, answer in enumerate(ANSWERS)},
    "other k": scored(CONTEXT + ANSWERS[0], k=20),
    "goes on": scored(CONTEXT[:70], max_tokens=6, k=2),
    "no token": scored(CONTEXT[:50], max_tokens=0, k=2),
    "one id": scored([5], k=2),
    "answer only": Task(CONTEXT[:60], params(logprobs=0)),
    "plain": Task(CONTEXT + ANSWERS[0], params()),
}


@pytest.fixture(scope="module")
def expected(checkpoint):
    return alone(checkpoint, TASKS)


def test_what_was_asked_for_comes(expected):
    for name, task in TASKS.items():
        ids, logprobs, of_prompt = expected[name]
        assert len(logprobs) == (len(ids) if task.params.logprobs >= 0 else 0)
        assert len(of_prompt) == (len(task.prompt_ids) if task.params.prompt_logprobs >= 0 else 0)
    assert expected["no token"][:2] == ([], [])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("step_tokens", "max_batch"), [(1, 1), (7, 4), (32, 16)])
@pytest.mark.parametrize("room", [0, ROOM])
def test_the_bits_are_the_same_batched_chunked_and_from_the_cache(
    checkpoint, expected, threads, step_tokens, max_batch, room
):
    for tasks in (TASKS, dict(reversed(TASKS.items()))):
        cache = StateCache(room) if room else None
        engine, _ = build(checkpoint, threads, step_tokens, max_batch, cache)
        assert run(engine, tasks) == expected
        assert run(engine, tasks) == expected


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    prompts=st.lists(
        st.tuples(st.integers(0, 100), st.integers(0, 3), st.integers(0, 40)),
        min_size=1,
        max_size=6,
    ),
    k=st.integers(0, 2),
    at_once=st.integers(1, 3),
    max_tokens=st.integers(0, 2),
    reads=st.booleans(),
)
def test_prompts_that_part_anywhere(checkpoint, prompts, k, at_once, max_tokens, reads):
    engine = prompts_that_part_engine(checkpoint)
    tasks = {
        str(number): scored(
            (CONTEXT[:shared] + [100 + variant, 1, 2] * 20)[: shared + 1 + more],
            max_tokens,
            k,
            use=CacheUse(reads=reads or number % 2 > 0),
        )
        for number, (shared, variant, more) in enumerate(prompts)
    }
    cold = {name: msgspec.structs.replace(task, use=COLD) for name, task in tasks.items()}
    names = list(tasks)
    for first in range(0, len(names), at_once):
        part = names[first : first + at_once]
        warm = run(engine, {name: tasks[name] for name in part})
        assert warm == run(engine, {name: cold[name] for name in part})


ENGINES = {}


def prompts_that_part_engine(checkpoint):
    """One that all examples share."""
    if checkpoint not in ENGINES:
        ENGINES[checkpoint] = build(checkpoint, cache=StateCache(ROOM))[0]
    return ENGINES[checkpoint]


def test_answers_to_one_question_read_it_once_when_they_come_together(checkpoint):
    engine, _ = build(checkpoint, max_batch=8, cache=StateCache(ROOM))
    tasks = {str(i): scored(CONTEXT + answer) for i, answer in enumerate(ANSWERS)}
    found, tokens = computed(engine, tasks)
    assert found == alone(checkpoint, tasks)
    # Each begins one token before it parts from the others.
    assert tokens <= len(CONTEXT) + sum(len(answer) + 1 for answer in ANSWERS)


def test_answers_to_one_question_read_it_twice_when_they_come_one_after_the_other(checkpoint):
    engine, _ = build(checkpoint, cache=StateCache(ROOM))
    prompts = [CONTEXT + answer for answer in ([7, 8], [9, 8, 1], [11], [12, 2])]
    counts = [computed(engine, {"x": scored(prompt)})[1] for prompt in prompts]
    # The second one leaves a state where they part.
    assert counts == [102, 103, 2, 3]


@pytest.mark.parametrize("scores", [False, True])
def test_choices_of_one_prompt_prefill_it_once(checkpoint, scores):
    engine, _ = build(checkpoint, max_batch=8, cache=StateCache(ROOM))
    k = 1 if scores else -1
    tasks = {
        str(seed): Task(
            CONTEXT, params(seed=seed, max_tokens=3, temperature=1, logprobs=1, prompt_logprobs=k)
        )
        for seed in range(6)
    }
    found, tokens = computed(engine, tasks)
    assert tokens == len(CONTEXT) + 6 * 2  # the third token is not taken in
    assert found == alone(checkpoint, tasks)


def test_nothing_is_shared_where_nothing_may_be(checkpoint):
    engine, _ = build(checkpoint, cache=StateCache(ROOM))
    uses = [CacheUse(), CacheUse(salt="b"), COLD, CacheUse(reads=False), CacheUse(salt="c")]
    for use in uses:
        _, count = computed(engine, {"x": scored(CONTEXT, use=use)})
        assert count == len(CONTEXT)
    engine.cache.clear(shared=False)
    assert computed(engine, {"x": scored(CONTEXT)})[1] == len(CONTEXT)


def test_one_that_is_aborted_on_the_way_lets_others_share_what_is_done(checkpoint):
    engine, runner = build(checkpoint, step_tokens=8, cache=StateCache(ROOM))
    task = scored(CONTEXT + ANSWERS[1])
    engine.add("gone", task)
    for _ in range(7):
        engine.step()
    engine.abort("gone")
    tasks = {str(i): scored(CONTEXT + answer) for i, answer in enumerate(ANSWERS)}
    assert run(engine, tasks) == alone(checkpoint, tasks)
    assert runner.free_slots == 4


@pytest.mark.parametrize("room", [0, ROOM])
def test_a_resumed_request_tells_what_it_has_not_told(checkpoint, room):
    task = scored(CONTEXT, max_tokens=8, k=3)
    ids, logprobs, _ = alone(checkpoint, {"x": task})["x"]
    engine, _ = build(checkpoint, cache=StateCache(room) if room else None)
    run(engine, {"plain": Task(CONTEXT, params(max_tokens=1))})
    for cut in range(1, 8):
        rest = msgspec.structs.replace(task, generated_ids=ids[:cut])
        found, count = computed(engine, {"x": rest})
        assert found["x"] == (ids[cut:], logprobs[cut:], [])
        if room:  # its prompt need not be read again
            assert count <= 7


def test_a_prompt_after_a_state_has_those_of_the_whole_but_for_its_first_token(checkpoint):
    engine, _ = build(checkpoint, cache=StateCache(ROOM))
    whole = run(engine, {"x": scored(CONTEXT, max_tokens=2)})["x"]
    for cut in (30, 99):
        engine.add("base", Task(CONTEXT[:cut], params(max_tokens=0), keeps_state=True))
        (*_, output) = [output for _ in range(20) if engine.has_work for output in engine.step()]
        task = scored(CONTEXT[cut:], max_tokens=2, base=output.state)
        expected = whole[0], whole[1], [None, *whole[2][cut + 1 :]]
        assert run(engine, {"y": task})["y"] == expected
    empty = scored([], max_tokens=2, base=output.state)
    assert run(engine, {"z": empty})["z"][2] == []
