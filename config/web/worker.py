"""One worker of the web server: a process with an event loop, and a listening socket of its own."""

import asyncio
import logging
import socket
import sys

import uvicorn

from config.asgi import application  # before there is a loop, on which Django would not ask the database

from config.web.listening import listen  # isort: skip -- as above
from config.web.protocol import HttpProtocol, configuration  # isort: skip -- as above

logger = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        logger.info("this worker answers")

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, HttpProtocol):
                    connection.end_if_stuck(now)
        return await super().on_tick(counter)


def serve(host: str, port: int) -> None:
    """Until SIGTERM or SIGINT."""
    _Server(configuration(application)).run(sockets=[listen(host, port, shared=True)])


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
