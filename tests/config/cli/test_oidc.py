"""`login --oidc`: the id-token of a job of GitHub or GitLab, and what comes of it."""

import json
import stat

import pytest

from config.cli import profile
from config.cli.commands import gate
from tests.config.cli.conftest import Prooftrail
from tests.config.cli.service import TOKEN, Reply, Service, problem

EXCHANGE = "POST /api/v1/auth/oidc"
GITHUB = "GET /runner"
ANSWER = {
    "access_token": TOKEN,
    "token_type": "Bearer",
    "expires_in": 900,
    "expires_at": "2026-11-22T12:15:00+00:00",
    "pipeline": {"id": "pip_1", "name": "trading-ci"},
}


@pytest.fixture(autouse=True)
def exchange(service: Service) -> None:
    service.on(EXCHANGE, Reply(ANSWER, 201))


@pytest.fixture
def on_github(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.on(GITHUB, Reply({"value": "github.id.token"}))
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{service.url}/runner?api-version=2.0")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of-the-runner")


def test_it_signs_in_on_github_with_a_token_made_for_the_server(
    service: Service, prooftrail: Prooftrail, on_github: None
) -> None:
    outcome = prooftrail("login", "--oidc", "--url", service.url)
    assert outcome.code == 0, outcome.err
    assert "trading-ci, until 2026-11-22T12:15:00+00:00" in outcome.out
    (asked,) = service.requests(GITHUB)
    assert asked.query == {"api-version": ["2.0"], "audience": [service.url]}
    assert asked.headers["authorization"] == "Bearer of-the-runner"
    (sent,) = service.requests(EXCHANGE)
    assert sent.json() == {"id_token": "github.id.token"}
    assert "authorization" not in sent.headers
    assert stat.S_IMODE(profile.path().stat().st_mode) == 0o600
    known = profile.known(service.url)
    assert known is not None
    assert known.token == TOKEN
    for secret in (TOKEN, "github.id.token", "of-the-runner"):
        assert secret not in outcome.out + outcome.err


