"""``migrate`` runs as the owner of the tables and then gives the runtime role its narrow rights."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.management.commands.migrate import Command as Migrate
from django.db import connections

from evidence.grants import grant


class Command(Migrate):
    help = Migrate.help + " Uses OWNER_DATABASE_URL and grants the runtime role what it needs, no more."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(database="owner" if "owner" in connections else "default")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["database"] not in connections:
            raise CommandError("Set OWNER_DATABASE_URL: migrations need the owner of the tables.")
        super().handle(*args, **options)
        runtime = connections["default"].settings_dict["USER"]
        if options["database"] == "owner" and runtime:
            grant(connections["owner"], runtime)
