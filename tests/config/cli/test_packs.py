import json
from hashlib import sha256
from pathlib import Path

import pytest

from tests.config.cli.conftest import Prooftrail
from tests.config.cli.service import Reply, Service

PACKS = "/api/v1/packs"
CONTENT = bytes(range(256)) * 9000
PACK = {"id": "2026q4-1", "state": "requested", "progress": 0}


def requested(service: Service) -> Reply:
    receipt = service.ledger.plain({"kind": "pack.requested", "body": {}})
    return Reply({"pack": PACK, "receipt": receipt}, 202)


def offer(service: Service, **changes: object) -> None:
    link = {"url": f"{service.url}/store/pack", "sha256": sha256(CONTENT).hexdigest(), "size": len(CONTENT)}
    service.on(f"POST {PACKS}/2026q4-1/download", Reply(link | changes))
    service.on("GET /store/pack", Reply(CONTENT, 200, {"Content-Type": "application/zip"}))


@pytest.mark.parametrize(
    ("options", "period"),
    [
        (["--quarter", "2026-Q4"], ("2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z")),
        (["--quarter", "2026q1"], ("2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z")),
        (["--from", "2026-10-01", "--to", "2026-12-31"], ("2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z")),
        (
            ["--from", "2026-10-01T00:00:00+05:30", "--to", "2026-11-01T00:00:00+05:30"],
            ("2026-10-01T00:00:00+05:30", "2026-11-01T00:00:00+05:30"),
        ),
    ],
)
def test_it_asks_for_a_period(
    logged_in: Service, prooftrail: Prooftrail, options: list[str], period: tuple[str, str]
) -> None:
    logged_in.on(f"POST {PACKS}", requested(logged_in))
    outcome = prooftrail("pack", "request", *options)
    assert outcome.code == 0, outcome.err
    assert "Pack 2026q4-1 is requested." in outcome.out
    assert logged_in.seen[0].json() == {"from": period[0], "to": period[1]}


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--from", "2026-10-01"],
        ["--quarter", "2026-Q5"],
        ["--quarter", "2026-Q4", "--from", "2026-10-01"],
        ["--from", "2026-02-30", "--to", "2026-03-01"],
    ],
)
def test_it_refuses_what_is_not_a_period(logged_in: Service, prooftrail: Prooftrail, options: list[str]) -> None:
    assert prooftrail("pack", "request", *options).code == 4
    assert logged_in.seen == []


def test_it_asks_for_some_systems(logged_in: Service, prooftrail: Prooftrail) -> None:
    logged_in.on(f"POST {PACKS}", requested(logged_in))
    outcome = prooftrail("pack", "request", "--quarter", "2026-Q4", "--system", "web", "--json")
    assert json.loads(outcome.out)["pack"] == PACK
    assert logged_in.seen[0].json()["systems"] == ["web"]


@pytest.mark.parametrize(("end", "code"), [("ready", 0), ("failed", 1)])
def test_it_waits_until_a_pack_is_built(
    logged_in: Service, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch, end: str, code: int
) -> None:
    monkeypatch.setattr("config.cli.commands.packs._POLL", 0.01)
    logged_in.on(f"POST {PACKS}", requested(logged_in))
    building = Reply(PACK | {"state": "building", "progress": "40 %"})
    logged_in.on(f"GET {PACKS}/2026q4-1", building, building, Reply(PACK | {"state": end, "error": "why"}))
    outcome = prooftrail("pack", "request", "--quarter", "2026-Q4", "--wait", "--json")
    assert outcome.code == code
    assert json.loads(outcome.out)["state"] == end
    assert outcome.err.count("building 40 %") == 1


@pytest.mark.parametrize(("state", "code"), [("building", 0), ("ready", 0), ("failed", 1)])
def test_it_shows_a_packs_state(logged_in: Service, prooftrail: Prooftrail, state: str, code: int) -> None:
    logged_in.on(f"GET {PACKS}/2026q4-1", Reply({"pack": PACK | {"state": state}}))
    outcome = prooftrail("pack", "status", "2026q4-1")
    assert outcome.code == code
    assert state in outcome.out


def test_it_downloads_a_pack_and_compares_it(logged_in: Service, prooftrail: Prooftrail) -> None:
    offer(logged_in)
    outcome = prooftrail("pack", "download", "2026q4-1", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["path"] == "pack-2026q4-1.zip"
    assert Path("pack-2026q4-1.zip").read_bytes() == CONTENT
    assert "authorization" not in logged_in.requests("GET /store/pack")[0].headers
    assert prooftrail("pack", "download", "2026q4-1").code == 4  # it never overwrites
    assert "prooftrail verify" in prooftrail("pack", "download", "2026q4-1", "--out", "b.zip").err


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"size": 7}])
def test_it_throws_away_what_is_not_the_pack(
    logged_in: Service, prooftrail: Prooftrail, tmp_path: Path, change: dict[str, object]
) -> None:
    offer(logged_in, **change)
    assert prooftrail("pack", "download", "2026q4-1").code == 1
    assert list(tmp_path.iterdir()) == []


def test_it_leaves_nothing_of_a_download_that_failed(
    logged_in: Service, prooftrail: Prooftrail, tmp_path: Path
) -> None:
    offer(logged_in)
    logged_in.on("GET /store/pack", Reply("expired", 403))
    assert prooftrail("pack", "download", "2026q4-1").code == 2
    logged_in.on("GET /store/pack", Reply(hang_up=True))
    assert prooftrail("pack", "download", "2026q4-1").code == 2
    offer(logged_in, url="file:///etc/hostname")
    assert prooftrail("pack", "download", "2026q4-1").code == 2
    assert list(tmp_path.iterdir()) == []
    offer(logged_in)
    assert prooftrail("pack", "download", "2026q4-1", "--out", "missing/pack.zip").code == 4
