"""HTTP as the web server speaks it: what it takes the short way, what it refuses, and how long it waits."""

import asyncio
import gc
import json
from contextlib import suppress

import pytest

from config.web.protocol import KEEP_ALIVE, MAX_HEAD, MAX_UNREAD, PATIENCE
from tests.config.web.talking import CREDENTIAL, GET, post, talk

# -- the short way -----------------------------------------------------------------------------------------------------


def test_it_gives_the_whole_body_to_whoever_takes_the_request_and_goes_on():
    async def to(client, application):
        for _ in range(3):
            client.send(post(b"/taken?release=r", b"first ", length=10))
            await asyncio.sleep(0.01)
            client.send(b"last")
            assert await client.answer() == (200, {"date": "today", "content-length": "10"}, b"first last")

    talk(to)


def test_who_is_refused_by_the_head_hears_it_before_the_body_is_sent():
    async def to(client, application):
        client.send(post(b"/refused", length=300_000))
        status, headers, _ = await client.answer()
        assert (status, headers["retry-after"]) == (429, "1")
        client.send(b"x" * 300_000, post(b"/taken", b"next"))
        assert (await client.answer())[2] == b"next"

    talk(to)


def test_nothing_that_was_taken_is_left_to_the_collector():
    """Some objects for each record, and it stood still for a tenth of a second every few seconds."""

    async def each_way(client, application):
        for path, status in (b"/taken", 200), (b"/refused", 429):
            client.send(post(path, b"a"))
            assert (await client.answer())[0] == status
        client.send(post(b"/kept", b"b"))
        await application.keeps()
        application.kept.pop()()
        assert (await client.answer())[2] == b"kept"

    async def to(client, application):
        await each_way(client, application)
        gc.collect()
        for _ in range(20):
            await each_way(client, application)
        assert gc.collect() < 20

    talk(to)


# -- the door ----------------------------------------------------------------------------------------------------------


def at_door(*, length: int = 0, body: bytes = b"") -> bytes:
    return post(b"/door", body, CREDENTIAL, length=length)


def test_who_is_refused_at_the_door_hears_it_before_the_body_is_sent():
    async def to(client, application):
        for _ in range(2):
            client.send(at_door(length=300_000), b"x")
            status, headers, _ = await client.answer()
            assert (status, headers) == (429, {"date": "today", "retry-after": "1", "content-length": "0"})
            client.send(b"x" * 200_000)
            await asyncio.sleep(0.01)
            client.send(b"x" * 99_999, at_door(body=b"x"), post(b"/taken", b"next", CREDENTIAL))
            assert (await client.answer())[0] == 429
            assert (await client.answer())[2] == b"next"
        assert [state["looked at"] for state in application.states] == [b"Bearer t"] * 2

    talk(to)


def test_who_is_refused_at_the_door_waits_for_answers_that_are_due_before():
    async def to(client, application):
        client.send(post(b"/kept"), at_door(), at_door())
        await application.keeps()
        while len(client.protocol.pipeline) < 2:
            await asyncio.sleep(0.001)
        application.kept.pop()()
        assert [(await client.answer())[2] for _ in range(3)] == [b"kept", b"/door ", b"/door "], "in their turn"
        client.send(at_door())
        assert (await client.answer())[0] == 429

    talk(to)


def test_what_was_found_at_the_door_belongs_to_one_request():
    async def to(client, application):
        client.send(post(b"/taken", b"a", CREDENTIAL), post(b"/taken", b"b"))
        assert [(await client.answer())[2] for _ in range(2)] == [b"a", b"b"]
        assert application.states == [{"looked at": b"Bearer t"}, {}]

    talk(to)


