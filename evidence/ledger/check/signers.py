"""Which keys counted when: the service's own, and those of pipelines.

The keys in force come from the key files; the database is asked for earlier ones only, since it is what is checked.
"""

import functools
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from evidence.keys import log_verifier, record_key, record_key_id
from evidence.models import PipelineKey, SigningKey
from evidence.tlog.dsse import Envelope, verify_envelope
from evidence.tlog.errors import SignatureError
from evidence.tlog.keys import load_raw
from evidence.tlog.leaf import Leaf
from evidence.tlog.note import Verifier


class Signers:
    def __init__(self) -> None:
        self._log = list(SigningKey.objects.filter(purpose="log").exclude(to_size=None))
        earlier = SigningKey.objects.filter(purpose="record")
        self._record = {row.key_id: load_raw(bytes(row.public_key)) for row in earlier}
        self._record[record_key_id()] = record_key().public_key()

    def log_keys(self, size: int) -> Sequence[Verifier]:
        """The keys whose signature counts on a checkpoint of that size."""
        earlier = [row for row in self._log if row.from_size <= size <= (row.to_size or 0)]
        return [log_verifier(), *(Verifier.parse(row.key_id) for row in earlier)]

    def verify(self, envelope: Envelope, signed_by: str, key_id: str, leaf: Leaf) -> None:
        """Raise SignatureError unless the key that the context names signed, and was its principal's at that time."""
        if signed_by == "service":
            verify_envelope(envelope, self._record)
            return
        key = self._pipeline_key(key_id)
        if key is None or key.pipeline.uid != leaf.by:
            raise SignatureError(f"key {key_id} is none of {leaf.by}")
        if key.valid_from > leaf.at or (key.valid_until is not None and key.valid_until <= leaf.at):
            raise SignatureError(f"key {key_id} was not valid at {leaf.at.isoformat()}")
        verify_envelope(envelope, {key_id: self._public(bytes(key.public_key))})

    @functools.lru_cache(maxsize=1024)  # noqa: B019 -- lives as long as one check
    def _pipeline_key(self, key_id: str) -> PipelineKey | None:
        return PipelineKey.objects.select_related("pipeline").filter(key_id=key_id).first()

    @staticmethod
    @functools.lru_cache(maxsize=1024)
    def _public(raw: bytes) -> Ed25519PublicKey:
        return load_raw(raw)
