"""Releases: signed approvals bound to the digest of the manifest they approve (R1.5), and how a release ends (R1.8)."""

from collections.abc import Iterable
from datetime import datetime

from config.errors import ConflictError, ForbiddenError, InvalidError
from evidence import deploys, events, incidents, release_policy
from evidence.ledger import Actor, Idempotency, Placed, append, service_draft
from evidence.models import Approval, Pipeline, Record, Release, SignOff, User
from evidence.people import Principal

#: Roles in which people end a release; its pipelines may, too.
ENDERS = ("captain", "engineer", "liaison", "admin")


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

    Raises ForbiddenError ``role_not_assigned``, ``self_approval``, ``deployer_approval``, ``one_role_per_person``;
    ConflictError ``manifest_missing``, ``manifest_stale``, ``release_ended``; InvalidError ``body_invalid``.
    An earlier manifest is decided about only where an emergency deploy of it still owes the role's decision.
    """
    if decision == "rejected" and not comment.strip():
        raise InvalidError("A rejection says why.", code="comment_required", where="$.comment")

    def admit(_: datetime) -> None:
        # Read again under the lock: a newer manifest or another decision may have arrived meanwhile.
        current = Release.objects.select_related("system").get(pk=release.pk)
        if current.state != "open":
            raise ConflictError(f"Release {current.pk} is {current.state}.", code="release_ended")
        _check_manifest(current, manifest_digest, role)
        _check_person(current, person, role, manifest_digest)
        _check_standing(current, person, role, decision, manifest_digest)

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


def _check_manifest(release: Release, manifest_digest: str, role: str) -> None:
    if release.manifest_digest is None:
        raise ConflictError(
            "The release has no deploy manifest yet: there is nothing to approve.", code="manifest_missing"
        )
    if manifest_digest != release.manifest_digest and role not in owing(release, manifest_digest):
        raise ConflictError(
            f"The current manifest is {release.manifest_digest}; read it and approve that one.",
            code="manifest_stale",
            current=release.manifest_digest,
        )


def owing(release: Release, manifest_digest: str) -> dict[str, deploys.Deployment]:
    """Roles that may decide about a manifest afterwards, with the emergency deploy that lacked their approval."""
    known = events.of_release(release.pk, kinds=["deploy.started", "deploy.finished", "approval"])
    return deploys.owing(known, manifest_digest, release_policy.load().roles(release.system.name))


def given_afterwards(release: Release) -> frozenset[int]:
    """Records of the decisions about this release that are retrospective: an emergency deploy owed them."""
    known = events.of_release(release.pk, kinds=["deploy.started", "deploy.finished", "approval"])
    return deploys.given_afterwards(known, release_policy.load().roles(release.system.name))


def _check_person(release: Release, person: User, role: str, manifest_digest: str) -> None:
    if not SignOff.objects.filter(user=person, role=role, system=release.system_id).exists():
        raise ForbiddenError(
            f"{person.name} does not sign for {role} on {release.system.name}.", code="role_not_assigned"
        )
    if not author_of(release, manifest_digest).isdisjoint(_known_as(person)):
        raise ForbiddenError("The author of a change does not approve it.", code="self_approval")
    if not deployers_of(release).isdisjoint(_known_as(person)):
        raise ForbiddenError("Who deployed a release does not approve it.", code="deployer_approval")


def _known_as(person: User) -> set[str]:
    return {person.uid, person.email.lower(), person.name.lower()}


def known_as(uids: Iterable[str]) -> dict[str, set[str]]:
    """What people are called in records, by opaque id (lower case)."""
    wanted = set(uids)
    return {person.uid: _known_as(person) for person in User.objects.filter(uid__in=wanted)} if wanted else {}


def author_of(release: Release, manifest_digest: str | None = None) -> set[str]:
    """Whom a manifest (default: the newest) names as author (lower case), and who posted it."""
    if manifest_digest is not None and manifest_digest != release.manifest_digest:
        found = manifests_of(release, manifest_digest)
        return {who for event in found for who in (event.by, str(event.facts.get("author", "")).lower())}
    posted_by = Record.objects.filter(index=release.manifest_index or -1).values_list("principal", flat=True)
    return {*posted_by, *([release.manifest_author.lower()] if release.manifest_author else [])}


def manifests_of(release: Release, manifest_digest: str) -> list[events.Event]:
    """The manifests of a release that have this digest: withdrawn ones too, since they tell who wrote it."""
    rows = Record.objects.filter(release=release.pk, kind="deploy.manifest", disposed_by=None).order_by("index")
    return [event for event in events.events_of(list(rows)) if event.digest == manifest_digest]


def deployers_of(release: Release) -> set[str]:
    """Who has posted the start or the end of a deploy of this release, and whom those records name (lower case)."""
    known = events.of_release(release.pk, kinds=["deploy.started", "deploy.finished"])
    return {who for each in deploys.deployments(known) for who in each.deployers}


def _check_standing(release: Release, person: User, role: str, decision: str, manifest_digest: str) -> None:
    own = release.approvals.filter(person=person.uid, manifest_digest=manifest_digest)
    standing = {approval.role for approval in current_approvals(own, manifest_digest)}
    if decision == "withdrawn":
        if role not in standing:
            raise ConflictError(f"{person.name} has no decision as {role} to withdraw.", code="nothing_to_withdraw")
        return
    others = sorted(standing - {role})
    if others:
        raise ForbiddenError(
            f"{person.name} has signed for {others[0]}; one person signs for one role of a release.",
            code="one_role_per_person",
        )


def current_approvals(approvals: Iterable[Approval], manifest_digest: str | None) -> list[Approval]:
    """The newest decision of each person in each role, withdrawn ones left out.

    What is said about this manifest counts before what is said, perhaps later, about another.
    """
    newest = {
        (a.person, a.role): a for a in sorted(approvals, key=lambda a: (a.manifest_digest == manifest_digest, a.index))
    }
    return [approval for approval in newest.values() if approval.decision != "withdrawn"]


# -- how a release ends ------------------------------------------------------------------------------------------------


def may_end(release_id: str, kind: str, principal: Principal) -> None:
    """Asked under the head lock before a `release.closed` or `release.cancelled` record is written.

    Raises ForbiddenError ``forbidden``; ConflictError ``release_ended``, ``already_deployed``, ``root_cause_missing``,
    ``approval_outstanding``.
    """
    if not isinstance(principal, Pipeline) and not principal.has_role(*ENDERS):
        raise ForbiddenError("Releases are ended by captains, engineers, liaisons and pipelines.", code="forbidden")
    release = Release.objects.select_related("system").get(pk=release_id)
    if release.state != "open":
        raise ConflictError(f"Release {release.pk} is {release.state}.", code="release_ended")
    known = events.of_release(release.pk, kinds=[*deploys.KINDS, *incidents.KINDS])
    live = deploys.deployments(known, deploys.PRODUCTION)
    if kind == "release.cancelled":
        if any(each.outcome == "succeeded" for each in live):
            raise ConflictError(
                "It runs in production: close it, after a rollback where it was one.", code="already_deployed"
            )
        return
    _require_root_causes(known)
    _require_decisions(release, known, live)


def _require_root_causes(known: list[events.Event]) -> None:
    policy = release_policy.load()
    lacking = [each for each in incidents.reactions(known, policy.rollbacks) if each.root_cause is None]
    if lacking:
        raise ConflictError(
            f"The {lacking[0].kind} in record {lacking[0].index} has no root cause yet: record a post-mortem, or the "
            f"{lacking[0].kind} again with its root cause, before closing.",
            code="root_cause_missing",
            record=lacking[0].index,
        )


def _require_decisions(release: Release, known: list[events.Event], live: list[deploys.Deployment]) -> None:
    """An emergency deploy owes its approvals: a closed release could not receive them any more."""
    roles = release_policy.load().roles(release.system.name)
    for each in live:
        owed = deploys.owed(known, each, roles) if not each.is_backfilled else []
        if owed:
            raise ConflictError(
                f"It was deployed without approval by {', '.join(owed)}: their decision is due before it is closed.",
                code="approval_outstanding",
                roles=owed,
            )


def end(
    *,
    release: Release,
    person: User,
    actor: Actor,
    kind: str,
    reason: str,
    idempotency: Idempotency | None = None,
) -> Placed:
    """Close or cancel a release; the record ends what can be added to it. Raises as `may_end`."""
    return append(
        service_draft(
            kind,
            {"reason": reason},
            actor=actor,
            systems=[release.system_id],
            release=release.pk,
            idempotency=idempotency,
            admit=lambda _: may_end(release.pk, kind, person),
        )
    )
