"""Views of the register that people keep for themselves: conveniences of one person, and no evidence."""

from typing import ClassVar

from django.db import models


class SavedView(models.Model):
    """Filters, search and order of the list of exceptions under a name. Nobody but its person sees it."""

    #: How many one person may keep.
    MOST = 20

    person = models.CharField(max_length=40, help_text="Opaque id")
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=500, help_text="As it stands in the list's address, without the ?")
    saved_at = models.DateTimeField(auto_now=True)

    objects: ClassVar["models.Manager[SavedView]"] = models.Manager()

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["person", "name"], name="saved_view_once")]

    def __str__(self) -> str:
        return self.name
