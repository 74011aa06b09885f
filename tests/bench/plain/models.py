from django.db import models


class Evidence(models.Model):
    """One row for one record: unsigned, unchained, changed by whoever may write."""

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=80)
    release = models.CharField(max_length=200)
    body = models.JSONField()
    received_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "plain_evidence"
