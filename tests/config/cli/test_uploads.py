"""``upload``, and files beside a record: in one piece or in parts, checked by the service before they count."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from config.cli import files
from tests.config.cli.conftest import SITE, SITE_SHA, Prooftrail
from tests.config.cli.service import TOKEN, Reply, Service, problem


def test_it_uploads_a_file_by_itself(logged_in: Service, prooftrail: Prooftrail, site: Path) -> None:
    outcome = prooftrail("upload", site, "--system", "web", "--kind", "deploy.log", "--json")
    assert logged_in.seen[0].json()["kind"] == "deploy.log"
    assert json.loads(outcome.out) == {"sha256": SITE_SHA, "state": "confirmed"}
    assert f"sha256:{SITE_SHA}" in prooftrail("upload", site, "--system", "web").out
    assert logged_in.stored == {SITE_SHA: SITE}
    assert logged_in.seen[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_it_does_not_send_a_file_twice(logged_in: Service, prooftrail: Prooftrail, site: Path) -> None:
    known = {"artifact": {"sha256": SITE_SHA, "state": "confirmed"}, "upload": None}
    logged_in.on("POST /api/v1/artifacts", Reply(known, 201))
    assert prooftrail("upload", site, "--system", "web").code == 0
    assert [seen.path for seen in logged_in.seen] == ["/api/v1/artifacts"]


def test_it_waits_while_a_large_file_is_checked(logged_in: Service, prooftrail: Prooftrail, site: Path) -> None:
    checking = {"artifact": {"sha256": SITE_SHA, "state": "checking"}}
    confirmed = {"artifact": {"sha256": SITE_SHA, "state": "confirmed"}}
    logged_in.on(f"POST /api/v1/artifacts/{SITE_SHA}/confirm", Reply(checking, 202))
    logged_in.on(f"GET /api/v1/artifacts/{SITE_SHA}", Reply(confirmed))
    outcome = prooftrail("upload", site, "--system", "web")
    assert outcome.code == 0
    assert "is being checked" in outcome.err
    assert logged_in.requests(f"GET /api/v1/artifacts/{SITE_SHA}")[0].query == {"system": ["web"]}


def test_it_says_why_a_file_was_refused(logged_in: Service, prooftrail: Prooftrail, site: Path) -> None:
    refused = {"artifact": {"sha256": SITE_SHA, "state": "refused", "refusal": "holds a secret"}}
    logged_in.on(f"POST /api/v1/artifacts/{SITE_SHA}/confirm", Reply(refused, 200))
    outcome = prooftrail("upload", site, "--system", "web")
    assert outcome.code == 4
    assert "holds a secret" in outcome.err
    logged_in.on(f"POST /api/v1/artifacts/{SITE_SHA}/confirm", problem(422, "artifact_digest_mismatch"))
    assert prooftrail("upload", site, "--system", "web").code == 4


def test_it_says_that_the_store_refused(logged_in: Service, prooftrail: Prooftrail, site: Path) -> None:
    target = {"url": f"{logged_in.url}/store", "method": "PUT", "headers": {"Content-Length": str(len(SITE))}}
    announced = {"artifact": {"sha256": SITE_SHA, "state": "incoming"}, "upload": target}
    logged_in.on("POST /api/v1/artifacts", Reply(announced, 201))
    logged_in.on("PUT /store", Reply(b"<Error>BadDigest</Error>", 400))
    outcome = prooftrail("upload", site, "--system", "web")
    assert outcome.code == 2
    assert "BadDigest" in outcome.err


def test_it_needs_a_system_to_upload_to(logged_in: Service, prooftrail: Prooftrail, site: Path) -> None:
    assert prooftrail("attest", "drill", "--file", site).code == 4
    assert logged_in.seen == []


# -- large files -------------------------------------------------------------------------------------------------------


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three parts and a bit, of four bytes each."""
    monkeypatch.setattr(files, "MULTIPART", 8)
    monkeypatch.setattr(files, "PART", 4)
    path = Path("build.log")
    path.write_bytes(b"aaaabbbbccccd")
    return path


def offered(service: Service, *numbers: int, age: str = "") -> Reply:
    """An announcement's answer that asks for these of the four parts."""
    parts = [
        {
            "number": number,
            "offset": (number - 1) * 4,
            "size": 4 if number < 4 else 1,
            "url": f"{service.url}/part/{number}{age}",
            "method": "PUT",
            "headers": {"Content-Length": "4" if number < 4 else "1"},
        }
        for number in numbers
    ]
    upload = {"part_size": 4, "parts_total": 4, "parts_done": 4 - len(numbers), "parts": parts}
    return Reply({"artifact": {"sha256": "0", "state": "incoming"}, "upload": upload}, 201)


def test_it_sends_a_large_file_in_parts_until_none_is_asked_for(
    logged_in: Service, prooftrail: Prooftrail, large: Path
) -> None:
    announce = "POST /api/v1/artifacts"
    logged_in.on(announce, offered(logged_in, 1, 2, 4), offered(logged_in, 2, age="-anew"), offered(logged_in))
    digest = sha256(large.read_bytes()).hexdigest()
    confirmed = {"artifact": {"sha256": digest, "state": "confirmed"}}
    logged_in.on(f"POST /api/v1/artifacts/{digest}/confirm", Reply(confirmed))
    logged_in.on("PUT /part/1", Reply("", 200))
    logged_in.on("PUT /part/2", Reply("expired", 403))
    logged_in.on("PUT /part/2-anew", Reply("", 200))
    outcome = prooftrail("upload", large, "--system", "web")
    assert outcome.code == 0, outcome.err
    sent = [(seen.path, seen.body) for seen in logged_in.seen if seen.method == "PUT"]
    assert sent == [("/part/1", b"aaaa"), ("/part/2", b"bbbb"), ("/part/2-anew", b"bbbb")]
    digests = [sha256(part).hexdigest() for part in (b"aaaa", b"bbbb", b"cccc", b"d")]
    assert [seen.json()["part_sha256"] for seen in logged_in.requests(announce)] == [digests] * 3


def test_it_gives_up_on_urls_that_never_hold(logged_in: Service, prooftrail: Prooftrail, large: Path) -> None:
    logged_in.on("POST /api/v1/artifacts", offered(logged_in, 1))
    logged_in.on("PUT /part/1", Reply("", 403))
    outcome = prooftrail("upload", large, "--system", "web")
    assert outcome.code == 2
    assert len(logged_in.requests("PUT /part/1")) == 3
