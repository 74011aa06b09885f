"""Keys of issuers: fetched from where they are published and from nowhere else, seldom, and kept over an outage."""

import json

import pytest

from config.errors import InvalidError, UnavailableError
from config.outbound import RefusedError
from evidence.oidc import fetching, issuers
from evidence.oidc.fetching import get_json

ABOUT = "/.well-known/openid-configuration"


@pytest.fixture
def clock(monkeypatch):
    """Seconds that go by as the test says."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(issuers, "time", clock)
    return clock


def key(issuer, key_id="rsa", algorithm="RS256"):
    return issuers.key_for(issuer.url, key_id, algorithm)


@pytest.mark.parametrize(
    "url",
    [
        *("http://localhost/x", "file:///etc/passwd", "https://", "//localhost", "https://user@localhost/x", ""),
        *("https://localhost:99999/x", "https://localhost/x#f", "https://[::1", "https://no-such-host.invalid/x"),
    ],
)
def test_it_fetches_nothing_but_https(url):
    with pytest.raises(RefusedError):
        get_json(url, private=True)


def test_it_keeps_out_of_its_own_network_unless_told(issuer, settings):
    settings.OIDC_PRIVATE_ISSUERS = []
    for url in (issuer.url, issuer.url.replace("localhost", "127.0.0.1"), "https://169.254.169.254/latest"):
        with pytest.raises(RefusedError, match="not public"):
            get_json(url + ABOUT, private=False)
    with pytest.raises(UnavailableError) as caught:
        key(issuer)
    assert caught.value.code == "issuer_unreachable"
    assert "127.0.0.1" not in caught.value.detail
    assert issuer.asked == []


def test_it_checks_the_certificate(issuer, settings):
    settings.OIDC_CA_FILE = ""
    with pytest.raises(RefusedError, match=r"(?i)certificate"):
        get_json(issuer.url + ABOUT, private=True)
    assert issuer.asked == []


def test_it_follows_no_redirect_and_reads_no_more_than_it_should(issuer, monkeypatch):
    inside = {"Location": f"{issuer.url}/jwks"}
    monkeypatch.setattr(fetching, "LIMIT", 10_000)
    for answer, said in {
        (302, "redirect"): (302, inside, b"{}"),
        (404, "404"): (404, {}, b"{}"),
        (200, "bytes"): (200, {}, b'{"a": "' + b"x" * 20_000 + b'"}'),
        (200, "compressed"): (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b"),
        (200, "JSON object"): (200, {}, b"[]"),
        (200, "Expecting"): (200, {}, b"<html>"),
    }.items():
        issuer.documents["/odd"] = said
        with pytest.raises(RefusedError, match=answer[1]):
            get_json(f"{issuer.url}/odd", private=True)
    assert "/jwks" not in issuer.asked
    monkeypatch.setattr(fetching, "SECONDS", 0.0001)
    with pytest.raises(RefusedError):
        get_json(issuer.url + ABOUT, private=True)


@pytest.mark.parametrize(
    ("path", "document"),
    [
        (ABOUT, {"issuer": "https://else.example.com", "jwks_uri": "https://localhost/jwks"}),
        (ABOUT, {"jwks_uri": "https://localhost/jwks"}),
        ("/jwks", {"keys": {}}),
        ("/jwks", {"keys": [{"kty": "RSA", "kid": "rsa"}] * 101}),
        ("/jwks", {"keys": [{"kty": "oct", "kid": "rsa", "k": "c2VjcmV0"}, {"kty": "RSA"}, "x"]}),
    ],
)
def test_it_refuses_an_issuer_that_does_not_say_who_it_is_or_has_no_keys(issuer, path, document):
    issuer.documents[path] = json.dumps(document).encode()
    with pytest.raises(UnavailableError):
        key(issuer)


def test_it_asks_again_seldom_however_many_keys_it_is_asked_for(issuer, clock):
    for _ in range(3):
        key(issuer)
    for n in range(20):
        with pytest.raises(InvalidError) as caught:
            key(issuer, f"unknown-{n}")
        assert caught.value.code == "id_token_key_unknown"
    assert issuer.asked.count("/jwks") == 1
    clock.now += issuers.AGAIN
    issuer.keys["new"] = issuer.keys["rsa"]
    issuer.publish()
    key(issuer, "new")
    assert issuer.asked.count("/jwks") == 2
    clock.now += issuers.FRESH
    key(issuer)
    assert issuer.asked.count("/jwks") == 3


def test_it_goes_on_for_a_day_while_the_issuer_is_away(issuer, clock):
    key(issuer)
    issuer.documents.clear()
    clock.now += issuers.FRESH
    assert key(issuer)
    assert len(issuer.asked) == 3, "it has tried"
    clock.now += issuers.STALE
    for _ in range(3):
        with pytest.raises(UnavailableError):
            key(issuer)
    assert len(issuer.asked) == 4, "and does not try at each request"


def test_it_remembers_few_issuers(issuer, monkeypatch):
    monkeypatch.setattr(issuers, "MAX_ISSUERS", 3)
    for n in range(10):
        with pytest.raises(UnavailableError):
            issuers.key_for(f"https://issuer-{n}.invalid", "k", "RS256")
    assert len(issuers._known) == 3


def test_it_refuses_keys_that_are_weak_or_for_something_else(issuer):
    strong = issuer.jwk("rsa")
    issuer.publish(
        strong | {"kid": "for encryption", "use": "enc"},
        strong | {"kid": "short", "n": strong["n"][:128]},
        strong | {"kid": "broken", "n": "!"},
        {name: value for name, value in strong.items() if name != "alg"} | {"kid": "any"},
    )
    for key_id in ("for encryption", "short", "broken"):
        with pytest.raises(InvalidError) as caught:
            key(issuer, key_id)
        assert caught.value.code == "id_token_key_unknown", key_id
    assert key(issuer, "any", "PS512")
    with pytest.raises(InvalidError) as caught:
        key(issuer, "any", "ES256")
    assert caught.value.code == "id_token_algorithm_refused"
