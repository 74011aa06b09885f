"""Trust policies: whose id-tokens speak for which pipeline. Every change is a `config.trust_policy` record."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import yaml
from django.utils import timezone

from config.errors import ConflictError, InvalidError, MissingError
from evidence.kinds import yaml_files
from evidence.ledger import Actor, Idempotency, append, service_draft
from evidence.ledger.draft import Recorded
from evidence.models import Pipeline, Token, TrustPolicy
from evidence.models.people import UNLIMITED, Limits
from evidence.models.trust import new_policy_id
from evidence.oidc import patterns
from evidence.people import check_limits
from evidence.projections import projection

Claims = Mapping[str, Sequence[str]]
MAX_CLAIMS = MAX_PATTERNS = 20
#: Names in a record's context that are the product's own.
_OWN_NAMES = frozenset({"import", "trust_policy"})


@dataclass(frozen=True)
class Shared:
    """An issuer that many companies share."""

    issuer: str
    title: str
    #: Claims that say whose a job is.
    names: tuple[str, ...]

    def is_for(self, issuer: str) -> bool:
        return issuer == self.issuer or issuer.startswith(self.issuer + "/")


@functools.cache
def _told() -> Mapping[str, Any]:
    found: dict[str, list[Any]] = {"shared": [], "kept": []}
    for path in yaml_files("policies"):
        if path.name == "issuers.yaml":
            for name, values in yaml.safe_load(path.read_text()).items():
                found[name] += values
    return found


@functools.cache
def shared_issuers() -> tuple[Shared, ...]:
    return tuple(Shared(one["issuer"], one["title"], tuple(one["names"])) for one in _told()["shared"])


def kept(policy: TrustPolicy, claims: Mapping[str, Any]) -> dict[str, Any]:
    """What of an id-token's claims goes into the context of the records that it stands behind, with the policy."""
    names = [*_told()["kept"], *policy.claims]
    texts = {name: patterns.as_text(claims.get(name)) for name in names if name not in _OWN_NAMES}
    short = {name: text for name, text in texts.items() if text is not None and len(text) <= patterns.MAX_LENGTH}
    return short | {"aud": policy.audience, "trust_policy": policy.pk}


def find_policy(name: str) -> TrustPolicy:
    """Raises MissingError ``policy_unknown``."""
    try:
        return TrustPolicy.objects.select_related("pipeline").get(name=name)
    except TrustPolicy.DoesNotExist:
        raise MissingError(f"There is no trust policy {name!r}.", code="policy_unknown", where="$.name") from None


def save_policy(
    *,
    actor: Actor,
    name: str,
    pipeline: Pipeline,
    issuer: str,
    audience: str,
    claims: Claims,
    limits: Limits = UNLIMITED,
    active: bool = True,
    policy: TrustPolicy | None = None,
    idempotency: Idempotency | None = None,
) -> TrustPolicy:
    """Add a policy, or change one: then access tokens that it stood behind end now.

    Raises InvalidError (``policy_issuer``, ``policy_audience``, ``policy_claims``, ``policy_too_wide``,
    ``scope_too_wide``), ConflictError ``name_taken``.
    """
    _check(name, issuer, audience, claims)
    pk = policy.pk if policy else new_policy_id()

    def admit(_: datetime) -> None:
        if TrustPolicy.objects.filter(name=name).exclude(pk=pk).exists():
            raise ConflictError(f"There is a trust policy {name!r} already.", code="name_taken", where="$.name")
        if active:
            check_limits(pipeline, limits)

    def apply(_: int, at: datetime) -> None:
        Token.objects.filter(policy_id=pk, revoked_at=None, expires_at__gt=at).update(revoked_at=at)

    body = {
        "policy": pk,
        "name": name,
        "pipeline": pipeline.uid,
        "issuer": issuer,
        "audience": audience,
        "claims": {claim: list(wanted) for claim, wanted in claims.items()},
        "systems": sorted(limits.systems),
        "kinds": sorted(limits.kinds),
        "active": active,
    }
    append(service_draft("config.trust_policy", body, actor=actor, admit=admit, apply=apply, idempotency=idempotency))
    return TrustPolicy.objects.get(name=name)


