"""Destinations outside that did not answer: working data of whoever sends there."""

from django.db import models


class Circuit(models.Model):
    """How a destination fares (``mail``, ``chat:<id>``). No row, or no failure: it is used as ever."""

    destination = models.CharField(primary_key=True, max_length=60)
    #: In a row, since it last answered.
    failures = models.IntegerField(default=0)
    #: While there are failures nobody tries before this moment, and then one alone.
    retry_at = models.DateTimeField()
    last_error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["destination"]

    def __str__(self) -> str:
        return f"{self.destination}, {self.failures} failures"
