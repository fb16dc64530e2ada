"""Text that remembers which of its characters a template wrote.

The template writes `xyXY` and marks, everybody else `abAB`: so it is seen in a result whose
character each is.
"""

# ruff: noqa: ARG005
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.tokenizer.template_environment import TemplateEnvironment
from server.tokenizer.template_text import TemplateText, joined, literal, plain

OURS = "xyXY<|>"
ours = st.text(OURS, max_size=6).map(literal)
theirs = st.text("abAB", max_size=6)
shared = st.text(" \n\t", max_size=3)
texts = st.lists(st.one_of(ours, theirs, shared), max_size=6).map(joined)
seps = st.one_of(st.sampled_from(["a", "aa", "x", "xx", "ab", " ", "\n", "b"]), ours, theirs)
sizes = st.integers(-9, 9)


def is_sound(text):
    """Whether no character of anybody else counts as the template's."""
    written = {at for start, end in getattr(text, "written", ()) for at in range(start, end)}
    assert all(0 <= at < len(text) for at in written)
    return not any(text[at] in "abAB" for at in written)


def is_complete(text):
    """Whether all characters of the template count as its own."""
    written = {at for start, end in text.written for at in range(start, end)}
    return all(at in written for at, char in enumerate(text) if char in OURS)


OPERATIONS = {
    "add": lambda t, s, n, m: t + s,
    "radd": lambda t, s, n, m: plain(s) + t,
    "slice": lambda t, s, n, m: t[n:m],
    "strip": lambda t, s, n, m: t.strip(),
    "strip chars": lambda t, s, n, m: t.strip(s or "a"),
    "lstrip": lambda t, s, n, m: t.lstrip(s or "a"),
    "rstrip": lambda t, s, n, m: t.rstrip(),
    "removeprefix": lambda t, s, n, m: t.removeprefix(s),
    "removesuffix": lambda t, s, n, m: t.removesuffix(s),
    "split": lambda t, s, n, m: t.split(s or "a", n),
    "split blanks": lambda t, s, n, m: t.split(None, n),
    "rsplit": lambda t, s, n, m: t.rsplit(s or "a", n),
    "rsplit blanks": lambda t, s, n, m: t.rsplit(None, n),
    "splitlines": lambda t, s, n, m: t.splitlines(),
    "splitlines keepends": lambda t, s, n, m: t.splitlines(True),
    "partition": lambda t, s, n, m: list(t.partition(s or "a")),
    "rpartition": lambda t, s, n, m: list(t.rpartition(s or "a")),
    "upper": lambda t, s, n, m: t.upper(),
    "lower": lambda t, s, n, m: t.lower(),
    "title": lambda t, s, n, m: t.title(),
    "capitalize": lambda t, s, n, m: t.capitalize(),
    "swapcase": lambda t, s, n, m: t.swapcase(),
    "times": lambda t, s, n, m: t * max(n, 0),
    "join": lambda t, s, n, m: t.join([s, "ab", t]),
    "joined by": lambda t, s, n, m: s.join([t, "ab", t]) if isinstance(s, TemplateText) else t,
    "replace": lambda t, s, n, m: t.replace(s or "a", literal("<|y|>"), n),
    "replace with theirs": lambda t, s, n, m: t.replace("x", "ab"),
    "characters": lambda t, s, n, m: list(t),
}


@pytest.mark.parametrize("name", OPERATIONS)
@given(text=texts, other=seps, n=sizes, m=sizes)
def test_operations_of_strings(name, text, other, n, m):
    operation = OPERATIONS[name]
    found = operation(text, other, n, m)
    assert found == operation(plain(text), plain(other), n, m) if name != "joined by" else True
    for each in found if isinstance(found, list) else [found]:
        assert is_sound(each)
        if not any(char in OURS for char in each):
            continue
        assert name == "joined by" or isinstance(each, TemplateText)
        if name not in ("add", "radd", "join", "joined by"):  # `other` may be a plain string
            assert is_complete(each)


@given(texts, st.sampled_from(["%r", "%5s", "%-9s", "%.2s", "%(a)s", "%s %s", "%d"]), theirs)
def test_what_is_not_followed_is_nobodys(text, form, other):
    """Other operations may lose what is the template's, and never give it anything."""
    written = literal("<|x") + text
    for operation in (
        lambda t: t.center(20),
        lambda t: t.zfill(20),
        lambda t: t.expandtabs(3),
        lambda t: t.translate({ord("x"): "ab", ord("a"): "xx"}),
        lambda t: t[::-1],
        lambda t: t[::2],
        lambda t: form % t,
        lambda t: literal("<|" + form) % other,
        lambda t: (literal("%1s") + t) % other,
        lambda t: literal(form) % {"a": other},
        lambda t: t.encode().decode(),
    ):
        try:
            found = operation(written)
        except (TypeError, ValueError):
            continue
        assert is_sound(found)


def test_a_conversion_that_a_user_repeats_is_the_users():
    assert (literal("%1s") % "%1s") == "%1s"
    assert not getattr(literal("%1s") % "%1s", "written", ())


def test_the_case_of_some_characters_makes_more_of_them():
    for text in ("ßx", "xß", "İx", "\u0149x", "xΣ"):
        mixed = TemplateText(text, ((text.index("x"), text.index("x") + 1),))
        assert mixed.upper() == text.upper()
        assert mixed.lower() == text.lower()
        for found in (mixed.upper(), mixed.lower()):
            for start, end in getattr(found, "written", ()):
                assert found[start:end] in ("x", "X")


