"""An id-token for an access token of a pipeline, which lives for `LIFE` and no longer than its policy.

1. The id-token is verified (`idtokens`).
2. Its audience is the policy's, and it has no other: a token that somebody else may present too is not taken.
3. Its claims fit the policy's patterns.
4. Of several pipelines that it may speak for, the request names one.
5. Under the ledger's lock: the policy is as it was, the pipeline active, and this id-token was never used.

Each exchange is an `access.token_created` record; its claims go into the context of every record written with it.
"""

import hashlib
import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from config.errors import ConflictError, ForbiddenError, InvalidError, ProoftrailError
from evidence import tokens
from evidence.ledger import Actor, Idempotency
from evidence.models import Token, TrustPolicy, UsedIdToken
from evidence.models.people import Limits
from evidence.oidc import idtokens, patterns, policies
from evidence.oidc.idtokens import IdToken
from evidence.people import PIPELINE_SCOPES, NewToken

logger = logging.getLogger(__name__)

LIFE = timedelta(minutes=15)


@dataclass(frozen=True)
class Exchanged:
    new: NewToken
    policy: TrustPolicy
    claims: Mapping[str, Any]
    replayed: bool


def exchange(text: str, *, pipeline: str | None = None, key: str | None = None, body: bytes = b"") -> Exchanged:
    """Steps 1 to 5. The same `key` and `body` again give the same access token: a retry that missed its answer.

    Raises InvalidError ``id_token_…``, ForbiddenError ``id_token_claims``, ConflictError ``pipeline_ambiguous``,
    UnavailableError ``issuer_unreachable``.
    """
    try:
        id_token = idtokens.verify(text, trusts=_is_trusted)
        policy = _policy_for(id_token, pipeline)
        return _issue(id_token, policy, key, body)
    except ProoftrailError as refused:
        logger.info("oidc: an id-token was refused: %s", refused.code)
        raise


def _active() -> Any:
    return TrustPolicy.objects.filter(is_active=True, pipeline__is_active=True).select_related("pipeline")


def _is_trusted(issuer: str) -> bool:
    return bool(_active().filter(issuer=issuer).exists())


def _policy_for(id_token: IdToken, pipeline: str | None) -> TrustPolicy:
    named: list[TrustPolicy] = list(_active().filter(issuer=id_token.issuer).order_by("name"))
    audiences = id_token.claims["aud"]
    heard = [policy for policy in named if audiences in (policy.audience, [policy.audience])]
    if not heard:
        raise InvalidError(
            f"The id-token is not for us alone: its audience is {str(audiences)[:200]!r}. Ask the CI system for one "
            "with the audience of the trust policy.",
            code="id_token_audience",
        )
    fitting = [policy for policy in heard if patterns.all_fit(policy.claims, id_token.claims)]
    if pipeline is not None:
        fitting = [policy for policy in fitting if policy.pipeline.name == pipeline]
    if not fitting:
        shown = {name: patterns.as_text(id_token.claims.get(name)) for name in _shown(heard)}
        said = ", ".join(f"{name}={value[:100]}" for name, value in sorted(shown.items()) if value)
        raise ForbiddenError(f"No trust policy fits this job ({said}).", code="id_token_claims")
    if len({policy.pipeline.pk for policy in fitting}) > 1:
        raise ConflictError(
            "This job may speak for several pipelines: name the one that is meant as `pipeline`.",
            code="pipeline_ambiguous",
            where="$.pipeline",
        )
    return fitting[0]


def _shown(heard: list[TrustPolicy]) -> set[str]:
    """Names of claims, of the job's own, that say why it did not fit."""
    return {"sub", *(name for policy in heard for name in policy.claims)}


def _issue(id_token: IdToken, policy: TrustPolicy, key: str | None, body: bytes) -> Exchanged:
    pipeline, claims = policy.pipeline, policies.kept(policy, id_token.claims)
    secret = _secret(id_token, policy, key) if key is not None else None
    token, secret = tokens.new(
        pipeline,
        label=f"{policy.name}: {claims['sub']}"[:120],
        life=LIFE,
        scopes=PIPELINE_SCOPES,
        limits=Limits(frozenset(policy.systems), frozenset(policy.kinds)),
        secret=secret,
    )
    token.policy, token.claims = policy, claims

    def admit(at: datetime) -> None:
        if not _active().filter(pk=policy.pk, changed_by=policy.changed_by).exists():
            raise ForbiddenError("The trust policy has just been changed; try again.", code="id_token_claims")
        if UsedIdToken.objects.filter(digest=id_token.digest).exists():
            raise InvalidError(
                "This id-token was used already; each is good for one access token. Get a new one, or keep the "
                "access token that the first gave.",
                code="id_token_replayed",
            )

    def apply() -> None:
        UsedIdToken.objects.create(digest=id_token.digest, expires_at=id_token.expires_at)
        _sweep()

    placed = tokens.append_new(
        token,
        actor=Actor(pipeline.uid, claims=claims),
        idempotency=Idempotency.of(key, method="POST", path="auth/oidc", body=body) if key is not None else None,
        admit=admit,
        apply=apply,
    )
    if placed.replayed:
        token = Token.objects.get(pk=placed.body["token"])
    return Exchanged(NewToken(token, secret), policy, token.claims, placed.replayed)


def _secret(id_token: IdToken, policy: TrustPolicy, key: str) -> str:
    """Of a request with a key: what only we can work out again from it, so that it need not be kept for a retry."""
    said = b"\0".join([b"access token", id_token.digest, policy.pk.encode(), key.encode()])
    return tokens.secret_from(hmac.digest(settings.SECRET_KEY.encode(), said, hashlib.sha256))


_SWEEP = (
    "DELETE FROM evidence_usedidtoken WHERE digest IN"
    " (SELECT digest FROM evidence_usedidtoken WHERE expires_at < now() ORDER BY expires_at LIMIT 100)",
    "WITH gone AS (SELECT id FROM evidence_token WHERE policy_id IS NOT NULL"
    " AND expires_at < now() - interval '30 days' ORDER BY expires_at LIMIT 100),"
    " used AS (DELETE FROM evidence_tokenuse WHERE token_id IN (SELECT id FROM gone))"
    " DELETE FROM evidence_token WHERE id IN (SELECT id FROM gone)",
)


def _sweep() -> None:
    """What is past goes as new comes, at most a hundred rows at a time; access tokens are shown for a month."""
    with connection.cursor() as cursor:
        for statement in _SWEEP:
            cursor.execute(statement)
