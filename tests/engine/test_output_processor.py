from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.batch import Batch, BatchResult, Chunk
from server.engine.output_processor import OutputProcessor
from server.engine.request import Request
from server.engine.stop_strings import StopStrings
from server.protocol.task import Task
from server.sampling.params import SamplingParams
from server.tokenizer.bytes import ByteTokenizer


def generate(tokens, **params):
    """Feed tokens to a processor until it ends; returns (pieces, finish reason, error)."""
    processor = OutputProcessor(ByteTokenizer())
    request = Request("r", Task([1], SamplingParams(**{"max_tokens": 1000, "seed": 0, **params})))
    processor.add(request)
    pieces = []
    for token in tokens:
        result = BatchResult({"r": token})
        outputs, finished = processor.process(Batch([Chunk(request, 1)]), result)
        request.token_ids.append(token)
        pieces.append(outputs[0].text)
        if outputs[0].finish_reason:
            assert finished == [request]
            return pieces, outputs[0].finish_reason, outputs[0].error
        assert not finished
    return pieces, None, None


def first_stop(text, stops):
    """The text before the stop string that is complete first (the longest of equals)."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(map(len, found))]
    return None


small_text = st.text(alphabet="abc", max_size=30)
small_stops = st.lists(st.text(alphabet="abc", min_size=1, max_size=5), max_size=3).map(tuple)


@given(pieces=st.lists(small_text, max_size=12), stops=small_stops)
@settings(max_examples=400)
def test_stop_strings_cut_exactly_and_are_never_shown(pieces, stops):
    text = "".join(pieces)
    matcher, shown = StopStrings(stops), ""
    for piece in pieces:
        shown += matcher.push(piece)
        assert first_stop(shown, stops) is None
        if matcher.found:
            break
    shown += matcher.flush()
    expected = first_stop(text, stops)
    assert bool(matcher.found) == (expected is not None)
    assert shown == (text if expected is None else expected)


@given(text=small_text, stops=small_stops)
def test_what_cannot_become_a_stop_string_is_not_held_back(text, stops):
    matcher = StopStrings(stops)
    shown = matcher.push(text)
    if not matcher.found:
        held = text[len(shown) :]
        assert held == "" or any(stop.startswith(held) for stop in stops)


@given(st.text(max_size=40).filter(lambda text: "\0" not in text))
@settings(max_examples=200)
def test_pieces_are_whole_characters(text):
    tokens = [*text.encode(), 0]
    pieces, reason, _ = generate(tokens)
    assert "".join(pieces) == text
    assert reason == "stop"


def test_length_flushes_what_was_held_back():
    tokens = [*b"ab", "é".encode()[0]]
    pieces, reason, _ = generate(tokens, max_tokens=3, stop=("bc",))
    assert pieces == ["a", "", "b\N{REPLACEMENT CHARACTER}"]
    assert reason == "length"


def test_end_of_document_and_stop_tokens():
    assert generate([*b"ab", 0])[0] == ["a", "b", ""]
    assert generate([*b"ab", 0])[1] == "stop"
    assert generate([*b"a", 0, *b"b"], ignore_eos=True)[1] is None
    assert generate([*b"abc"], stop_token_ids=(ord("b"),))[:2] == (["a", ""], "stop")


def test_stop_wins_over_length():
    assert generate([*b"ab"], max_tokens=2, stop=("b",))[:2] == (["a", ""], "stop")
    assert generate([*b"a", 0], max_tokens=2)[1] == "stop"


def test_a_token_that_could_not_be_sampled_is_an_error():
    _, reason, error = generate([-1])
    assert reason == "error"
    assert "finite" in error


@given(text=small_text, stops=small_stops)
def test_the_stop_string_that_was_found_is_named(text, stops):
    matcher = StopStrings(stops)
    shown = matcher.push(text)
    if matcher.found:
        assert matcher.found in stops
        assert text.startswith(shown + matcher.found)
    else:
        assert matcher.found == ""


def test_a_resumed_request_names_a_stop_string_that_began_before():
    processor = OutputProcessor(ByteTokenizer())
    task = Task([1], SamplingParams(max_tokens=10, seed=0, stop=("xab",)), generated_ids=[*b"yxa"])
    request = Request("r", task)
    processor.add(request)
    batch, result = Batch([Chunk(request, 1)]), BatchResult({"r": ord("b")})
    outputs, _ = processor.process(batch, result)
    assert (outputs[0].text, outputs[0].stop_string) == ("", "xab")
