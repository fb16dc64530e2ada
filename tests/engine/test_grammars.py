"""Requests with a grammar in a real engine: what they say, and what they do to the others."""

import json
import re
from concurrent.futures import Future

import jsonschema
import msgspec
import numpy as np
import pytest

from server.engine.engine import Engine
from server.engine.grammar_compiler import GrammarCompiler
from server.engine.grammar_rows import COMPILE_SECONDS, GrammarRows
from server.engine.model_runner import ModelRunner
from server.engine.output_processor import OutputProcessor
from server.engine.prefix_cache import PrefixCache
from server.engine.scheduler import Scheduler
from server.grammars.forms import GrammarError, choice_grammar, json_grammar, regex_grammar
from server.model.initial_state import empty_state
from server.protocol.task import Task
from server.sampling.params import NEVER, SamplingParams
from server.sampling.sampler import Sampler
from server.state_cache.encoding import SnapshotCodec
from server.state_cache.state_cache import StateCache
from server.tokenizer.bytes import ByteTokenizer
from tests.engine.test_resume import run, said
from tests.grammars.outputs import LOGITS, make_tokenizer
from tests.grammars.test_forms import SCHEMAS
from tests.model.random_models import load_model, random_tensors, write_model

PROMPT = [*b"the cat sat on the mat and said to the dog, who was not there: "]
WORDS = regex_grammar("[a-z]{1,4}( [a-z]{1,4})*")
OBJECT = json_grammar(SCHEMAS["object"])


def build(model, tokenizer, max_batch=4, room=0, **options):
    """An engine over a model that others may share, and what knows its grammars."""
    prefixes = PrefixCache(StateCache(room) if room else None)
    vocab_size = model.config.vocab_size
    grammars = GrammarRows(GrammarCompiler(tokenizer, vocab_size))
    sampler, states = Sampler(vocab_size, model.team), {"": empty_state(model.config)}
    runner = ModelRunner(model, sampler, states, prefixes, tokenizer, grammars)
    codec = SnapshotCodec("random", model.config.state_shapes, vocab_size)
    scheduler = Scheduler(max_batch, 16, prefixes)
    processor = OutputProcessor(tokenizer)
    return Engine(scheduler, runner, processor, prefixes, codec, **options), grammars


def task(grammar="", seed=0, **changes):
    common = {"max_tokens": 300, "temperature": 2.0, "seed": seed, "grammar": grammar}
    return Task(PROMPT, SamplingParams(**(common | changes)))


@pytest.fixture(scope="module")
def model(checkpoint):
    return load_model(checkpoint, max_tokens=32, max_rows=8)


@pytest.fixture(scope="module", params=LOGITS)
def of_each_kind(request, tmp_path_factory):
    """A model with a vocabulary of each kind."""
    folder = tmp_path_factory.mktemp("model")
    path = write_model(
        folder / "random.safetensors", random_tensors(1, 32, LOGITS[request.param], 16)
    )
    tokenizer = make_tokenizer(request.param, folder)
    return build(load_model(path, max_tokens=32, max_rows=4), tokenizer)[0]


@pytest.fixture
def engine(model):
    return build(model, ByteTokenizer())[0]


@pytest.mark.parametrize("name", SCHEMAS)
def test_json_is_valid_whatever_the_vocabulary(of_each_kind, name):
    # Recursive values may grow until max_tokens, so not all of those end.
    tasks = {str(seed): task(json_grammar(SCHEMAS[name]), seed) for seed in range(4)}
    for outputs in run(of_each_kind, **tasks).values():
        _, text, reason, *_ = said(outputs)
        assert reason == "stop" or name == "recursive"
        if reason == "stop":
            jsonschema.validate(json.loads(text), SCHEMAS[name])


def test_penalties_bias_the_choice_among_what_is_allowed(engine):
    penalized = {"frequency_penalty": 2.0, "presence_penalty": 2.0, "repetition_penalty": 1.8}
    for seed in range(5):
        params = {"max_tokens": 60, "seed": seed, **penalized, "top_p": 0.8, "top_k": 50}
        (outputs,) = run(engine, a=task(regex_grammar("[a-d]{4}"), **params)).values()
        assert re.fullmatch("[a-d]{4}", said(outputs)[1])
    greedy = run(engine, a=task(choice_grammar(["xy", "xz"]), temperature=0))["a"]
    assert said(greedy)[1] in ("xy", "xz")