def end_policy(policy: TrustPolicy, *, actor: Actor) -> TrustPolicy:
    """No id-token is taken for it any more, and access tokens that it stood behind end now."""
    return save_policy(
        actor=actor,
        name=policy.name,
        pipeline=policy.pipeline,
        issuer=policy.issuer,
        audience=policy.audience,
        claims=policy.claims,
        limits=Limits(frozenset(policy.systems), frozenset(policy.kinds)),
        active=False,
        policy=policy,
    )


def live_tokens(policy: TrustPolicy) -> int:
    """Access tokens that stand now."""
    return policy.tokens.filter(revoked_at=None, expires_at__gt=timezone.now()).count()


@projection("config.trust_policy", tables=[TrustPolicy])
def _policy(record: Recorded) -> None:
    body = record.body
    TrustPolicy.objects.update_or_create(
        id=body["policy"],
        defaults={
            "name": body["name"],
            "pipeline": Pipeline.objects.get(uid=body["pipeline"]),
            "issuer": body["issuer"],
            "audience": body["audience"],
            "claims": body["claims"],
            "systems": body["systems"],
            "kinds": body["kinds"],
            "is_active": body["active"],
            "changed_by": record.index,
        },
    )


# -- what a policy may say -------------------------------------------------------------------------------------------


def _check(name: str, issuer: str, audience: str, claims: Claims) -> None:
    if not name or len(name) > 80 or not all(char.isascii() and (char.isalnum() or char in "-_") for char in name):
        raise InvalidError("A name is letters, digits, - and _.", code="policy_name", where="$.name")
    _check_issuer(issuer)
    if not audience.strip() or len(audience) > 500:
        raise InvalidError(
            "Say which audience tokens are for; the URL of this service is a good one.",
            code="policy_audience",
            where="$.audience",
        )
    if not claims or len(claims) > MAX_CLAIMS:
        raise InvalidError(
            f"Say which claims a token must have, 1 to {MAX_CLAIMS}: without, every job of the issuer would get in.",
            code="policy_claims",
            where="$.claims",
        )
    for claim, wanted in claims.items():
        _check_claim(claim, wanted)
    _check_width(issuer, claims)


def _check_issuer(issuer: str) -> None:
    try:
        parts = urlsplit(issuer)
        fine = parts.scheme == "https" and bool(parts.hostname) and not (parts.query or parts.fragment)
        fine = fine and not parts.username and (parts.port is None or parts.port > 0) and len(issuer) <= 500
    except ValueError:
        fine = False
    if not fine:
        raise InvalidError(
            f"{issuer[:200]!r} is no issuer: it is the https URL that tokens name as iss.",
            code="policy_issuer",
            where="$.issuer",
        )


def _check_claim(claim: str, wanted: Sequence[str]) -> None:
    texts = not isinstance(wanted, str) and all(
        isinstance(pattern, str) and 0 < len(pattern) <= patterns.MAX_LENGTH for pattern in wanted
    )
    if not claim or len(claim) > 100 or claim in _OWN_NAMES or not texts or not 1 <= len(wanted) <= MAX_PATTERNS:
        raise InvalidError(
            f"Claim {claim[:100]!r} needs 1 to {MAX_PATTERNS} patterns of at most {patterns.MAX_LENGTH} characters.",
            code="policy_claims",
            where=f"$.claims.{claim[:100]}",
        )


def _check_width(issuer: str, claims: Claims) -> None:
    """A pattern that anybody can meet is none."""
    shared = next((one for one in shared_issuers() if one.is_for(issuer)), None)
    if shared is None:
        if not any(all(map(_says_something, wanted)) for wanted in claims.values()):
            raise InvalidError("These patterns fit every job.", code="policy_too_wide", where="$.claims")
        return
    if not any(all(map(_names_somebody, claims[name])) for name in shared.names if name in claims):
        raise InvalidError(
            f"{shared.title} has tokens for everybody: say whose jobs are meant, by one of {', '.join(shared.names)}, "
            "in full or with what comes before its last / without *.",
            code="policy_too_wide",
            where="$.claims",
        )


def _says_something(pattern: str) -> bool:
    return bool(pattern.strip("*/"))


def _names_somebody(pattern: str) -> bool:
    """``acme/web`` and ``acme/*`` do, ``acme*`` does not: ``acme-evil`` is somebody else."""
    start = patterns.literal_start(pattern)
    return start == pattern or "/" in start.lstrip("/")