def test_the_door_lets_in_whose_body_would_be_too_much_to_pass_over():
    async def to(client, application):
        application.reads = False
        client.send(at_door(length=MAX_UNREAD))
        assert (await client.answer())[0] == 429
        client.send(*[b"x" * 2**20] * (MAX_UNREAD // 2**20), at_door(length=MAX_UNREAD + 1))
        assert (await client.answer())[2] == b"/door "

    talk(to)


def test_a_head_that_is_too_large_is_too_large_at_the_door():
    async def to(client, application):
        client.send(post(b"/door", b"", CREDENTIAL, b"x-long: " + b"x" * MAX_HEAD))
        assert (await client.answer())[0] == 431

    talk(to)


def test_a_fault_at_the_door_lets_in(caplog):
    async def to(client, application):
        client.send(post(b"/broken-door", b"", CREDENTIAL))
        assert (await client.answer())[2] == b"/broken-door "

    talk(to)
    assert "could not be looked at" in caplog.text


def test_who_is_refused_at_the_door_and_does_not_go_on_is_hung_up_on():
    async def to(client, application):
        client.send(at_door(length=20_001), b"x" * 20_000)
        await client.answer()
        client.wait(PATIENCE + 19)
        assert not client.protocol.transport.is_closing()
        client.wait(PATIENCE + 21)
        assert await client.is_ended()

    talk(to)


# -- the common way ----------------------------------------------------------------------------------------------------


def test_what_nobody_takes_is_answered_by_asgi():
    async def to(client, application):
        client.send(post(b"/asgi?a=b", b"body"))
        assert (await client.answer())[2] == b"/asgi body"

    talk(to)


@pytest.mark.parametrize("path", [b"/taken", b"/refused"])
def test_answers_keep_the_order_of_requests_that_are_sent_ahead(path):
    """While one is awaited the next ones go the common way, and wait."""

    async def to(client, application):
        client.send(post(b"/kept", b"a"), post(path, b"b"), GET)
        await application.keeps()
        await asyncio.sleep(0.02)
        application.kept.pop()()
        assert [(await client.answer())[2] for _ in range(3)] == [b"kept", path + b" b", b"/asgi "]

    talk(to)


@pytest.mark.parametrize(
    ("line", "interim"),
    [(b"connection: close", b""), (b"expect: 100-continue", b"HTTP/1.1 100 Continue\r\n\r\n")],
)
def test_what_ends_or_interrupts_a_connection_goes_the_common_way(line, interim):
    async def to(client, application):
        client.send(post(b"/taken", b"body", line))
        assert await client.reader.readexactly(len(interim)) == interim
        assert (await client.answer())[2] == b"/taken body"
        assert application.heads == []

    talk(to)


def test_a_request_for_another_protocol_is_answered_as_what_it_is_and_ends_the_connection():
    async def to(client, application):
        client.send(post(b"/taken", b"body", b"connection: upgrade", b"upgrade: h2c"))
        status, headers, body = await client.answer()
        assert (status, headers["connection"], body) == (200, "close", b"/taken body")
        assert await client.is_ended()

    talk(to)


def test_an_answer_to_who_has_left_goes_nowhere():
    async def to(client, application):
        client.send(post(b"/kept"))
        await application.keeps()
        client.writer.close()
        while client.state.connections:
            await asyncio.sleep(0.001)
        application.kept.pop()()

    talk(to)


def test_a_server_that_is_stopped_finishes_what_was_taken():
    async def to(client, application):
        client.send(post(b"/kept"))
        await application.keeps()
        client.protocol.shutdown()
        application.kept.pop()()
        status, headers, body = await client.answer()
        assert (status, headers["connection"], body) == (200, "close", b"kept")
        assert await client.is_ended()

    talk(to)


def test_a_fault_in_taking_is_not_said_to_be_the_senders(caplog):
    async def to(client, application):
        client.send(post(b"/broken-head", b"body"))
        assert (await client.answer())[2] == b"/broken-head body"
        client.send(post(b"/broken-body", b"body"))
        assert await client.is_ended()

    talk(to)
    assert [record.message for record in caplog.records if record.exc_info] == [
        "a request could not be taken",
        "a request that was taken could not be answered",
    ]


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET /" + b"a" * MAX_HEAD + b" HTTP/1.1\r\n\r\n"],
        [b"GET / HTTP/1.1\r\n", *[b"x-%d: 1\r\n" % number for number in range(MAX_HEAD // 4)], b"\r\n"],
        [b"GET / HTTP/1.1\r\nx: ", *[b"a" * 10_000] * 8],
        [b"\r\n" * MAX_HEAD],
    ],
    ids=["target", "headers", "unfinished", "blank"],
)
def test_a_head_has_an_end(pieces):
    async def to(client, application):
        for piece in pieces:
            client.send(piece)
            if len(pieces) < 20:
                await asyncio.sleep(0.01)
        status, headers, body = await client.answer()
        assert (status, json.loads(body)["code"], headers["connection"]) == (431, "head_too_large", "close")
        assert headers["content-type"] == "application/problem+json"
        assert await client.is_ended()

    talk(to)


@pytest.mark.parametrize(
    "sent", [b"HELO mail\r\n\r\n", b"GET /\xff HTTP/1.1\r\nhost: h\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_http_is_said_to_be_none(sent):
    async def to(client, application):
        client.send(sent)
        status, _, body = await client.answer()
        assert (status, json.loads(body)["code"]) == (400, "bad_request")
        client.send(GET)
        assert await client.is_ended()

    talk(to)


def test_nonsense_behind_a_request_does_not_answer_it():
    async def to(client, application):
        client.send(post(b"/kept"), b"nonsense\r\n\r\n")
        assert await client.is_ended()

    talk(to)


def test_a_header_that_wsgi_would_take_for_another_is_left_out():
    async def to(client, application):
        client.send(b"GET /asgi HTTP/1.1\r\nhost: h\r\nX_Forwarded_Proto: https\r\nx-fine: 1\r\n\r\n")
        await client.answer()
        assert application.heads == [{b"host": b"h", b"x-fine": b"1"}]

    talk(to)


@pytest.mark.parametrize("path", [b"/refused", b"/unread"])
def test_who_is_answered_may_not_send_on_for_ever(path):
    async def to(client, application):
        application.reads = False
        client.send(post(path, length=10**12))
        await client.answer()
        sent = 0
        with suppress(ConnectionError):  # that it was hung up on may be told in the middle of it
            while not client.protocol.transport.is_closing():
                client.send(b"x" * 100_000)
                sent += 100_000
                await client.writer.drain()
        assert MAX_UNREAD < sent < 2 * MAX_UNREAD

    talk(to)


# -- who takes too long ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"GET / HTTP", post(b"/taken", b"bo", length=9), post(b"/asgi", b"bo", length=9)])
def test_a_request_has_to_come_to_an_end(sent):
    async def to(client, application):
        client.send(sent)
        await asyncio.sleep(0.05)
        client.wait(PATIENCE - 1)
        client.wait(PATIENCE + 1)
        status, _, body = await client.answer()
        assert (status, json.loads(body)["code"]) == (408, "request_timeout")
        assert await client.is_ended()

    talk(to)


def test_who_sends_much_may_take_longer():
    async def to(client, application):
        client.send(post(b"/taken", b"x" * 20_000, length=20_001))
        await asyncio.sleep(0.05)
        client.wait(PATIENCE + 19)
        client.send(b"x")
        assert (await client.answer())[0] == 200

    talk(to)


def test_who_says_nothing_is_hung_up_on():
    async def to(client, application):
        client.wait(PATIENCE + 1)
        assert await client.is_ended()

    talk(to)


def test_who_is_answered_may_be_quiet_for_longer():
    async def to(client, application):
        for path in (b"/taken", b"/refused", b"/door", b"/asgi"):
            client.send(post(path, b"", CREDENTIAL))
            await client.answer()
            client.wait(KEEP_ALIVE - 1)
            assert not client.protocol.transport.is_closing()

    talk(to)


@pytest.mark.parametrize("path", [b"/taken", b"/refused", b"/asgi"])
def test_a_connection_is_kept_for_so_long(path):
    async def to(client, application):
        client.send(post(path))
        await client.answer()
        client.wait(1)  # where it is looked for; the common way has a timer
        assert await client.is_ended()

    talk(to, keep_alive=0.3)


def test_nobody_is_late_while_it_is_us_who_do_not_read():
    async def to(client, application):
        application.reads = False
        client.send(post(b"/asgi", b"x" * 100_000, length=100_001))
        await asyncio.sleep(0.05)
        client.protocol.flow.pause_reading()
        client.wait(PATIENCE * 10)
        assert not client.protocol.transport.is_closing()

    talk(to)


def test_who_does_not_read_is_hung_up_on():
    async def to(client, application):
        await client.reads_nothing()
        client.wait(PATIENCE - 1)
        assert not client.protocol.transport.is_closing()
        client.wait(PATIENCE + 1)
        assert client.protocol.transport.is_closing()

    talk(to)


def test_who_reads_slowly_is_waited_for():
    async def to(client, application):
        await client.reads_nothing()
        client.protocol.resume_writing()
        client.protocol.pause_writing()
        client.wait(PATIENCE + 1)
        assert not client.protocol.transport.is_closing()

    talk(to)
