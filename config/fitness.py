"""Whether this process may serve at all. Loading a WSGI application or a worker runs no system check by itself."""

import sys

from django.core import checks
from django.db import connections


def refuse_to_start_unfit() -> None:
    """Run every system check, the databases' included; errors are printed and end the process."""
    found = checks.run_checks(include_deployment_checks=False, databases=["default"])
    connections.close_all()
    errors = [message for message in found if message.is_serious() and not message.is_silenced()]
    for message in errors:
        print(f"refusing to start: {message}", file=sys.stderr, flush=True)
    if errors:
        sys.exit(1)
