"""A small ledger with something in every table, and ways to change it behind the product's back."""

from typing import Any

import psycopg

from evidence import people
from evidence.ledger import Actor, Idempotency, append, append_all, service_draft
from evidence.ledger.check import check
from evidence.models import Entry, Head, Release, System
from evidence.models.people import SERVICE
from evidence.setup import ensure_signing_keys
from evidence.tlog.merkle import Frontier

Superuser = psycopg.Connection[Any]
MANIFEST = "sha256:" + "ab" * 32


def small_ledger() -> Release:
    """Nine entries: two keys, a system, a person, a release, two approvals (5, 6), a record (7) and its withdrawal."""
    ensure_signing_keys()
    actor = Actor(SERVICE)
    system = people.save_system(actor=actor, name="netlify-trading")
    person = people.create_user(actor=actor, name="Bob", email="bob@example.com", roles=["approver"])
    opened = {
        "system": system.name,
        "tag": "release-20260301",
        "type": "regular",
        "ticket_id": "T-1",
        "ticket_url": "https://tickets.example.com/T-1",
        "captain": "Cleo",
    }
    name = f"{system.name}:release-20260301"
    write("release.opened", opened, system, name)
    write("approval", approval("qa"), system, name, Actor(person.uid))
    write("approval", approval("sre"), system, name, Actor(person.uid))
    decision = write("decision", {"title": "A", "decision": "B", "rationale": "C"}, system)
    write("record.withdrawn", {"index": decision, "reason": "wrong"}, system)
    return Release.objects.get(id=name)


def approval(role: str) -> dict[str, Any]:
    return {"role": role, "decision": "approved", "manifest_digest": MANIFEST, "comment": "fine"}


def write(
    kind: str,
    body: dict[str, Any],
    system: System,
    release: str | None = None,
    actor: Actor | None = None,
    idempotency: Idempotency | None = None,
) -> int:
    draft = service_draft(
        kind, body, actor=actor or Actor(SERVICE), systems=[system.id], release=release, idempotency=idempotency
    )
    return append(draft).index


def grow_to(system: System, size: int) -> None:
    drafts = [
        service_draft(
            "decision", {"title": str(n), "decision": "d", "rationale": "r"}, actor=Actor(SERVICE), systems=[system.id]
        )
        for n in range(size - Head.objects.get().size)
    ]
    append_all(drafts)


def tamper(superuser: Superuser, table: str, statement: str, *constraints: str) -> None:
    """Do as a superuser would who wants to leave no trace: guards off, one row changed, guards on again."""
    for constraint in constraints:
        superuser.execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}")
    superuser.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    assert superuser.execute(statement).rowcount == 1
    superuser.execute(f"ALTER TABLE {table} ENABLE TRIGGER ALL")


def set_(table: str, assignment: str, where: str) -> str:
    return f"UPDATE {table} SET {assignment} WHERE {where}"


def flip(table: str, column: str, where: str) -> str:
    """Change one bit of the fourth byte."""
    return set_(table, f"{column} = set_byte({column}, 3, get_byte({column}, 3) # 1)", where)


def cut_to(superuser: Superuser, size: int) -> None:
    """Remove the entries past `size` and everything that came of them, and set the head back to its checkpoint."""
    hashes = [bytes(row) for row in Entry.objects.order_by("index").values_list("leaf_hash", flat=True)[:size]]
    growth = Frontier(0, ()).extend(hashes)
    for table in ("evidence_entry", "evidence_payload", "evidence_head", "evidence_note"):
        superuser.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    for table in ("evidence_entry", "evidence_payload", "evidence_record"):
        superuser.execute(f"DELETE FROM {table} WHERE index >= %s", [size])
    superuser.execute("DELETE FROM evidence_note WHERE size > %s", [size])
    superuser.execute(
        "UPDATE evidence_head SET size = %s, root = %s, frontier = %s,"
        " last_at = (SELECT at FROM evidence_record WHERE index = %s)",
        [size, growth.root, b"".join(growth.frontier.hashes), size - 1],
    )


def found() -> list[tuple[str, str]]:
    return [(deviation.what, deviation.where) for deviation in check()]
