"""The process that checks grammars: what it says, and what it survives."""

import asyncio
import gc
import os
import signal
from pathlib import Path

import pytest

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


async def test_what_is_right_comes_back(checker):
    for grammar in (json_grammar({"type": "object"}), regex_grammar("[a-z]+"), 'start: "a"'):
        assert await checker.check(grammar) == grammar
    assert await checker.check('start: "a"', may_be_gbnf=True) == 'start: "a"'
    assert "start:" in await checker.check('root ::= "a"', may_be_gbnf=True)


@pytest.mark.parametrize(
    ("grammar", "why"),
    [
        (json_grammar({"type": "array", "uniqueItems": True}), "uniqueItems"),
        (json_grammar({"type": "array", "contains": {}}), "contains"),
        (json_grammar({"not": {}}), "not"),
        (json_grammar({"if": {}, "then": {}}), '"if", "then"'),
        (json_grammar({"oneOf": [{"type": "integer"}, {"type": "number"}]}), "oneOf"),
        (json_grammar({"type": "string", "format": "zzz"}), "zzz"),
        (json_grammar({"type": "string", "pattern": "(?=a)b"}), "look-around"),
        (json_grammar({"type": "foo"}), "foo"),
        (json_grammar({"properties": 3}), "properties"),
        (json_grammar({"enum": []}), "Unsatisfiable"),
        (json_grammar({"minLength": 5, "maxLength": 2, "type": "string"}), "minLength"),
        (json_grammar({"$ref": "http://127.0.0.1:1/schema"}), "127.0.0.1"),
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
    assert unused._process is None


async def test_the_process_is_started_again_and_answers_are_kept():
    checker = GrammarChecker()
    await checker.check('start: "a"')
    os.kill(checker._process.pid, signal.SIGKILL)
    checker._process.wait()
    assert await checker.check('start: "a"')
    assert checker._process.returncode is not None  # it was not needed
    assert await checker.check('start: "b"')
    assert checker._process.poll() is None


async def test_a_grammar_is_not_to_blame_for_a_process_that_stands_still(monkeypatch):
    checker = GrammarChecker()
    await checker.check('start: "a"')
    os.kill(checker._process.pid, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_PATIENCE", 0.01)
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
    process = checker._process
    assert b"secret" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    del checker
    gc.collect()
    assert process.wait(20) < 0  # the thread that asked may be the last to let go of it
