"""A register of any size in one statement. The rows belong to no records: for tests of speed, not of the ledger."""

from typing import Any

import psycopg

#: One in fifty waits, one in twenty is overdue, one in fifty is a claim, one in ten is closed; the rest is active.
_FILL = """
INSERT INTO exceptions_securityexception
  (id, title, justification, severity, systems, requirements, releases, superseded_by,
   compensating_controls, decision, requester, owner,
   owner_name, approvals_needed, requested_at, effective_from, term_from, expires_at, original_expires_at,
   renewals_made, renewal_pending, reference, imported_by, requested_index, last_index)
SELECT 'EXC-' || lpad(i::text, greatest(4, length(i::text)), '0'),
  (ARRAY['Old TLS', 'Missing rate limit', 'Shared account', 'Unpatched library', 'No second reviewer'])[1 + i %% 5]
    || ' of the ' || (ARRAY['gateway', 'order form', 'batch', 'screener', 'quote feed', 'archive'])[1 + i %% 6]
    || ', case ' || md5(i::text),
  repeat('The partner upgrades in spring. ', 8), (ARRAY['critical', 'high', 'medium', 'low'])[1 + i %% 4],
  ARRAY[systems[1 + i %% array_length(systems, 1)]],
  ARRAY[(ARRAY['sca-scan', 'dast-scan', 'reviews', 'variables'])[1 + i %% 4]], '{}', '', '[]',
  CASE WHEN i %% 50 = 0 THEN 'requested' WHEN i %% 50 = 1 THEN 'claimed' WHEN i %% 10 = 2 THEN 'remediated'
       ELSE 'approved' END,
  owners[1 + i %% array_length(owners, 1)], owners[1 + (i / 7) %% array_length(owners, 1)],
  'Person ' || (i / 7) %% array_length(owners, 1), 1, now() - interval '40 days', now() - interval '40 days',
  now() - interval '40 days', ends, ends, CASE WHEN i %% 30 = 0 THEN 2 ELSE 0 END, i %% 100 = 3,
  'SEC-' || i, '', %(first)s + i, %(first)s + i
FROM (SELECT i, now() + ((i %% 380) - 19) * interval '1 day' + interval '1 hour' AS ends
      FROM generate_series(1, %(rows)s) AS i) AS made,
  (SELECT array_agg(id ORDER BY id) AS systems FROM evidence_system) AS s,
  (SELECT array_agg(uid ORDER BY uid) AS owners FROM evidence_user) AS u
"""
_RENEWALS = """
INSERT INTO exceptions_renewal
  ("index", exception_id, state, previous_expires_at, expires_at, reason, requested_by, requested_at, approvals_needed)
SELECT requested_index, id, 'pending', expires_at, expires_at + interval '60 days', 'Late', requester, now(), 1
FROM exceptions_securityexception WHERE renewal_pending
"""
_FIRST = 1_000_000


def fill(connection: psycopg.Connection[Any], rows: int) -> None:
    """That many exceptions of the systems and people that are there, as an owner of the tables."""
    connection.execute(_FILL, {"rows": rows, "first": _FIRST})
    connection.execute(_RENEWALS)
    connection.execute("ANALYZE exceptions_securityexception, exceptions_renewal")
