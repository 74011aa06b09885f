"""What hosts list besides, and who deployed what they approved: in the pack, counted, and checked without us."""

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evidence.keys import record_signer
from evidence.ledger import Actor, append, service_draft
from evidence.tlog.note import Verifier
from tests.cast import Cast
from tests.compliance.conftest import Story
from tests.compliance.packs.conftest import Pack, Packed, steps
from tests.compliance.packs.test_tampering import refused, resigned


def failures(packed: Packed, source: str) -> list[dict[str, str]]:
    text = packed.read("data/failures.csv").decode()
    return [row for row in csv.DictReader(io.StringIO(text, newline="")) if row["source"] == source]


@pytest.fixture
def inventory(cast: Cast) -> Callable[..., int]:
    def record(*rows: dict[str, str], source: str = "netlify") -> int:
        body: dict[str, Any] = {"source": source, "query": "deploys?context=production", "rows": list(rows)}
        draft = service_draft("deploy.inventory", body, actor=Actor(cast.ci.uid), systems=[cast.trading.pk])
        return append(draft).index

    return record


def soon(**delta: float) -> str:
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()


def test_it_names_what_only_one_side_knows(
    played: Story, inventory: Callable[..., int], pack: Pack, log_key: Verifier
) -> None:
    row = {"at": soon(), "release": played.tag}
    index = inventory(
        {"id": "d1", **row},
        {"id": "d2", **row, "release": "=unheard-of"},
        {"id": "s1", **row, "environment": "staging"},
        {"id": "old", **row, "at": soon(days=-90)},
    )
    gone = inventory({"id": "d9", **row}, source="mistaken")
    played.write("record.withdrawn", {"index": gone, "reason": "another site's"})
    packed = pack()
    (found,) = failures(packed, "deploy.inventory")
    assert (found["item"], found["index"], found["what"]) == ("netlify d2", str(index), "not recorded")
    stated = packed.json("data/ipe.json")["reconciliation"]
    assert stated["inventories"] == [
        {"index": index, "source": "netlify", "query": "deploys?context=production", "rows": 4}
    ]
    assert (stated["matched"], stated["unrecorded"], stated["unlisted"]) == (1, 1, 0)
    assert [each["item"] for each in stated["unmatched"]] == ["netlify d2"]
    assert steps(packed, log_key)[-1].ok


def test_it_takes_lists_that_came_after_the_period(
    played: Story, inventory: Callable[..., int], pack: Pack, log_key: Verifier
) -> None:
    end = datetime.now(UTC) + timedelta(milliseconds=1)
    while datetime.now(UTC) <= end:
        pass
    index = inventory({"id": "elsewhere", "at": soon(days=-3)})
    packed = pack(end=end)
    assert [row["what"] for row in failures(packed, "deploy.inventory")] == ["not recorded", "not listed"]
    assert f"data/records/{index}.json" in packed.names()
    assert steps(packed, log_key)[-1].ok


def test_it_names_who_deployed_what_they_approved(played: Story, pack: Pack, log_key: Verifier) -> None:
    played.write(
        "deploy.started",
        {"environment": "production", "manifest_digest": played.digest, "deployed_by": "Bob@Example.com"},
    )
    packed = pack()
    (found,) = failures(packed, "deployer-approved")
    assert found["index"] == str(played.placed["deploy.started"].index)
    assert found["detail"] == "who deployed it had approved it as qa"
    assert packed.json("data/ipe.json")["counts"]["deployed_by_who_approved"] == 1
    assert steps(packed, log_key)[-1].ok


@pytest.mark.parametrize(
    ("what", "said"),
    [("row", "failures.csv has"), ("count", "ipe.json accounts for others"), ("inventory", "names others")],
)
def test_hiding_one_is_found(
    what: str,
    said: str,
    played: Story,
    inventory: Callable[..., int],
    pack: Pack,
    log_key: Verifier,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though it is signed with the service's own key."""
    monkeypatch.setattr("tests.compliance.packs.test_tampering.KEY", record_signer().key)
    inventory({"id": "d2", "at": soon(), "release": "unheard-of"})

    def change(name: str, data: bytes) -> bytes | None:
        if name == "data/failures.csv" and what != "inventory":
            return b"".join(line for line in data.splitlines(keepends=True) if b"netlify d2" not in line)
        if name == "data/ipe.json":
            stated = json.loads(data)
            if what == "count":
                stated["counts"]["failures"] -= 1
                stated["reconciliation"]["unrecorded"] -= 1
            if what == "inventory":
                stated["reconciliation"]["inventories"] = []
            return json.dumps(stated).encode()
        return data

    packed = pack()
    assert steps(resigned(packed, tmp_path / "same.zip", lambda _, data: data), log_key)[-1].ok
    error = refused(resigned(packed, tmp_path / "changed.zip", change), log_key)
    assert (error.step, said in str(error)) == (11, True), error
