"""Ai00's grammars in ours: accepted and refused texts, over the checker's own compiler."""

import pytest

from server.grammars.compiling import make_vocabulary
from server.grammars.errors import GrammarError
from server.grammars.kbnf import kbnf_grammar
from server.tokenizer.world import WorldTokenizer, load_world_vocabulary
from tests.grammars.outputs import accepts

TOKENIZER = WorldTokenizer(load_world_vocabulary())
VOCABULARY = make_vocabulary(TOKENIZER, 65_536)

JSON = r"""
(* an object *)
start ::= "{" member ("," " "? member)* "}";
member ::= key ":" value;
key ::= '"' #'[a-z]+' '"';
value ::= #"-?[0-9]+(\\.[0-9]+)?" | string | start;
string ::= #'"([^\\\\"\u0000-\u001f]|\\\\["\\\\bfnrt/])*"';
"""
OLD = """
<start> ::= <json_object>
<json_object> ::= "{" <object_members> "}"
<object_members> ::= <json_member> | <json_member> ", " <object_members>
<json_member> ::= <json_key> ": " <json_value>
<json_key> ::= '"' "name" '"' | '"' "age" '"'
<json_value> ::= <digit>|<digit><json_value>
<digit>::='0'|"1"|"2"
"""

ACCEPTED = [
    (JSON, '{"a":1}', True),
    (JSON, '{"a":{"b":-2.5},"c":"x"}', True),
    (JSON, '{"a":"x\\\\ny"}', True),
    (JSON, '{"a":}', False),
    (JSON, '{"A":1}', False),
    (OLD, '{"name": 12, "age": 0}', True),
    (OLD, '{"job": 12}', False),
    ("start ::= 'a' 'b' | 'c';", "ab", True),
    ("start ::= 'a' 'b' | 'c';", "c", True),
    ("start ::= 'a' 'b' | 'c';", "ac", False),
    ("start ::= ('a' | 'b')+ 'c'?;", "abbac", True),
    ("start ::= ['a'] {'b'};", "bbb", True),
    ("start ::= ['a'], {'b'};", "a", True),
    ("start ::= '\\t\\n\\'\\\\\\u00e9\\x41';", "\t\n'\\éA", True),
    ('start ::= #"a/b\\n";', "a/b\n", True),
    ("A_1 ::= 'x'; start ::= A_1 A_1;", "xx", True),
    ("start ::= '日本';", "日本", True),
    ("start ::= '';", "", True),
]


@pytest.mark.parametrize(("grammar", "text", "fits"), ACCEPTED)
def test_what_a_grammar_accepts(grammar, text, fits):
    assert bool(accepts(kbnf_grammar(grammar), VOCABULARY, TOKENIZER, text)) == fits


@pytest.mark.parametrize(
    ("grammar", "word"),
    [
        ("", "start"),
        ("a ::= 'a';", "start"),
        ("start ::= b;", "rule b"),
        ("start ::= ", "nothing in its rule start"),
        ("start ::= ;", "nothing in its rule start"),
        ("start ::= b; b ::= ; c ::= 'c';", "nothing in its rule b"),
        ("<start> ::= <b>\n<b> ::=\n<c> ::= 'c'", "nothing in its rule b"),
        ("start ::= 'a'; start ::= 'b';", "two rules"),
        ("start ::= except!('a');", "except!"),
        ("start ::= #substrs'a';", "#substrs"),
        ('start ::= #e"a";', "#e"),
        ("start ::= 'a", "is not KBNF"),
        ("start ::= 'a' @ 'b';", "is not KBNF"),
        ("'a' start ::= 'b';", "begin"),
        ("start ::= '\\q';", "escape"),
        ("start ::= '\\ud800';", "no character"),
    ],
)
def test_what_is_not_kbnf_or_not_here(grammar, word):
    with pytest.raises(GrammarError, match=word):
        kbnf_grammar(grammar)
