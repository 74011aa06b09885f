"""Whom the service believes who a CI job is: a projection of `config.trust_policy` records."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from evidence.models.people import Pipeline, opaque_id


def new_policy_id() -> str:
    return opaque_id("trp")


class TrustPolicy(models.Model):
    """An id-token of this issuer, for this audience and with these claims speaks for a pipeline."""

    id = models.CharField(primary_key=True, max_length=40, default=new_policy_id, editable=False)
    name = models.SlugField(max_length=80, unique=True)
    pipeline = models.ForeignKey(Pipeline, on_delete=models.PROTECT, related_name="policies")
    issuer = models.CharField(max_length=500, help_text="As the token's iss says it: https://…")
    audience = models.CharField(max_length=500, help_text="The token's aud, and nothing beside it")
    #: Claim to the patterns of which one fits (`evidence.oidc.patterns`).
    claims = models.JSONField(default=dict)
    systems = ArrayField(
        models.CharField(max_length=40), default=list, blank=True, help_text="Empty: all of the pipeline's"
    )
    kinds = ArrayField(
        models.CharField(max_length=60), default=list, blank=True, help_text="Empty: all of the pipeline's"
    )
    is_active = models.BooleanField(default=True)
    changed_by = models.BigIntegerField(help_text="Index of the record that says so")

    class Meta:
        ordering = ["name"]
        verbose_name, verbose_name_plural = "trust policy", "trust policies"
        indexes = [
            # what an id-token asks first (oidc.exchange)
            models.Index(fields=["issuer"], name="trustpolicy_of_issuer"),
        ]

    def __str__(self) -> str:
        return self.name


class UsedIdToken(models.Model):
    """An id-token that was exchanged: it is not taken again before it expires."""

    digest = models.BinaryField(primary_key=True, max_length=32)
    #: From then on the token is refused for its age, and the row may go.
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return bytes(self.digest).hex()[:16]