@pytest.mark.parametrize("room", [0, 64 << 20])
def test_bytes_are_the_same_alone_batched_and_resumed(model, room):
    grammars = [OBJECT, WORDS, "", choice_grammar(["abc", "abd"]), json_grammar({"type": "object"})]
    tasks = {str(n): task(grammar, n, max_tokens=60) for n, grammar in enumerate(grammars * 2)}
    batched = run(build(model, ByteTokenizer(), room=room)[0], **tasks)
    engine, _ = build(model, ByteTokenizer(), room=room)
    for name, each in tasks.items():
        whole = batched[name]
        assert said(run(engine, alone=each)["alone"]) == said(whole)
        for cut in {1, len(whole) // 2, len(whole) - 1} - {0}:
            ids = [token for output in whole[:cut] for token in output.token_ids]
            rest = msgspec.structs.replace(each, generated_ids=ids)
            assert said(run(engine, rest=rest)["rest"]) == said(whole[cut:])


def test_the_output_ends_when_nothing_can_follow(engine):
    for ignore_eos in (False, True):
        outputs = run(engine, a=task(choice_grammar(["abc"]), ignore_eos=ignore_eos))["a"]
        assert said(outputs)[:3] == ([*b"abc"], "abc", "stop")


class Favours:
    """A sampler that takes the first of its favourites that the mask allows."""

    def __init__(self, *favourites):
        self.favourites = favourites

    def sample(self, _, rows):
        return [
            next(token for token in self.favourites if _allows(row.mask, token)) for row in rows
        ]


def _allows(mask, token):
    return mask is None or bool(mask[token // 32] >> np.uint32(token % 32) & 1)


@pytest.mark.parametrize(
    ("end", "changes"),
    [
        (0, {}),
        (ord("."), {"stop_token_ids": (ord("."),)}),
        (ord("\n"), {"stop": ("never", "\n\nUser:")}),
    ],
)
def test_what_ends_a_turn_ends_the_output_where_the_grammar_may_end(model, end, changes):
    engine, _ = build(model, ByteTokenizer())
    engine._runner._sampler = Favours(end, ord("a"))
    outputs = run(engine, a=task(regex_grammar("a{3,9}"), **changes))["a"]
    assert said(outputs)[:3] == ([*b"aaa", end], "aaa", "stop")


def test_a_stop_string_that_the_grammar_allows_is_text_until_it_is_whole(model):
    engine, _ = build(model, ByteTokenizer())
    engine._runner._sampler = Favours(ord("x"), ord("a"))
    outputs = run(engine, a=task(regex_grammar("(ax)*b"), stop=("xax",)))["a"]
    assert said(outputs)[1:3] == ("a", "stop")


def test_without_the_end_of_document_the_output_goes_on_while_it_can(model):
    engine, _ = build(model, ByteTokenizer())
    engine._runner._sampler = Favours(0, ord("a"))
    outputs = run(engine, a=task(regex_grammar("a{1,5}"), ignore_eos=True))["a"]
    assert said(outputs)[:3] == ([*b"aaaaa"], "aaaaa", "stop")
    outputs = run(engine, a=task(regex_grammar("a*"), ignore_eos=True, max_tokens=9))["a"]
    assert said(outputs)[1:3] == ("a" * 9, "length")


def test_an_end_by_length_may_cut_the_output(engine):
    outputs = run(engine, a=task(OBJECT, max_tokens=5))["a"]
    ids, text, reason, *_ = said(outputs)
    assert (len(ids), reason) == (5, "length")
    assert text.startswith("{")


def test_an_output_that_this_vocabulary_cannot_write_is_an_error(engine):
    # NUL is the end of the document here, and no text.
    outputs = run(engine, bad=task(regex_grammar(r"ab\x00")), good=task(WORDS, max_tokens=9))
    last = outputs["bad"][-1]
    assert (last.finish_reason, last.error_code) == ("error", "grammar_error")
    assert last.error.startswith("grammar: ")
    assert said(outputs["good"])[2] in ("stop", "length")


@pytest.mark.parametrize(
    "bans",
    [
        {"allowed_token_ids": (ord("x"),)},
        {"logit_bias": ((ord("a"), NEVER),)},
        {"min_tokens": 1, "stop_token_ids": (ord("a"),)},
        {"bad_words": ("a",)},
    ],
)
def test_a_grammar_whose_tokens_the_request_bans_is_an_error_of_the_request(engine, bans):
    (last,) = run(engine, a=task(regex_grammar("a"), **bans))["a"]
    assert (last.finish_reason, last.error_code) == ("error", "grammar_error")
    assert "allowed_token_ids, logit_bias or min_tokens" in last.error


def test_a_grammar_that_gets_too_complex_is_an_error(engine):
    ambiguous = 'start: x\nx: "a" x | x "a" | x x | y\ny: "b" y | x y | ""'
    outputs = run(engine, a=task(ambiguous, ignore_eos=True))["a"]
    assert (outputs[-1].finish_reason, outputs[-1].error_code) == ("error", "grammar_error")


def test_others_go_on_while_a_grammar_compiles(model):
    now = [0.0]
    engine, grammars = build(model, ByteTokenizer(), clock=lambda: now[0])
    compiled, futures = grammars._compiler.compile(WORDS), {}
    grammars._compiler.compile = lambda grammar: futures.setdefault(grammar, Future())
    for name in ("slow", "bad", "late", "dropped"):
        engine.add(name, task(name, max_tokens=5))
    engine.add("other", task(max_tokens=5, ignore_eos=True))
    outputs = [output for _ in range(20) for output in engine.step()]
    assert {output.request_id for output in outputs} == {"other"}
    assert outputs[-1].finish_reason == "length"
    futures["slow"].set_result(compiled.result())
    futures["bad"].set_exception(GrammarError("it is bad"))
    engine.abort("dropped")
    outputs = [output for _ in range(20) for output in engine.step()]
    found = {output.request_id: (output.finish_reason, output.error) for output in outputs}
    assert found["bad"] == ("error", "grammar: it is bad")
    assert found["slow"][0] in ("stop", "length")
    assert set(found) == {"bad", "slow"}
    now[0] += COMPILE_SECONDS + 1
    (late,) = engine.step()
    assert (late.request_id, late.error_code) == ("late", "grammar_error")
    assert not engine.has_work
    assert not grammars._rows
    assert not grammars._compiling


class FailsMeanwhile(Future):
    """Is done when it is asked for the second time."""

    def done(self):
        was_done = super().done()
        if not was_done:
            self.set_exception(GrammarError("it is bad"))
        return was_done


def test_a_grammar_that_fails_within_a_step_is_an_error_in_the_next(model):
    engine, grammars = build(model, ByteTokenizer())
    grammars._compiler.compile = lambda _: FailsMeanwhile()
    outputs = run(engine, a=task("any"))["a"]
    assert [output.error for output in outputs] == ["grammar: it is bad"]


def test_what_a_request_held_is_released_however_it_ends(model):
    engine, grammars = build(model, ByteTokenizer())
    engine.add("a", task(json_grammar({"type": "object"})))
    while "a" not in grammars._rows:
        engine.step()
    engine.abort("a")
    assert not grammars._rows
    run(engine, b=task(choice_grammar(["x"])))
    assert not grammars._rows


def test_the_grammar_outlasts_a_lost_slot(model):
    engine, _ = build(model, ByteTokenizer(), max_batch=1)
    whole = run(engine, a=task(OBJECT))["a"]
    engine.add("a", task(OBJECT))
    outputs = []
    while len(outputs) < 5:
        outputs += engine.step()
    engine.sleep("a")
    run(engine, b=task(WORDS, max_tokens=3))  # takes the slot
    engine.wake("a")
    while engine.has_work:
        outputs += engine.step()
    assert said(outputs) == said(whole)


def test_compiled_grammars_are_kept_within_bounds():
    compiler = GrammarCompiler(ByteTokenizer(), 256)
    first = compiler.compile('start: "a"')
    assert compiler.compile('start: "a"') is first
    for number in range(100):
        compiler.compile(f'start: "{number}"').result()
    assert len(compiler._kept) == 32
    assert compiler.compile('start: "a"') is not first
    for number in range(30):
        compiler.compile(f'start: "{number}{"x" * 100_000}"').result()
    assert compiler._bytes == sum(map(len, compiler._kept)) <= 2 << 20
