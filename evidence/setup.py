"""First start: the service's keys, the configuration in force and the first administrator become records."""

import secrets
from dataclasses import dataclass

from django.db import transaction

from config.errors import ConflictError
from evidence import keys, kinds
from evidence.ledger import Actor, append, service_draft
from evidence.models import Record, SigningKey, User
from evidence.models.people import SERVICE
from evidence.people import create_user


@dataclass(frozen=True)
class FirstAdmin:
    email: str
    password: str


def ensure_signing_keys() -> None:
    """Publish the public keys in use. A key that differs from the published one needs a rotation, not a restart."""
    wanted = {
        "log": (keys.log_signer().vkey, keys.log_verifier().public_key.public_bytes_raw()),
        "record": (keys.record_key_id(), keys.record_key().public_key().public_bytes_raw()),
    }
    for purpose, (key_id, public) in wanted.items():
        current = SigningKey.objects.filter(purpose=purpose, to_size=None).first()
        if current is not None and current.key_id != key_id:
            raise ConflictError(
                f"The {purpose} key in use is not the published one ({current.key_id}). Put the published key back.",
                code="signing_key_changed",
            )
        if current is None:
            SigningKey.objects.create(purpose=purpose, key_id=key_id, public_key=public, from_size=0)
            body = {"purpose": purpose, "key_id": key_id, "public_key": public.hex()}
            append(service_draft("key.created", body, actor=Actor(SERVICE)))


def record_configuration() -> None:
    """The revision of the kinds in force is itself a record, written when it changes."""
    digest = kinds.load().revision
    newest = Record.objects.filter(kind="config.revision", facts__name="kinds").first()
    if newest is None or newest.facts.get("digest") != digest:
        body = {"name": "kinds", "digest": digest, "kinds": sorted(kinds.load().by_name)}
        append(service_draft("config.revision", body, actor=Actor(SERVICE)))


def ensure_admin(email: str) -> FirstAdmin | None:
    """Add the first administrator where there is none; the password is returned once and not kept."""
    if User.objects.filter(roles__contains=["admin"]).exists():
        return None
    password = secrets.token_urlsafe(15)
    create_user(actor=Actor(SERVICE), name="Administrator", email=email, roles=["admin"], password=password)
    return FirstAdmin(email, password)


def set_up(email: str) -> FirstAdmin | None:
    """Everything a first start needs; harmless on every later one."""
    if transaction.get_connection().in_atomic_block:
        raise RuntimeError("set_up commits record by record and cannot run inside a transaction")
    ensure_signing_keys()
    record_configuration()
    return ensure_admin(email)
