"""Requests are found, and counted, alike however their bytes are split."""

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.api.request_framing import MAX_HEADER_LINES, HeadTooLargeError, RequestFraming

LIMIT = 1024


class Parsed:
    """Feeds a parser by the framing, as a connection does; a message is what the app gets."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.framing = RequestFraming(limit)
        self.parser = httptools.HttpRequestParser(self)
        self.messages: list[tuple[bytes, list[tuple[bytes, bytes]], bytes]] = []
        self.done = 0
        self.most_pending = 0
        self._url, self._headers = b"", []

    def feed(self, segments: list[bytes]) -> str:
        """What becomes of it: "", "large" or "invalid"."""
        try:
            for segment in segments:
                self.framing.add(segment)
                while piece := self.framing.next_piece():
                    done = self.done
                    self.parser.feed_data(piece)
                    self.framing.check()
                    assert self.done <= done + 1, "a piece reaches into the next request"
                self.most_pending = max(self.most_pending, self.framing.pending)
        except HeadTooLargeError:
            return "large"
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return "invalid"
        return ""

    def on_message_begin(self) -> None:
        self._url, self._headers = b"", []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.framing.in_head:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        headers = dict(self._headers)
        length = int(headers.get(b"content-length", 0))
        self.framing.head_complete(None if b"transfer-encoding" in headers else length)
        self.messages.append((self._url, self._headers, b""))

    def on_body(self, body: bytes) -> None:
        self.framing.body(len(body))
        url, headers, before = self.messages[-1]
        self.messages[-1] = url, headers, before + body

    def on_message_complete(self) -> None:
        self.framing.message_complete()
        self.done += 1


def request(body: bytes = b"", path: bytes = b"/", headers: bytes = b"") -> bytes:
    length = b"content-length: %d\r\n" % len(body) if body else b""
    return b"POST %b HTTP/1.1\r\n%b%b\r\n%b" % (path, headers, length, body)


def chunked(chunks: list[bytes], extension: bytes = b"", trailers: bytes = b"") -> bytes:
    lines = b"".join(b"%x%b\r\n%b\r\n" % (len(each), extension, each) for each in chunks if each)
    return b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n%b0\r\n%b\r\n" % (lines, trailers)


bodies = st.sampled_from((b"", b"x", b"\r\n\r\n", b"a\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"y" * 300))
requests = st.one_of(
    st.builds(request, bodies, headers=st.sampled_from((b"", b"A: b\r\n", b"x:\r\n" * 9))),
    st.builds(chunked, st.lists(bodies, max_size=4), st.sampled_from((b"", b";a=b"))),
    st.builds(chunked, st.lists(bodies, max_size=2), trailers=st.just(b"host: evil\r\n")),
    st.just(b"\r\nGET /x HTTP/1.1\r\nConnection: upgrade\r\nUPGRADE: h2c\r\n\r\n"),
)


@st.composite
def split(draw: st.DrawFn, content: st.SearchStrategy[bytes]) -> tuple[bytes, list[bytes]]:
    whole = draw(content)
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    return whole, [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


@settings(deadline=None, max_examples=60)
@given(split(st.lists(requests, min_size=1, max_size=5).map(b"".join)))
def test_requests_are_the_same_however_they_are_split(drawn: tuple[bytes, list[bytes]]) -> None:
    whole, segments = drawn
    parsed, at_once, by_byte = Parsed(), Parsed(), Parsed()
    assert parsed.feed(segments) == at_once.feed([whole]) == ""
    assert by_byte.feed([whole[at : at + 1] for at in range(len(whole))]) == ""
    assert parsed.messages == at_once.messages == by_byte.messages
    assert parsed.done == at_once.done == by_byte.done > 0
    assert not any(name == b"host" for _, headers, _ in parsed.messages for name, _ in headers)
    assert not parsed.parser.should_upgrade()


def head_of(size: int, kind: str) -> bytes:
    """A request whose head has so many bytes, most of them of one kind."""
    rest = {
        "url": b"GET /%b HTTP/1.1\r\nhost: a\r\n\r\n",
        "value": b"GET / HTTP/1.1\r\nhost: a\r\nx: %b\r\n\r\n",
        "name": b"GET / HTTP/1.1\r\nhost: a\r\n%b: y\r\n\r\n",
        "padding": b"GET / HTTP/1.1\r\nhost: a\r\nx:%b\r\n\r\n",
        "blank": b"%bGET / HTTP/1.1\r\nhost: a\r\n\r\n",
    }[kind]
    filler = {"padding": b" ", "blank": b"\n"}.get(kind, b"f")
    return rest % (filler * (size - len(rest) + 2))


KINDS = ("url", "value", "name", "padding", "blank")


@settings(deadline=None, max_examples=60)
@given(
    split(st.builds(head_of, st.integers(LIMIT - 2, LIMIT + 2), st.sampled_from(KINDS))),
    st.sampled_from((b"", request(b"x" * 40), chunked([b"z"] * 9))),
)
def test_the_limit_is_exact_for_all_ways_to_split_a_head(
    drawn: tuple[bytes, list[bytes]], before: bytes
) -> None:
    whole, segments = drawn
    parsed = Parsed()
    assert parsed.feed([before, *segments]) == ("large" if len(whole) > LIMIT else "")
    assert parsed.most_pending <= LIMIT


@pytest.mark.parametrize("piece", [1, 7, 100, 1 << 20])
@pytest.mark.parametrize(
    ("start", "unit"),
    [
        (b"GET /", b"x"),
        (b"GET / HTTP/1.1\r\n", b"a:\r\n"),
        (b"GET / HTTP/1.1\r\n", b"x"),
        (b"GET / HTTP/1.1\r\nx: ", b"x"),
        (b"GET / HTTP/1.1\r\nx:", b"\t"),
        (b"", b"\r\n"),
        (chunked([b"x"])[:-2], b"a: b\r\n"),
        (chunked([b"x"])[:-2], b"a"),
        (chunked([b"x"])[:-2] + b"a: ", b"a"),
        (chunked([b"x"])[:-5] + b"1;", b"a"),
        (chunked([b"x"])[:-5], b"0"),
        (chunked([b"x"])[:-5], b"1;aaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n"),
    ],
)
def test_what_has_no_end_is_refused(start: bytes, unit: bytes, piece: int) -> None:
    whole = start + unit * (4 * LIMIT)
    parsed = Parsed()
    outcome = parsed.feed([whole[at : at + piece] for at in range(0, len(whole), piece)])
    assert outcome == "large"
    assert sum(len(body) for *_, body in parsed.messages) < LIMIT


@pytest.mark.parametrize("size", [1, 2, 10, 1000])
def test_honest_chunks_of_any_size_pass(size: int) -> None:
    body = b"x" * 20_000
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    parsed = Parsed()
    whole = chunked(chunks)
    assert parsed.feed([whole[at : at + 1400] for at in range(0, len(whole), 1400)]) == ""
    assert [content for *_, content in parsed.messages] == [body]


@pytest.mark.parametrize("more", [0, 1])
def test_the_number_of_headers_is_bounded(more: int) -> None:
    lines = b"a:b\r\n" * (MAX_HEADER_LINES + more)
    assert Parsed(1 << 20).feed([request(headers=lines)]) == ("large" if more else "")


@pytest.mark.parametrize("before", [chunked([b"x"]), chunked([b"x"], trailers=b"a: b\r\n")])
def test_the_end_of_a_chunked_body_is_found_wherever_it_is_cut(before: bytes) -> None:
    whole = before + request() + request()
    for cut in range(len(whole)):
        for second in (cut, cut + 1, cut + 2):
            parsed = Parsed()
            assert parsed.feed([whole[:cut], whole[cut:second], whole[second:]]) == ""
            assert parsed.done == 3
