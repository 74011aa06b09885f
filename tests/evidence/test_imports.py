"""Large imports: several transactions, visible all at once or not at all."""

import pytest

from config.errors import ForbiddenError
from evidence.ledger import Actor, reader, service_draft, store
from evidence.ledger.check import check
from evidence.ledger.imports import append_import
from evidence.models import Note, System
from evidence.models.people import SERVICE
from evidence.setup import ensure_signing_keys


@pytest.fixture
def log(ledger, monkeypatch):
    ensure_signing_keys()
    monkeypatch.setattr(store, "MAX_BATCH", 10)
    return reader.size()


def systems(count, actor, *, seen=None, refuse_at=None):
    """Drafts that each make a system; `seen` notes how many are visible while they are prepared."""

    def refuse(at):
        raise ForbiddenError("no more", code="no_more")

    for number in range(count):
        if seen is not None:
            seen.append(System.objects.count())
        pk = f"sys_{number:016}"
        body = {"system": pk, "name": f"system-{number}", "title": "", "sandbox": False}
        admit = refuse if number == refuse_at else None
        yield service_draft("config.system", body, actor=actor, systems=[pk], admit=admit)


def test_it_shows_an_import_all_at_once(log):
    seen: list[int] = []
    placed = append_import(lambda actor: systems(25, actor, seen=seen), actor=Actor(SERVICE))
    assert set(seen) == {0}
    assert System.objects.count() == 25
    assert placed.body == {"import": placed.body["import"], "records": 25, "first": log, "last": log + 24}
    assert list(Note.objects.filter(size__gt=log).values_list("size", flat=True).order_by("size")) == [
        log + 10, log + 20, log + 25, log + 26,
    ]  # fmt: skip
    assert check() == []


def test_it_shows_nothing_of_an_import_that_is_refused(log):
    with pytest.raises(ForbiddenError) as caught:
        append_import(lambda actor: systems(25, actor, refuse_at=13), actor=Actor(SERVICE))
    assert caught.value.code == "no_more"
    assert System.objects.count() == 0
    assert reader.size() > log
    assert check() == []


def test_it_takes_an_empty_import(log):
    assert append_import(lambda actor: [], actor=Actor(SERVICE)).body["records"] == 0
