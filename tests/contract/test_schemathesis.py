"""Every call of the API against its own description: requests that fit and requests that do not, made by schemathesis.

`make contract` runs it (deselected elsewhere): it needs a minute or two, and `.ci/run` has a step for it.
"""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from evidence.api.actors import actor_for
from evidence.ledger import Actor
from evidence.ledger.check import check
from evidence.models.people import SERVICE
from evidence.people import create_user, issue_token
from tests.cast import Cast, assemble
from tests.conftest import Clone
from tests.evidence.conftest import RELEASE, RELEASE_ID
from tests.served import served

pytestmark = pytest.mark.contract
#: How many requests of each sort a call gets. The seed is fixed: a red run is red again.
EXAMPLES, SEED, HANGS_AFTER = 25, 20261122, 600
DIGEST = "0123456789abcdef" * 4
#: One person sends thousands of requests in a minute: what is over the limit would be refused, and tell nothing.
LIMITS = {f"RATE_LIMIT_{name}": "100000,100000" for name in ("WRITES", "BATCHES", "CALLS", "ANONYMOUS")}
CONFIGURATION = """
hooks = "hooks.py"
# Valid by its shape and still refused for what it says (an unknown release, a person who may not, a number that
# canonical JSON does not hold): 4xx is right.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "401", "403", "404", "409", "410", "413", "415", "422", "503"]
# A path names something else when it is changed, and then there is nothing there.
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422"]
[parameters]
"""
#: Whatever is sent as a batch is lines; what is wrong with one is said in its line of the answer.
OF_BATCHES = """
[[operations]]
include-operation-id = "records_batch_create"
checks.negative_data_rejection.enabled = false
"""


#: A batch is lines of text: schemathesis knows how to send it once it is told.
HOOKS = """
import schemathesis

@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")
"""


def everybody(cast: Cast) -> str:
    """The token of a person who may do all that roles allow."""
    person = create_user(
        actor=Actor(SERVICE),
        name="Olga",
        email="olga@example.com",
        roles=["admin", "approver", "auditor", "captain", "engineer", "executive", "liaison"],
        signs_for=[("qa", cast.trading)],
    )
    return issue_token(person, actor=actor_for(person), label="contract", scopes=["person"], days=1).text


def things(api: httpx.Client, pipeline: str) -> dict[str, Any]:
    """Something for each id that a path can name."""

    def post(path: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
        answer = api.post(path, json=body, headers=headers)
        assert answer.status_code < 300, answer.text
        found: dict[str, Any] = answer.json()
        return found

    post("releases", RELEASE)
    listed = [{"name": "site.tar", "size": 4, "sha256": DIGEST}]
    manifest = {"author": "alice@example.com", "commit": "a" * 40, "artifacts": listed}
    body = {"kind": "deploy.manifest", "release": RELEASE_ID, "body": manifest}
    record = post("records", body, Authorization=f"Bearer {pipeline}")
    system = RELEASE["system"]
    post("artifacts", {"sha256": DIGEST, "size": 4, "name": "site.tar", "system": system})
    asked = {"title": "x", "justification": "y", "severity": "low", "owner": "max@example.com", "systems": [system]}
    exception = post("exceptions", asked | {"expires_at": (datetime.now(UTC) + timedelta(days=30)).isoformat()})
    risk = post("risks", {"title": "x", "likelihood": 1, "impact": 1, "owner": "max@example.com"})
    hold = post("holds", {"reason": "x", "release": RELEASE_ID})
    pack = post("packs", {"from": "2026-01-01", "to": "2026-01-31"})
    report = post("reports", {"kind": "monthly", "month": "2026-01"})
    return {
        "path.index": record["index"],
        "path.release_id": RELEASE_ID,
        "path.sha256": DIGEST,
        "path.number": exception["exception"]["id"],
        "path.hold_id": hold["hold"]["id"],
        "path.pack_id": pack["pack"]["id"],
        "path.report_id": report["id"],
        "risks": risk["risk"]["id"],
    }


def configuration(ids: dict[str, Any]) -> str:
    risk = ids.pop("risks")
    lines = [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in ids.items()]
    of_risks = f'[[operations]]\ninclude-path-regex = "/risks/"\nparameters = {{ "path.number" = {json.dumps(risk)} }}'
    return "\n".join([CONFIGURATION, *lines, of_risks, OF_BATCHES])


def test_every_call_keeps_what_its_description_says(ledger: Clone, s3: object, tmp_path: Path) -> None:
    cast = assemble()
    token = everybody(cast)
    with served(ledger, tmp_path, **LIMITS) as url:
        with httpx.Client(base_url=f"{url}/api/v1/", headers={"Authorization": f"Bearer {token}"}, timeout=30) as api:
            (tmp_path / "hooks.py").write_text(HOOKS)
            (tmp_path / "schemathesis.toml").write_text(configuration(things(api, cast.ci_token)))
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(tmp_path / "schemathesis.toml")]
        command += ["run", f"{url}/api/v1/schema?format=json", "-H", f"Authorization: Bearer {token}"]
        command += ["--max-examples", str(EXAMPLES), "--seed", str(SEED), "--workers", "2"]
        command += ["--phases", "examples,coverage,fuzzing"]
        command += ["--continue-on-failure", "--no-color", "--warnings", "off"]
        done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, timeout=HANGS_AFTER)
    print(done.stdout[-50_000:], done.stderr[-5_000:])
    assert done.returncode == 0, "schemathesis found what its report above says; each case has a curl line"
    assert check() == []
