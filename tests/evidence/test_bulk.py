"""The tests' quick way to a large ledger writes what the product writes."""

from evidence.ledger import Actor, append, reader, service_draft
from evidence.ledger.check import check
from evidence.models import Note, Tile
from evidence.models.people import SERVICE
from tests.cast import Cast
from tests.evidence.bulk import fill


def test_it_writes_what_the_check_finds_clean_and_the_appender_continues(cast: Cast) -> None:
    progress: list[tuple[int, int]] = []
    before = reader.size()
    fill(5000, system=cast.trading.pk, progress=lambda *done: progress.append(done))
    fill(77, system=cast.billing.pk)
    append(service_draft("decision", {"title": "a", "decision": "b", "rationale": "c"}, actor=Actor(SERVICE)))
    assert reader.size() == before + 5078
    assert Tile.objects.count() == reader.size() // 256
    assert progress == [(5000, 5000)]
    assert Note.objects.filter(size__in=[before + 5000, before + 5077, before + 5078]).count() == 3
    assert check() == []
