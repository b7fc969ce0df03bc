"""How requests are read, who asks, and what the waker says."""

import re
from http import HTTPStatus
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kennel.domain import Ref, Tenant
from kennel.waker import pages
from kennel.waker.body import Chunked, Counted, Malformed
from kennel.waker.crawlers import is_crawler
from kennel.waker.head import Head
from kennel.waker.rooms import Full, Rooms
from kennel.waker.visitor import may_wake, wants_page

HERE = Path(__file__).parent
HTML = "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"


def head(*fields: str, line: str = "GET / HTTP/1.1") -> Head:
    return Head.parse("\r\n".join([line, "Host: a.example", *fields, "", ""]).encode("latin-1"))


# Heads


def test_a_head_goes_on_as_it_came() -> None:
    raw = (
        b"POST /\xc3\xa9?q=1 HTTP/1.1\r\nHost: A.example:8080\r\nx-ODD:  two  words \r\n"
        b"Cookie: a=1\r\nCookie: b=\xff\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n"
    )
    seen = Head.parse(raw)
    assert (seen.method, seen.host) == ("POST", "a.example")
    assert seen.get("x-odd") == "two  words"
    assert seen.all("cookie") == ["a=1", "b=\xff"]
    assert seen.for_service() == raw.replace(b"Connection: keep-alive", b"Connection: close")


def test_what_becomes_something_else_says_so_still() -> None:
    seen = head("Connection: Upgrade", "Upgrade: websocket", "Keep-Alive: 3")
    assert seen.upgrades
    sent = seen.for_service()
    assert b"Connection: Upgrade\r\n" in sent
    assert b"Upgrade: websocket\r\n" in sent
    assert b"close" not in sent
    assert not head("Upgrade: websocket").upgrades
    assert not head("Connection: upgrade").upgrades


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("a.example", "a.example"),
        ("A.Example:80", "a.example"),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
    ],
)
def test_hosts(host: str, known: str) -> None:
    assert Head.parse(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).host == known


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\nContent-Length: 5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    ],
)
def test_what_is_no_head(raw: bytes) -> None:
    with pytest.raises(Malformed):
        Head.parse(raw)


@pytest.mark.parametrize(
    "fields",
    [
        ["Content-Length: 1", "Content-Length: 1"],
        ["Content-Length: 1, 1"],
        ["Content-Length: -1"],
        ["Content-Length: +1"],
        ["Content-Length: 0x1"],
        ["Content-Length: "],
        ["Content-Length: 1", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding: identity"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    ],
)
def test_bodies_whose_end_can_be_read_in_two_ways(fields: list[str]) -> None:
    with pytest.raises(Malformed):
        head(*fields).body()


# Bodies


def chunked(chunks: list[bytes], trailers: list[str]) -> bytes:
    parts = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks if chunk]
    return b"".join([*parts, b"0\r\n", *(f"{t}\r\n".encode() for t in trailers), b"\r\n"])


@given(
    st.lists(st.binary(max_size=300)),
    st.lists(st.sampled_from(["X: 1", "Sum: abc"]), max_size=2),
    st.binary(max_size=50),
    st.lists(st.integers(min_value=0, max_value=400)),
)
def test_chunks_end_where_they_end(
    chunks: list[bytes], trailers: list[str], more: bytes, cuts: list[int]
) -> None:
    encoded = chunked(chunks, trailers)
    sent, body, taken = encoded + more, Chunked(), 0
    edges = [0, *sorted(cut for cut in cuts if cut < len(sent)), len(sent)]
    for start, end in pairwise(edges):
        assert not body.over or taken == len(encoded)
        taken += body.follow(sent[start:end])
        assert taken == min(end, len(encoded))
    assert body.over


@given(st.integers(min_value=0, max_value=100), st.lists(st.binary(max_size=60)))
def test_counted_bodies_end_where_they_end(length: int, parts: list[bytes]) -> None:
    body, taken = Counted(length), 0
    for part in parts:
        taken += body.follow(part)
    total = sum(map(len, parts))
    assert taken == min(length, total)
    assert body.over == (total >= length)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"x\r\n",
        b"0x5\r\n",
        b"-1\r\n",
        b"1_0\r\n",
        b" 5\r\n",
        b"5" * 9000,
        b"f" * 16 + b"\r\n",
    ],
)
def test_what_is_no_chunk(data: bytes) -> None:
    with pytest.raises(Malformed):
        Chunked().follow(data)


def test_chunks_may_say_more_of_themselves() -> None:
    body, sent = Chunked(), b"5;name=value\r\nhello\r\n0;last\r\n\r\n"
    assert body.follow(sent + b"GET /") == len(sent)
    assert body.over


# Visitors


