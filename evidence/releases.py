"""Approvals of releases: signed records bound to the digest of the manifest they approve (R1.5)."""

from collections.abc import Iterable
from datetime import datetime

from config.errors import ConflictError, ForbiddenError, InvalidError
from evidence.ledger import Actor, Idempotency, Placed, append, service_draft
from evidence.models import Approval, Record, Release, SignOff, User


def approve(
    *,
    release: Release,
    person: User,
    actor: Actor,
    role: str,
    decision: str,
    manifest_digest: str,
    comment: str = "",
    idempotency: Idempotency | None = None,
) -> Placed:
    """Sign off a release in a role, reject it, or withdraw an earlier decision.

    Raises ForbiddenError ``role_not_assigned``, ``self_approval``, ``one_role_per_person``; ConflictError
    ``manifest_missing``, ``manifest_stale``, ``release_ended``; InvalidError ``body_invalid``.
    """
    if decision == "rejected" and not comment.strip():
        raise InvalidError("A rejection says why.", code="comment_required", where="$.comment")

    def admit(_: datetime) -> None:
        # Read again under the lock: a newer manifest or another decision may have arrived meanwhile.
        current = Release.objects.get(pk=release.pk)
        if current.state != "open":
            raise ConflictError(f"Release {current.pk} is {current.state}.", code="release_ended")
        _check_manifest(current, manifest_digest)
        _check_person(current, person, role)
        _check_standing(current, person, role, decision)

    body = {"role": role, "decision": decision, "manifest_digest": manifest_digest, "comment": comment}
    return append(
        service_draft(
            "approval",
            body,
            actor=actor,
            systems=[release.system_id],
            release=release.pk,
            subjects=[{"name": "deploy.manifest", "digest": {"sha256": manifest_digest.removeprefix("sha256:")}}],
            idempotency=idempotency,
            admit=admit,
        )
    )


def _check_manifest(release: Release, manifest_digest: str) -> None:
    if release.manifest_digest is None:
        raise ConflictError(
            "The release has no deploy manifest yet: there is nothing to approve.", code="manifest_missing"
        )
    if manifest_digest != release.manifest_digest:
        raise ConflictError(
            f"The current manifest is {release.manifest_digest}; read it and approve that one.",
            code="manifest_stale",
            current=release.manifest_digest,
        )


def _check_person(release: Release, person: User, role: str) -> None:
    if not SignOff.objects.filter(user=person, role=role, system=release.system_id).exists():
        raise ForbiddenError(
            f"{person.name} does not sign for {role} on {release.system.name}.", code="role_not_assigned"
        )
    author = (release.manifest_author or "").lower()
    posted_by = Record.objects.filter(index=release.manifest_index or -1).values_list("principal", flat=True).first()
    if author in {person.email.lower(), person.name.lower()} or posted_by == person.uid:
        raise ForbiddenError("The author of a change does not approve it.", code="self_approval")


def _check_standing(release: Release, person: User, role: str, decision: str) -> None:
    standing = {a.role: a for a in current_approvals(release.approvals.all()) if a.person == person.uid}
    if decision == "withdrawn":
        if role not in standing:
            raise ConflictError(f"{person.name} has no decision as {role} to withdraw.", code="nothing_to_withdraw")
        return
    others = [a.role for a in standing.values() if a.role != role and a.manifest_digest == release.manifest_digest]
    if others:
        raise ForbiddenError(
            f"{person.name} has signed for {others[0]}; one person signs for one role of a release.",
            code="one_role_per_person",
        )


def current_approvals(approvals: Iterable[Approval]) -> list[Approval]:
    """The newest decision of each person in each role, withdrawn ones left out."""
    newest = {(a.person, a.role): a for a in sorted(approvals, key=lambda a: a.index)}
    return [approval for approval in newest.values() if approval.decision != "withdrawn"]
