"""The matcher of stop strings beside one that looks at everything again with every piece."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.stop_strings import StopStrings
from tests.engine.naive_stops import NaiveStopStrings

letters = st.text(alphabet="ab", min_size=1, max_size=8)
# Strings whose beginnings come again within them: what a matcher has to fall back to.
periodic = st.builds(
    lambda part, times, end: part * times + end, letters, st.integers(1, 6), letters
)
others = st.text(alphabet="aé語😀�", min_size=1, max_size=4)
stops = st.lists(letters | periodic | others, max_size=5).map(
    lambda found: (*dict.fromkeys(found),)
)
texts = st.lists(letters | periodic | others | st.just(""), max_size=12)


def both(stops, pieces):
    """What the two let through of the same pieces, going on as a request would."""
    found = []
    for matcher in (StopStrings(stops), NaiveStopStrings(stops)):
        shown = [(matcher.push(piece), matcher.found) for piece in pieces]
        found.append([*shown, matcher.flush(), matcher.push("ab"), matcher.found])
    return found


@given(stops, texts)
@settings(max_examples=1500)
def test_every_piece_is_what_the_naive_matcher_lets_through(stops, pieces):
    quick, naive = both(stops, pieces)
    assert quick == naive


@given(st.data(), stops.filter(bool))
@settings(max_examples=500)
def test_texts_made_of_parts_of_the_stop_strings(data, stops):
    parts = [stop[: length + 1] for stop in stops for length in range(len(stop))]
    pieces = data.draw(st.lists(st.sampled_from(parts), max_size=20))
    quick, naive = both(stops, pieces)
    assert quick == naive


def held(size):
    """A stop string that holds back `size` characters, and others that are looked for in them."""
    return ("a" * size, *("a" * (30 + i) + "b" for i in range(15)))


def periodic_stop(size):
    return ("ab" * (size // 2), *("ab" * (30 + i) + "b" for i in range(15)))


def late(size):
    """All are held back until their last character differs."""
    return tuple("a" * (size - 1) + chr(98 + i) for i in range(16))


def seconds(matcher, text):
    """Of the processor, for a text that comes a character at a time; the least of three times."""
    times = []
    for _ in range(3):
        began = time.process_time()
        for character in text:
            matcher.push(character)
        times.append(time.process_time() - began)
        matcher.flush()
    return min(times)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (held, "a" * 7999),
        (periodic_stop, "ab" * 3999),
        (late, "a" * 7998),
        (late, "a" * 7999 + "z"),
    ],
)
def test_the_time_of_a_character_does_not_grow_with_what_is_held_back(kind, text):
    assert seconds(StopStrings(kind(8000)), text) < 5 * seconds(StopStrings(kind(200)), text) + 0.02


@given(pieces=st.lists(st.text("abc", max_size=4), max_size=12))
def test_a_stop_string_that_is_shown_ends_the_text(pieces):
    stops = ("ab", "cc", "bca")
    shown, hidden = StopStrings(stops, ("cc", "bca")), StopStrings(stops)
    texts = ["", ""]
    for piece in pieces:
        texts = [text + each.push(piece) for text, each in zip(texts, (shown, hidden), strict=True)]
        if hidden.found:
            break
    assert shown.found == hidden.found
    assert texts[0] == texts[1] + (shown.found if shown.found in ("cc", "bca") else "")
    assert "".join(pieces).startswith(texts[0])
