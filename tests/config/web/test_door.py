"""What is read at the door is what a parser reads; what can be read in two ways is not read there."""

from dataclasses import dataclass, field

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.web.door import Plain, plain

LENGTH, CREDENTIAL = b"Content-Length: 4", b"Authorization: Bearer ptk_1"
COMMON = (b"Host: h", b"accept: */*", b"Connection: keep-alive", b"X-Empty:", b"User-Agent: curl/8 (\xc3\xa9)")


def request(*lines: bytes, first: bytes = b"POST /api?a=b HTTP/1.1", end: bytes = b"\r\n") -> bytes:
    return b"".join(line + end for line in (first, *lines, b""))


@pytest.mark.parametrize(
    "lines",
    [
        (LENGTH, CREDENTIAL),
        (CREDENTIAL, LENGTH),
        (*COMMON, LENGTH, *COMMON, CREDENTIAL, *COMMON),
        (*COMMON, CREDENTIAL, *COMMON, LENGTH, *COMMON),
        (b"content-length: 4", b"AUTHORIZATION: Bearer ptk_1"),
    ],
)
def test_it_reads_a_plain_head(lines):
    head = request(*lines)
    assert plain(head + b"bodyPOST") == Plain(b"/api?a=b", b"Bearer ptk_1", len(head), 4)


@pytest.mark.parametrize(
    "line",
    [
        *(LENGTH, b"Content-Length: 5", CREDENTIAL, b"Authorization: Bearer ptk_2"),
        *(b"Transfer-Encoding: chunked", b"transfer-encoding: identity", b"Expect: 100-continue"),
        *(b"Connection: close", b"Connection: upgrade", b"Upgrade: h2c", b"X_Forwarded_Proto: https"),
        *(
            b"X-Folded: a\r\n b",
            b"X-Space : a",
            b" X-Indented: a",
            b"X-Nul: \0",
            b"X-Return: a\rb",
            b"no colon",
            b": a",
        ),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_may_change_where_a_request_ends_is_the_parsers(line, place):
    lines = [LENGTH, CREDENTIAL]
    lines.insert(place, line)
    assert plain(request(*lines) + b"body") is None


@pytest.mark.parametrize(
    "data",
    [
        request(CREDENTIAL),
        request(LENGTH),
        request(LENGTH, CREDENTIAL, first=b"GET /api HTTP/1.1"),
        request(LENGTH, CREDENTIAL, first=b"post /api HTTP/1.1"),
        request(LENGTH, CREDENTIAL, first=b"POST /api HTTP/1.0"),
        request(LENGTH, CREDENTIAL, first=b"POST /api http/1.1"),
        request(LENGTH, CREDENTIAL, first=b"POST  /api HTTP/1.1"),
        request(LENGTH, CREDENTIAL, first=b"POST http://h/api HTTP/1.1"),
        request(LENGTH, CREDENTIAL, first=b"\r\nPOST /api HTTP/1.1"),
        request(LENGTH, CREDENTIAL, end=b"\n"),
        request(b"Content-Length: +4", CREDENTIAL),
        request(b"Content-Length: 4, 4", CREDENTIAL),
        request(b"Content-Length:", CREDENTIAL),
        request(b"Content-Length: 1000000000", CREDENTIAL),
        request(LENGTH, b"Authorization: "),
        request(LENGTH, CREDENTIAL)[:-1],
        b"",
    ],
)
def test_what_is_spelled_in_another_way_is_the_parsers(data):
    assert plain(data) is None


@dataclass
class Parsed:
    """What the parser behind the door makes of the same bytes."""

    target: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    complete: int = 0

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete += 1


_LINES = [
    *(LENGTH, CREDENTIAL, *COMMON, b"content-length: 7", b"authorization: Basic eA==", b"Transfer-Encoding: chunked"),
    *(b"Connection: close", b"Expect: 100-continue", b"Upgrade: h2c", b"X-A:b", b"POST /api HTTP/1.1", b" folded", b""),
]
_BREAKS = [b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\0", b"\xff", b"\r\n\r\n", b"_", b"4", b"HTTP/1.0", b"GET"]


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Heads that are plain, or nearly so: some lines in any order, and perhaps something in the midst of them."""
    lines = draw(st.permutations([LENGTH, CREDENTIAL, *draw(st.lists(st.sampled_from(_LINES), max_size=3))]))
    head = request(*lines)
    if draw(st.booleans()):
        at, gone = draw(st.integers(0, len(head))), draw(st.integers(0, 3))
        head = head[:at] + draw(st.sampled_from(_BREAKS)) + head[at + gone :]
    return head


@settings(derandomize=True, max_examples=500, deadline=None)
@given(heads())
def test_the_parser_reads_the_same(head):
    found = plain(head)
    if found is None:
        return
    body = b"b" * found.length
    parsed = Parsed()
    parser = httptools.HttpRequestParser(parsed)
    parser.feed_data(head[: found.head] + body)
    assert (parser.get_method(), parser.get_http_version(), parsed.target) == (b"POST", "1.1", found.target)
    assert parser.should_keep_alive()
    assert not parser.should_upgrade()
    assert [value for name, value in parsed.headers if name == b"authorization"] == [found.credential.rstrip(b" ")]
    assert (parsed.body, parsed.complete) == (body, 1)


def test_a_long_head_is_read_once():
    """With a way back for each of these lines, this would never end."""
    assert plain(request(*(b"X-A: b" for _ in range(10_000)), LENGTH)) is None
