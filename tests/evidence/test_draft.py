"""What is computed of a record before the head is locked."""

from hypothesis import given
from hypothesis import strategies as st

from evidence.ledger.draft import context_bytes
from evidence.tlog.canonical import canonical

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXT, st.none() | TEXT)
def test_it_spells_a_context_without_claims_as_rfc_8785_says(release, occurred):
    members = {"claims": {}, "key": "k", "occurred": occurred, "principal": "p", "release": release}
    members |= {"verification": {"signature": "service", "schema": release}}
    assert context_bytes(members) == canonical(members)
