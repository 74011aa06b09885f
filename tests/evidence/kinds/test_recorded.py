"""What is recorded under a kind: read by the version it was written by, at the time that it states."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from config.errors import ConflictError
from evidence.api.actors import actor_for
from evidence.checks import kinds_keep_their_versions
from evidence.ledger.check import check
from evidence.models import Record
from evidence.people import add_key
from evidence.setup import record_configuration
from evidence.tlog.dsse import sign_envelope
from evidence.tlog.keys import dump_public, generate
from evidence.tlog.statement import build_statement
from tests.cast import Cast
from tests.evidence.conftest import Api
from tests.evidence.kinds.test_definitions import KIND

DSSE = "application/vnd.dsse.envelope.v1+json"
Declare = Callable[..., Path]


@pytest.fixture
def cast(cast: Cast) -> Iterator[Cast]:
    """At the end the whole ledger is recomputed."""
    yield cast
    assert check() == []


@pytest.fixture
def signed(cast: Cast, api: Api) -> Callable[..., Any]:
    """Post a predicate that the pipeline signed; its row."""
    private = generate()
    add_key(cast.ci, actor=actor_for(cast.root), public_key=dump_public(private.public_key()))

    def post(predicate_type: str, predicate: dict[str, Any], **query: str) -> Any:
        subjects = [{"name": "app", "digest": {"sha256": "ab" * 32}}]
        payload = build_statement(subjects=subjects, predicate_type=predicate_type, predicate=predicate)
        place = "&".join(f"{name}={value}" for name, value in (query or {"system": "netlify-trading"}).items())
        answer = api.post(f"records?{place}", sign_envelope(payload, private), content_type=DSSE)
        return Record.objects.get(index=answer.json()["index"]) if answer.status_code == 201 else answer.json()

    return post


def posted(api: Api, kind: str, body: dict[str, Any], **more: Any) -> Any:
    answer = api.post("records", {"kind": kind, "system": "netlify-trading", "body": body} | more)
    return Record.objects.get(index=answer.json()["index"]) if answer.status_code == 201 else answer.json()


def test_it_takes_the_time_from_the_body_unless_the_sender_gave_one(api: Api) -> None:
    stated, given = datetime(2026, 3, 12, 15, 4, 5, tzinfo=UTC), datetime(2026, 3, 12, 16, tzinfo=UTC)
    body = {"type": "disaster recovery", "outcome": "passed", "finished_at": "2026-03-12T16:04:05+01:00"}
    row = posted(api, "drill", body)
    assert row.occurred == stated
    assert api.get(f"records/{row.index}").json()["timeliness"] == "backfilled"
    assert posted(api, "drill", body, occurred_at="2026-03-12T16:00:00Z").occurred == given
    untimed = posted(api, "drill", {"type": "restore", "outcome": "passed"})
    assert untimed.occurred == untimed.at
    ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert posted(api, "drill", body | {"finished_at": ahead})["code"] == "occurred_in_future"
    wrong = posted(api, "drill", body | {"finished_at": "2026-03-12T16:04:05"})
    assert (wrong["code"], wrong["where"]) == ("time_invalid", "$.body.finished_at")


WELL_KNOWN = {
    "https://in-toto.io/attestation/test-result/v0.1": (
        {"result": "WARNED", "configuration": [{"name": "ci.yml"}], "warnedTests": ["a"]},
        ("test.result", "passed", {"result": "WARNED", "configuration": "ci.yml"}),
    ),
    "https://in-toto.io/attestation/vulns/v0.2": (
        {
            "scanner": {"uri": "pkg:github/aquasecurity/trivy@1", "version": "0.19.2", "result": []},
            "metadata": {"scanFinishedOn": "2026-03-12T15:04:05Z"},
        },
        ("scan.result", None, {"scanner": "pkg:github/aquasecurity/trivy@1", "scanner_version": "0.19.2"}),
    ),
    "https://in-toto.io/attestation/release/v0.1": (
        {"purl": "pkg:npm/http@7.2.16", "releaseId": "12"},
        ("release.published", None, {"purl": "pkg:npm/http@7.2.16", "package": "12"}),
    ),
    "https://slsa.dev/provenance/v1": (
        {
            "buildDefinition": {"buildType": "https://example.com/b/v1", "externalParameters": {}},
            "runDetails": {"builder": {"id": "https://ci"}, "metadata": {"finishedOn": "2026-03-12T15:04:05Z"}},
        },
        ("slsa.provenance", None, {"builder": "https://ci", "build_type": "https://example.com/b/v1"}),
    ),
    "https://cyclonedx.org/bom/v1.6": (
        {"bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": {"timestamp": "2026-03-12T15:04:05Z"}},
        ("sbom", None, {"format": "CycloneDX", "spec_version": "1.6"}),
    ),
    "https://spdx.dev/Document": (
        {"spdxVersion": "SPDX-2.3", "name": ["odd"], "creationInfo": {"created": "yesterday"}},
        ("sbom", None, {"spec_version": "SPDX-2.3"}),
    ),
}


def test_it_reads_well_known_predicates_as_they_are(signed: Callable[..., Any], release: str) -> None:
    for predicate_type, (predicate, expected) in WELL_KNOWN.items():
        row = signed(predicate_type, predicate, release=release)
        assert (row.kind, row.outcome, row.facts) == expected
        timed = "2026-03-12T15:04:05Z" in str(predicate)
        assert row.occurred == (datetime(2026, 3, 12, 15, 4, 5, tzinfo=UTC) if timed else row.at), predicate_type
    refused = signed("https://in-toto.io/attestation/test-result/v0.1", {"result": "GREAT"}, release=release)
    assert (refused["code"], refused["where"]) == ("body_invalid", "$.body.result")
    assert signed("https://example.com/unheard/of", {})["code"] == "kind_unknown"


OLD = {"name": "edge", "outcome": "down", "at": "2026-03-12T15:04:05Z"}
NEW = """\
kind: custom.probe
version: 2
title: Probe
retention: audit
posted_by: [pipeline]
outcome: /state
facts: {place: /name}
schema:
  type: object
  required: [state]
  additionalProperties: false
  properties: {name: {type: string}, state: {enum: [up, down, degraded]}}
