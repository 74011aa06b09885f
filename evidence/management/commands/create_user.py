"""``create_user NAME --email E --role R``: add a person."""

import secrets
import sys
from argparse import ArgumentParser
from typing import Any

from config.errors import InvalidError
from evidence.ledger import Actor
from evidence.management.people_command import PeopleCommand
from evidence.models import System, User
from evidence.models.people import SERVICE
from evidence.people import create_user, ensure_system, find_user


class Command(PeopleCommand):
    help = "Add a person. Without --password-stdin a random password is made and printed once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name")
        parser.add_argument("--email", required=True)
        parser.add_argument("--role", action="append", required=True, choices=[role for role, _ in User.ROLES])
        parser.add_argument("--signs-for", action="append", default=[], metavar="ROLE@SYSTEM")
        parser.add_argument("--system", action="append", default=[], help="limit to these systems")
        parser.add_argument("--manager", metavar="EMAIL")
        parser.add_argument("--password-stdin", action="store_true")

    def make(self, options: dict[str, Any]) -> dict[str, Any]:
        given = options["password_stdin"]
        password = sys.stdin.readline().rstrip("\n") if given else secrets.token_urlsafe(15)
        actor = Actor(SERVICE)
        user = create_user(
            actor=actor,
            name=options["name"],
            email=options["email"],
            roles=options["role"],
            password=password,
            manager=find_user(options["manager"]) if options["manager"] else None,
            signs_for=[_sign_off(text, actor) for text in options["signs_for"]],
            systems=[ensure_system(name, actor=actor) for name in options["system"]],
        )
        made = {"id": user.uid, "name": user.name, "email": user.email, "roles": user.roles}
        return made if given else made | {"password": password}


def _sign_off(text: str, actor: Actor) -> tuple[str, System]:
    role, at, system = text.partition("@")
    if not (role and at and system):
        raise InvalidError(f"--signs-for is ROLE@SYSTEM, not {text!r}.", code="usage")
    return role, ensure_system(system, actor=actor)
