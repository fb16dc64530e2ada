"""The process that checks grammars: what it says, and what it survives."""

import asyncio
import errno
import gc
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from server import bounded_child
from server.grammars import checker as module
from server.grammars.checker import MAX_BYTES, CheckerBusyError, GrammarChecker
from server.grammars.forms import GrammarError, json_grammar, regex_grammar

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
def checker():
    return GrammarChecker()


async def refusal(checker, grammar, may_be_gbnf=False):
    with pytest.raises(GrammarError) as failure:
        await checker.check(grammar, may_be_gbnf)
    assert "\n" not in str(failure.value)
    return str(failure.value)


def schema_of(depth, make):
    """Definitions that each need the next one."""
    definitions = {f"d{n}": make({"$ref": f"#/$defs/d{n + 1}"}) for n in range(depth)}
    return {"$defs": definitions | {f"d{depth}": {"type": "null"}}, "$ref": "#/$defs/d0"}


def as_it_is(schema):
    """A grammar of a schema as the compiler gets it from who writes one in its form."""
    return json.dumps({"grammars": [{"json_schema": schema}]})


async def test_what_is_right_comes_back(checker):
    for grammar in (json_grammar({"type": "object"}), regex_grammar("[a-z]+"), 'start: "a"'):
        assert await checker.check(grammar) == grammar
    assert await checker.check('start: "a"', may_be_gbnf=True) == 'start: "a"'
    assert "start:" in await checker.check('root ::= "a"', may_be_gbnf=True)


@pytest.mark.parametrize(
    ("grammar", "why"),
    [
        (as_it_is({"type": "array", "uniqueItems": True}), "uniqueItems cannot be kept"),
        (as_it_is({"if": {}, "then": {}}), "cannot be kept"),
        (as_it_is({"oneOf": [{"type": "integer"}, {"type": "number"}]}), "oneOf"),
        (as_it_is({"type": "string", "format": "zzz"}), "zzz"),
        (as_it_is({"type": "string", "pattern": "(?=a)b"}), "look-around"),
        (as_it_is({"type": "foo"}), "foo"),
        (as_it_is({"properties": 3}), "properties"),
        (as_it_is({"enum": []}), "no output is possible"),
        (json_grammar({"minLength": 5, "maxLength": 2, "type": "string"}), "minLength"),
        (as_it_is({"$ref": "http://127.0.0.1:1/schema"}), "127.0.0.1"),
        (json_grammar({"$ref": "#"}), "no output"),
        (regex_grammar(r"(a)\1"), "backreferences"),
        (regex_grammar("["), "unclosed"),
        (regex_grammar("a\\"), "error"),
        (regex_grammar(r"\x00a"), "no output"),
        ("start: x", "unknown name"),
        ("start: <[3]>", "tokenizer"),
        ("root ::= x", "Rule 'x' not found"),
        ("nonsense", "Expected"),
    ],
)
async def test_what_is_wrong_is_said(checker, grammar, why):
    assert why in await refusal(checker, grammar, may_be_gbnf=True)


@pytest.mark.parametrize(
    "grammar",
    [
        json_grammar(schema_of(1000, lambda ref: ref)),
        json_grammar(schema_of(1000, lambda ref: {"anyOf": [ref, {"type": "integer"}]})),
        json_grammar(schema_of(1000, lambda ref: {"type": "array", "items": ref})),
        json_grammar({"allOf": [{"pattern": f"^.*{'a' * n}b.*$"} for n in range(40)]}),
        "start: A\nA: " + " & ".join(f"/.*{'a' * n}b.*/" for n in range(40)),
        "start: a0\n" + "".join(f"a{n}: a{n + 1}\n" for n in range(9000)) + 'a9000: "x"',
        f"root ::= {'(' * 3000}{')' * 3000}",
        "root ::= a0\n" + "".join(f"a{n} ::= a{n + 1}\n" for n in range(5000)) + 'a5000 ::= ""',
        regex_grammar("(" * 300 + "a" + ")" * 300),
        json_grammar({"minItems": 2**70, "type": "array", "items": {"const": 0}}),
    ],
    ids=lambda grammar: grammar[:40],
)
async def test_hostile_grammars_end_the_process_at_most(checker, grammar):
    assert await refusal(checker, grammar, may_be_gbnf=True)
    assert await checker.check("start: /after/") == "start: /after/"


