"""Records as they come in: plain JSON that the service signs, or an envelope that a pipeline signed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from config.api.times import parse_time
from config.database import once_more
from config.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    MissingError,
    ProoftrailError,
    TooLargeError,
    UnavailableError,
)
from evidence import artifacts, authority, clearance, kinds, releases, repeats, rights
from evidence.authority import Facts
from evidence.clearance import Clearance
from evidence.kinds import Kind
from evidence.ledger import Actor, Draft, Idempotency, Placed, append, appender, service_draft
from evidence.ledger.draft import FactsChangedError, Outcome, Remembered
from evidence.models import Artifact, Record, Release, System, User
from evidence.people import Principal
from evidence.tlog.dsse import IN_TOTO, Envelope, parse_envelope
from evidence.tlog.statement import Statement, parse_statement

_MEMBERS = {"kind", "release", "system", "subject", "occurred_at", "body"}


class Incoming(NamedTuple):
    """What a record says of itself, before anything is believed."""

    kind: Kind
    body: Mapping[str, Any]
    subjects: Sequence[Mapping[str, Any]]
    release: str | None
    system: str | None
    occurred: datetime | None


def record(prepare: Callable[[Facts], Draft], *, large: bool = False) -> Placed:
    """Append what `prepare` makes from what this process remembers; once more from the tables where that has changed.

    The appender prepares (`evidence/ledger/appender.py`), unless the record is `large` and would keep others waiting.
    Raises what refused it.
    """
    drafts: list[Draft] = []
    try:
        placed = _recorded(prepare, drafts, large=large)
    except ProoftrailError as refused:
        repeats.refused(drafts[-1] if drafts else None, refused)
        raise
    repeats.answered(placed)
    return placed


def _recorded(prepare: Callable[[Facts], Draft], drafts: list[Draft], *, large: bool) -> Placed:
    """`drafts` gets each that was made."""
    used = once_more(authority.remembered)

    def make() -> list[Draft]:
        nonlocal used
        used = authority.remembered()
        drafts.append(prepare(used))
        return drafts[-1:]

    try:
        return _settled(appender.append_all(make()) if large else appender.start(make)())
    except FactsChangedError:
        pass
    except ProoftrailError as refused:
        if not hangs_on_facts(refused) or authority.epoch_now() == used.epoch:
            raise
    drafts.append(prepare(Facts()))
    return append(drafts[-1])


def _settled(outcomes: list[Outcome]) -> Placed:
    (outcome,) = outcomes
    if isinstance(outcome, ProoftrailError):
        raise outcome
    return outcome


def hangs_on_facts(refused: object) -> bool:
    """Whether a refusal may only follow from rights, keys or releases as they were remembered."""
    return isinstance(refused, ProoftrailError) and not isinstance(refused, UnavailableError | TooLargeError)


def plain_draft(
    data: Any,
    *,
    principal: Principal,
    actor: Actor,
    idempotency: Idempotency | None = None,
    writes: Iterable[str] = (),
    facts: Facts | None = None,
    valid_until: datetime | None = None,
) -> Draft:
    """A draft from ``{kind, release?, system?, subject?, occurred_at?, body}``; the service signs it.

    `writes` names reserved kinds that this caller may write; `valid_until` is when its credential ends.
    Raises InvalidError and its siblings.
    """
    facts = facts or Facts()
    incoming = _parse_plain(data)
    if incoming.kind.name not in writes:
        rights.may_post(principal, incoming.kind)
        rights.may_post_unsigned(principal)
    rights.within_limits(principal, incoming.kind, facts)
    place = _place(incoming, principal, facts)
    subjects = incoming.subjects or _default_subjects(incoming)
    cleared = _cleared({"body": incoming.body, "subject": subjects}, incoming.kind, place, actor)
    files, remembered = _files(incoming, _digests(subjects), place.systems, facts, valid_until)
    draft = service_draft(
        incoming.kind.name,
        incoming.body,
        actor=actor,
        systems=place.systems,
        release=place.release,
        occurred=incoming.occurred,
        subjects=subjects,
        idempotency=idempotency,
        admit=_all_of(place.admit, cleared.admit, artifacts.still_there(files) if files else None),
        apply=artifacts.keep_for(files, incoming.kind),
        remembered=remembered,
    )
    draft.verification = {**draft.verification, **cleared.verification}
    return draft


def _cleared(said: Mapping[str, Any] | bytes, kind: Kind, place: "_Place", actor: Actor) -> Clearance:
    """Before anything is stored, or quoted in another refusal. Raises InvalidError ``secret_found``."""
    return clearance.clear(
        said, kind=kind.name, systems=place.systems, release=place.release, principal=actor.principal
    )


def _files(
    incoming: Incoming, digests: Sequence[str], systems: Sequence[str], facts: Facts, valid_until: datetime | None
) -> tuple[list[Artifact], Remembered | None]:
    """The artifacts that a record names, and what it was prepared from.

    From memory, whether subjects are files here is left to the batch, unless the kind wants files.
    """
    wants_files = incoming.kind.needs_artifact or incoming.kind.name == "deploy.manifest"
    if facts.epoch is None or wants_files:
        found = artifacts.check_subjects(incoming.kind, digests, incoming.body, systems, facts.to_come)
        unasked: tuple[tuple[str, str], ...] = ()
    else:
        found, unasked = [], tuple((system, digest) for system in systems for digest in digests)
    return found, Remembered(facts.epoch, valid_until, unasked) if facts.epoch is not None else None


def signed_draft(
    data: bytes,
    *,
    principal: Principal,
    actor: Actor,
    release: str | None,
    system: str | None = None,
    occurred_at: str | None = None,
    idempotency: Idempotency,
    facts: Facts | None = None,
    valid_until: datetime | None = None,
    envelope: Envelope | None = None,
) -> Draft:
    """A draft from a DSSE envelope that the principal's own key signed; its bytes are kept as sent.

    `envelope` is `data` where the caller has parsed it.
    """
    facts = facts or Facts()
    envelope = envelope or parse_envelope(data)
    if envelope.payload_type != IN_TOTO:
        raise InvalidError(
            f"Envelopes carry {IN_TOTO} statements, not {envelope.payload_type!r}.", code="payload_type_unsupported"
        )
    statement = parse_statement(envelope.payload)
    kind = kinds.load().for_predicate(statement.predicate_type)
    rights.may_post(principal, kind)
    rights.within_limits(principal, kind, facts)
    keys = rights.verified_keys(envelope, principal, facts)
    incoming = Incoming(
        kind=kind,
        body=statement.predicate,
        subjects=[{"name": s.name, "digest": s.digest} for s in statement.subjects],
        release=release,
        system=system,
        occurred=parse_time(occurred_at, "occurred_at")
        if occurred_at is not None
        else kind.occurred_in(statement.predicate, statement.predicate_type),
    )
    place = _place(incoming, principal, facts)
    cleared = _cleared(envelope.payload, kind, place, actor)
    kind.validate(statement.predicate, statement.predicate_type)
    files, remembered = _files(incoming, _digests(incoming.subjects), place.systems, facts, valid_until)
    return Draft(
        kind=kind,
        actor=actor,
        scope=tuple(sorted(place.systems)),
        release=place.release,
        occurred=incoming.occurred,
        statement=statement,
        envelope=data,
        signed_by="pipeline",
        key=keys[0],
        verification={**_verification(statement, kind, keys), **cleared.verification},
        idempotency=idempotency,
        admit=_all_of(
            place.admit,
            cleared.admit,
            rights.all_in_force(keys),
            artifacts.still_there(files) if files else None,
        ),
        apply=artifacts.keep_for(files, kind),
        remembered=remembered,
    )


def _verification(statement: Statement, kind: Kind, keys: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"schema": statement.predicate_type, "signature": "pipeline"}
    if len(keys) > 1:
        found["keys"] = list(keys)
    if kind.reading(statement.predicate_type).schema is None:
        found["schema_checked"] = "false"
    if not statement.type.endswith("/v1"):
        found["statement"] = statement.type
    return found


def _parse_plain(data: Any) -> Incoming:
    if not isinstance(data, dict):
        raise InvalidError("A record is a JSON object {kind, release, body}.", code="record_invalid", where="$")
    unknown = set(data) - _MEMBERS
    if unknown:
        raise InvalidError(
            f"There is no member {sorted(unknown)[0]!r}; a record has {', '.join(sorted(_MEMBERS))}.",
            code="record_invalid",
            where=f"$.{sorted(unknown)[0]}",
        )
    for name in ("kind", "release", "system"):
        if data.get(name) is not None and not isinstance(data[name], str):
            raise InvalidError(f"{name} is a string.", code="record_invalid", where=f"$.{name}")
    if not isinstance(data.get("body"), dict):
        raise InvalidError("body is an object.", code="record_invalid", where="$.body")
    kind = kinds.load().named(data.get("kind") or "")
    occurred = data.get("occurred_at")
    return Incoming(
        kind=kind,
        body=data["body"],
        subjects=_parse_subjects(data.get("subject")),
        release=data.get("release"),
        system=data.get("system"),
        occurred=parse_time(occurred, "$.occurred_at") if occurred is not None else kind.occurred_in(data["body"]),
    )


def _parse_subjects(value: Any) -> list[dict[str, Any]]:
    subjects = value if isinstance(value, list) else [value] if value is not None else []
    for place, subject in enumerate(subjects):
        digest = subject.get("digest") if isinstance(subject, dict) else None
        if not isinstance(digest, dict) or not digest or not all(isinstance(v, str) for v in digest.values()):
            raise InvalidError(
                "A subject is {name, digest: {sha256: hex}}.", code="record_invalid", where=f"$.subject[{place}]"
            )
    return subjects


def _default_subjects(incoming: Incoming) -> list[dict[str, Any]]:
    """A manifest is about its artifacts; anything else without a subject is about itself."""
    if incoming.kind.name != "deploy.manifest":
        return []
    listed = incoming.body.get("artifacts")
    return [
        {"name": item.get("name"), "digest": {"sha256": item.get("sha256")}}
        for item in (listed if isinstance(listed, list) else [])
        if isinstance(item, dict)
    ]


def _digests(subjects: Sequence[Mapping[str, Any]]) -> list[str]:
    return [subject["digest"]["sha256"] for subject in subjects if subject["digest"].get("sha256")]


# -- who may post what, where ----------------------------------------------------------------------------------------


Admit = Callable[[datetime], None]


class _Place(NamedTuple):
    systems: list[str]
    release: str | None
    admit: Admit | None = None


def _all_of(*conditions: Admit | None) -> Admit | None:
    asked = [condition for condition in conditions if condition is not None]
    if not asked:
        return None

    def admit(at: datetime) -> None:
        for condition in asked:
            condition(at)

    return admit


def _place(incoming: Incoming, principal: Principal, facts: Facts) -> _Place:
    """Which systems and release a record belongs to, seen with the principal's eyes."""
    if incoming.kind.name == "release.opened":
        return _new_release(incoming, principal, facts)
    allowed = facts.systems(principal)
    if incoming.release is not None:
        release = _visible(facts.release(incoming.release), incoming.release, allowed)
        if release.state != "open":
            raise ConflictError(f"Release {release.pk} is {release.state}.", code="release_ended")
        admit = _all_of(_withdrawal(incoming, principal, allowed), _ending(incoming, principal))
        return _Place([release.system_id], release.pk, admit)
    if incoming.kind.needs_release:
        raise InvalidError(
            f"A record of kind {incoming.kind.name} names its release.", code="release_required", where="$.release"
        )
    if incoming.system is not None:
        system = _allowed_system(incoming.system, allowed, facts)
        return _Place([system.pk], None, _withdrawal(incoming, principal, allowed))
    return _Place(sorted(allowed or []), None, _withdrawal(incoming, principal, allowed))


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


def _new_release(incoming: Incoming, principal: Principal, facts: Facts) -> _Place:
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

    return _Place([system.pk], release, admit)


def _ending(incoming: Incoming, principal: Principal) -> Admit | None:
    """For release.closed and release.cancelled: what must be there first is asked under the head lock."""
    release, kind = incoming.release, incoming.kind.name
    if release is None or kind not in {"release.closed", "release.cancelled"}:
        return None
    return lambda _: releases.may_end(release, kind, principal)


def _withdrawal(incoming: Incoming, principal: Principal, allowed: list[str] | None) -> Admit | None:
    """For record.withdrawn: only one's own record, or any as a liaison, and none that the product wrote."""
    if incoming.kind.name != "record.withdrawn":
        return None
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

    return admit
