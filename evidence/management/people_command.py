"""What ``create_user`` and ``create_pipeline`` share."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.errors import ProoftrailError


class PeopleCommand(BaseCommand):
    """A command that prints what it made, as lines or with ``--json``; a refusal is one line, exit 1."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def make(self, options: dict[str, Any]) -> dict[str, Any]:
        """Make it and return what to print."""
        raise CommandError("not a command by itself")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            made = self.make(options)
        except ProoftrailError as error:
            raise CommandError(f"{error.detail} [{error.code}]") from None
        self.show(made, options)

    def show(self, made: dict[str, Any], options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(made))
        else:
            for name, value in made.items():
                self.stdout.write(f"{name}: {value}")