@pytest.mark.parametrize(
    "regex", ["(((a{1,1000}){1,1000}){1,1000}){1,1000}", ".{1,1000000}", "(a*)*b", "(.*a.{20})"]
)
async def test_regexes_that_explode_elsewhere_are_nothing_special(checker, regex):
    assert await checker.check(regex_grammar(regex))


async def test_a_long_one_is_refused_without_a_process():
    unused = GrammarChecker()
    assert str(MAX_BYTES) in await refusal(unused, "é" * (MAX_BYTES // 2 + 1))
    assert not unused._child.is_running


async def test_the_process_is_started_again_and_answers_are_kept():
    checker = GrammarChecker()
    await checker.check('start: "a"')
    process = checker._child._process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert await checker.check('start: "a"')
    assert not checker._child.is_running  # it was not needed
    assert await checker.check('start: "b"')
    assert checker._child.is_running


def killing(monkeypatch, number, times):
    """Processes are killed as soon as they are started, a number of times; those started."""
    start, started = subprocess.Popen, []

    def start_and_kill(*args, **kwargs):
        process = start(*args, **kwargs)
        started.append(process)
        if len(started) <= times:
            process.send_signal(number)
        return process

    monkeypatch.setattr(bounded_child.subprocess, "Popen", start_and_kill)
    return started


SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGUSR1, signal.SIGPROF]


@pytest.mark.parametrize("number", SIGNALS)
async def test_one_that_is_killed_while_it_starts_is_started_again(monkeypatch, number):
    started = killing(monkeypatch, number, times=1)
    assert await GrammarChecker().check('start: "a"') == 'start: "a"'
    assert len(started) == 2


@pytest.mark.parametrize("number", SIGNALS)
async def test_when_none_starts_the_client_may_try_again(monkeypatch, number):
    checker = GrammarChecker()
    started = killing(monkeypatch, number, times=2)
    with pytest.raises(CheckerBusyError):
        await checker.check('start: "a"')
    assert await checker.check('start: "a"') == 'start: "a"'
    assert len(started) == 3


async def test_a_process_that_cannot_be_made_is_no_mistake_either(monkeypatch):
    def fail(*_, **__):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(bounded_child.subprocess, "Popen", fail)
    with pytest.raises(CheckerBusyError):
        await GrammarChecker().check('start: "a"')


async def test_a_grammar_is_not_to_blame_for_a_process_that_stands_still(monkeypatch):
    checker = GrammarChecker()
    await checker.check('start: "a"')
    os.kill(checker._child._process.pid, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(checker._child, "_seconds", 0.01)
        with pytest.raises(CheckerBusyError):
            await checker.check('start: "b"')
    assert await checker.check('start: "b"') == 'start: "b"'


async def test_more_than_can_wait_are_turned_away(checker):
    tasks = [asyncio.create_task(checker.check(f'start: "many {n}"')) for n in range(40)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    busy = [result for result in results if isinstance(result, CheckerBusyError)]
    assert len(busy) == len(results) - module._MOST_WAITING


async def test_the_process_knows_no_keys_and_ends_with_its_owner(monkeypatch):
    monkeypatch.setenv("RWKV_SERVER_HTTP_API_KEY", "secret")
    checker = GrammarChecker()
    await checker.check('start: "a"')
    process = checker._child._process
    assert b"secret" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    del checker
    gc.collect()
    assert process.wait(20) < 0  # the thread that asked may be the last to let go of it
