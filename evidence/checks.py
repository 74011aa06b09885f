"""System checks: what must hold before the service starts. Each says the fact and the cure."""

import os
from collections.abc import Sequence
from typing import Any

from django.apps.config import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import DatabaseError, connections

from config.errors import InvalidError
from evidence import guards, kinds, secretscan
from evidence.keys import is_private_file
from evidence.kinds import in_force
from evidence.tlog.errors import TlogError

#: Triggers that the migrations make, by table; each must exist and be ENABLE ALWAYS.
TRIGGERS = {
    "evidence_entry": {"entry_append_only", "entry_no_truncate", "entry_in_order"},
    "evidence_head": {"head_grows", "head_is_filled", "head_stays", "head_no_truncate"},
    "evidence_note": {"note_in_order", "note_append_only", "note_no_truncate"},
    "evidence_tile": {"tile_in_order", "tile_append_only", "tile_no_truncate"},
    "evidence_anchor": {"anchor_in_order", "anchor_append_only", "anchor_no_truncate"},
    "evidence_standing": {"standing_stays", "standing_no_truncate", "standing_moves_epoch"},
    "evidence_payload": {"payload_guard", "payload_no_truncate"},
    "evidence_hold": {"hold_release", "hold_stays", "hold_no_truncate", "hold_moves_epoch"},
    "evidence_holditem": {"holditem_stays", "holditem_no_truncate"},
    "evidence_artifact": {"artifact_guard", "artifact_no_truncate"},
    "evidence_signingkey": {"signingkey_guard", "signingkey_stays", "signingkey_no_truncate", "authority_changed"},
    "evidence_token": {"token_changed", "token_ended"},
} | {
    f"evidence_{table}": {"authority_changed"}
    for table in ("user", "user_systems", "pipeline", "pipeline_systems", "pipelinekey", "system", "release")
}


@register(Tags.security)
def secret_is_set(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if len(settings.SECRET_KEY) >= 32:
        return []
    return [
        Error(
            "SECRET_KEY is missing or shorter than 32 characters.",
            hint="Set it to a random string.",
            id="evidence.E001",
        )
    ]


@register(Tags.security)
def keys_are_private(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    for variable, path in (("LOG_KEY", settings.LOG_KEY_FILE), ("RECORD_KEY", settings.RECORD_KEY_FILE)):
        if not os.environ.get(variable) and os.path.exists(path) and not is_private_file(path):
            found.append(Error(f"Others can read {path}.", hint=f"chmod 600 {path}", id="evidence.E002"))
    return found


@register(Tags.files)
def kinds_are_sound(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Each fault of a definition with its file and line: nothing is recorded under rules that cannot be read."""
    hint = "Correct the definition; docs/kinds.md says what one consists of."
    return [Error(str(fault), hint=hint, id="evidence.E007") for fault in kinds.faults()]


@register(Tags.database)
def kinds_keep_their_versions(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """A version of a kind that the ledger knows is as it was: old records are read by it."""
    if "default" not in (databases or []) or kinds.faults():
        return []
    try:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT to_regclass('public.evidence_record')")
            if cursor.fetchone() == (None,):
                return []  # not migrated yet
        wrong = in_force.faults(kinds.load(), in_force.recorded())
    except (DatabaseError, TlogError):
        return []  # E003 says so, or check_ledger
    return [Error(text, hint="See docs/kinds.md, versions.", id="evidence.E008") for text in wrong]


@register(Tags.security)
def secret_rules_are_right(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Read now: a rule that cannot be read would refuse the first write."""
    try:
        secretscan.load()
    except InvalidError as error:
        return [Error(error.detail, hint="Correct the rule; docs/writing.md, Secrets.", id="evidence.E009")]
    return []


@register(Tags.database)
def runtime_role_is_narrow(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """The role of the `default` database must own no table: an owner can disable triggers."""
    if "default" not in (databases or []):
        return []
    try:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT to_regclass('public.evidence_head')")
            if cursor.fetchone() == (None,):
                return []  # not migrated yet
            cursor.execute(
                "SELECT count(*) FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace"
                " AND c.relkind IN ('r', 'p') AND pg_has_role(current_user, c.relowner, 'USAGE')"
            )
            (owned,) = cursor.fetchone()
            cursor.execute(
                "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
                " WHERE i.inhparent = 'public.evidence_entry'::regclass"
            )
            partitions = [name for (name,) in cursor.fetchall()]
        present = guards.standing_triggers(connections["default"])
        changed = guards.changed_functions(connections["default"])
        unbound = guards.missing_constraints(connections["default"])
    except DatabaseError as error:
        return [
            Error(
                f"The database does not answer: {error}",
                hint="Start PostgreSQL, check DATABASE_URL.",
                id="evidence.E003",
            )
        ]
    wanted = TRIGGERS | dict.fromkeys(partitions, TRIGGERS["evidence_entry"])
    missing = sorted((table, name) for table, names in wanted.items() for name in names if (table, name) not in present)
    return _findings(owned, missing, changed, unbound)


def _findings(owned: int, missing: list[tuple[str, str]], changed: list[str], unbound: list[str]) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if owned:
        found.append(
            Error(
                f"The role in DATABASE_URL owns {owned} tables, or can come to: it could switch triggers off.",
                hint="Use a role of its own for the service; migrations use OWNER_DATABASE_URL.",
                id="evidence.E004",
            )
        )
    for table, name in missing:
        found.append(
            Error(
                f"Trigger {name} of {table} is missing, changed or not always on: the ledger is not guarded.",
                hint=f"As the owner: ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}; where it is gone or changed, "
                "make it as the migrations do. Find out who changed it, and run manage.py check_ledger.",
                id="evidence.E005",
            )
        )
    for name in changed:
        found.append(
            Error(
                f"Function {name} is not the one that the migrations make: what it guards is not guarded.",
                hint="Run manage.py migrate. If that was done: find out who replaced it, make it again as its "
                "migration does (CREATE OR REPLACE FUNCTION) and run manage.py check_ledger.",
                id="evidence.E006",
            )
        )
    for name in unbound:
        found.append(
            Error(
                f"Constraint {name} is missing or not enforced: the database would take what it must refuse.",
                hint="Run manage.py migrate. If that was done: find out who dropped it, add it again as its migration "
                "does and run manage.py check_ledger.",
                id="evidence.E010",
            )
        )
    return found
