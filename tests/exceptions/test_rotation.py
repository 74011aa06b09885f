"""Records that are signed when they are written: the key may have changed since they were handed over."""

import pytest

from evidence import keys, rotation
from evidence.ledger import Draft, Placed, append, reader
from evidence.tlog.dsse import parse_envelope
from exceptions import records, risks
from tests.cast import Cast
from tests.exceptions.conftest import actor


@pytest.mark.usefixtures("own_key_files")
def test_it_names_the_key_that_signed_though_another_begins_meanwhile(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old,) = keys.in_force("record")

    def rotate_first(draft: Draft) -> Placed:
        rotation.begin("record")
        return append(draft)

    monkeypatch.setattr(records, "append", rotate_first)
    entry = risks.RiskEntry(title="Old TLS", likelihood=1, impact=1, owner=cast.alice.email)
    placed = risks.add_risk(actor=actor(cast.alice), entry=entry)
    (signature,) = parse_envelope(placed.envelope).signatures
    assert reader.get(placed.index).recorded.context["key"] == signature.keyid == old
