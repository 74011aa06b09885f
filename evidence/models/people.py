"""Who acts: people, pipelines, and what they act on. Every change of these is an `access.*` or `key.*` record."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import Q

from evidence.tlog import signing

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"


def opaque_id(prefix: str) -> str:
    """An id without meaning, such as ``usr_k3m…``: leaves live for ever and must name nobody."""
    return prefix + "_" + "".join(secrets.choice(_ALPHABET) for _ in range(16))


def new_user_id() -> str:
    return opaque_id("usr")


def new_pipeline_id() -> str:
    return opaque_id("pip")


def new_system_id() -> str:
    return opaque_id("sys")


@dataclass(frozen=True)
class Limits:
    """What a token leaves of its owner's rights: empty means all of them."""

    systems: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()

    def of(self, systems: list[str] | None) -> list[str] | None:
        """Those of `systems` (None: all) that are left."""
        if not self.systems:
            return systems
        return sorted(self.systems) if systems is None else [system for system in systems if system in self.systems]

    def admit(self, kind: str) -> bool:
        return not self.kinds or kind in self.kinds


UNLIMITED = Limits()

#: The principal of what the product does by itself: reminders, dispositions, packs.
SERVICE = "svc_prooftrail"


class System(models.Model):
    """A service or product that has releases."""

    id = models.CharField(primary_key=True, max_length=40, default=new_system_id, editable=False)
    name = models.SlugField(max_length=60, unique=True, help_text="Short name, as in netlify-trading")
    title = models.CharField(max_length=120, blank=True)
    sandbox = models.BooleanField(default=False, help_text="Kept out of populations and reports")

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class UserManager(BaseUserManager["User"]):
    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email__iexact=username)


class User(AbstractBaseUser):
    """A person."""

    ROLES = [
        ("liaison", "Compliance liaison"),
        ("engineer", "Engineer"),
        ("approver", "Approver"),
        ("captain", "Release captain"),
        ("auditor", "Auditor"),
        ("executive", "Executive"),
        ("admin", "Administrator"),
    ]

    uid = models.CharField(max_length=40, unique=True, default=new_user_id, editable=False)
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=120)
    roles = ArrayField(models.CharField(max_length=20, choices=ROLES), default=list)
    manager = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="reports")
    systems = models.ManyToManyField(System, blank=True, help_text="Empty means all systems")
    is_active = models.BooleanField(default=True)
    #: Not a column: set where a token that is narrower than its owner authenticated (`api.authentication`).
    limits: Limits = UNLIMITED

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["name"]
    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        ordering = ["name"]
        verbose_name, verbose_name_plural = "person", "people"

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"

    @property
    def is_staff(self) -> bool:
        """Everybody with a role works in the admin; what they see there follows from the role."""
        return self.is_active and bool(self.roles)

    @property
    def is_superuser(self) -> bool:
        return self.is_active and "admin" in self.roles

    def has_role(self, *roles: str) -> bool:
        return self.is_active and any(role in self.roles for role in roles)

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """Django's model permissions are not used: each admin class names the roles it opens to."""
        return self.is_superuser

    def has_module_perms(self, app_label: str) -> bool:
        return self.is_staff