"""


def test_it_reads_old_records_by_their_own_version(declare: Declare, api: Api, signed: Callable[..., Any]) -> None:
    declare(KIND)
    record_configuration()
    old = posted(api, "custom.probe", OLD)
    declare(KIND, NEW)
    record_configuration()
    new = posted(api, "custom.probe", {"state": "degraded", "name": "edge"})
    assert posted(api, "custom.probe", OLD)["code"] == "body_invalid"
    signer_s = signed("urn:prooftrail:predicate:custom.probe:v1", OLD)
    assert check() == []  # recomputed, each as it was written
    rows = Record.objects.in_bulk([old.index, new.index, signer_s.index])
    assert [(row.outcome, row.facts) for row in rows.values()] == [
        ("down", {"name": "edge"}),
        ("degraded", {"place": "edge"}),
        ("down", {"name": "edge"}),
    ]
    shown = api.get("kinds/custom.probe").json()
    assert (shown["predicate_type"], [version["version"] for version in shown["versions"]]) == (
        "urn:prooftrail:predicate:custom.probe:v2",
        [2, 1],
    )
    declare(KIND + "retired: true\n", NEW)
    assert signed("urn:prooftrail:predicate:custom.probe:v1", OLD | {"name": "core"})["code"] == "kind_retired"
    again = signed("urn:prooftrail:predicate:custom.probe:v1", OLD)
    assert again["index"] == signer_s.index, "what was accepted is answered as before"
    assert check() == []


def test_it_refuses_a_version_that_was_changed_in_its_file(declare: Declare, api: Api) -> None:
    declare(KIND)
    record_configuration()
    declare(KIND.replace("title: Probe", "title: Probes").replace("[pipeline]", "[pipeline, person]"))
    record_configuration()  # what no record is read by may change
    declare(KIND.replace("[up, down]", "[up, down, degraded]"))
    with pytest.raises(ConflictError, match=r"kind custom.probe was changed .*`version: 2`") as refused:
        record_configuration()
    assert refused.value.code == "kind_changed"
    assert [error.id for error in kinds_keep_their_versions(None, databases=["default"])] == ["evidence.E008"]
    declare(KIND)
    assert kinds_keep_their_versions(None, databases=["default"]) == []


def test_it_takes_custom_evidence_that_nobody_declared(declare: Declare, api: Api, signed: Callable[..., Any]) -> None:
    row = posted(api, "custom.adr", {"title": "Use PostgreSQL", "outcome": "accepted", "why": ["one", "two"]})
    assert (row.outcome, row.facts) == ("accepted", {"title": "Use PostgreSQL"})
    assert signed("urn:prooftrail:predicate:custom.adr:v1", {"title": "Signed"}).facts == {"title": "Signed"}
    assert api.get("records?kind=custom.adr&outcome=accepted").json()["results"][0]["index"] == row.index
    for name in ("custom.", "custom.Adr", "custom.*", "custom." + "x" * 60, "customs.adr"):
        assert posted(api, name, {"title": "x"})["code"] == "kind_unknown", name
    assert posted(api, "custom.adr", {})["code"] == "body_invalid"
    assert check() == []
    declare(KIND.replace("probe", "adr"))
    with pytest.raises(ConflictError, match="before it was declared"):
        record_configuration()
    declare(KIND.replace("probe", "adr") + "version: 2\n")
    record_configuration()
    assert posted(api, "custom.adr", {"name": "x", "outcome": "up"}).facts == {"name": "x"}
