"""docs/kinds.md can be followed: its example loads, is posted, searched, shown and exported without code."""

import json
import re
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.test import Client

from compliance.packs.builder import build
from compliance.packs.plan import Order
from evidence import kinds
from evidence.api.actors import actor_for
from evidence.ledger import reader
from evidence.ledger.check import check
from evidence.people import create_pipeline
from evidence.setup import record_configuration
from tests.cast import Cast, assemble
from tests.evidence.conftest import RELEASE, RELEASE_ID, Api
from tests.evidence.kinds.conftest import declare

__all__ = ["declare"]
TEXT = (Path(__file__).resolve().parents[2] / "docs" / "kinds.md").read_text()
FIRST, SECOND, SHUT, FOREIGN = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
BODY = json.loads(re.findall(r"<<'JSON'\n(.*?)\nJSON", TEXT, re.DOTALL)[0])


@pytest.fixture
def cast(ledger: object) -> Iterator[Cast]:
    yield assemble()
    assert check() == []


def test_it_loads_what_the_page_shows(declare: Callable[..., Path]) -> None:
    path = declare(FIRST, SECOND, SHUT, FOREIGN)
    assert kinds.faults() == []
    assert [kind.version for kind in kinds.load().versions("custom.load-test")] == [2, 1]
    declare(FIRST.replace("time: /finished_at", "time: /finished"), name=path.name)
    told = re.findall(r"^    /srv/prooftrail/kinds/load-test.yaml:(.*)$", TEXT, re.MULTILINE)
    assert [str(fault).removeprefix(f"{path}:") for fault in kinds.faults()] == told


def test_it_takes_the_example_everywhere_without_code(
    declare: Callable[..., Path],
    cast: Cast,
    tmp_path: Path,
) -> None:
    declare(FIRST, name="load-test.yaml")
    record_configuration()
    kind = "custom.load-test"
    _, token = create_pipeline(actor=actor_for(cast.root), name="load", systems=[cast.trading], kinds=[kind])
    assert Api(cast.ci_token).post("releases", RELEASE).status_code == 201
    api = Api(token.text)
    answer = api.post("records", {"kind": kind, "release": RELEASE_ID, "body": BODY})
    assert answer.status_code == 201, answer.content
    index = answer.json()["index"]
    (row,) = api.get(f"records?kind={kind}&outcome=passed&to=2026-03-13T00:00:00Z").json()["results"]
    assert (row["index"], row["facts"]) == (index, {"scenario": "checkout", "p95_ms": 212.5})
    refused = api.post("records", {"kind": kind, "release": RELEASE_ID, "body": BODY | {"p95_ms": "fast", "p50": 1}})
    assert sorted(error["where"] for error in refused.json()["errors"]) == ["$.body", "$.body.p95_ms"]

    browser = Client()
    browser.force_login(cast.alice)
    found = browser.get("/admin/evidence/record/", {"kind": kind, "outcome": "passed"}).context["cl"].result_list
    assert [record.index for record in found] == [index]
    page = browser.get(f"/admin/evidence/record/{index}/change/").content.decode()
    assert "Load test" in page
    assert "212.5" in page

    now = datetime.now(UTC)
    start, end = datetime(2026, 3, 1, tzinfo=UTC), now + timedelta(days=1)
    order = Order("20261001-abcdef", start, end, (cast.trading.pk,), (), reader.size())
    with (tmp_path / "pack.zip").open("w+b") as out:
        build(order, out, progress=lambda percent, stage: None)
    with zipfile.ZipFile(tmp_path / "pack.zip") as archive:
        assert any(name.endswith(f"records/{index}.json") for name in archive.namelist())
