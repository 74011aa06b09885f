"""What was withdrawn or disposed of stays visible as such; and the verifier stands alone."""

import csv
import io
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from compliance.models import Pack as PackRow
from compliance.models import PackBuild
from compliance.packs import requests, worker
from compliance.packs.plan import LedgerMovedError
from compliance.retention import disposition
from evidence.ledger import Actor, append, reader, service_draft
from evidence.models.people import SERVICE
from evidence.tlog.note import Verifier
from tests.cast import Cast
from tests.compliance.conftest import Story, actor
from tests.compliance.packs.conftest import Pack, Packed, steps
from tests.compliance.retention.conftest import company

__all__ = ["company"]


def rows(packed: Packed) -> dict[int, dict[str, str]]:
    text = packed.read("data/populations/records.csv").decode()
    return {int(row["index"]): row for row in csv.DictReader(io.StringIO(text, newline=""))}


def brief(cast: Cast) -> int:
    """A record that is kept for a second."""
    draft = service_draft("custom.brief", {"note": "gone soon"}, actor=Actor(SERVICE), systems=[cast.trading.pk])
    return append(draft).index


def dispose_of(index: int) -> None:
    deadline = time.monotonic() + 10
    while reader.get(index).envelope is not None:
        assert time.monotonic() < deadline
        time.sleep(0.2)
        disposition.dispose()


@pytest.mark.usefixtures("company", "s3")
def test_it_shows_what_was_disposed_of(cast: Cast, pack: Pack, log_key: Verifier) -> None:
    index = brief(cast)
    dispose_of(index)
    packed = pack()
    disposer = int(rows(packed)[index]["disposed_by"])
    assert rows(packed)[disposer]["kind"] == "retention.disposed"
    assert packed.json(f"data/records/{index}.json").keys() == {"index", "leaf", "disposed_by"}
    assert b"gone soon" not in packed.path.read_bytes()
    assert packed.json("data/ipe.json")["gaps"]["disposed_of"] == 1
    (step,) = [step for step in steps(packed, log_key) if step.number == 6]
    assert "1 of them disposed of" in step.detail


@pytest.mark.usefixtures("company", "s3")
def test_it_takes_a_newer_checkpoint_when_a_record_went_meanwhile(cast: Cast, pack: Pack) -> None:
    index = brief(cast)
    size = reader.size()
    placed = requests.request_pack(
        actor=actor(cast.ada), person=cast.ada, start=datetime(2026, 1, 1, tzinfo=UTC), end=datetime.now(UTC)
    )
    dispose_of(index)
    with pytest.raises(LedgerMovedError):
        pack(size=size)
    asked = PackRow.objects.get(pk=placed.body["pack"])
    PackBuild.objects.create(pack=asked, claimed_until=asked.requested_at, claim="", checkpoint_size=size)
    worker.build_waiting()
    assert PackBuild.objects.get(pk=asked.pk).checkpoint_size is None
    worker.build_waiting()
    asked.refresh_from_db()
    assert asked.state == PackRow.READY
    assert asked.checkpoint_size is not None
    assert asked.checkpoint_size > size


def test_it_shows_what_was_withdrawn(played: Story, pack: Pack, log_key: Verifier) -> None:
    index = played.placed["validation.result"].index
    withdrawal = played.write("record.withdrawn", {"index": index, "reason": "wrong environment"})
    packed = pack()
    assert rows(packed)[index]["withdrawn_by"] == str(withdrawal.index)
    assert steps(packed, log_key)[-1].ok


def test_it_is_verified_without_the_service(played: Story, pack: Pack, log_key: Verifier) -> None:
    """In a process that may import neither Django nor anything that only the server has."""
    script = """
import sys
SERVER = {"django", "rest_framework", "celery", "boto3", "psycopg", "yaml", "config", "exceptions"}
class Refuse:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] in SERVER:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
from pathlib import Path
from compliance.packs.verifier import verify_pack
from evidence.tlog.note import Verifier
for step in verify_pack(Path(sys.argv[1]), verifiers=[Verifier.parse(sys.argv[2])]):
    print(step.number, step.title)
"""
    arguments = [sys.executable, "-c", script, str(pack().path), log_key.vkey]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "11 Populations and counts equal the records"


def test_it_numbers_its_steps_alike_everywhere(played: Story, pack: Pack, log_key: Verifier) -> None:
    from pathlib import Path

    from compliance.packs import verifier

    packed = pack()
    found = steps(packed, log_key, since=packed.path)
    page = (Path(__file__).parents[3] / "docs" / "pack.md").read_text()
    for step in found:
        assert f"\n{step.number}. " in (verifier.__doc__ or "")
        assert f"\n{step.number}. **" in page
    assert len(found) == 12
