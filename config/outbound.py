"""Requests to addresses that somebody else named, made so that nobody can have the service look into its own network.

1. https only, to a host name or public address; no user name in the URL.
2. Every address of the name is a public one, unless the caller was told that this one may be `private`.
3. The connection goes to an address that was looked at (a second look-up could answer another), with the host's
   certificate checked as ever.
4. No redirect is followed, no proxy or netrc of the environment is used.
5. At most `limit` bytes, uncompressed, within `seconds` in all (looking up the name comes before).

What goes wrong is told with the host alone: a path may be as good as a password.
"""

import functools
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx

_NAT64 = IPv6Network("64:ff9b::/96")
Address = IPv4Address | IPv6Address
_PORTS = {"https": 443, "http": 80}
_FAILURES = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException)


class RefusedError(Exception):
    """Why there is no answer; for the log and for administrators, never for who caused the request."""


@dataclass(frozen=True)
class Target:
    """A URL in its parts."""

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)

    @property
    def origin(self) -> str:
        """``https://host:port``, the port only where it is not the scheme's own: all of it that may be shown."""
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        named = f"[{self.host}]" if ":" in self.host else self.host
        return named if self.port == _PORTS[self.scheme] else f"{named}:{self.port}"


@dataclass(frozen=True)
class Rules:
    """What holds for one kind of requests."""

    limit: int
    seconds: float
    #: PEM of certificate authorities beside the well-known ones.
    ca_file: str = ""
    #: Said where an address is not public: what an administrator does about it.
    hint: str = ""


def target(url: str, *, plain: bool = False) -> Target:
    """The parts of a URL that may be asked; `plain` allows http. Raises RefusedError."""
    schemes = ("https", "http") if plain else ("https",)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise RefusedError("it is no URL") from None
    named = parts.hostname and not (parts.username or parts.password or parts.fragment)
    if parts.scheme not in schemes or not parts.hostname or not named or not url.isprintable() or " " in url:
        raise RefusedError(f"it is no plain {' or '.join(schemes)} URL")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path)


@dataclass(frozen=True)
class Answer:
    status: int
    content: bytes


def ask(
    method: str,
    at: Target,
    *,
    private: bool,
    rules: Rules,
    headers: Mapping[str, str],
    content: bytes | None = None,
) -> Answer:
    """What the target answers, whatever its status; `private` allows addresses that are not public.

    Raises RefusedError.
    """
    address = resolve(at.host, at.port, private=private, hint=rules.hint)
    try:
        return _ask(method, at, address, rules, headers, content)
    except (*_FAILURES, OSError) as error:
        raise RefusedError(f"{at.host}: {error or type(error).__name__}") from error


def resolve(host: str, port: int, *, private: bool, hint: str = "") -> Address:
    """The address to connect to. Raises RefusedError where one of the name's addresses may not be asked."""
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise RefusedError(f"{host}: {error}") from error
    addresses = [ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers]
    closed = [address for address in addresses if not private and not is_public(address)]
    if not addresses or closed:
        where = ", ".join(map(str, closed)) or "no address"
        raise RefusedError(f"{host} is at {where}, which is not public. {hint}".rstrip())
    return addresses[0]


def is_public(address: Address) -> bool:
    """Whether an address belongs to somebody on the Internet, also the one that it wraps."""
    inner: list[Address] = [address]
    if isinstance(address, IPv6Address):
        wrapped = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        inner += [found for found in wrapped if found is not None]
        if address in _NAT64:  # how a network without IPv4 reaches the rest
            inner = [IPv4Address(int(address) & 0xFFFFFFFF)]
    return all(found.is_global and not found.is_multicast and not found.is_reserved for found in inner)


# -- one request -------------------------------------------------------------------------------------------------------


def _ask(
    method: str, at: Target, address: Address, rules: Rules, headers: Mapping[str, str], content: bytes | None
) -> Answer:
    own = {"Host": at.authority, "Accept-Encoding": "identity", "User-Agent": "prooftrail"}
    if content is not None:
        own["Content-Length"] = str(len(content))
    url = httpcore.URL(scheme=at.scheme, host=at.host, port=at.port, target=at.path)
    way = _Way(address, time.monotonic() + rules.seconds)
    with (
        httpcore.ConnectionPool(ssl_context=_trusted(rules.ca_file), network_backend=way) as pool,
        pool.stream(method, url, headers=list({**headers, **own}.items()), content=content) as response,
    ):
        answered = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        if answered.get("content-encoding", "identity") != "identity":
            raise RefusedError(f"{at.host} answered compressed")
        return Answer(response.status, _read(response, at.host, rules))


def _read(response: httpcore.Response, host: str, rules: Rules) -> bytes:
    found = bytearray()
    for chunk in response.iter_stream():
        found += chunk
        if len(found) > rules.limit:
            raise RefusedError(f"{host} answered more than {rules.limit} bytes")
    return bytes(found)


class _Way(httpcore.NetworkBackend):
    """Leads to one address, whatever the host is called, and is closed at a moment, however slowly bytes drip."""

    def __init__(self, address: Address, until: float) -> None:
        self._address = str(address)
        self._until = until

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, *args: Any, **more: Any) -> "_Stream":
        made = httpcore.SyncBackend().connect_tcp(self._address, port, _left(self._until), *args, **more)
        return _Stream(made, self._until)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, until: float) -> None:
        self._stream = stream
        self._until = until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._until))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._until))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> "_Stream":
        try:
            left = _left(self._until)
        except httpcore.ReadTimeout:
            self.close()  # nobody else does at this step
            raise
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._until)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("it took too long")
    return left


@functools.lru_cache(maxsize=4)
def _trusted(ca_file: str) -> ssl.SSLContext:
    context = httpx.create_ssl_context(trust_env=False)
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    return context
