"""``python -m config.web``: starts the web server's workers, and keeps them running.

A worker that ends is started again, a second after its last start at the earliest. SIGTERM or SIGINT stops the server:
workers finish what is under way, and one that does not within some seconds is killed. The workers of a server that was
killed itself are stopped by the kernel (Linux).
"""

import argparse
import signal
import subprocess
import sys
import time
from types import FrameType

from config.stack.processes import die_with_parent
from config.web.listening import listen

#: Seconds for workers to stop: a little more than they have for what is under way.
_PATIENCE = 15.0
_PAUSE = 1.0


class _Stopped(Exception):  # noqa: N818 -- no error, a wish
    """SIGTERM or SIGINT."""


class _Worker:
    """A place for one process."""

    def __init__(self, host: str, port: int) -> None:
        self._command = [sys.executable, "-m", "config.web.worker", host, str(port)]
        self._start()

    def _start(self) -> None:
        self._started = time.monotonic()
        stopping = die_with_parent(signal.SIGTERM)
        self._process = subprocess.Popen(self._command, preexec_fn=stopping)  # noqa: S603 -- host and port are checked

    def keep(self) -> None:
        """Start it again if it has ended."""
        code = self._process.poll()
        if code is not None and time.monotonic() - self._started >= _PAUSE:
            print(f"worker {self._process.pid} has ended ({code}), and is started again", file=sys.stderr, flush=True)
            self._start()

    def ask(self) -> None:
        self._process.terminate()

    def end(self, *, until: float) -> None:
        """Wait until then (monotonic), insist."""
        try:
            self._process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(host: str, port: int, count: int) -> None:
    """Until SIGTERM or SIGINT. Raises OSError where the address cannot be had."""
    # Workers share the port, and would share it with another server of the same user: see that nobody has it.
    listen(host, port, shared=False).close()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _raise_stopped)
    workers: list[_Worker] = []
    try:
        workers += (_Worker(host, port) for _ in range(count))
        print(f"{count} workers serve http://{host}:{port}", file=sys.stderr, flush=True)
        while True:
            time.sleep(0.1)
            for worker in workers:
                worker.keep()
    except _Stopped:
        pass
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # it is being stopped already
        for worker in workers:
            worker.ask()
        for worker in workers:
            worker.end(until=time.monotonic() + _PATIENCE)


def _raise_stopped(number: int, frame: FrameType | None) -> None:
    raise _Stopped


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text} is no port")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 to 64")
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m config.web", description="The web server.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    parser.add_argument("--port", type=_port, default=8000, help="port to listen at (%(default)s)")
    parser.add_argument("--workers", type=_count, default=2, help="processes (%(default)s)")
    asked = parser.parse_args()
    try:
        serve(asked.host, asked.port, asked.workers)
    except OSError as error:
        print(f"error: {asked.host}:{asked.port} cannot be listened at: {error.strerror}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
