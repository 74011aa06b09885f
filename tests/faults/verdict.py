"""What must hold after every fault, whatever it was.

1. Entries are exactly 0 to size - 1.
2. Every record that was sent is in the ledger once, at the index of its receipt, and nothing else of the load is.
3. Every receipt verifies offline, under the key file's public key, for what was sent.
4. A retry with the same key gets the first receipt, byte for byte, marked as a replay.
5. No writer met an answer that it could not deal with by trying again.
6. `manage.py check_ledger` finds nothing.
"""

from collections.abc import Sequence

from evidence.tlog.receipt import parse_receipt, verify_receipt
from tests.faults.load import Load, Sender, Sent
from tests.faults.site import Site

#: How many records are sent once more, besides all that needed several tries.
_SAMPLE = 200


def check(site: Site, load: Load, *, sample: int = _SAMPLE) -> None:
    assert load.sent, "no load, no verdict"
    _entries_are_contiguous(site)
    _recorded_once(site, load)
    _receipts_verify(site, load.sent)
    _retries_are_replays(load, sample)
    assert not load.wrong, load.trouble()
    said = site.manage("check_ledger")
    assert "clean" in said, said


def _entries_are_contiguous(site: Site) -> None:
    with site.database() as connection:
        found = connection.execute(
            'SELECT count(*), count(DISTINCT "index"), min("index"), max("index") + 1 FROM evidence_entry'
        ).fetchone()
        size = connection.execute("SELECT size FROM evidence_head").fetchone()
    assert size is not None
    assert found == (size[0], size[0], 0, size[0])


def recorded(site: Site, name: str) -> dict[str, list[int]]:
    """Indexes of the load's records, by marker."""
    with site.database() as connection:
        rows = connection.execute(
            "SELECT facts ->> 'scanner', array_agg(\"index\") FROM evidence_record"
            " WHERE facts ->> 'scanner' LIKE %s GROUP BY 1",
            [f"{name}-%"],
        )
        return dict(rows.fetchall())


def _recorded_once(site: Site, load: Load) -> None:
    unanswered = [sent.marker for sent in load.sent if sent.receipt is None]
    assert not unanswered, f"not acknowledged: {unanswered[:5]}; {load.trouble()}"
    wanted = {sent.marker: [parse_receipt(sent.receipt).index] for sent in load.sent if sent.receipt is not None}
    found = recorded(site, load.name)
    differing = {marker for marker in wanted.keys() | found.keys() if wanted.get(marker) != found.get(marker)}
    assert not differing, [(marker, wanted.get(marker), found.get(marker)) for marker in sorted(differing)[:5]]


def _receipts_verify(site: Site, records: Sequence[Sent]) -> None:
    verifier = site.log_verifier()
    for sent in records:
        assert sent.receipt is not None
        steps = list(verify_receipt(parse_receipt(sent.receipt), verifiers=[verifier], sent=sent.body))
        assert [step.ok for step in steps] == [True] * 5, steps


def _retries_are_replays(load: Load, sample: int) -> None:
    retried = [sent for sent in load.sent if sent.tries > 1]
    others = [sent for sent in load.sent if sent.tries == 1]
    chosen = [*retried, *others[:: max(1, len(others) // sample)]]
    sender = Sender(load.pipeline)
    try:
        for sent in chosen:
            answer = sender.settle(sent)
            assert (answer.status, answer.replayed) == (200, True), answer
            assert answer.body == sent.receipt
    finally:
        sender.close()
