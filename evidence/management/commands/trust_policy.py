"""``trust_policy add|change|end|list|check``: whose id-tokens speak for which pipeline."""

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.conf import settings

from config.errors import InvalidError, MissingError, UnavailableError
from config.outbound import RefusedError
from evidence.ledger import Actor
from evidence.management.people_command import PeopleCommand
from evidence.models import Pipeline, System, TrustPolicy
from evidence.models.people import SERVICE, Limits
from evidence.oidc import issuers, policies
from evidence.people import find_system

ISSUERS = {"github": "https://token.actions.githubusercontent.com", "gitlab": "https://gitlab.com"}


class Command(PeopleCommand):
    help = "Say which CI jobs may get access tokens of a pipeline, by the claims of their id-tokens."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        for action, text in {
            "add": "trust jobs with these claims",
            "change": "change what is given; the rest stays as it is",
            "end": "trust them no more; access tokens end now",
            "check": "fetch the issuer's keys, as an exchange does",
            "list": "show all policies",
        }.items():
            one = actions.add_parser(action, help=text)
            super().add_arguments(one)
            if action != "list":
                one.add_argument("name")
            if action in ("add", "change"):
                _add_options(one, required=action == "add")

    def make(self, options: dict[str, Any]) -> dict[str, Any]:
        actor, action = Actor(SERVICE), options["action"]
        if action == "list":
            return {"policies": [_row(policy) for policy in TrustPolicy.objects.select_related("pipeline")]}
        policy = policies.find_policy(options["name"]) if action != "add" else None
        if policy is not None and action == "end":
            return _row(policies.end_policy(policy, actor=actor))
        if policy is not None and action == "check":
            return _check(policy)
        return _row(_save(actor, options, policy))

    def show(self, made: dict[str, Any], options: dict[str, Any]) -> None:
        if options["action"] != "list":
            super().show(made, options)
        elif options["json"]:
            self.stdout.write(json.dumps(made["policies"]))
        else:
            for row in made["policies"]:
                self.stdout.write(f"{row['name']}: {row['pipeline']}, {row['issuer']}, {json.dumps(row['claims'])}")


def _add_options(parser: ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--pipeline", required=required, help="whom they speak for")
    parser.add_argument("--issuer", required=required, help=f"its URL, or {' or '.join(ISSUERS)}")
    parser.add_argument("--audience", help="what their tokens are made for; by default this service's URL")
    parser.add_argument(
        "--claim",
        action="append",
        default=[],
        metavar="NAME=PATTERN",
        help="* stands for anything but /, ** for anything; the same claim again is an alternative",
    )
    parser.add_argument("--system", action="append", default=[], help="leave them only these of the pipeline's")
    parser.add_argument("--kind", action="append", default=[], help="leave them only these kinds")


def _save(actor: Actor, options: dict[str, Any], before: TrustPolicy | None) -> TrustPolicy:
    systems = [find_system(name).pk for name in options["system"]] or (before.systems if before else [])
    kinds = options["kind"] or (before.kinds if before else [])
    given = options["issuer"] or (before.issuer if before else "")
    return policies.save_policy(
        actor=actor,
        name=options["name"],
        pipeline=_pipeline(options["pipeline"]) if options["pipeline"] else _pipeline_of(before),
        issuer=ISSUERS.get(given, given),
        audience=options["audience"] or (before.audience if before else settings.PROOFTRAIL_URL),
        claims=_claims(options["claim"]) or (before.claims if before else {}),
        limits=Limits(frozenset(systems), frozenset(kinds)),
        policy=before,
    )


def _pipeline(name: str) -> Pipeline:
    found = Pipeline.objects.filter(name=name).first()
    if found is None:
        raise MissingError(f"There is no pipeline {name!r}.", code="pipeline_unknown")
    return found


def _pipeline_of(before: TrustPolicy | None) -> Pipeline:
    if before is None:
        raise InvalidError("Say which pipeline they speak for.", code="usage")
    return before.pipeline


def _claims(given: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in given:
        name, equals, pattern = text.partition("=")
        if not equals:
            raise InvalidError(f"{text!r} is not NAME=PATTERN.", code="usage")
        found.setdefault(name, []).append(pattern)
    return found


def _check(policy: TrustPolicy) -> dict[str, Any]:
    try:
        return {"issuer": policy.issuer, "keys": sorted(issuers.fetch(policy.issuer))}
    except RefusedError as error:
        detail = f"The keys of {policy.issuer} cannot be had: {error}"
        raise UnavailableError(detail, code="issuer_unreachable") from None


def _row(policy: TrustPolicy) -> dict[str, Any]:
    names = dict(System.objects.filter(pk__in=policy.systems).values_list("pk", "name"))
    return {
        "id": policy.pk,
        "name": policy.name,
        "pipeline": policy.pipeline.name,
        "issuer": policy.issuer,
        "audience": policy.audience,
        "claims": policy.claims,
        "systems": [names.get(system, system) for system in policy.systems],
        "kinds": policy.kinds,
        "active": policy.is_active,
        "record": policy.changed_by,
    }
