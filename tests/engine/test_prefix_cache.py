"""A request that begins with a cached state gives the bytes that it gives without."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.protocol.cache_use import CacheUse
from server.protocol.task import Task
from server.state_cache.state_cache import JUNCTION_TOKENS, StateCache
from tests.engine.test_engine import build, params

RUNS = itertools.count()  # the cold engine keeps the answers of all
ROOM = 64 << 20


class Served:
    """An engine whose work is counted."""

    def __init__(self, checkpoint, cache_bytes=ROOM, **options):
        self.cache = StateCache(cache_bytes) if cache_bytes else None
        self.engine, self.runner = build(checkpoint, cache=self.cache, **options)
        self.computed = 0
        forward = self.runner._model.forward

        def counted(batch, state):
            self.computed += len(batch.tokens)
            return forward(batch, state)

        self.runner._model.forward = counted
        self.cached, self.ids = {}, {}

    def add(self, name, prompt, use=None, **changes):
        self.engine.add(name, Task(list(prompt), params(**changes), use=use or CacheUse()))

    def step(self):
        for output in self.engine.step():
            self.cached[output.request_id] = (
                self.cached.get(output.request_id, 0) + output.cached_tokens
            )
            self.ids.setdefault(output.request_id, []).extend(output.token_ids)

    def run(self):
        for _ in range(2000):
            if not self.engine.has_work:
                if self.cache:
                    self.cache.check_integrity()
                return self.ids
            self.step()
        raise AssertionError("the engine does not come to an end")

    def ask(self, name, prompt, use=None, **changes):
        """The ids of an answer, and how many tokens of the prompt were cached."""
        self.add(name, prompt, use, **changes)
        return self.run()[name], self.cached[name]


def ids(length, seed=0):
    return [int(t) for t in np.random.default_rng(seed).integers(1, 256, length)]


@pytest.fixture
def served(checkpoint):
    return Served(checkpoint)


@pytest.fixture
def cold(checkpoint):
    return Served(checkpoint, cache_bytes=0)


def test_the_same_prompt_again_costs_nothing(served, cold):
    prompt = ids(90)
    expected = cold.ask("x", prompt)[0]
    assert served.ask("first", prompt) == (expected, 0)
    before = served.computed
    assert served.ask("second", prompt) == (expected, 90)
    assert served.computed - before == len(expected) - 1  # decode alone
    other = cold.ask("y", prompt, seed=7)[0]
    assert served.ask("third", prompt, seed=7) == (other, 90)


def test_a_conversation_goes_on_after_its_answer(served, cold):
    prompt, known = ids(50), 0
    for turn in range(5):
        answer, cached = served.ask(f"turn {turn}", prompt)
        assert answer == cold.ask(f"turn {turn}", prompt)[0]
        # All of the last turn but the last token, which was sampled and not taken in.
        assert cached == known
        known = len(prompt) + len(answer) - 1
        prompt = prompt + answer + ids(20, seed=turn + 1)


def test_a_second_question_on_a_document_is_the_junction(served, cold):
    document = ids(300)
    first, second, third = (document + ids(40, seed) for seed in (1, 2, 3))
    assert served.ask("1", first) == (cold.ask("1", first)[0], 0)
    answer, cached = served.ask("2", second)
    assert answer == cold.ask("2", second)[0]
    assert cached == 340 - 256  # nobody could know where the document ends
    before = served.computed
    answer, cached = served.ask("3", third)
    assert answer == cold.ask("3", third)[0]
    shared = next(n for n in range(340) if first[n] != second[n])
    assert cached == shared >= 300
    assert served.computed - before == 340 - shared + len(answer) - 1


def test_boundaries_make_the_second_one_fast(served, cold):
    document = ids(300)
    use = CacheUse(boundaries={300: "message"})
    served.ask("1", document + ids(40, 1), use)
    second = document + ids(40, 2)
    assert served.ask("2", second, use) == (cold.ask("2", second)[0], 300)


def test_explicit_boundaries_are_all_that_is_left(served, cold):
    document = ids(600)
    use = CacheUse(boundaries={300: "breakpoint"}, implicit=False)
    assert served.ask("1", document, use) == (cold.ask("1", document)[0], 0)
    assert [(each.tokens, each.kind) for each in served.cache.entries()] == [(300, "breakpoint")]
    second = document[:450] + ids(40, 2)
    assert served.ask("2", second, use) == (cold.ask("2", second)[0], 300)
    assert served.cache.counters.entries == 1
    assert served.ask("3", [*document, 5])[1] == 300
    whole = CacheUse(boundaries={600: "reply"}, implicit=False)
    served.ask("4", document, whole, max_tokens=0)
    assert (600, "reply") in [(each.tokens, each.kind) for each in served.cache.entries()]
    assert served.ask("5", document + ids(3, 3))[1] == 600


def test_those_that_share_wait_for_explicit_boundaries_alone(served, cold):
    document = ids(300)
    use = CacheUse(boundaries={200: "breakpoint"}, implicit=False)
    for name in "ab":
        served.add(name, document + ids(9, ord(name)), use)
    expected = {name: cold.ask(name, document + ids(9, ord(name)))[0] for name in "ab"}
    assert served.run() == expected
    assert served.cached == {"a": 0, "b": 200}
    assert served.cache.counters.entries == 1


def test_who_waits_for_work_in_the_background_lets_it_come_first(checkpoint, cold):
    served = Served(checkpoint)
    shared = ids(200)
    use = CacheUse(boundaries={200: "reply"}, implicit=False)
    served.engine.add("aside", Task(shared, params(max_tokens=0), use=use, background=True))
    served.step()
    served.add("other", ids(64, 8), max_tokens=1)
    for _ in range(2):
        served.step()
    before = served.computed
    served.step()
    assert served.computed - before == 16  # all for the other
    (aside,) = (each for each in served.engine._scheduler.running if each.background)
    assert aside.computed == 16
    served.add("next", shared + ids(5, 9))
    served.step()
    assert not aside.background
    assert served.run()["next"] == cold.ask("next", shared + ids(5, 9))[0]
    assert served.cached["next"] == 200


def test_long_prompts_leave_snapshots_on_the_way(served, cold):
    prompt = ids(2500)
    served.ask("1", prompt)
    branch = prompt[:2300] + ids(50, 9)
    assert served.ask("2", branch) == (cold.ask("2", branch)[0], 2500 - 256)


@pytest.mark.parametrize("arrival", [0, 3])
def test_simultaneous_requests_prefill_a_prefix_once(checkpoint, cold, arrival):
    served = Served(checkpoint, max_batch=8)
    document = ids(200)
    prompts = [document + ids(10, seed) for seed in range(1, 9)]
    expected = {str(n): cold.ask(str(n), prompt)[0] for n, prompt in enumerate(prompts)}
    served.add("0", prompts[0])
    for _ in range(arrival):
        served.step()
    for number, prompt in enumerate(prompts[1:], 1):
        served.add(str(number), prompt)
    assert served.run() == expected
    prefill = served.computed - sum(len(answer) - 1 for answer in expected.values())
    assert prefill <= 210 + 7 * (10 + 2)  # by chance the next token or two may be the same
    assert sum(served.cached.values()) >= 7 * 200


def test_choices_of_one_prompt_are_forked(served, cold):
    prompt = ids(120)
    for seed in range(4):
        served.add(str(seed), prompt, seed=seed)
    expected = {str(seed): cold.ask(str(seed), prompt, seed=seed)[0] for seed in range(4)}
    assert served.run() == expected
    assert served.computed == 120 + sum(len(answer) - 1 for answer in expected.values())


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_those_that_wait_go_on_when_the_first_is_aborted(served, cold, steps):
    prompt = ids(200)
    for name in "abc":
        served.add(name, prompt)
    for _ in range(steps):
        served.step()
    served.engine.abort("a")
    found = served.run()
    expected = cold.ask("x", prompt)[0]
    assert found["b"] == found["c"] == expected
    assert served.runner.free_slots == 4


def test_an_answer_that_was_aborted_can_be_gone_on_from(served, cold):
    prompt = ids(60)
    served.add("a", prompt, max_tokens=50)
    for _ in range(12):
        served.step()
    served.engine.abort("a")
    begun = served.ids["a"]
    again = prompt + begun + ids(5, 3)
    answer, cached = served.ask("b", again)
    assert answer == cold.ask("b", again)[0]
    assert cached == len(prompt) + len(begun) - 1


def test_nothing_is_shared_across_salts_states_and_without_leave(served):
    prompt = ids(80)
    for salt in ("", "one", "two"):
        assert served.ask(f"first {salt}", prompt, CacheUse(salt=salt))[1] == 0
        assert served.ask(f"second {salt}", prompt, CacheUse(salt=salt))[1] == 80
    assert served.ask("x", prompt, CacheUse(reads=False))[1] == 0
    other = ids(80, 5)
    assert served.ask("y", other, CacheUse(writes=False))[1] == 0
    assert served.ask("z", other)[1] == 0


def test_without_room_all_is_as_without_a_cache(checkpoint, cold):
    served = Served(checkpoint, cache_bytes=2000)
    prompt = ids(70)
    for name in "ab":
        assert served.ask(name, prompt) == (cold.ask("x" + name, prompt)[0], 0)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 150), st.integers(0, 60), st.integers(0, 2)),
        min_size=2,
        max_size=8,
    ),
    st.sampled_from([40_000, 200_000, ROOM]),
)
def test_hits_are_cold_runs(checkpoint, cold, turns, cache_bytes):
    """Conversations that branch, are edited and regenerated, several at a time, in little room."""
    served, run = Served(checkpoint, cache_bytes), next(RUNS)
    stems = [ids(160, seed) for seed in range(4)]
    for number, (stem, kept, added, waits) in enumerate(turns):
        prompt = stems[stem][:kept] + ids(added + 1, seed=10 + number % 3)
        name = f"{number}"
        served.add(name, prompt, seed=number, max_tokens=6)
        for _ in range(waits):
            served.step()
        stems[stem] = prompt
        cold.add(f"{name} of {run}", prompt, seed=number, max_tokens=6)
    expected = cold.run()
    for name, found in served.run().items():
        assert found == expected[f"{name} of {run}"]
    assert served.runner.free_slots == 4
    assert JUNCTION_TOKENS == 32  # what the lengths above are chosen for
