"""``manage.py dispose``: make the dispositions that are due, or say what they would be."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from compliance.retention import disposition, due


class Command(BaseCommand):
    help = "Dispose of records past their retention; their leaves and proofs stay."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only print what is due")

    def handle(self, *_: Any, dry_run: bool, **__: Any) -> None:
        if dry_run:
            self._preview()
            return
        for placed in disposition.dispose():
            body = placed.body
            counts = f"{len(body['records'])} records, {len(body['objects'])} objects"
            self.stdout.write(f"record {placed.index}: {body['rule']}: {counts}")

    def _preview(self) -> None:
        now = timezone.now()
        for retention_class, indexes in due.batches(now):
            rule = disposition.rule_of(retention_class)
            self.stdout.write(f"{rule}: {len(indexes)} records: {', '.join(map(str, indexes[:20]))}")
        for file in due.unreferenced(now).order_by("pk"):
            self.stdout.write(f"{disposition.rule_of(file.retention_class)}: file {file.name} {file.sha256}")
