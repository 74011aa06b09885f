"""``setup``: what a first start needs (keys published, configuration recorded, first administrator)."""

import argparse
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.errors import ProoftrailError
from evidence.models import User
from evidence.setup import set_up


class Command(BaseCommand):
    help = "Publish keys, record the configuration and add the first administrator. Safe to run at every start."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--admin-email", default="admin@prooftrail.local")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            first = set_up(options["admin_email"])
        except ProoftrailError as error:
            raise CommandError(error.detail) from None
        email = User.objects.filter(roles__contains=["admin"]).values_list("email", flat=True).first()
        self.stdout.write(json.dumps({"email": email, "password": first.password if first else None}))
