"""People, pipelines, tokens and keys: every change is an `access.*` or `key.*` record, in the same transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from config.errors import ConflictError, InvalidError, MissingError
from evidence import tokens
from evidence.kinds import load as load_kinds
from evidence.ledger import Actor, Placed, append, service_draft
from evidence.ledger.draft import Idempotency
from evidence.models import Pipeline, PipelineKey, SignOff, System, Token, User
from evidence.models.people import SERVICE, UNLIMITED, Limits, new_pipeline_id, new_system_id, new_user_id
from evidence.tlog import signing
from evidence.tlog.dsse import MAX_SIGNATURES
from evidence.tlog.errors import TlogError

Principal = User | Pipeline
ROLES = dict(User.ROLES)
PIPELINE_SCOPES = ("records:write", "records:read", "log:read")
TOKEN_DAYS = 365


# -- questions -----------------------------------------------------------------------------------------------------


def visible_systems(principal: Principal) -> list[str] | None:
    """Opaque ids of the systems somebody may see; None means all of them."""
    ids = list(principal.systems.values_list("id", flat=True))
    return principal.limits.of(ids if ids or isinstance(principal, Pipeline) else None)


def display_names(uids: Iterable[str]) -> dict[str, str]:
    """Names for opaque principal ids; the id itself where there is none. Two queries."""
    wanted = set(uids)
    names = {uid: uid for uid in wanted} | {SERVICE: "Prooftrail"}
    names |= dict(User.objects.filter(uid__in=wanted).values_list("uid", "name"))
    names |= dict(Pipeline.objects.filter(uid__in=wanted).values_list("uid", "name"))
    return names


def find_system(name: str, *, where: str = "$.system") -> System:
    """A system by name. Raises MissingError ``system_unknown``."""
    try:
        return System.objects.get(name=name)
    except System.DoesNotExist:
        raise MissingError(f"There is no system {name!r}.", code="system_unknown", where=where) from None


def find_user(email: str, *, where: str = "$.email") -> User:
    """An active person by mail address. Raises InvalidError ``person_unknown``."""
    user = User.objects.filter(email__iexact=email, is_active=True).first()
    if user is None:
        raise InvalidError(f"There is no active person with the address {email!r}.", code="person_unknown", where=where)
    return user


# -- systems ---------------------------------------------------------------------------------------------------------


def save_system(
    *, actor: Actor, name: str, title: str = "", sandbox: bool = False, system: System | None = None
) -> System:
    """Add a system, or change one."""

    def admit(_: datetime) -> None:
        clash = System.objects.filter(name=name).exclude(pk=system.pk if system else None)
        if clash.exists():
            raise ConflictError(f"There is a system {name!r} already.", code="name_taken", where="$.name")

    pk = system.pk if system else new_system_id()
    body = {"system": pk, "name": name, "title": title, "sandbox": sandbox}
    append(service_draft("config.system", body, actor=actor, systems=[pk], admit=admit))
    return System.objects.get(pk=pk)


def ensure_system(name: str, *, actor: Actor) -> System:
    """The system of that name, added if there is none."""
    return System.objects.filter(name=name).first() or save_system(actor=actor, name=name)


# -- people ----------------------------------------------------------------------------------------------------------


def _checked_roles(roles: Sequence[str]) -> list[str]:
    unknown = [role for role in roles if role not in ROLES]
    if unknown:
        raise InvalidError(f"There is no role {unknown[0]!r}. Roles: {', '.join(ROLES)}.", code="role_unknown")
    return sorted(set(roles))


def _checked_password(password: str | None, user: User) -> None:
    if password is None:
        return
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise InvalidError(" ".join(error.messages), code="password_weak", where="$.password") from None


def _person(user: User) -> dict[str, Any]:
    """A person as an access record describes them."""
    return {
        "user": user.uid,
        "email": user.email,
        "name": user.name,
        "roles": list(user.roles),
        "manager": user.manager.uid if user.manager else None,
        "active": user.is_active,
    }


def create_user(
    *,
    actor: Actor,
    name: str,
    email: str,
    roles: Sequence[str],
    password: str | None = None,
    manager: User | None = None,
    signs_for: Sequence[tuple[str, System]] = (),
    systems: Sequence[System] = (),
) -> User:
    """Add a person. Without a password they cannot sign in with one. Raises ``email_taken``, ``password_weak`` …"""
    try:
        validate_email(email)
    except ValidationError:
        raise InvalidError(f"{email!r} is not a mail address.", code="email_invalid", where="$.email") from None
    user = User(uid=new_user_id(), email=email.lower(), name=name, roles=_checked_roles(roles), manager=manager)
    _checked_password(password, user)
    if password is None:
        user.set_unusable_password()
    else:
        user.set_password(password)

    def admit(_: datetime) -> None:
        if User.objects.filter(email__iexact=email).exists():
            raise ConflictError(f"{email!r} belongs to a person already.", code="email_taken", where="$.email")

    def apply(_: int, __: datetime) -> None:
        user.save()
        user.systems.set(systems)
        SignOff.objects.bulk_create(SignOff(user=user, role=role, system=system) for role, system in signs_for)

    body = _person(user) | {
        "signs_for": [f"{role}@{system.name}" for role, system in signs_for],
        "systems": [system.name for system in systems],
    }
    append(service_draft("access.user_created", body, actor=actor, admit=admit, apply=apply))
    return user


def change_user(
    user: User,
    *,
    actor: Actor,
    password: str | None = None,
    sign_offs: Sequence[tuple[str, System]] | None = None,
    systems: Sequence[System] | None = None,
    **changes: Any,
) -> User:
    """Change a person; `changes` are fields of the model (name, email, roles, manager, is_active)."""
    if "roles" in changes:
        changes["roles"] = _checked_roles(changes["roles"])
    _checked_password(password, user)

    def apply(_: int, __: datetime) -> None:
        for field, value in changes.items():
            setattr(user, field, value)
        if password is not None:
            user.set_password(password)
        user.save()
        if systems is not None:
            user.systems.set(systems)
        if sign_offs is not None:
            user.sign_offs.all().delete()
            SignOff.objects.bulk_create(SignOff(user=user, role=role, system=system) for role, system in sign_offs)

    described = User(uid=user.uid, email=user.email, name=user.name, roles=user.roles, manager=user.manager)
    described.is_active = user.is_active
    for field, value in changes.items():
        setattr(described, field, value)
    body = _person(described) | {"password_changed": password is not None}
    if sign_offs is not None:
        body["signs_for"] = [f"{role}@{system.name}" for role, system in sign_offs]
    append(service_draft("access.user_changed", body, actor=actor, apply=apply))
    return user


# -- pipelines, keys -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NewToken:
    """A token as it is shown once."""

    token: Token
    secret: str

    @property
    def text(self) -> str:
        return tokens.text(self.token.pk, self.secret)


def create_pipeline(
    *,
    actor: Actor,
    name: str,
    systems: Sequence[System],
    kinds: Sequence[str] = (),
    public_key: bytes | None = None,
    days: float = TOKEN_DAYS,
    signatures_required: int = 0,
) -> tuple[Pipeline, NewToken]:
    """Add a pipeline with its first token and, if given, the PEM of its public key.

    `signatures_required` of its keys have to sign each record; 0 lets it post unsigned too.
    """
    for kind in kinds:
        load_kinds().named(kind)
    _check_signatures(signatures_required)
    pipeline = Pipeline(uid=new_pipeline_id(), name=name, kinds=list(kinds), signatures_required=signatures_required)
    key = _parsed_key(public_key) if public_key is not None else None

    def admit(_: datetime) -> None:
        if Pipeline.objects.filter(name=name).exists():
            raise ConflictError(f"There is a pipeline {name!r} already.", code="name_taken", where="$.name")

    def apply(_: int, __: datetime) -> None:
        pipeline.save()
        pipeline.systems.set(systems)

    body = {
        "pipeline": pipeline.uid,
        "name": name,
        "systems": [s.name for s in systems],
        "kinds": list(kinds),
        "signatures_required": signatures_required,
    }
    append(service_draft("access.pipeline_created", body, actor=actor, admit=admit, apply=apply))
    if key is not None:
        add_key(pipeline, actor=actor, public_key=key)
    return pipeline, issue_token(pipeline, actor=actor, label="first token", days=days)


def change_pipeline(
    pipeline: Pipeline,
    *,
    actor: Actor,
    systems: Sequence[System],
    kinds: Sequence[str],
    is_active: bool,
    signatures_required: int | None = None,
) -> None:
    """Change what a pipeline may post, and how it signs (None: as before), or end it."""
    required = pipeline.signatures_required if signatures_required is None else signatures_required
    _check_signatures(required)

    def apply(_: int, __: datetime) -> None:
        pipeline.kinds, pipeline.is_active, pipeline.signatures_required = list(kinds), is_active, required
        pipeline.save()
        pipeline.systems.set(systems)

    body = {
        "pipeline": pipeline.uid,
        "name": pipeline.name,
        "systems": [system.name for system in systems],
        "kinds": list(kinds),
        "active": is_active,
        "signatures_required": required,
    }
    append(service_draft("access.pipeline_changed", body, actor=actor, apply=apply))


def _check_signatures(required: int) -> None:
    if not 0 <= required <= MAX_SIGNATURES:
        raise InvalidError(
            f"A record can be signed by 1 to {MAX_SIGNATURES} keys, or by none.",
            code="signatures_invalid",
            where="$.signatures_required",
        )


def _parsed_key(given: bytes) -> signing.PublicKey:
    try:
        return signing.decode(given) if len(given) == 32 else signing.load_public(given)
    except TlogError as error:
        raise InvalidError(f"Not a PEM of a public key: {error}", code="key_invalid", where="$.key") from None


def add_key(pipeline: Pipeline, *, actor: Actor, public_key: bytes | signing.PublicKey) -> PipelineKey:
    """Let signatures of this key (as it is, PEM, or the 32 bytes of an Ed25519 one) count for the pipeline from now
    on."""
    key = _parsed_key(public_key) if isinstance(public_key, bytes) else public_key
    key_id = signing.digest(key)

    def admit(_: datetime) -> None:
        if PipelineKey.objects.filter(pk=key_id).exists():
            raise ConflictError("This key is known already.", code="key_known", where="$.key")

    body = {"pipeline": pipeline.uid, "key_id": key_id, "public_key": signing.encode(key).hex()}
    append(service_draft("key.added", body, actor=actor, admit=admit))
    return PipelineKey.objects.get(pk=key_id)


def revoke_key(key: PipelineKey, *, actor: Actor, reason: str) -> None:
    """Let signatures of this key no longer count from now on; what was accepted stays."""
    body = {"pipeline": key.pipeline.uid, "key_id": key.key_id, "reason": reason}
    append(service_draft("key.revoked", body, actor=actor))


# -- tokens ------------------------------------------------------------------------------------------------------------


def issue_token(
    owner: Principal,
    *,
    actor: Actor,
    label: str,
    days: float = TOKEN_DAYS,
    scopes: Sequence[str] = PIPELINE_SCOPES,
    limits: Limits = UNLIMITED,
    idempotency: Idempotency | None = None,
) -> NewToken:
    """A new bearer token; its text is shown once and not kept. `limits` leave it less than its owner has."""
    token, secret = tokens.new(owner, label=label, life=timedelta(days=days), scopes=scopes, limits=limits)
    tokens.append_new(token, actor=actor, idempotency=idempotency, admit=lambda _: check_limits(owner, limits))
    return NewToken(token, secret)


def check_limits(owner: Principal, limits: Limits) -> None:
    """Raises InvalidError ``scope_too_wide`` where limits name a system that the owner has not; ``kind_unknown``."""
    allowed = visible_systems(owner)
    beyond = sorted(limits.systems - set(allowed)) if allowed is not None else []
    if beyond:
        raise InvalidError(
            f"{owner.name} does not have the system {_system_name(beyond[0])!r}.",
            code="scope_too_wide",
            where="$.systems",
        )
    for kind in sorted(limits.kinds):
        load_kinds().named(kind)
        if isinstance(owner, Pipeline) and owner.kinds and kind not in owner.kinds:
            raise InvalidError(f"{owner.name} may not post {kind}.", code="scope_too_wide", where="$.kinds")


def _system_name(system_id: str) -> str:
    return System.objects.filter(pk=system_id).values_list("name", flat=True).first() or system_id


def revoke_token(token: Token, *, actor: Actor, reason: str) -> Placed:
    """End a token now: also for requests that are under way."""

    def apply(_: int, at: datetime) -> None:
        Token.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=at)

    body = {"token": token.pk, "reason": reason}
    return append(service_draft("access.token_revoked", body, actor=actor, apply=apply))