def written_by(source, **variables):
    """What a template writes, as its own and as somebody else's characters in turn."""
    text = joined(TemplateEnvironment().from_string(source).generate(variables))
    runs, position = [], 0
    for start, end in text.written:
        runs += [plain(text)[position:start], plain(text)[start:end]]
        position = end
    return [*runs, plain(text)[position:]]


# What templates do, and then [theirs, the template's, theirs, …].
EXPRESSIONS = {
    "<x>{{ a }}": ["", "<x>", "ab"],
    "{{ '<x>' + a + '<y>' }}": ["", "<x>", "ab", "<y>", ""],
    "{{ a + '<y>' }}": ["ab", "<y>", ""],
    "{{ '<x>' ~ a ~ 1 ~ '<y>' }}": ["", "<x>", "ab1", "<y>", ""],
    "{{ ['<x>', a, '<y>'] | join }}": ["", "<x>", "ab", "<y>", ""],
    "{{ [a, a] | join('<y>') }}": ["ab", "<y>", "ab"],
    "{{ '<y>'.join([a, a]) }}": ["ab", "<y>", "ab"],
    "{{ [{'k': a}, {'k': a}] | join('<y>', attribute='k') }}": ["ab", "<y>", "ab"],
    "{{ '<x>%s<y>' % a }}": ["", "<x>", "ab", "<y>", ""],
    "{{ '<x>%s<y>' | format(a) }}": ["", "<x>", "ab", "<y>", ""],
    "{{ '%(k)s<y>' % {'k': a} }}": ["ab", "<y>", ""],
    "{{ '<x>{}<y>{{'.format(a) }}": ["", "<x>", "ab", "<y>{", ""],
    "{{ '<x>{k}<y>{0}'.format(a, k=a) }}": ["", "<x>", "ab", "<y>", "ab"],
    "{{ '{k}<y>'.format_map({'k': a}) }}": ["ab", "<y>", ""],
    "{% set x = '<x>' + a %}{{ x }}{{ x[:3] }}": ["", "<x>", "ab", "<x>", ""],
    "{% set x %}<x>{{ a }}{% endset %}{{ x | trim }}": ["", "<x>", "ab"],
    "{% macro m(t='<d>') %}<x>{{ t }}{% endmacro %}{{ m(a) }}{{ m() }}": [
        "",
        "<x>",
        "ab",
        "<x><d>",
        "",
    ],
    "{% macro m() %}{{ caller() }}<y>{% endmacro %}{% call m() %}{{ a }}{% endcall %}": [
        "ab",
        "<y>",
        "",
    ],
    "{% filter upper %}<x>{{ a }}{% endfilter %}": ["", "<X>", "AB"],
    "{{ a | replace('b', '<y>') }}": ["a", "<y>", ""],
    "{{ ('<x>' + a) | replace('a', '') | upper }}": ["", "<X>", "B"],
    "{% set tags = {'u': '<u>', 'v': ['<v>']} %}{{ tags['u'] + a + tags.v[0] }}": [
        "",
        "<u>",
        "ab",
        "<v>",
        "",
    ],
    "{% set n = namespace(x='') %}{% for i in 'ab' %}{% set n.x = n.x + '<x>' + a %}{% endfor %}"
    "{{ n.x }}": [
        "",
        "<x>",
        "ab",
        "<x>",
        "ab",
    ],
    "{% for c in '<x>' %}{{ c }}{% endfor %}{{ a }}": ["", "<x>", "ab"],
    "{{ ('<x>' + a + '<y>').split('ab') | join(a) }}": ["", "<x>", "ab", "<y>", ""],
    "{{ '<x>' if a else a }}{{ none or '<y>' }}{{ nothing | default('<z>') }}": [
        "",
        "<x><y><z>",
        "",
    ],
    "{{ loop_ }}{% for i in [1, 2] %}{{ loop.cycle('<x>', '<y>') }}{{ a }}{% endfor %}": [
        "",
        "<x>",
        "ab",
        "<y>",
        "ab",
    ],
    "{{ [a, '<x>'] | first }}{{ [a, '<x>'] | last }}{{ ['<x>'] | map('trim') | list | join }}": [
        "ab",
        "<x><x>",
        "",
    ],
    "{{ '<x>' | upper }}{{ a | upper }}{{ '<p>' * 2 }}": ["", "<X>", "AB", "<p><p>", ""],
    "{{ a | tojson }}{{ {'k': a} | tojson }}<x>": ['"ab"{"k": "ab"}', "<x>", ""],
    # Not followed, so nobody's: a text in JSON, and one that is safe for HTML.
    "{% set x = '<x>' %}{{ x | tojson | trim }}{{ a }}": ['"<x>"ab'],
    "{% autoescape true %}{{ '<x>' }}{% endautoescape %}{{ a }}": ["", "&lt;x&gt;", "ab"],
}


@pytest.mark.parametrize("source", EXPRESSIONS)
def test_what_templates_do(source):
    assert written_by(source, a="ab") == EXPRESSIONS[source]
    tracked = written_by(source, a=TemplateText("ab"))
    assert tracked == EXPRESSIONS[source]