@pytest.mark.parametrize(
    ("page", "fields"),
    [
        (True, [HTML]),
        (True, [HTML, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"]),
        (True, [HTML, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"]),
        (False, [HTML, "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"]),
        (False, [HTML, "Sec-Fetch-Mode: same-origin", "Sec-Fetch-Dest: empty"]),
        (False, [HTML, "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"]),
        (False, [HTML, "X-Requested-With: XMLHttpRequest"]),
        (False, ["Accept: */*"]),
        (False, ["Accept: application/json"]),
        (False, []),
        (False, [HTML, "Connection: Upgrade", "Upgrade: websocket"]),
    ],
)
def test_who_gets_a_page(page: bool, fields: list[str]) -> None:
    assert wants_page(head(*fields)) is page


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "OPTIONS"])
def test_only_get_gets_a_page(method: str) -> None:
    assert not wants_page(head(HTML, line=f"{method} / HTTP/1.1"))


CRAWLERS = (HERE / "crawlers.txt").read_text().splitlines()

PEOPLE = (HERE / "people.txt").read_text().splitlines()


@pytest.mark.parametrize("agent", CRAWLERS)
def test_who_wakes_nobody(agent: str) -> None:
    assert is_crawler(agent)
    for method in ("GET", "POST"):
        assert not may_wake(head(f"User-Agent: {agent}", line=f"{method} / HTTP/1.1"))


@pytest.mark.parametrize("agent", PEOPLE)
def test_who_wakes(agent: str) -> None:
    assert not is_crawler(agent)
    assert may_wake(head(f"User-Agent: {agent}"))


def test_who_does_not_say_what_it_is_wakes() -> None:
    assert may_wake(head())
    assert may_wake(head("User-Agent: ", line="HEAD / HTTP/1.1"))


# Pages


def test_text_for_programs() -> None:
    raw = pages.render(pages.LATE, page=False, body=True, index=False).decode()
    top, _, body = raw.partition("\r\n\r\n")
    assert top.splitlines() == [
        "HTTP/1.1 504 Gateway Timeout",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
        "Retry-After: 5",
        "X-Robots-Tag: noindex",
    ]
    assert body == f"{pages.LATE.text}\n"


def test_a_page_asks_again_and_may_do_nothing_else() -> None:
    raw = pages.render(pages.WAKING, page=True, body=True, index=False).decode()
    top, _, body = raw.partition("\r\n\r\n")
    assert "Retry-After: 1" in top
    assert "location.reload()},1000)" in body
    assert '<noscript><meta http-equiv="refresh" content="1"></noscript>' in body
    assert "default-src 'none'" in top
    assert "http://" not in body
    assert "https://" not in body
    stopped = pages.render(pages.STOPPED, page=True, body=True, index=False).decode()
    assert "reload" not in stopped
    assert "refresh" not in stopped
    assert "script-src" not in stopped


def test_reasons_are_text() -> None:
    hostile = pages.not_woken("<script>alert('&')</script>", again=None)
    raw = pages.render(hostile, page=True, body=True, index=True).decode()
    assert "<script>" not in raw
    assert "&lt;script&gt;" in raw
    assert "X-Robots-Tag" not in raw


def test_head_has_no_body() -> None:
    raw = pages.render(pages.WAKING, page=False, body=False, index=False)
    assert raw.endswith(b"\r\n\r\n")
    assert re.search(rb"Content-Length: [1-9]", raw)


def test_no_answer_tells_anything_of_the_machine() -> None:
    answers = [value for value in vars(pages).values() if isinstance(value, pages.Answer)]
    assert len(answers) > 8
    for one in answers:
        for secret in ("127.0.0.1", "/run", "Caddy", "Kennel", "waker"):
            assert secret not in one.text + one.title
        assert one.status >= HTTPStatus.BAD_REQUEST


# Rooms

ONE, TWO = Tenant("one", Ref.branch("main")), Tenant("two", Ref.branch("main"))


def test_nobody_takes_all_the_room() -> None:
    rooms = Rooms(4, 3)
    with rooms.room(ONE), rooms.room(ONE), rooms.room(ONE):
        with pytest.raises(Full), rooms.room(ONE):
            pass
        with rooms.room(TWO), pytest.raises(Full), rooms.room(TWO):
            pass
        assert rooms.taken == 3
    assert rooms.taken == 0
    with rooms.room(ONE):
        assert rooms.taken == 1


def test_there_is_no_more_room_than_open_files_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda what: (1024, 4096))
    assert Rooms(2000, 1000).total == 341
    assert Rooms(2000, 1000).each == 255
    assert Rooms(100, 50).total == 100
    monkeypatch.setattr("resource.getrlimit", lambda what: (-1, -1))
    assert Rooms(2000, 1000).total == 2000
