"""What changes nothing that anybody remembers moves no epoch.

Where the epoch moves every process forgets tokens, rights and keys, and the requests of that moment take the long way
(docs/performance.md). Each exchange of an id-token did that twice: with the new token, of which nobody can remember
anything (that there is none is not kept), and by looking for old ones to delete, which have long been past. Statements
that met no row did it as well.
"""

from django.db import migrations

_LOCK = "SET LOCAL lock_timeout = '5s';"
_MADE = """
CREATE TRIGGER {name} AFTER {event} ON public.{table}
    FOR EACH {each} EXECUTE FUNCTION public.evidence_authority_changed();
ALTER TABLE public.{table} ENABLE ALWAYS TRIGGER {name};
"""
_STANDING = {"name": "standing_moves_epoch", "event": "UPDATE", "table": "evidence_standing"}
# Conditions are spelled as PostgreSQL tells them: `evidence.guards` compares.
_CHANGED = "ROW WHEN ((old.* IS DISTINCT FROM new.*))"

FORWARDS = "".join(
    [
        _LOCK,
        "DROP TRIGGER standing_moves_epoch ON public.evidence_standing;",
        "DROP TRIGGER authority_changed ON public.evidence_token;",
        _MADE.format(**_STANDING, each=_CHANGED),
        _MADE.format(name="token_changed", event="UPDATE", table="evidence_token", each=_CHANGED),
        _MADE.format(
            name="token_ended", event="DELETE", table="evidence_token", each="ROW WHEN ((old.expires_at > now()))"
        ),
    ]
)
BACKWARDS = "".join(
    [
        _LOCK,
        "DROP TRIGGER standing_moves_epoch ON public.evidence_standing;",
        "DROP TRIGGER token_changed ON public.evidence_token;",
        "DROP TRIGGER token_ended ON public.evidence_token;",
        _MADE.format(**_STANDING, each="STATEMENT"),
        _MADE.format(
            name="authority_changed", event="INSERT OR DELETE OR UPDATE", table="evidence_token", each="STATEMENT"
        ),
    ]
)


class Migration(migrations.Migration):
    dependencies = [("evidence", "0018_search_at_once")]
    operations = [migrations.RunSQL(FORWARDS, BACKWARDS)]
