"""What to paste so that a pipeline posts its first record: with this server's address and one of its own kinds."""

import json
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from evidence import kinds
from evidence.models import Pipeline

#: The first of these that a pipeline may post becomes its example. The first two need no release.
_EXAMPLES: dict[str, dict[str, Any]] = {
    "scan.result": {"type": "secrets", "scanner": "gitleaks", "outcome": "passed"},
    "uptime.snapshot": {"percent": 99.97, "days": 7, "source": "monitoring"},
    "test.result": {"suite": "unit", "outcome": "passed", "passed": 128, "failed": 0},
    "validation.result": {"check": "smoke test", "environment": "staging", "outcome": "passed"},
}


@dataclass(frozen=True)
class Snippet:
    id: str
    title: str
    text: str
    hint: str = ""


def example(pipeline: Pipeline) -> dict[str, Any]:
    """A record that this pipeline may post."""
    allowed = pipeline.kinds or list(_EXAMPLES)
    name = next((name for name in _EXAMPLES if name in allowed), allowed[0] if allowed else "scan.result")
    system = pipeline.systems.order_by("name").values_list("name", flat=True).first() or "your-system"
    kind = kinds.load().find(name)  # None for one that is declared no more
    place = {"release": f"{system}:your-release-tag"} if kind and kind.needs_release else {"system": system}
    return {"kind": name, **place, "body": _EXAMPLES.get(name, {})}


def for_pipeline(pipeline: Pipeline, token: str | None = None) -> list[Snippet]:
    """curl, GitHub Actions and GitLab CI; with the token itself only where it is shown once."""
    record = json.dumps(example(pipeline))
    url = settings.PROOFTRAIL_URL
    return [
        Snippet("curl", "curl", curl(url, token or "pt_…", record)),
        Snippet("github", "GitHub Actions", _github(url, record), "Keep the token as the secret PROOFTRAIL_TOKEN."),
        Snippet("gitlab", "GitLab CI", _gitlab(url, record), "Keep the token as the masked variable PROOFTRAIL_TOKEN."),
    ]


def _call(record: str, key: str, indent: str = "") -> str:
    lines = [
        'curl --fail-with-body --silent --show-error --retry 3 "$PROOFTRAIL_URL/api/v1/records"',
        '-H "Authorization: Bearer $PROOFTRAIL_TOKEN"',
        '-H "Content-Type: application/json"',
        f'-H "Idempotency-Key: {key}"',
        f"-d '{record}'",
    ]
    return f" \\\n{indent}  ".join(lines)


def curl(url: str, token: str, record: str, *, key: str = "first-record") -> str:
    return f"export PROOFTRAIL_URL='{url}'\nexport PROOFTRAIL_TOKEN='{token}'\n\n" + _call(record, key)


def _github(url: str, record: str) -> str:
    call = _call(record, "${{ github.run_id }}-${{ github.run_attempt }}", indent=" " * 4)
    return (
        "- name: Record evidence\n"
        "  env:\n"
        f"    PROOFTRAIL_URL: {url}\n"
        "    PROOFTRAIL_TOKEN: ${{ secrets.PROOFTRAIL_TOKEN }}\n"
        "  run: |\n"
        f"    {call}\n"
    )


def _gitlab(url: str, record: str) -> str:
    call = _call(record, "$CI_JOB_ID", indent=" " * 6)
    return f"record-evidence:\n  variables:\n    PROOFTRAIL_URL: {url}\n  script:\n    - |\n      {call}\n"
