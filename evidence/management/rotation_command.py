"""What ``rotate_log_key`` and ``rotate_record_key`` share: each step may be repeated after a crash."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.errors import ProoftrailError
from evidence import keyfile, rotation
from evidence.models import SigningKey


class RotationCommand(BaseCommand):
    """Without an option a new key begins beside the old one; ``--finish`` ends the overlap."""

    purpose = ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        step = parser.add_mutually_exclusive_group()
        step.add_argument("--finish", action="store_true", help="end the overlap: retire all but the newest key")
        step.add_argument("--revoke", metavar="KEY", help="end this key at once (its id, or the beginning of it)")
        step.add_argument("--lost", action="store_true", help="replace keys whose private half is nowhere any more")
        parser.add_argument("--new-key", metavar="FILE", help="PEM of the new Ed25519 key; by default one is made")
        parser.add_argument("--reason", default="", help="kept in the record; a revocation and a loss need one")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            change = self._change(options)
        except ProoftrailError as error:
            raise CommandError(f"{error.detail} [{error.code}]") from None
        rows = SigningKey.objects.filter(purpose=self.purpose).order_by("from_size")
        if options["json"]:
            told = [{name: getattr(row, name) for name in _SHOWN} | {"status": row.status} for row in rows]
            self.stdout.write(json.dumps({"said": change.said, "record": change.index, "keys": told}))
            return
        self.stdout.write(change.said if change.index is None else f"{change.said} Record {change.index}.")
        for row in rows:
            self.stdout.write(f"  {row.key_id}  {row.extent}  {row.status}")

    def _change(self, options: dict[str, Any]) -> rotation.Change:
        reason = options["reason"]
        new = keyfile.load(Path(options["new_key"])) if options["new_key"] else None
        if new is not None and (options["finish"] or options["revoke"]):
            raise CommandError("--new-key goes with the beginning of a rotation, not with its end.")
        if options["finish"]:
            return rotation.finish(self.purpose, reason=reason)
        if options["revoke"]:
            return rotation.revoke(self.purpose, options["revoke"], reason=reason)
        if options["lost"]:
            return rotation.replace_lost(self.purpose, new=new, reason=reason)
        return rotation.begin(self.purpose, new=new, reason=reason)


_SHOWN = ("key_id", "from_size", "to_size", "started_by", "ended_by")
