"""The ``prooftrail`` command line. It knows the service by HTTP alone and imports no Django."""

import sys


def main() -> None:
    """Entry point of the ``prooftrail`` script."""
    from config.cli.app import run

    sys.exit(run(sys.argv[1:]))
