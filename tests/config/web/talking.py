"""A client and an application, with the web server's protocol between them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop
from uvicorn.server import ServerState

from config.web.protocol import KEEP_ALIVE, HttpProtocol, configuration

GET = b"GET /asgi HTTP/1.1\r\nhost: h\r\n\r\n"
#: Makes a head plain; see `config/web/door.py`.
CREDENTIAL = b"authorization: Bearer t"
REFUSAL = b"retry-after: 1\r\ncontent-length: 0\r\n\r\n"


class Application:
    """Refuses ``/door`` at the door, and ``/refused`` by its head. Takes what is sent to ``/taken``, and answers with
    its body; keeps ``/kept`` until told. The rest it answers by ASGI, with its target and body."""

    def __init__(self) -> None:
        self.kept: list[Callable[[], None]] = []
        self.heads: list[dict[bytes, bytes]] = []
        self.states: list[dict[str, Any]] = []
        self.reads = True

    def refuse(self, target, credential, state):
        if target == b"/broken-door":
            raise RuntimeError("the secret is 42")
        state["looked at"] = credential
        return (429, REFUSAL) if target == b"/door" else None

    def take(self, scope, reply):
        self.heads.append(dict(scope["headers"]))
        self.states.append(scope["state"])
        path = scope["raw_path"].partition(b"?")[0]
        if path == b"/refused":
            reply(429, REFUSAL)
            return None
        if path == b"/taken":
            return lambda body: reply(200, b"content-length: %d\r\n\r\n%s" % (len(body), body))
        if path == b"/kept":
            return lambda body: self.kept.append(lambda: reply(200, b"content-length: 4\r\n\r\nkept"))
        if path == b"/broken-head":
            raise RuntimeError("the secret is 42")
        if path == b"/broken-body":
            return self._break
        return None

    async def keeps(self) -> None:
        """Until it keeps a request."""
        while not self.kept:
            await asyncio.sleep(0.001)

    def _break(self, body: bytes) -> None:
        raise RuntimeError("the secret is 42")

    async def __call__(self, scope, receive, send):
        body, more = b"", True
        while self.reads and more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        answer = b"%s %s" % (scope["raw_path"], body)
        if scope["path"] == "/endless":
            answer = b"x" * 50_000_000
        length = (b"content-length", b"%d" % len(answer))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": answer})


class Client:
    """One connection, and the protocol at its other end."""

    def __init__(self, port: int, state: ServerState) -> None:
        self.port, self.state = port, state

    async def __aenter__(self) -> "Client":
        known = self.connections()
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
        while not (mine := self.connections() - known):
            await asyncio.sleep(0.001)
        (self.protocol,) = mine
        return self

    def connections(self) -> set[HttpProtocol]:
        return {each for each in self.state.connections if isinstance(each, HttpProtocol)}

    async def __aexit__(self, *_: Any) -> None:
        self.writer.close()

    def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return int(status.split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def is_ended(self) -> bool:
        """Whether the server has hung up, with nothing more to read."""
        try:
            return await asyncio.wait_for(self.reader.read(), 5) == b""
        except ConnectionResetError:
            return True

    async def reads_nothing(self) -> None:
        """Of an endless answer, until the server has noticed."""
        self.send(b"GET /endless HTTP/1.1\r\nhost: h\r\n\r\n")
        while not self.protocol.flow.write_paused:
            await asyncio.sleep(0.001)
        self.wait(0)

    def wait(self, seconds: float) -> None:
        """As if the server had looked at the connection after so many seconds."""
        self.protocol.end_if_stuck(self.protocol.loop.time() + seconds)


def talk(to: Callable[[Client, Application], Awaitable[None]], *, keep_alive: float = KEEP_ALIVE) -> None:
    async def run() -> None:
        application, state = Application(), ServerState()
        state.default_headers = [(b"date", b"today")]
        config = configuration(application, keep_alive=keep_alive)
        config.load()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: HttpProtocol(config, state, {}, loop), "127.0.0.1", 0)
        async with server, Client(server.sockets[0].getsockname()[1], state) as client:
            try:
                await asyncio.wait_for(to(client, application), 30)
            finally:
                for left in client.connections():
                    left.transport.abort()
                await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def post(path: bytes, body: bytes = b"", *lines: bytes, length: int | None = None) -> bytes:
    head = [b"POST " + path + b" HTTP/1.1", b"host: h", b"content-length: %d" % (length or len(body)), *lines]
    return b"\r\n".join([*head, b"", b""]) + body