def test_it_signs_in_on_gitlab_with_the_jobs_variable(
    service: Service, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROOFTRAIL_ID_TOKEN", "gitlab.id.token")
    monkeypatch.setenv("OTHER_TOKEN", "other.id.token")
    monkeypatch.setenv("PROOFTRAIL_URL", service.url)
    assert json.loads(prooftrail("login", "--oidc", "--json").out) == {
        "url": service.url,
        "pipeline": "trading-ci",
        "expires_at": "2026-11-22T12:15:00+00:00",
        "profile": str(profile.path()),
        "log_keys": [service.ledger.log.vkey],
    }
    assert prooftrail("login", "--oidc", "--id-token-variable", "OTHER_TOKEN", "--pipeline", "nightly").code == 0
    first, second = service.requests(EXCHANGE)
    assert first.json() == {"id_token": "gitlab.id.token"}
    assert second.json() == {"id_token": "other.id.token", "pipeline": "nightly"}


def test_it_repeats_a_request_as_it_was_when_the_answer_is_lost(
    service: Service, prooftrail: Prooftrail, on_github: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.on(EXCHANGE, Reply(hang_up=True), Reply(ANSWER, 201))
    assert prooftrail("login", "--oidc", "--url", service.url, "--audience", "elsewhere").code == 0
    first, second = service.requests(EXCHANGE)
    assert (first.body, first.headers["idempotency-key"]) == (second.body, second.headers["idempotency-key"])
    assert service.requests(GITHUB)[0].query["audience"] == ["elsewhere"]


def test_it_says_what_a_job_lacks_and_stores_nothing(
    service: Service, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = ("login", "--oidc", "--url", service.url)
    bare = prooftrail(*login)
    assert (bare.code, "id-token: write" in bare.err, "id_tokens" in bare.err) == (4, True, True)
    assert prooftrail(*login, "--id-token-variable", "MISSING").code == 4
    assert prooftrail(*login, "--token-stdin").code == 4
    assert prooftrail("login", "--url", service.url, "--pipeline", "x").code == 4
    assert prooftrail("login", "--oidc").code == 4
    assert prooftrail("login", "--oidc", "--url", "http://prooftrail.example.com").code == 4
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "http://runner.example.com/")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "x")
    assert prooftrail(*login).code == 4
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{service.url}/runner")
    for reply in (Reply({}), Reply([]), Reply("", 403), Reply(b"<html>")):
        service.on(GITHUB, reply)
        assert prooftrail(*login).code == 2
    monkeypatch.setenv("PROOFTRAIL_ID_TOKEN", "a.b.c")
    service.on(EXCHANGE, problem(401, "id_token_replayed"))
    refused = prooftrail(*login)
    assert (refused.code, "id_token_replayed" in refused.err, "once in each job" in refused.err) == (3, True, True)
    monkeypatch.setenv("PROOFTRAIL_ID_TOKEN", " ")
    assert prooftrail(*login).code == 4
    assert not profile.path().exists()


GATE = "GET /api/v1/releases/shop:1/gate"
RED = {"passed": False, "requirements": [{"name": "manifest", "state": "unmet"}]}
GREEN = {"passed": True, "requirements": [{"name": "manifest", "state": "met"}]}


def session_of(number: int, seconds: float) -> Reply:
    return Reply(ANSWER | {"access_token": f"pt_{number}", "expires_in": seconds}, 201)


def bearers(service: Service, route: str) -> list[str]:
    return [seen.headers["authorization"].removeprefix("Bearer ") for seen in service.requests(route)]


def test_it_renews_the_session_of_a_job_that_waits_longer_than_it_lasts(
    service: Service, prooftrail: Prooftrail, on_github: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it ends by its own clock, and once where the server's clock says that it has ended."""
    monkeypatch.setattr(gate, "_FIRST_PAUSE", 0.01)
    service.on(EXCHANGE, session_of(1, 30), session_of(2, 900), session_of(3, 900))
    service.on(GATE, Reply(RED), problem(401, "token_invalid"), Reply(RED), Reply(GREEN))
    assert prooftrail("login", "--oidc", "--url", service.url).code == 0
    waited = prooftrail("gate", "shop:1", "--environment", "production", "--wait", "60s")
    assert waited.code == 0, waited.err
    assert bearers(service, GATE) == ["pt_2", "pt_2", "pt_3", "pt_3"]
    keys = {seen.headers["idempotency-key"] for seen in service.requests(EXCHANGE)}
    assert (len(keys), len(service.requests(GITHUB))) == (3, 3), "a new id-token for each, and a key of its own"
    known = profile.known(service.url)
    assert known is not None
    assert known.token == "pt_3", "for the commands that follow"
    assert [key.vkey for key in known.log_keys] == [service.ledger.log.vkey]


def test_it_goes_on_with_what_it_has_where_no_session_can_be_renewed(
    service: Service, prooftrail: Prooftrail, on_github: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub's runner is away, or the job is GitLab's and its one id-token was used: the server's word counts."""
    ask = ("gate", "shop:1", "--environment", "production")
    service.on(EXCHANGE, session_of(1, 30))
    service.on(GATE, Reply(GREEN), problem(401, "token_invalid"))
    assert prooftrail("login", "--oidc", "--url", service.url).code == 0
    service.on(GITHUB, Reply("", 403))
    still = prooftrail(*ask)
    assert (still.code, "The session was not renewed" in still.err) == (0, True)
    assert prooftrail(*ask).code == 3

    monkeypatch.setenv("PROOFTRAIL_ID_TOKEN", "gitlab.id.token")
    assert prooftrail("login", "--oidc", "--url", service.url).code == 0
    known = profile.known(service.url)
    assert known is not None
    assert known.session is None
    asked = len(service.requests(EXCHANGE))
    assert prooftrail(*ask).code == 3
    assert len(service.requests(EXCHANGE)) == asked


def test_a_token_by_variable_is_nobodys_session(
    service: Service, prooftrail: Prooftrail, on_github: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.on(EXCHANGE, session_of(1, 30))
    service.on(GATE, problem(401, "token_invalid"))
    assert prooftrail("login", "--oidc", "--url", service.url).code == 0
    monkeypatch.setenv("PROOFTRAIL_TOKEN", TOKEN)
    assert prooftrail("gate", "shop:1", "--environment", "production").code == 3
    assert len(service.requests(EXCHANGE)) == 1
    assert bearers(service, GATE) == [TOKEN]
