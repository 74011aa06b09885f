"""What is in a pack, and that a stranger's check of it passes."""

import csv
import hashlib
import io
import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest

from compliance.packs import bag, container, plan, tables
from evidence.ledger import Actor, append_all, service_draft
from evidence.tlog.note import Verifier
from evidence.tlog.tiles import TILE
from exceptions import lifecycle
from tests.cast import Cast
from tests.compliance.conftest import Story, actor
from tests.compliance.packs.conftest import Pack, Packed, steps


def table(packed: Packed, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(packed.read(f"data/{name}").decode(), newline="")))


def test_it_verifies_in_numbered_steps(played: Story, pack: Pack, log_key: Verifier) -> None:
    found = steps(pack(), log_key)
    assert [step.number for step in found] == list(range(1, 12))
    assert all(step.ok for step in found)


def test_it_says_signer_unknown_without_a_key(played: Story, pack: Pack) -> None:
    assert [step.ok for step in steps(pack()) if step.number == 5] == [None]


def test_it_has_the_same_bytes_for_the_same_checkpoint(played: Story, pack: Pack) -> None:
    asked = {"start": datetime(2026, 1, 1, tzinfo=UTC), "end": datetime(2027, 1, 1, tzinfo=UTC)}
    first = pack("one", **asked)
    size = first.json("data/ipe.json")["log"]["size"]
    played.approve("qa")  # later records change nothing
    assert first.path.read_bytes() == pack("two", size=size, **asked).path.read_bytes()


def test_it_is_a_bag_that_other_tools_can_check(played: Story, pack: Pack) -> None:
    packed = pack()
    assert packed.read("bagit.txt").startswith(b"BagIt-Version: 1.0\n")
    listed = dict(line.split("  ")[::-1] for line in packed.read("manifest-sha256.txt").decode().splitlines())
    assert set(listed) == {name for name in packed.names() if name.startswith("data/")}
    assert all(hashlib.sha256(packed.read(name)).hexdigest() == digest for name, digest in listed.items())


def test_it_links_deployments_to_tickets_and_dashboards(played: Story, pack: Pack) -> None:
    (row,) = table(pack(), "populations/deployments.csv")
    assert row["ticket_id"] == "TRD-1042"
    assert row["dashboards"] == "Health https://dashboards.example.com/1"
    assert row["deployed_by"] == "ci"
    assert row["index"] == str(played.placed["deploy.started"].index)


def test_it_defuses_cells_that_a_spreadsheet_would_run(played: Story, pack: Pack) -> None:
    rows = table(pack(), "populations/approvals.csv")
    assert [row["comment"] for row in rows] == ["'=looks good"] * 4
    assert {row["name"] for row in rows} == {"Lea", "Charlie", "Bob", "Cora"}


def test_it_escapes_what_people_wrote_on_the_page(cast: Cast, story: Story, pack: Pack) -> None:
    Story(cast).open(captain="<script>alert(1)</script>").build().deploy()
    page = pack().read("data/index.html").decode()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "✗ missing" in page


def test_it_lists_failures_and_never_hides_them(played: Story, pack: Pack) -> None:
    played.write("validation.result", {"check": "smoke", "environment": "production", "outcome": "failed"})
    rows = table(pack(), "failures.csv")
    assert {(row["source"], row["what"]) for row in rows} >= {("validation.result", "failed")}


def test_it_carries_an_exception_that_was_open_before_the_period_with_its_story(cast: Cast, pack: Pack) -> None:
    asked = lifecycle.Application(
        title="Old TLS",
        justification="Spring.",
        severity="medium",
        systems=["netlify-trading"],
        owner="charlie@example.com",
        expires_at=datetime.now(UTC) + timedelta(days=20),
    )
    name = lifecycle.request_exception(actor=actor(cast.alice), application=asked).body["exception"]
    lifecycle.approve(actor=actor(cast.bob), exception=name, reason="Seen")
    start = datetime.now(UTC)
    lifecycle.revoke(actor=actor(cast.lea), exception=name, reason="Done")
    packed = pack(start=start)
    (row,) = table(packed, "populations/exceptions.csv")
    assert (row["exception"], row["state"], row["approvers"]) == (name, "revoked", "Bob")
    told = packed.json(f"data/exceptions/{name}.json")
    assert [(step["to"], step["name"]) for step in told["transitions"]] == [
        ("requested", "Alice"),
        ("approved", "Bob"),
        ("revoked", "Lea"),
    ]
    assert steps(packed)[-1].number == 11


def test_it_keeps_other_systems_out_but_what_concerns_all_in(cast: Cast, played: Story, pack: Pack) -> None:
    packed = pack(systems=(cast.billing.pk,), excluded=(cast.trading.pk,))
    kinds = {row["kind"] for row in table(packed, "populations/records.csv")}
    assert "access.user_created" in kinds
    assert "deploy.started" not in kinds
    assert packed.json("data/ipe.json")["exclusions"]["sandbox_systems"] == [
        {"id": cast.trading.pk, "name": "netlify-trading"}
    ]
    assert steps(packed)[-1].ok


def test_it_covers_a_period_in_which_nothing_happened(played: Story, pack: Pack, log_key: Verifier) -> None:
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    assert steps(pack(start=long_ago, end=long_ago + timedelta(days=1)), log_key)[-1].number == 11
    far = datetime.now(UTC) + timedelta(days=400)
    packed = pack(start=far, end=far + timedelta(days=1))
    assert packed.json("data/ipe.json")["counts"]["records"]["required"] == 0
    assert steps(packed, log_key)[-1].number == 11


def test_it_starts_its_leaves_before_the_period(cast: Cast, story: Story, pack: Pack, log_key: Verifier) -> None:
    playing = Story(cast).open().build()
    for number in range(600):
        playing.write("decision", {"title": str(number), "decision": "Go", "rationale": "Green"})
    start = datetime.now(UTC)
    playing.approve().deploy()
    packed = pack(start=start)
    assert packed.json("data/log/frontier.json")["size"] == 512
    older = [row for row in table(packed, "populations/records.csv") if row["required"] == "no"]
    assert {"release.opened", "deploy.manifest", "key.created"} <= {row["kind"] for row in older}
    assert steps(packed, log_key)[-1].ok


def test_it_takes_no_more_memory_for_a_larger_pack(
    cast: Cast, pack: Pack, log_key: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Building and verifying: four times the records in the same memory. Chunks are small, so that both fill them."""
    for module in (bag, container, tables):
        monkeypatch.setattr(module, "CHUNK", 1 << 15)
    monkeypatch.setattr(plan, "_BUNDLES", TILE)

    def peak(name: str) -> int:
        tracemalloc.start()
        steps(pack(name), log_key)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    playing = Story(cast).open().build().approve().deploy()
    note = {"title": "Note", "decision": "x" * 4000, "rationale": "y"}
    drafts = [
        service_draft("decision", note, actor=Actor(cast.ci.uid), systems=[cast.trading.pk], release=playing.release)
        for _ in range(1600)
    ]
    append_all(drafts[:400])
    peak("warm")
    small = peak("small")
    append_all(drafts[400:])
    assert peak("large") < small + 700_000  # 1,200 records have 16 MB in the pack
