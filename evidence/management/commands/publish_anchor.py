"""Publish the newest checkpoint outside now, as the worker does every minute."""

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from django.core.management.base import BaseCommand, CommandError

from evidence import anchors


class Command(BaseCommand):
    help = "Publish the newest checkpoint to the bucket of anchors, after comparing the ledger with what is there."

    def handle(self, *args: Any, **options: Any) -> None:
        if not anchors.configured():
            raise CommandError("There is no bucket of anchors: set S3_ANCHOR_BUCKET.")
        try:
            done = anchors.publish()
        except (BotoCoreError, ClientError) as error:
            raise CommandError(f"The object store failed: {error}") from error
        if anchors.current() is not None:
            raise CommandError(done)
        self.stdout.write(done)
