"""Mails that ask for a sign-off: working data of the worker."""

from django.db import models

from evidence.outbox import Outgoing


class SignOffRequest(Outgoing):
    """One mail to one person about one manifest of one release: before it is deployed, or after an emergency deploy."""

    release = models.CharField(max_length=200)
    manifest_digest = models.CharField(max_length=80)
    deployment = models.BigIntegerField(null=True, help_text="Index of the emergency deploy that owes the decision")

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["release", "manifest_digest", "deployment", "recipient"],
                name="signoff_request_once",
                nulls_distinct=False,
            )
        ]
        indexes = [
            # to_send, each round
            models.Index(fields=["next_attempt_at"], condition=models.Q(state="waiting"), name="signoff_to_send"),
        ]

    def __str__(self) -> str:
        return f"{self.release} {self.manifest_digest[:19]} to {self.recipient}"