class SignOff(models.Model):
    """A role in which a person may approve releases of a system."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sign_offs")
    role = models.SlugField(max_length=40, help_text="As the gate policy names it: product, design, qa, sre …")
    system = models.ForeignKey(System, on_delete=models.PROTECT)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "role", "system"], name="signoff_once")]

    def __str__(self) -> str:
        return f"{self.role}@{self.system.name}"


class Pipeline(models.Model):
    """A machine that posts evidence."""

    uid = models.CharField(max_length=40, unique=True, default=new_pipeline_id, editable=False)
    name = models.SlugField(max_length=80, unique=True)
    systems = models.ManyToManyField(System, help_text="Systems it may post evidence for")
    kinds = ArrayField(
        models.CharField(max_length=60),
        default=list,
        blank=True,
        help_text="Empty means every kind pipelines may post",
    )
    is_active = models.BooleanField(default=True)
    signatures_required = models.PositiveSmallIntegerField(
        default=0,
        validators=[MaxValueValidator(16)],
        help_text="How many of its keys have to sign each record. 0: it may also post unsigned.",
    )
    #: As for people.
    limits: Limits = UNLIMITED

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_authenticated(self) -> bool:
        """A pipeline reaches a view only through its token."""
        return True


class PipelineKey(models.Model):
    """A public key (`evidence.tlog.signing`) under which a pipeline's own signatures count: a projection of `key.*`
    records.

    It signs the records between the one that added it and the one that revoked it. The times are what people are
    shown: records of one batch share theirs, so that a time does not say which of them came first.
    """

    key_id = models.CharField(primary_key=True, max_length=64, help_text="SHA-256 of the public key, hex")
    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, related_name="keys")
    public_key = models.BinaryField()
    valid_from = models.DateTimeField()
    valid_until = models.DateTimeField(null=True, blank=True)
    from_index = models.BigIntegerField(help_text="Index of its key.added record")
    #: None while the key is in force.
    to_index = models.BigIntegerField(null=True, blank=True, help_text="Index of the key.revoked record that ended it")

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="pipelinekey_ends_whole",
                condition=Q(to_index__isnull=True, valid_until__isnull=True)
                | Q(to_index__isnull=False, valid_until__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return self.key_id[:16]

    @property
    def algorithm(self) -> str:
        return signing.algorithm_of(signing.decode(bytes(self.public_key)))

    def counts_at(self, index: int) -> bool:
        """Whether its signature counts on the record at that index."""
        return self.from_index < index and (self.to_index is None or index < self.to_index)


class Token(models.Model):
    """A bearer token (`evidence.tokens`). Only the secret's SHA-256 is kept: 256 random bits need no stretching."""

    id = models.CharField(primary_key=True, max_length=20)
    secret_hash = models.BinaryField()
    label = models.CharField(max_length=120, blank=True)
    user = models.ForeignKey(User, null=True, blank=True, on_delete=models.CASCADE, related_name="tokens")
    pipeline = models.ForeignKey(Pipeline, null=True, blank=True, on_delete=models.CASCADE, related_name="tokens")
    scopes = ArrayField(models.CharField(max_length=40), default=list)
    systems = ArrayField(
        models.CharField(max_length=40), default=list, blank=True, help_text="Empty: all of its owner's"
    )
    kinds = ArrayField(models.CharField(max_length=60), default=list, blank=True, help_text="Empty: all of its owner's")
    #: Of an access token for a CI job: who vouched for it, and with which claims.
    policy = models.ForeignKey(
        "evidence.TrustPolicy", null=True, blank=True, on_delete=models.PROTECT, related_name="tokens"
    )
    claims = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="token_one_owner",
                condition=Q(user__isnull=False, pipeline__isnull=True) | Q(user__isnull=True, pipeline__isnull=False),
            )
        ]
        indexes = [
            # those that stand (oidc.policies.save_policy) and those that are past (oidc.exchange)
            models.Index(fields=["expires_at"], name="token_of_policy", condition=Q(policy__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"pt_{self.id}_…"

    @property
    def limits(self) -> Limits:
        return Limits(frozenset(self.systems), frozenset(self.kinds)) if self.systems or self.kinds else UNLIMITED

    def is_usable(self, now: datetime) -> bool:
        """Whether it authenticates at `now`."""
        owner = self.user or self.pipeline
        return self.revoked_at is None and self.expires_at > now and owner is not None and owner.is_active


class TokenUse(models.Model):
    """When a token was last used, to a few minutes (`evidence.token_use`). A table of its own: it is no right."""

    token = models.OneToOneField(Token, primary_key=True, on_delete=models.CASCADE, related_name="use")
    last_used_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.pk} {self.last_used_at:%Y-%m-%d %H:%M}"
