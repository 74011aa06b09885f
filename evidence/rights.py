"""Who may post what, and with which signatures."""

from collections.abc import Callable, Sequence
from datetime import datetime

from config.errors import ForbiddenError, InvalidError
from evidence.authority import Facts
from evidence.kinds import Kind
from evidence.models import Pipeline, PipelineKey
from evidence.people import Principal
from evidence.tlog.dsse import Envelope, verify_threshold
from evidence.tlog.errors import SignatureError


def may_post(principal: Principal, kind: Kind) -> None:
    """Raises ForbiddenError ``kind_reserved``, ``kind_not_allowed``; InvalidError ``kind_retired``."""
    if kind.reserved:
        raise ForbiddenError(
            f"Records of kind {kind.name} are written by the product's own calls only.", code="kind_reserved"
        )
    if kind.retired:
        raise InvalidError(
            f"Records of kind {kind.name}, version {kind.version}, are no longer taken. GET /api/v1/kinds/{kind.name}"
            " says what is.",
            code="kind_retired",
            where="$.kind",
        )
    poster = "pipeline" if isinstance(principal, Pipeline) else "person"
    allowed = not isinstance(principal, Pipeline) or not principal.kinds or kind.name in principal.kinds
    if poster not in kind.posted_by or not allowed:
        raise ForbiddenError(f"This {poster} may not post records of kind {kind.name}.", code="kind_not_allowed")


def may_post_unsigned(principal: Principal) -> None:
    """Raises ForbiddenError ``signature_required``."""
    if isinstance(principal, Pipeline) and principal.signatures_required:
        raise ForbiddenError(
            f"{principal.name} posts envelopes that {principal.signatures_required} of its keys signed, nothing else.",
            code="signature_required",
        )


def within_limits(principal: Principal, kind: Kind, facts: Facts) -> None:
    """What the token leaves of its owner's rights. Raises ForbiddenError ``kind_not_allowed``, ``scope_missing``."""
    if not principal.limits.admit(kind.name):
        raise ForbiddenError(f"This token may not post records of kind {kind.name}.", code="kind_not_allowed")
    if principal.limits.systems and not facts.systems(principal):
        # An empty scope would say: of all systems.
        raise ForbiddenError("This token has none of its owner's systems any more.", code="scope_missing")


def verified_keys(envelope: Envelope, principal: Principal, facts: Facts) -> tuple[str, ...]:
    """The pipeline's keys that signed, as many as it takes. Raises ``key_unknown``, ``signature_invalid``,
    ``signatures_missing``."""
    valid = facts.keys(principal) if isinstance(principal, Pipeline) else {}
    needed = max(1, principal.signatures_required) if isinstance(principal, Pipeline) else 1
    try:
        return verify_threshold(envelope, valid, needed)
    except SignatureError as error:
        named = {signature.keyid for signature in envelope.signatures} & valid.keys()
        if not named and needed == 1:
            raise InvalidError(
                "The envelope is signed by no key that is registered for this pipeline.", code="key_unknown"
            ) from None
        if needed > 1:
            raise InvalidError(
                f"A record of {principal.name} is signed by {needed} of its keys: {error}.", code="signatures_missing"
            ) from None
        raise InvalidError(f"The signature does not fit the envelope: {error}", code="signature_invalid") from None


def all_in_force(keys: Sequence[str]) -> Callable[[datetime], None] | None:
    """Of several keys the batch looks at the first by itself."""
    if len(keys) == 1:
        return None

    def admit(_: datetime) -> None:
        if PipelineKey.objects.filter(pk__in=keys, to_index=None).count() != len(keys):
            raise ForbiddenError("The token, account or key was revoked or has expired.", code="credential_revoked")

    return admit
