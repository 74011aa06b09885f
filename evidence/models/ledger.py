"""The append-only tables. The runtime role may insert into them; triggers refuse everything else."""

from django.db import models


class Head(models.Model):
    """The one row every append locks first."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    size = models.BigIntegerField(default=0)
    root = models.BinaryField()
    #: Hashes of the perfect subtrees that make up the log, largest first, 32 bytes each.
    frontier = models.BinaryField(default=b"")
    last_at = models.DateTimeField()

    class Meta:
        db_table = "evidence_head"


class Authority(models.Model):
    """One row whose epoch grows with every change of rights, keys and release states (migration 0003)."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    epoch = models.BigIntegerField()

    class Meta:
        db_table = "evidence_authority"


class Entry(models.Model):
    """One leaf. Partitioned by index; see migration 0002 for its table."""

    index = models.BigIntegerField(primary_key=True)
    leaf = models.BinaryField()
    leaf_hash = models.BinaryField()

    class Meta:
        db_table = "evidence_entry"
        managed = False


class Note(models.Model):
    """A signed checkpoint, one for each batch. An entry's note is the smallest one larger than its index."""

    size = models.BigIntegerField(primary_key=True)
    text = models.TextField()

    class Meta:
        db_table = "evidence_note"


class Payload(models.Model):
    """What a leaf's digest was made of. Goes when its retention ends and no hold keeps it; the leaf stays."""

    RAW, ZSTD = 0, 1

    index = models.BigIntegerField(primary_key=True)
    salt = models.BinaryField()
    context = models.BinaryField()
    envelope = models.BinaryField()
    codec = models.SmallIntegerField(default=RAW)
    retention_class = models.CharField(max_length=40)
    retain_until = models.DateTimeField()

    class Meta:
        db_table = "evidence_payload"
        # daily disposition: WHERE retain_until <= now ORDER BY retain_until
        indexes = [models.Index(fields=["retain_until"], name="payload_retain_until")]


class Tile(models.Model):
    """A full tile: 256 hashes of 32 bytes. Partial ones are computed."""

    pk = models.CompositePrimaryKey("level", "number")
    level = models.SmallIntegerField()
    number = models.BigIntegerField()
    hashes = models.BinaryField()
    #: RFC 6962 root of the 256 hashes, computed by the database: a partial tile one level up is made of these.
    root = models.GeneratedField(
        expression=models.Func(models.F("hashes"), function="evidence_tile_root"),
        output_field=models.BinaryField(),
        db_persist=True,
    )

    class Meta:
        db_table = "evidence_tile"


class Idempotency(models.Model):
    """Which entry a principal's key led to. Erased with the payload's content, then the key answers 410."""

    pk = models.CompositePrimaryKey("principal", "key_mac")
    principal = models.CharField(max_length=40)
    key_mac = models.BinaryField()
    #: None once the record is disposed of.
    request_mac = models.BinaryField(null=True)
    index = models.BigIntegerField()

    class Meta:
        db_table = "evidence_idempotency"
        indexes = [models.Index(fields=["index"], name="idempotency_index")]  # erased by record index


class Repeat(models.Model):
    """How often a record's Idempotency-Key came again: with the same request, or with another, which was refused.

    Counted beside the ledger, and written every few seconds (`evidence/repeats.py`).
    """

    index = models.BigIntegerField(primary_key=True)
    replays = models.BigIntegerField(default=0)
    refusals = models.BigIntegerField(default=0)
    last_at = models.DateTimeField()

    class Meta:
        db_table = "evidence_repeat"


class SigningKey(models.Model):
    """Public halves of the service's own keys, kept for ever: a projection of the `key.*` records about them.

    A key signs checkpoints of `from_size` to `to_size`; of the records, it signs those that make the log that large:
    the one at index i counts as size i + 1.
    """

    PURPOSES = [("log", "signs checkpoints"), ("record", "signs what arrived unsigned")]
    ENDINGS = [("", "in force"), ("retired", "retired"), ("revoked", "revoked"), ("lost", "lost")]

    #: C2SP verifier key for `log`, hex SHA-256 of the public key for `record`.
    key_id = models.CharField(max_length=200, primary_key=True)
    purpose = models.CharField(max_length=10, choices=PURPOSES)
    public_key = models.BinaryField()
    from_size = models.BigIntegerField()
    #: None while the key is in force.
    to_size = models.BigIntegerField(null=True)
    started_by = models.BigIntegerField(help_text="Index of its key.created or key.rotated record")
    ended_by = models.BigIntegerField(null=True, help_text="Index of the record that ended it")
    ending = models.CharField(max_length=10, choices=ENDINGS, default="", blank=True)

    class Meta:
        db_table = "evidence_signingkey"

    @property
    def status(self) -> str:
        return self.get_ending_display()

    @property
    def extent(self) -> str:
        """The sizes it signs, in words."""
        return f"from size {self.from_size}" + ("" if self.to_size is None else f" to {self.to_size}")

    @property
    def from_index(self) -> int:
        """The first record that a record key signs."""
        return max(self.from_size - 1, 0)

    @property
    def to_index(self) -> int | None:
        return None if self.to_size is None else self.to_size - 1
