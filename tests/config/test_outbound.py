"""Requests to addresses that somebody else named: nothing of the own network answers, and nothing holds a worker up."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address

import pytest

from config.outbound import RefusedError, Rules, ask, is_public, resolve, target

RULES = Rules(limit=1000, seconds=0.5, hint="See the list.")


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        "0.0.0.0",  # noqa: S104 -- an address to refuse, none to bind
        *("255.255.255.255", "224.0.0.1", "192.0.2.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::"),
    ],
)
def test_it_knows_addresses_that_are_nobodys_on_the_internet(address):
    assert not is_public(ip_address(address))


def test_it_knows_public_addresses():
    assert all(is_public(ip_address(address)) for address in ("140.82.112.3", "2606:4700::1", "64:ff9b::8c52:7003"))


def test_it_connects_to_the_address_that_it_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is public when it is looked at and inside when it is connected to is connected to as looked at."""
    real, looked_up = socket.getaddrinfo, []

    def rebinding(host: object, *args: object, **more: object) -> object:
        looked_up.append(host)
        public = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.88.98.1", 8080))]
        return public if looked_up == ["rebinding.example"] else real(host, *args, **more)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert resolve("rebinding.example", 8080, private=False) == ip_address("192.88.98.1")
    looked_up.clear()
    connected = []

    def connecting(address: object, *_: object, **__: object) -> None:
        connected.append(address)
        raise ZeroDivisionError

    monkeypatch.setattr(socket, "create_connection", connecting)
    at = target("http://rebinding.example:8080/x", plain=True)
    with pytest.raises(ZeroDivisionError):
        ask("GET", at, private=False, rules=RULES, headers={})
    assert connected == [("192.88.98.1", 8080)]
    assert looked_up == ["rebinding.example"]


def test_it_says_the_host_and_what_to_do_but_no_path() -> None:
    at = target("https://localhost/services/T0/B0/secret")
    assert "secret" not in repr(at)
    with pytest.raises(RefusedError) as refused:
        ask("POST", at, private=False, rules=RULES, headers={}, content=b"{}")
    assert "not public. See the list." in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.fixture
def dripping() -> Iterator[int]:
    """A server that answers a header's byte every now and then, for ever; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        end = threading.Event()

        def drip() -> None:
            with suppress(OSError), server.accept()[0] as connection:  # who asked hangs up
                while not end.wait(0.05):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        yield server.getsockname()[1]
        end.set()
        thread.join()


def test_it_ends_in_time_however_slowly_bytes_come(dripping: int) -> None:
    at = target(f"http://127.0.0.1:{dripping}/", plain=True)
    began = time.monotonic()
    with pytest.raises(RefusedError, match=r"127\.0\.0\.1"):
        ask("GET", at, private=True, rules=RULES, headers={})
    assert time.monotonic() - began < 5
