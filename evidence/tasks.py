"""Celery doors of the evidence app: small, repeatable, with ids."""

from celery import shared_task

from config.errors import ProoftrailError
from evidence import artifacts
from evidence.models import Artifact


@shared_task(name="evidence.tasks.check_artifact")  # type: ignore[untyped-decorator]  # celery has no types
def check_artifact(artifact_id: int) -> None:
    """Check one large upload."""
    artifact = Artifact.objects.get(pk=artifact_id)
    if artifact.state == Artifact.CHECKING:
        artifacts.check(artifact)


@shared_task(name="evidence.tasks.tend_artifacts")  # type: ignore[untyped-decorator]  # celery has no types
def tend_artifacts() -> None:
    """Extend locks that records outgrew, and check large uploads whose task was lost."""
    artifacts.extend_locks()
    for artifact in Artifact.objects.filter(state=Artifact.CHECKING).order_by("pk")[:20]:
        try:
            artifacts.check(artifact)
        except ProoftrailError:
            continue  # its state says why
