"""Definitions of kinds: sound, or refused at start with file and line."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

from config.errors import InvalidError
from evidence import kinds

Declare = Callable[..., Path]
KIND = """\
kind: custom.probe
title: Probe
retention: audit
posted_by: [pipeline]
outcome: /outcome
time: /at
facts: {name: /name}
schema:
  type: object
  properties:
    name: {type: string}
    at: {type: string, format: date-time}
    outcome: {enum: [up, down]}
"""
DESIGN = """
release.opened release.checklist deploy.manifest test.result scan.result config.snapshot flags.snapshot quota.snapshot
uptime.snapshot deploy.started deploy.finished deploy.log deploy.inventory validation.result metrics.snapshot rollback
hotfix notice.sent incident.opened incident.resolved postmortem review.held drill decision custom.adr record.withdrawn
"""


def test_it_declares_every_kind_that_is_posted() -> None:
    assert kinds.faults() == []
    for name in DESIGN.split():
        kind = kinds.load().named(name)
        assert kind.posted_by, name
        assert kind.schema.get("properties"), name
        assert kind.own.time or name.startswith(("release.opened", "record.")), name


def test_it_takes_a_sound_definition(declare: Declare) -> None:
    declare(KIND)
    assert kinds.faults() == []
    assert kinds.load().named("custom.probe").predicate_types == ("urn:prooftrail:predicate:custom.probe:v1",)


WRONG = {
    "no YAML": ("title: Probe", "title: [Probe", 3, "not YAML"),
    "a member twice": ("retention: audit", "retention: audit\nretention: audit", 4, "given twice"),
    "an unknown member": ("title: Probe", "title: Probe\nlable: x", 1, "lable"),
    "a name with capitals": ("custom.probe", "Custom.probe", 1, "does not match"),
    "no title": ("title: Probe\n", "", 1, '"title" is a required property'),
    "another poster": ("[pipeline]", "[robot]", 4, "robot"),
    "no retention class": ("audit", "forever", 3, "no retention class 'forever'; known: access, audit"),
    "nobody who posts it": ("[pipeline]", "[]", 4, "who may post it?"),
    "no JSON Schema": ("{type: string}", "{type: strin}", 11, "not JSON Schema"),
    "a pattern that is none": ("{type: string}", '{pattern: "(["}', 11, "not JSON Schema"),
    "a reference elsewhere": ("{type: string}", "{$ref: https://example.com/x}", 11, "nothing is fetched"),
    "a reference to nothing": ("{type: string}", '{$ref: "#/nowhere"}', 8, "not JSON Schema"),
    "another draft": ("  type: object", "  $schema: http://json-schema.org/draft-07/schema#", 9, "nothing is fetched"),
    "an outcome that is not there": ("outcome: /outcome", "outcome: /result", 5, "/result is no member"),
    "an outcome of any words": ("{enum: [up, down]}", "{type: string}", 5, "give it an enum"),
    "an outcome that YAML takes for a boolean": ("[up, down]", "[on, off]", 5, "give it an enum"),
    "a time that is none": ("{type: string, format: date-time}", "{type: string}", 6, "format: date-time"),
    "a fact that is not there": ("{name: /name}", "{name: /nmae}", 7, "/nmae is no member"),
    "a pointer that is none": ("{name: /name}", "{name: name}", 7, "name"),
    "a kind of the product": ("custom.probe", "approval", 1, "approval is the product's own"),
    "a name in a family of the product": ("custom.probe", "exception.probe", 1, "name it custom.probe"),
    "a name that a projection would take": ("custom.probe", "approvals.probe", 1, "name it custom.probe"),
    "a family": ("custom.probe", "acme.*", 1, "only the product declares a family"),
    "a predicate of the product": (
        "title: Probe",
        "title: Probe\nalso: [https://slsa.dev/provenance/v1]",
        3,
        "belongs to",
    ),
}


@pytest.mark.parametrize("defect", WRONG)
def test_it_names_a_fault_with_file_and_line(declare: Declare, defect: str) -> None:
    old, new, line, told = WRONG[defect]
    assert KIND.count(old) == 1
    path = declare(KIND.replace(old, new))
    found = [str(fault) for fault in kinds.faults()]
    assert found[0].startswith(f"{path}:{line}: "), found
    assert told in found[0]


def test_it_refuses_to_start_with_every_fault_named(declare: Declare, settings: Settings) -> None:
    path = declare(KIND.replace("audit", "forever"), KIND.replace("/at", "/when"))
    errors = [error for error in run_checks() if error.id == "evidence.E007"]
    assert [str(error.msg).split(": ")[0] for error in errors] == [f"{path}:3", f"{path}:21"]
    with pytest.raises(InvalidError, match="forever"):
        kinds.load()
    settings.KINDS_PATHS = [path.parent / "nowhere"]
    assert "which is not there" in str(kinds.faults()[0])


def test_it_refuses_two_of_one_version(declare: Declare) -> None:
    path = declare(KIND, KIND, KIND + "version: 2\n")
    assert [str(fault).split(" is declared")[0] for fault in kinds.faults()] == [
        f"{path}:{KIND.count(chr(10)) + 3}: custom.probe version 1"
    ]


def test_it_changes_the_retention_of_a_kind_of_the_product(declare: Declare) -> None:
    declare("override: deploy.manifest\nretention: deploy-log", "override: custom.*\nposted_by: []")
    loaded = kinds.load()
    assert loaded.named("deploy.manifest").retention == "deploy-log"
    assert loaded.named("deploy.manifest").schema["required"]
    assert loaded.find("custom.anything") is None
    path = declare("override: deploy.manifesto\nretention: audit")
    assert str(kinds.faults()[0]) == f"{path}:1: the product has no kind 'deploy.manifesto'"
