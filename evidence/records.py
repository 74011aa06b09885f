"""Records as they come in: plain JSON that the service signs, or an envelope that a pipeline signed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from config.api.times import parse_time
from config.database import once_more
from config.errors import InvalidError, ProoftrailError, TooLargeError, UnavailableError
from evidence import artifacts, authority, clearance, kinds, placing, repeats, replays, rights
from evidence.authority import Facts
from evidence.clearance import Clearance
from evidence.kinds import Kind
from evidence.ledger import Actor, Draft, Idempotency, Placed, append, appender, service_draft
from evidence.ledger.draft import FactsChangedError, Outcome, Remembered
from evidence.models import Artifact
from evidence.people import Principal
from evidence.placing import Incoming, Place, all_of
from evidence.tlog.dsse import IN_TOTO, Envelope, parse_envelope
from evidence.tlog.statement import Statement, parse_statement

_MEMBERS = {"kind", "release", "system", "subject", "occurred_at", "body"}


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


def append_plain(data: Any, *, principal: Principal, actor: Actor, idempotency: Idempotency | None = None) -> Placed:
    """Append the record of `plain_draft`, for the doors beside `POST records`. Raises what refuses it."""

    def write() -> Placed:
        return append(plain_draft(data, principal=principal, actor=actor, idempotency=idempotency))

    return replays.recorded_once(write, principal, idempotency)


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
    place = placing.place(incoming, principal, facts)
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
        admit=all_of(place.admit, cleared.admit, artifacts.still_there(files) if files else None),
        apply=artifacts.keep_for(files, incoming.kind),
        remembered=remembered,
    )
    draft.verification = {**draft.verification, **cleared.verification}
    return draft


def _cleared(said: Mapping[str, Any] | bytes, kind: Kind, place: Place, actor: Actor) -> Clearance:
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
    statement = _statement(envelope)
    kind = kinds.load().for_predicate(statement.predicate_type)
    rights.may_post(principal, kind)
    rights.within_limits(principal, kind, facts)
    keys = rights.verified_keys(envelope, principal, facts)
    incoming = _told(statement, kind, release=release, system=system, occurred_at=occurred_at)
    place = placing.place(incoming, principal, facts)
    cleared = _cleared(envelope.payload, kind, place, actor)
    kind.validate(statement.predicate, statement.predicate_type)
    files, remembered = _files(incoming, _digests(incoming.subjects), place.systems, facts, valid_until)
    still_there = artifacts.still_there(files) if files else None
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
        admit=all_of(place.admit, cleared.admit, rights.all_in_force(keys), still_there),
        apply=artifacts.keep_for(files, kind),
        remembered=remembered,
    )


def _statement(envelope: Envelope) -> Statement:
    if envelope.payload_type != IN_TOTO:
        raise InvalidError(
            f"Envelopes carry {IN_TOTO} statements, not {envelope.payload_type!r}.", code="payload_type_unsupported"
        )
    return parse_statement(envelope.payload)


def _told(
    statement: Statement, kind: Kind, *, release: str | None, system: str | None, occurred_at: str | None
) -> Incoming:
    """What a statement says, and what was said beside it."""
    return Incoming(
        kind=kind,
        body=statement.predicate,
        subjects=[{"name": s.name, "digest": s.digest} for s in statement.subjects],
        release=release,
        system=system,
        occurred=parse_time(occurred_at, "occurred_at")
        if occurred_at is not None
        else kind.occurred_in(statement.predicate, statement.predicate_type),
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
