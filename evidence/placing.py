"""Where a record belongs: its systems and its release, seen with the eyes of who posts it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from config.api.times import parse_time
from config.errors import ConflictError, ForbiddenError, InvalidError, MissingError
from evidence import kinds, releases
from evidence.authority import Facts
from evidence.kinds import Kind
from evidence.models import Record, Release, System, User
from evidence.people import Principal

Admit = Callable[[datetime], None]


class Incoming(NamedTuple):
    """What a record says of itself, before anything is believed."""

    kind: Kind
    body: Mapping[str, Any]
    subjects: Sequence[Mapping[str, Any]]
    release: str | None
    system: str | None
    occurred: datetime | None


class Place(NamedTuple):
    """Opaque ids of systems, none for all of them; `admit` asks under the head lock what may have changed."""

    systems: list[str]
    release: str | None
    admit: Admit | None = None


def all_of(*conditions: Admit | None) -> Admit | None:
    """One condition of several, without those that are None."""
    asked = [condition for condition in conditions if condition is not None]
    if not asked:
        return None

    def admit(at: datetime) -> None:
        for condition in asked:
            condition(at)

    return admit


def place(incoming: Incoming, principal: Principal, facts: Facts) -> Place:
    """Which systems and release a record belongs to.

    Raises MissingError ``release_unknown``, ``system_unknown``; InvalidError ``release_required``; ForbiddenError
    ``scope_missing``; what a kind with rules of its own refuses. `Place.admit` raises ConflictError ``release_ended``.
    """
    if (own := _OWN_RULES.get(incoming.kind.name)) is not None:
        return own(incoming, principal, facts)
    # A pipeline posts the same all day, for the same release.
    which = (principal.uid, principal.limits, incoming.kind, incoming.release, incoming.system)
    return facts.recall("place", which, lambda: _ordinary(incoming, principal, facts))


def _ordinary(incoming: Incoming, principal: Principal, facts: Facts) -> Place:
    allowed = facts.systems(principal)
    if incoming.release is not None:
        release = _visible(facts.release(incoming.release), incoming.release, allowed)
        return Place([release.system_id], release.pk, _while_open(release, facts))
    if incoming.kind.needs_release:
        raise InvalidError(
            f"A record of kind {incoming.kind.name} names its release.", code="release_required", where="$.release"
        )
    if incoming.system is not None:
        return Place([_allowed_system(incoming.system, allowed, facts).pk], None)
    if allowed is not None and not allowed:  # an empty scope would say: of all systems
        raise ForbiddenError("There is no system that this account may post for.", code="scope_missing")
    return Place(sorted(allowed or []), None)


def _while_open(release: Release, facts: Facts) -> Admit | None:
    """What refuses a record of a release that has ended: under the head lock, since it may end meanwhile. One that is
    remembered as open is so while the epoch stands."""
    if facts.epoch is not None and release.state == "open":
        return None

    def admit(_: datetime) -> None:
        state = Release.objects.values_list("state", flat=True).get(pk=release.pk)
        if state != "open":
            raise ConflictError(f"Release {release.pk} is {state}.", code="release_ended")

    return admit


def _allowed_system(name: str, allowed: list[str] | None, facts: Facts) -> System:
    system = facts.system(name)
    if system is None or (allowed is not None and system.pk not in allowed):
        raise MissingError(f"There is no system {name!r}.", code="system_unknown", where="$.system")
    return system


def find_release(release_id: str, allowed: list[str] | None) -> Release:
    """A release among the allowed systems. Raises MissingError ``release_unknown``."""
    return _visible(Release.objects.select_related("system").filter(pk=release_id).first(), release_id, allowed)


def _visible(release: Release | None, release_id: str, allowed: list[str] | None) -> Release:
    if release is None or (allowed is not None and release.system_id not in allowed):
        raise MissingError(f"There is no release {release_id!r}.", code="release_unknown", where="$.release")
    return release


# -- kinds with rules of their own -------------------------------------------------------------------------------------


def _new_release(incoming: Incoming, principal: Principal, facts: Facts) -> Place:
    if isinstance(principal, User) and not principal.has_role("captain", "engineer", "admin"):
        raise ForbiddenError("Releases are opened by captains, engineers and pipelines.", code="forbidden")
    incoming.kind.validate(incoming.body, incoming.kind.predicate_types[0])
    system = _allowed_system(incoming.body["system"], facts.systems(principal), facts)
    release = f"{system.name}:{incoming.body['tag']}"
    window = incoming.body.get("window")
    if window and parse_time(window["from"], "$.body.window.from") >= parse_time(window["to"], "$.body.window.to"):
        raise InvalidError("The window ends before it begins.", code="body_invalid", where="$.body.window")

    def admit(_: datetime) -> None:
        if Release.objects.filter(pk=release).exists():
            raise ConflictError(f"There is a release {release} already.", code="release_exists")

    return Place([system.pk], release, admit)


def _ending(incoming: Incoming, principal: Principal, facts: Facts) -> Place:
    """What must be there first is asked under the head lock."""
    found, kind = _ordinary(incoming, principal, facts), incoming.kind.name
    if found.release is None:
        return found
    release = found.release
    return found._replace(admit=all_of(found.admit, lambda _: releases.may_end(release, kind, principal)))


def _withdrawal(incoming: Incoming, principal: Principal, facts: Facts) -> Place:
    """Only one's own record, or any as a liaison, and none that the product wrote."""
    found, allowed = _ordinary(incoming, principal, facts), facts.systems(principal)
    incoming.kind.validate(incoming.body, incoming.kind.predicate_types[0])
    index = incoming.body["index"]

    def admit(_: datetime) -> None:
        record = Record.objects.in_systems(allowed).filter(pk=index).first()
        if record is None:
            raise MissingError(f"There is no record {index}.", code="record_unknown", where="$.body.index")
        declared = kinds.load().find(record.kind)
        if declared is None or declared.reserved:
            raise ForbiddenError(f"A record of kind {record.kind} cannot be withdrawn.", code="kind_reserved")
        liaison = isinstance(principal, User) and principal.has_role("liaison", "admin")
        if record.principal != principal.uid and not liaison:
            raise ForbiddenError("Only who posted a record, or a liaison, withdraws it.", code="forbidden")

    return found._replace(admit=all_of(found.admit, admit))


_OWN_RULES: dict[str, Callable[[Incoming, Principal, Facts], Place]] = {
    "release.opened": _new_release,
    "release.closed": _ending,
    "release.cancelled": _ending,
    "record.withdrawn": _withdrawal,
}
