"""Celery doors of the evidence app: small, repeatable, with ids."""

import logging

from botocore.exceptions import BotoCoreError, ClientError
from celery import shared_task
from django.utils import timezone

from config.errors import ProoftrailError
from evidence import anchors, artifacts, sign_offs, uploads

logger = logging.getLogger(__name__)

#: Seconds in which publishing leaves the machine to others, for each second that it works.
_ANCHOR_REST = 2.0


@shared_task(name="evidence.tasks.check_artifact")  # type: ignore[untyped-decorator]  # celery has no types
def check_artifact(artifact_id: int) -> None:
    """Check one large upload."""
    try:
        artifacts.check_claimed(artifact_id)
    except ProoftrailError as error:
        logger.warning("artifact %s: %s", artifact_id, error.code)  # its state says why, or it is tried again


@shared_task(name="evidence.tasks.tend_artifacts")  # type: ignore[untyped-decorator]  # celery has no types
def tend_artifacts() -> None:
    """Extend locks that records outgrew, check large uploads whose task was lost, give up abandoned ones."""
    artifacts.extend_locks()
    for artifact_id in artifacts.unchecked(timezone.now()):
        check_artifact.delay(artifact_id)
    uploads.give_up_abandoned(timezone.now())


@shared_task(name="evidence.tasks.publish_anchor")  # type: ignore[untyped-decorator]  # celery has no types
def publish_anchor() -> None:
    """Publish the newest checkpoint outside; refuse writes if the ledger lies behind what was published."""
    if not anchors.configured():
        return
    try:
        logger.info("anchors: %s", anchors.publish_alone(rest=_ANCHOR_REST))
    except (BotoCoreError, ClientError) as error:
        logger.warning("anchors: the store failed, the next round goes on: %s", error)


@shared_task(name="evidence.tasks.ask_for_sign_offs")  # type: ignore[untyped-decorator]  # celery has no types
def ask_for_sign_offs() -> None:
    """Mail people whose sign-off a release waits for, each once for each manifest."""
    sign_offs.plan(timezone.now())
    sign_offs.send_waiting(timezone.now())
