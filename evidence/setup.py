"""First start: the service's keys, the configuration in force and the first administrator become records."""

import secrets
from dataclasses import dataclass

from django.db import transaction

from config.errors import ConflictError
from evidence import keys, kinds, rotation
from evidence.gate import revisions
from evidence.kinds import in_force
from evidence.ledger import Actor, append, service_draft
from evidence.models import User
from evidence.models.people import SERVICE
from evidence.people import create_user


@dataclass(frozen=True)
class FirstAdmin:
    email: str
    password: str


def ensure_signing_keys() -> None:
    """Publish the first keys. One that differs from the published one needs a rotation, not a restart."""
    for purpose in keys.PURPOSES:
        rotation.publish_first(purpose)
        rotation.check_published(purpose)


def record_configuration() -> None:
    """The revisions of the kinds and of the gate's policy in force are themselves records, written when they change."""
    revisions.record_revision()
    loaded, newest = kinds.load(), in_force.recorded()
    wrong = in_force.faults(loaded, newest)
    if wrong:
        raise ConflictError(" ".join(wrong), code="kind_changed")
    if newest.get("digest") != loaded.revision or "fixed" not in newest:
        body = {
            "name": "kinds",
            "digest": loaded.revision,
            "kinds": sorted(loaded.by_name),
            "fixed": {**newest.get("fixed", {}), **loaded.fixed},
        }
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
