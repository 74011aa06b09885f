"""What the runtime role may do. It owns nothing and may never TRUNCATE; triggers guard what it may touch."""

from django.db.backends.base.base import BaseDatabaseWrapper

#: Tables with fewer rights than SELECT, INSERT, UPDATE, DELETE.
NARROW = {
    "evidence_head": "SELECT, UPDATE",
    "evidence_authority": "SELECT",
    "evidence_entry": "SELECT, INSERT",
    "evidence_anchor": "SELECT, INSERT",
    "evidence_standing": "SELECT, UPDATE",
    "evidence_note": "SELECT, INSERT",
    "evidence_tile": "SELECT, INSERT",
    "evidence_payload": "SELECT, INSERT, UPDATE (retain_until), DELETE",
    "evidence_idempotency": "SELECT, INSERT, UPDATE (request_mac)",
    "evidence_repeat": "SELECT, INSERT, UPDATE",
    "evidence_hold": "SELECT, INSERT, UPDATE (released_by)",
    "evidence_holditem": "SELECT, INSERT",
    "evidence_signingkey": "SELECT, INSERT, UPDATE (to_size, ended_by, ending)",
    "evidence_trustpolicy": "SELECT, INSERT, UPDATE",
    "evidence_usedidtoken": "SELECT, INSERT, DELETE",
    "django_migrations": "SELECT",
}


def grant(connection: BaseDatabaseWrapper, role: str) -> None:
    """Give `role` exactly its rights on every table and sequence; run again, it takes back what is no longer meant."""
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace"
            " AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1"
        )
        tables = [name for (name,) in cursor.fetchall()]
        statements = [f"GRANT USAGE ON SCHEMA public TO {quote(role)}"]
        for table in tables:
            rights = NARROW.get(table, "SELECT, INSERT, UPDATE, DELETE")
            statements.append(f"REVOKE ALL ON public.{quote(table)} FROM {quote(role)}")
            statements.append(f"GRANT {rights} ON public.{quote(table)} TO {quote(role)}")
        statements.append(f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {quote(role)}")
        statements.append(f"GRANT EXECUTE ON FUNCTION public.evidence_ensure_partitions(bigint) TO {quote(role)}")
        cursor.execute(";\n".join(statements))
