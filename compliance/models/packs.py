"""Evidence packs: `Pack` is a projection of `pack.*` records, `PackBuild` what the worker does about it."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"


class PackQuerySet(models.QuerySet["Pack"]):
    def in_systems(self, systems: Iterable[str] | None) -> Self:
        """Packs that cover these systems (opaque ids) and no others; None means no restriction."""
        return self if systems is None else self.filter(systems__contained_by=list(systems))

    def waiting(self, now: datetime) -> Self:
        """Packs that were asked for and that no worker is building."""
        idle = Q(build__isnull=True) | Q(build__claimed_until__lte=now)
        return self.filter(idle, state=Pack.REQUESTED).order_by("requested_index")


class Pack(models.Model):
    """A period's evidence for an auditor. What the ledger says about it; see `PackBuild` for progress."""

    REQUESTED, READY, FAILED = "requested", "ready", "failed"
    STATES = [(REQUESTED, "Requested"), (READY, "Ready"), (FAILED, "Failed")]

    id = models.CharField(primary_key=True, max_length=40)
    requested_index = models.BigIntegerField(unique=True, help_text="Index of its first pack.requested record")
    requested_by = models.CharField(max_length=40, help_text="Opaque id")
    requested_at = models.DateTimeField()
    period_from = models.DateTimeField()
    period_to = models.DateTimeField(help_text="Exclusive")
    #: Opaque ids. Sandbox systems are left out when the request names none.
    systems = ArrayField(models.CharField(max_length=40))
    excluded = ArrayField(models.CharField(max_length=40), default=list)
    state = models.CharField(max_length=10, choices=STATES, default=REQUESTED)
    #: Index of the newest `pack.*` record.
    settled_index = models.BigIntegerField(null=True)
    error = models.TextField(blank=True)
    checkpoint_size = models.BigIntegerField(null=True)
    s3_key = models.CharField(max_length=300, blank=True)
    version_id = models.CharField(max_length=200, blank=True)
    sha256 = models.CharField(max_length=64, blank=True)
    size = models.BigIntegerField(null=True)
    locked_until = models.DateTimeField(null=True)

    objects = PackQuerySet.as_manager()

    class Meta:
        ordering = ["-requested_index"]

    def __str__(self) -> str:
        return self.filename

    @property
    def filename(self) -> str:
        return f"pack-{self.id}.zip"

    def state_at(self, now: datetime) -> str:
        """The state with `building` in it: a worker that died leaves a pack requested, not building for ever."""
        build = self.standing_build
        under_way = self.state == self.REQUESTED and build is not None and build.claimed_until > now
        return "building" if under_way else self.state

    @property
    def standing_build(self) -> "PackBuild | None":
        build: PackBuild | None = getattr(self, "build", None)
        return build

    def as_json(self, *, now: datetime, names: dict[str, str]) -> dict[str, Any]:
        """The pack as the API shows it; `names` maps opaque system ids to names."""
        build = self.standing_build
        return {
            "id": self.id,
            "state": self.state_at(now),
            "progress": 100 if self.state == self.READY else build.progress if build else 0,
            "stage": build.stage if build and self.state == self.REQUESTED else "",
            "from": self.period_from,
            "to": self.period_to,
            "systems": sorted(names.get(system, system) for system in self.systems),
            "requested_at": self.requested_at,
            "checkpoint_size": self.checkpoint_size or (build.checkpoint_size if build else None),
            "s3_key": self.s3_key or None,
            "version_id": self.version_id or None,
            "sha256": self.sha256 or None,
            "size": self.size,
            "locked_until": self.locked_until,
            "error": self.error or None,
        }


class PackBuild(models.Model):
    """A worker's claim on a pack and how far it is. Not a projection: losing it costs a rebuild, no truth."""

    pack = models.OneToOneField(
        Pack, primary_key=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="build"
    )
    #: The claim ends by itself when its worker no longer renews it.
    claimed_until = models.DateTimeField()
    #: Which run of `build` holds the claim.
    claim = models.CharField(max_length=32)
    attempts = models.IntegerField(default=1)
    #: Pinned by the first attempt, so that a later one builds the same bytes.
    checkpoint_size = models.BigIntegerField(null=True)
    progress = models.SmallIntegerField(default=0)
    stage = models.CharField(max_length=80, blank=True)
    upload_id = models.CharField(max_length=300, blank=True)

    def __str__(self) -> str:
        return f"{self.pack_id}: {self.progress} %"
