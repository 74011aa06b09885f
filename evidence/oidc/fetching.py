"""What an issuer publishes, fetched so that nobody can make the service look into its own network.

1. https only, to a host name or public address; no user name in the URL.
2. Every address of the name is a public one, unless the issuer is listed in `settings.OIDC_PRIVATE_ISSUERS`.
3. The connection goes to an address that was looked at (a second look-up could answer another), with the host's
   certificate checked as ever.
4. No redirect is followed, no proxy or netrc of the environment is used.
5. At most `LIMIT` bytes, uncompressed, within `SECONDS` in all (looking up the name comes before).
"""

import functools
import json
import logging
import socket
import ssl
import time
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpx
from django.conf import settings

from config.errors import UnavailableError

logger = logging.getLogger(__name__)

LIMIT = 256 * 1024
SECONDS = 5.0
_NAT64 = IPv6Network("64:ff9b::/96")
Address = IPv4Address | IPv6Address


class RefusedError(Exception):
    """Why something was not fetched; for the log and for administrators, never for who presented a token."""


def unreachable(issuer: str, why: Exception) -> UnavailableError:
    """What who presented a token hears. The reason goes to the log: it may speak of the network inside."""
    logger.warning("oidc: the keys of %s cannot be had: %s", issuer, why)
    return UnavailableError(
        "The keys of the id-token's issuer cannot be had now. Try again; if it lasts, an administrator finds the "
        "reason with manage.py trust_policy check.",
        code="issuer_unreachable",
        retry_after=10,
    )


def get_json(url: str, *, private: bool) -> dict[str, Any]:
    """The JSON object at `url`; `private` allows addresses that are not public. Raises RefusedError."""
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError:
        raise RefusedError(f"{url[:200]!r} is no URL") from None
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.password or parts.fragment:
        raise RefusedError(f"{url[:200]!r} is no plain https URL")
    address = _address(parts.hostname, port, private=private)
    try:
        found = json.loads(_get(parts, parts.hostname, address, port))
    except (httpx.HTTPError, OSError, ValueError, RecursionError) as error:
        raise RefusedError(f"{url[:200]}: {error or type(error).__name__}") from error
    if not isinstance(found, dict):
        raise RefusedError(f"{url[:200]} is not a JSON object")
    return found


def _address(host: str, port: int, *, private: bool) -> Address:
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise RefusedError(f"{host}: {error}") from error
    addresses = [ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers]
    closed = [address for address in addresses if not private and not is_public(address)]
    if not addresses or closed:
        raise RefusedError(
            f"{host} is at {', '.join(map(str, closed)) or 'no address'}, which is not public. An issuer inside the "
            "own network is listed in OIDC_PRIVATE_ISSUERS."
        )
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


def _get(parts: SplitResult, host: str, address: Address, port: int) -> bytes:
    at = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
    named = f"[{host}]" if ":" in host else host
    headers = {
        "Host": named if port == 443 else f"{named}:{port}",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "prooftrail",
    }
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    until = time.monotonic() + SECONDS
    with (
        httpx.Client(verify=_trusted(settings.OIDC_CA_FILE), trust_env=False, timeout=SECONDS / 2) as client,
        client.stream(
            "GET", f"https://{at}:{port}{path}", headers=headers, extensions={"sni_hostname": host}
        ) as response,
    ):
        if response.status_code != 200:
            raise RefusedError(f"{host} answered {response.status_code}; redirects are not followed")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise RefusedError(f"{host} answered compressed")
        return _read(response, host, until)


def _read(response: httpx.Response, host: str, until: float) -> bytes:
    found = bytearray()
    for chunk in response.iter_raw(16 * 1024):
        found += chunk
        if len(found) > LIMIT:
            raise RefusedError(f"{host} answered more than {LIMIT} bytes")
        if time.monotonic() > until:
            raise RefusedError(f"{host} took more than {SECONDS:g} seconds")
    return bytes(found)


@functools.lru_cache(maxsize=4)
def _trusted(ca_file: str) -> ssl.SSLContext:
    context = httpx.create_ssl_context(trust_env=False)
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    return context
