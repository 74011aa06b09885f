"""``create_pipeline NAME --system S``: add a pipeline and print its token once."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from config.errors import InvalidError
from evidence.ledger import Actor
from evidence.management.people_command import PeopleCommand
from evidence.models.people import SERVICE
from evidence.people import TOKEN_DAYS, create_pipeline, ensure_system


class Command(PeopleCommand):
    help = "Add a pipeline; its token is printed once and not kept."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name")
        parser.add_argument("--system", action="append", required=True, help="added if there is none")
        parser.add_argument("--kind", action="append", default=[], help="kinds it may post; default all")
        parser.add_argument("--public-key", metavar="FILE", help="PEM of its public key")
        parser.add_argument("--signatures", type=int, default=0, help="how many of its keys must sign each record")
        parser.add_argument("--days", type=int, default=TOKEN_DAYS, help="how long the token is valid")
        parser.add_argument("--token-only", action="store_true", help="print the token alone, for a pipe")

    def show(self, made: dict[str, Any], options: dict[str, Any]) -> None:
        if options["token_only"]:
            self.stdout.write(made["token"])
        else:
            super().show(made, options)

    def make(self, options: dict[str, Any]) -> dict[str, Any]:
        actor = Actor(SERVICE)
        pipeline, token = create_pipeline(
            actor=actor,
            name=options["name"],
            systems=[ensure_system(name, actor=actor) for name in options["system"]],
            kinds=options["kind"],
            public_key=_read(options["public_key"]),
            days=options["days"],
            signatures_required=options["signatures"],
        )
        return {
            "id": pipeline.uid,
            "name": pipeline.name,
            "systems": options["system"],
            "token": token.text,
            "expires_at": token.token.expires_at.isoformat(),
        }


def _read(path: str | None) -> bytes | None:
    try:
        return Path(path).read_bytes() if path else None
    except OSError as error:
        raise InvalidError(f"Cannot read {path}: {error.strerror}.", code="usage") from None
