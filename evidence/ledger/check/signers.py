"""Which keys counted when: the service's own, and those of pipelines.

The database is what is checked, so its word on the service's keys is not enough: a key that it says is in force
counts only if its private half is here. What it says of earlier keys is compared with their records like any
projection, and every key in force at a size has to have signed it: a key slipped in beside the others signs nothing
for them.
"""

import functools

from config.errors import UnavailableError
from evidence import keys
from evidence.models import PipelineKey, SigningKey
from evidence.tlog import signing
from evidence.tlog.checkpoint import Checkpoint, LogKey, open_checkpoint
from evidence.tlog.dsse import Envelope, verify_envelope
from evidence.tlog.errors import SignatureError
from evidence.tlog.keyring import RecordKey
from evidence.tlog.keys import load_raw
from evidence.tlog.leaf import Leaf
from evidence.tlog.note import Verifier, parse_note


class Signers:
    """The keys as table and files have them now. Raises UnavailableError where none in force is here."""

    def __init__(self) -> None:
        self.log = [
            LogKey(known.name, known.public_key, row.from_size, row.to_size)
            for row in _believed(keys.LOG)
            for known in [Verifier.parse(row.key_id)]
        ]
        self._record = [
            RecordKey(row.key_id, load_raw(bytes(row.public_key)), row.from_index, row.to_index)
            for row in _believed(keys.RECORD)
        ]

    def open(self, note: str, size: int) -> Checkpoint:
        """The checkpoint that a note of the log carries. Raises TlogError unless each key of that size signed it."""
        checkpoint = open_checkpoint(note, self.log)
        named = {(line.name, line.key_id) for line in parse_note(note).signatures}
        for key in self.log:
            if key.counts_at(size) and (key.name, key.key_id) not in named:
                raise SignatureError(f"the key {key.name} ({key.key_id}), in force at this size, did not sign it")
        return checkpoint

    def verify(self, envelope: Envelope, signed_by: str, key_id: str, leaf: Leaf, index: int) -> None:
        """Raise SignatureError unless the key that the context names signed, and was its principal's there."""
        if signed_by == "service":
            self._verify_own(envelope, key_id, index)
            return
        key = self._pipeline_key(key_id)
        if key is None or key.pipeline.uid != leaf.by:
            raise SignatureError(f"key {key_id} is none of {leaf.by}")
        if not key.counts_at(index):
            until = "on" if key.to_index is None else f"to {key.to_index - 1}"
            raise SignatureError(f"key {key_id} signs records from {key.from_index + 1} {until}")
        verify_envelope(envelope, {key_id: self._public(bytes(key.public_key))})

    def _verify_own(self, envelope: Envelope, key_id: str, index: int) -> None:
        key = next((key for key in self._record if key.key_id == key_id), None)
        if key is None:
            raise SignatureError(f"key {key_id} is none of the service's")
        if not key.counts_at(index):
            until = "on" if key.to_index is None else f"to {key.to_index}"
            raise SignatureError(f"key {key_id} signs records from {key.from_index} {until}")
        verify_envelope(envelope, {key_id: key.public_key})

    @functools.lru_cache(maxsize=1024)  # noqa: B019 -- lives as long as one check
    def _pipeline_key(self, key_id: str) -> PipelineKey | None:
        # By its schema, as above; that this table says what the ledger says is compared by itself.
        stored = "SELECT * FROM public.evidence_pipelinekey WHERE key_id = %s"
        return next(iter(PipelineKey.objects.raw(stored, [key_id])), None)

    @staticmethod
    @functools.lru_cache(maxsize=1024)
    def _public(raw: bytes) -> signing.PublicKey:
        return signing.decode(raw)


def _believed(purpose: str) -> list[SigningKey]:
    held = keys.private_keys(purpose)
    # By its schema: while projections are replayed, a temporary table goes by this name.
    stored = "SELECT * FROM public.evidence_signingkey WHERE purpose = %s ORDER BY from_size"
    rows = list(SigningKey.objects.raw(stored, [purpose]))
    standing = [row for row in rows if row.to_size is None]
    if standing and not any(row.key_id in held for row in standing):
        raise UnavailableError(
            f"The database names {standing[-1].key_id} as the {purpose} key in force; its private half is not in "
            f"{keys.source(purpose)}. Run the check where the service's keys are.",
            code="signing_key_missing",
        )
    return [row for row in rows if row.to_size is not None or row.key_id in held]
