"""A release with everything that the gate asks for, so that a test takes one thing away."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from evidence.api.actors import actor_for
from evidence.gate import policy
from evidence.ledger.check import check
from evidence.models import Release, User
from evidence.people import change_user
from evidence.releases import approve
from tests.cast import Cast
from tests.evidence.conftest import RELEASE, RELEASE_ID, Api
from tests.evidence.gate.ledgers import Ledger

COMMIT = "4be1c0ffee5eed0ddba11ad5cafe0123456789ab"
ARTIFACT = "cd" * 32
MANIFEST = {
    "commit": COMMIT,
    "author": "alice@example.com",
    "artifacts": [{"name": "main.js", "size": 3, "sha256": ARTIFACT}],
    "summary": {"AI Analyst": "Summaries cite their sources", "Quant Screener": "Faster factor filters"},
    "pull_requests": [
        {"url": "https://git.example.com/871", "author": "alice@example.com", "reviewers": ["quinn@x", "sam@x"]}
    ],
}
SCANNERS = {"secrets": "gitleaks", "sca": "npm audit", "dast": "zap"}
ROLES = ("product", "design", "sre", "qa")


@dataclass
class Play:
    """What people and the pipeline do about one release."""

    api: Api
    cast: Cast
    tokens: Callable[[User], str]
    release: str = RELEASE_ID
    digest: str = ""
    signers: dict[str, User] = field(default_factory=dict)

    def post(self, kind: str, body: dict[str, Any], *, ago: timedelta | None = None, **more: Any) -> int:
        """A record of this release, that happened so long ago; its index."""
        by = more.pop("by", None)
        data = {"kind": kind, "body": body, "release": self.release} | more
        if ago is not None:
            data["occurred_at"] = (datetime.now(UTC) - ago).isoformat()
        answer = (Api(self.tokens(by)) if by else self.api).post("records", data)
        assert answer.status_code == 201, answer.content
        return int(answer.json()["index"])

    def around(self, kind: str, body: dict[str, Any], **more: Any) -> int:
        """A record of the system, beside any release."""
        return self.post(kind, body, release=None, system="netlify-trading", **more)

    def build(self, **changes: Any) -> str:
        """A new manifest; its digest."""
        self.post("deploy.manifest", MANIFEST | changes)
        self.digest = self.api.get(f"releases/{self.release}").json()["manifest_digest"]
        return self.digest

    def test(self, *suites: str, outcome: str = "passed", **more: Any) -> None:
        for suite in suites or ("unit", "integration", "contract", "lint"):
            self.post("test.result", {"suite": suite, "outcome": outcome, "manifest_digest": self.digest}, **more)

    def scan(self, *types: str, **changes: Any) -> None:
        for type_ in types or SCANNERS:
            body = {"type": type_, "scanner": SCANNERS[type_], "outcome": "passed", "findings": {"critical": 0}}
            self.post("scan.result", body | {"manifest_digest": self.digest} | changes)

    def review(self) -> None:
        self.post("schema.diff", {"outcome": "compatible", "manifest_digest": self.digest})
        accepted = {"decision": "accepted", "manifest_digest": self.digest}
        self.post("schema.reviewed", accepted, by=self.cast.cora)
        self.post("changelog.signed", accepted, by=self.cast.cora)
        self.post("branch.merged", {"branch": "main", "commit": COMMIT}, ago=timedelta(hours=2))

    def surroundings(self) -> None:
        for environment in ("staging", "production"):
            body: dict[str, Any] = {
                "environment": environment,
                "digest": "x",
                "variables_missing": [],
                "deviations": [],
            }
            self.around("config.snapshot", body)
        self.around("uptime.snapshot", {"percent": 99.7, "days": 7, "source": "datadog"})
        self.around("quota.snapshot", {"vendor": "tiingo", "headroom_percent": 40})
        self.around("dependency.alerts", {"source": "dependabot", "open": {}})

    def deploy(self, environment: str, **more: Any) -> int:
        where = {"environment": environment, "manifest_digest": self.digest}
        started = self.post("deploy.started", where, **more)
        self.post("deploy.finished", where | {"outcome": "succeeded"}, **more)
        return started

    def validate(self, check: str, *, outcome: str = "passed", **more: Any) -> int:
        where = {"environment": "staging", "manifest_digest": self.digest, "url": "https://ci.example.com/shot.png"}
        return self.post("validation.result", where | {"check": check, "outcome": outcome}, **more)

    def stage(self) -> None:
        self.deploy("staging", ago=timedelta(minutes=20))
        for name in ("regression plan: smoke", "synthetic monitors", "AI Analyst: canary", "Quant Screener: canary"):
            self.validate(name, ago=timedelta(minutes=10))

    def check_off(self) -> None:
        """Every item of the checklist in force."""
        given = {"done": True, "evidence": "https://calendar.example.com/1"}
        sections = [
            {
                "name": section["title"],
                "items": [{"id": item["id"], "title": item["title"]} | given for item in section["items"]],
            }
            for section in policy.load().checklist("netlify-trading")
        ]
        self.post("release.checklist", {"sections": sections})

    def sign(self, *roles: str, decision: str = "approved") -> None:
        for role in roles or ROLES:
            person = self.signers[role]
            approve(
                release=Release.objects.select_related("system").get(pk=self.release),
                person=person,
                actor=actor_for(person),
                role=role,
                decision=decision,
                manifest_digest=self.digest,
                comment="Go/no-go",
            )

    def everything(self) -> None:
        self.build()
        self.test()
        self.scan()
        self.review()
        self.surroundings()
        self.stage()
        self.check_off()
        self.sign()

    def ask(self, environment: str = "production", *, by: User | None = None, **query: Any) -> Any:
        client = Api(self.tokens(by)) if by else self.api
        query_string = "&".join(f"{name}={value}" for name, value in query.items())
        return client.get(f"releases/{self.release}/gate?environment={environment}&{query_string}")

    def gate(self, environment: str = "production", **query: Any) -> dict[str, Any]:
        answer = self.ask(environment, **query)
        assert answer.status_code == 200, answer.content
        found: dict[str, Any] = answer.json()
        return found

    def states(self, environment: str = "production", **query: Any) -> dict[str, str]:
        return {row["name"]: row["state"] for row in self.gate(environment, **query)["requirements"]}

    def one(self, name: str, environment: str = "production", **query: Any) -> dict[str, Any]:
        (row,) = [row for row in self.gate(environment, **query)["requirements"] if row["name"] == name]
        found: dict[str, Any] = row
        return found

    def failing(self, environment: str = "production", **query: Any) -> dict[str, str]:
        passing = {"met", "waived", "not_applicable"}
        return {name: state for name, state in self.states(environment, **query).items() if state not in passing}


@pytest.fixture
def log() -> Ledger:
    return Ledger()


@pytest.fixture
def play(api: Api, cast: Cast, token_for: Callable[[User], str]) -> Iterator[Play]:
    """Alice's release, opened; at the end the whole ledger is recomputed."""
    kept: dict[str, str] = {}
    policy.load.cache_clear()
    change_user(cast.max, actor=actor_for(cast.root), sign_offs=[("design", cast.trading)])
    signers = {"product": cast.lea, "design": cast.max, "sre": cast.cora, "qa": cast.bob}

    def token(user: User) -> str:
        return kept.setdefault(user.uid, kept.get(user.uid) or token_for(user))

    assert api.post("releases", RELEASE).status_code == 201
    yield Play(api, cast, token, signers=signers)
    assert check() == []
    policy.load.cache_clear()


@pytest.fixture
def ready(play: Play) -> Play:
    """With everything there."""
    play.everything()
    return play
