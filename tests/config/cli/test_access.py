import io
import json
import stat
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from config.cli import profile
from config.cli.profile import Server
from evidence.tlog import keys
from evidence.tlog.note import Signer
from tests.config.cli.conftest import Outcome, Prooftrail
from tests.config.cli.service import TOKEN, Reply, Service, problem

KEYS = "GET /api/v1/log/keys"
SECOND = Signer("test.example/log", Ed25519PrivateKey.from_private_bytes(b"\x09" * 32)).vkey


@pytest.fixture
def login(service: Service, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch) -> "Login":
    return Login(service, prooftrail, monkeypatch)


class Login:
    def __init__(self, service: Service, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch) -> None:
        self._service, self._prooftrail, self._monkeypatch = service, prooftrail, monkeypatch

    def __call__(self, *options: str, token: str = TOKEN, url: str | None = None) -> Outcome:
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(token + "\n"))
        return self._prooftrail("login", "--url", url or self._service.url, "--token-stdin", *options)


def offer(service: Service, *vkeys: str) -> None:
    service.on(KEYS, Reply({"keys": [{"vkey": vkey, "from_size": 0, "to_size": None} for vkey in vkeys]}))


def stored() -> dict[str, object]:
    found: dict[str, object] = json.loads(profile.path().read_text())
    return found


def test_it_makes_a_key_that_only_its_owner_reads(prooftrail: Prooftrail) -> None:
    outcome = prooftrail("keygen", "--out", "deploy.pem", "--json")
    assert outcome.code == 0
    made = json.loads(outcome.out)
    assert stat.S_IMODE(Path("deploy.pem").stat().st_mode) == 0o600
    private = keys.load_private(Path(made["private_key"]).read_bytes())
    public = keys.load_public(Path(made["public_key"]).read_bytes())
    assert private.public_key() == public
    assert made["key_id"] == keys.key_digest(public)
    assert "PRIVATE" not in outcome.out + outcome.err


def test_it_never_overwrites_a_key(prooftrail: Prooftrail) -> None:
    assert prooftrail("keygen").code == 0
    before = Path("prooftrail-key.pem").read_bytes()
    assert prooftrail("keygen").code == 4
    Path("prooftrail-key.pem.pub").unlink()
    assert prooftrail("keygen").code == 4
    assert Path("prooftrail-key.pem").read_bytes() == before
    assert prooftrail("keygen", "--out", "missing/key.pem").code == 4


def test_it_stores_the_token_and_pins_the_log_key(service: Service, login: Login) -> None:
    outcome = login()
    assert outcome.code == 0
    assert service.ledger.log.vkey in outcome.out
    assert TOKEN not in outcome.out + outcome.err
    assert stat.S_IMODE(profile.path().stat().st_mode) == 0o600
    assert stat.S_IMODE(profile.path().parent.stat().st_mode) == 0o700
    assert stored() == {
        "current": service.url,
        "servers": {service.url: {"token": TOKEN, "log_keys": [service.ledger.log.vkey]}},
    }
    assert service.seen[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_it_talks_to_the_server_logged_in_to(service: Service, login: Login, prooftrail: Prooftrail) -> None:
    login()
    assert prooftrail("attest", "drill").code == 0
    assert service.seen[-1].headers["authorization"] == f"Bearer {TOKEN}"


def test_it_gives_a_stored_token_to_its_own_server_only(
    service: Service, login: Login, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    login()
    other = Service()
    try:
        monkeypatch.setenv("PROOFTRAIL_URL", other.url)
        prooftrail("attest", "drill")
        assert "authorization" not in other.seen[0].headers
    finally:
        other.close()


def test_it_stores_nothing_when_the_token_is_refused(service: Service, login: Login) -> None:
    service.on(KEYS, problem(401, "token_invalid"))
    assert login().code == 3
    assert not profile.path().exists()


@pytest.mark.parametrize("token", ["", "two words", "naïve"])
def test_it_refuses_what_is_not_a_token(service: Service, login: Login, token: str) -> None:
    assert login(token=token).code == 4
    assert service.seen == []


def test_it_needs_a_token(service: Service, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    outcome = prooftrail("login", "--url", service.url)
    assert outcome.code == 4
    assert "--token-stdin" in outcome.err


def test_it_refuses_another_log_key_than_the_pinned_one(service: Service, login: Login) -> None:
    login()
    offer(service, SECOND)
    outcome = login()
    assert outcome.code == 1
    assert "is not the one pinned before" in outcome.err
    assert service.ledger.log.vkey in profile.path().read_text()
    assert login("--accept-log-key").code == 0
    assert stored()["servers"] == {service.url: {"token": TOKEN, "log_keys": [SECOND]}}


def test_it_does_not_trust_a_further_key_by_itself(service: Service, login: Login) -> None:
    login()
    offer(service, service.ledger.log.vkey, SECOND)
    outcome = login()
    assert outcome.code == 0
    assert f"New log key, not trusted yet: {SECOND}" in outcome.err
    assert SECOND not in profile.path().read_text()


@pytest.mark.parametrize(
    "answer", [{}, {"keys": []}, {"keys": [{}]}, {"keys": [{"vkey": "x"}]}, {"keys": 7}, [], {"keys": [{"vkey": 7}]}]
)
def test_it_refuses_log_keys_that_make_no_sense(service: Service, login: Login, answer: object) -> None:
    service.on(KEYS, Reply(answer))
    assert login().code == 2
    assert not profile.path().exists()


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"current":7,"servers":{}}', '{"current":"x","servers":{"x":{"log_keys":"y"}}}']
)
def test_it_says_that_its_file_is_damaged(prooftrail: Prooftrail, content: str) -> None:
    profile.path().parent.mkdir()
    profile.path().write_text(content)
    outcome = prooftrail("release", "show", "web:r")
    assert outcome.code == 4
    assert "is damaged" in outcome.err


@pytest.mark.parametrize(
    ("url", "clear"),
    [
        ("http://prooftrail.example", True),
        ("http://10.0.0.7:8000", True),
        ("https://prooftrail.example", False),
        ("http://127.0.0.1:8000", False),
        ("http://[::1]:8000", False),
        ("http://localhost", False),
    ],
)
def test_it_knows_when_a_token_would_go_in_clear(url: str, clear: bool) -> None:
    assert Server(url).sends_in_clear is clear
