"""Requests of whatever kind, sent again until they are answered: to the service, to the store, to GitHub's runner."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from config.cli import environment, output
from config.cli.errors import CommandError, ExitCode

AGENT = "prooftrail-cli"
TIMEOUT = httpx.Timeout(60, connect=10)
_RETRIED = {429, 502, 503, 504}
_FIRST_WAIT = 0.25
_LONGEST_WAIT = 30.0
#: Many jobs that were refused in one moment must not come back in one.
_SPREAD = 1.25


def send(client: httpx.Client, build: Callable[[], httpx.Request]) -> httpx.Response:
    """Send a request, built anew for each try, until it is answered or the tries are used up."""
    left = environment.retries()
    wait = _FIRST_WAIT
    while True:
        try:
            response = client.send(build())
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL) as error:
            raise CommandError(f"The request cannot be sent: {error}", code=ExitCode.USAGE) from error
        except httpx.TransportError as error:
            if not left:
                raise _unreachable(error) from error
            trouble, pause = _reason(error), wait
        else:
            if response.status_code not in _RETRIED or not left:
                return response
            trouble, pause = f"the server answered {response.status_code}", _retry_after(response, wait)
        pause *= random.uniform(1, _SPREAD)  # noqa: S311 -- no secret
        output.note(f"{trouble}; trying again in {pause:.3g} s")
        time.sleep(pause)
        left, wait = left - 1, min(wait * 2, _LONGEST_WAIT)


@contextmanager
def presigned() -> Iterator[httpx.Client]:
    """A client for presigned URLs, which must not see the token."""
    with httpx.Client(headers={"User-Agent": AGENT}, timeout=TIMEOUT) as client:
        yield client


def _retry_after(response: httpx.Response, default: float) -> float:
    value = response.headers.get("Retry-After", "")
    return min(float(value), _LONGEST_WAIT) if value.isascii() and value.isdigit() else default


def _reason(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__


def _unreachable(error: httpx.TransportError) -> CommandError:
    # The request is known: every error here comes out of `send`. Its query may be a secret (presigned URLs).
    return CommandError(
        f"No answer from {error.request.url.copy_with(query=None)}: {_reason(error)}",
        code=ExitCode.SERVER,
        advice="Check PROOFTRAIL_URL and the network; running the command again is safe.",
    )
