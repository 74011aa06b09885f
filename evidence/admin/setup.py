"""The administrator's start page: what a new installation still needs, in the order in which it needs it."""

from dataclasses import dataclass
from typing import Any

from django.urls import reverse

from evidence.models import Pipeline, Record, Release, System, User


@dataclass(frozen=True)
class Step:
    title: str
    done: bool
    text: str
    link: str
    action: str


def context() -> dict[str, Any]:
    steps = _steps()
    following = next((step for step in steps if not step.done), None)
    return {"steps": steps, "following": following, "done": sum(step.done for step in steps)}


def _steps() -> list[Step]:
    pipelines = Pipeline.objects.values("uid")
    return [
        Step(
            "Add the people",
            User.objects.count() > 1,
            "Liaisons, engineers, approvers, captains, auditors, executives: each starts on the page of their role.",
            reverse("admin:evidence_user_add"),
            "Add a person",
        ),
        Step(
            "Add a system",
            System.objects.exists(),
            "A service or product that has releases. People sign off, and pipelines post, for systems.",
            reverse("admin:evidence_system_add"),
            "Add a system",
        ),
        Step(
            "Connect a pipeline",
            Pipeline.objects.exists(),
            "It gets a token, shown once, with snippets for curl, GitHub Actions and GitLab CI to paste.",
            reverse("admin:evidence_pipeline_add"),
            "Add a pipeline",
        ),
        Step(
            "Receive the first record",
            Record.objects.filter(principal__in=pipelines).exists(),
            "Paste a snippet into the pipeline and run it: its page turns green when the record is here.",
            reverse("admin:evidence_pipeline_changelist"),
            "Go to the pipelines",
        ),
        Step(
            "Open the first release",
            Release.objects.exists(),
            "Evidence, approvals and deploys gather around a release; captains, engineers and pipelines open them.",
            reverse("admin:evidence_release_add"),
            "Open a release",
        ),
    ]
